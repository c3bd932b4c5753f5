"""Every mistake in a file is one line that names the file and the place."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from bench.errors import BenchError
from bench.reading import (
    LARGEST_YAML,
    LONGEST_LINE,
    MOST_DIGITS,
    MOST_YAML_NODES,
    UNPACKED,
    parse_as,
    parse_json,
    read_json,
    read_lines,
    read_text,
    read_yaml,
    text_of,
)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Leaf(Strict):
    size: int = 1


class Tree(Strict):
    leaves: tuple[Leaf, ...] = ()
    top: Leaf | None = None


def error_of(read: object, *arguments: object) -> str:
    with pytest.raises(BenchError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_end_at_newlines_only(tmp_path: Path, name: str) -> None:
    content = "\ufeffone\r\n\u2028two\x0b\r three\n\nfour".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(read_lines(tmp_path / name)) == [(1, "one"), (2, "\u2028two\x0b\r three"), (3, ""), (4, "four")]


def test_lines_are_read_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n\xff\n")
    lines = read_lines(tmp_path / "a.txt")
    assert next(lines) == (1, "fine")
    assert error_of(next, lines) == f"{tmp_path / 'a.txt'}, line 2: not UTF-8 (byte 1 of the line)."


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml, lambda path: list(read_lines(path))])
def test_what_cannot_be_read_says_why(tmp_path: Path, read: object) -> None:
    assert error_of(read, tmp_path / "none") == f"cannot read {tmp_path / 'none'}: No such file or directory."
    assert error_of(read, tmp_path) == f"cannot read {tmp_path}: Is a directory."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name enclosed in double quotes at column 2."),
        ('{\n"a": }', "Expecting value at line 2, column 6."),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte."),
    ],
)
def test_text_that_is_not_json(text: str | bytes, reason: str) -> None:
    assert error_of(parse_json, text, "here").startswith(f"here: not JSON: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "'a' is given twice."),
        ('{"c": [{"a": 1, "a": 2}]}', "'a' is given twice."),
        ("[" * 100_000, "nested too deeply."),
        ('{"a": %s}' % ("1" * (MOST_DIGITS + 1)), f"a number of {MOST_DIGITS + 1} digits."),
        (r'{"a": ["\ud83d"]}', "half a surrogate pair, which is not a character."),
        (r'{"\udc00": 1}', "half a surrogate pair, which is not a character."),
    ],
)
def test_json_and_yaml_that_are_ambiguous_or_too_deep(tmp_path: Path, text: str, reason: str) -> None:
    assert error_of(parse_json, text, "here") == f"here: {reason}"
    (tmp_path / "a.yaml").write_text(text)
    assert error_of(read_yaml, tmp_path / "a.yaml") == f"{tmp_path / 'a.yaml'}: {reason}"


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400", "-1e999999"])
def test_numbers_of_json_are_finite(number: str) -> None:
    assert error_of(parse_json, f'{{"a": [{number}]}}', "here") == f"here: {number} is not a finite number."


def test_numbers_and_characters_of_json_at_the_limit() -> None:
    assert parse_json("1" * MOST_DIGITS, "here") == int("1" * MOST_DIGITS)
    assert parse_json(r'"\ud83d\ude42"', "here") == "🙂"


LAUGHS = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, f"more than {MOST_YAML_NODES:,} values."),
        ("a: &b [*b]", "a value contains itself."),
        ("a: &b {c: *b}", "a value contains itself."),
        ("a: !!bool x", "not YAML: a value that its type does not have ('x')."),
        ("a: !!timestamp x", "not YAML: a value that its type does not have"),
        ("a: !!python/object:os.system x", "not YAML: could not determine a constructor"),
        ("a: " + "1:" * 200 + "1", "a number of 401 digits."),
        ("#" * LARGEST_YAML + "\na: 1", "larger than 1 MiB."),
    ],
)
def test_yaml_that_would_take_time_or_memory(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert error_of(read_yaml, tmp_path / "a.yaml").startswith(f"{tmp_path / 'a.yaml'}: {reason}")


def test_aliases_of_yaml_are_values(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {b: 1}\nc: [*a, *a]")
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}


def test_a_file_that_never_ends_is_not_read_to_its_end() -> None:
    assert error_of(read_text, Path("/dev/zero")) == "/dev/zero: larger than 256 MiB."


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml, lambda path: list(read_lines(path))])
def test_a_name_with_a_zero_byte_is_no_file(read: object) -> None:
    assert error_of(read, Path("a\0b")) == r"cannot read a\x00b: embedded null byte."


def test_yaml_may_replace_what_it_merges(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "base: &base {x: 1, y: 2}\nchild: &child {<<: *base, x: 3}\nlast: {<<: *child, y: 4}"
    )
    assert read_yaml(tmp_path / "a.yaml")["last"] == {"x": 3, "y": 4}


def test_a_line_that_is_too_long_is_named(tmp_path: Path) -> None:
    line = random.Random(0).randbytes(LONGEST_LINE).hex()[: LONGEST_LINE + 1]
    (tmp_path / "a.txt").write_text(f"fine\n{line[:-2]}\n{line}\n")
    lines = read_lines(tmp_path / "a.txt")
    assert [len(next(lines)[1]) for _ in range(2)] == [4, LONGEST_LINE - 1]
    assert error_of(next, lines) == f"{tmp_path / 'a.txt'}, line 3: longer than 1 MiB; split the text."


@pytest.mark.parametrize(
    ("line", "reason"), [("", "line 1: longer than 1 MiB; "), ("\n", "more than 100 times as large")]
)
def test_a_gzip_bomb_is_named_before_it_fills_the_memory(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wt") as file:
        for _ in range(100):
            file.write("a" * (2**20 - 1) + line)
    tracemalloc.start()
    assert reason in error_of(lambda: [len(text) for _, text in read_lines(path)])
    assert tracemalloc.get_traced_memory()[1] < 16 * UNPACKED
    tracemalloc.stop()


def test_a_text_is_made_of_characters() -> None:
    assert text_of("né 🙂", "here") == "né 🙂"
    assert error_of(text_of, None, "here") == "here: expected text, got NoneType."
    assert error_of(text_of, "é \udc00", "here") == "here: half a surrogate pair, which is not a character."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"leaves": [{}, {"sise": 1}]}, "unknown key 'leaves.1.sise'. Did you mean 'size'? Allowed: size."),
        ({"top": {"sise": 1}}, "unknown key 'top.sise'. Did you mean 'size'? Allowed: size."),
        ({"tops": {}}, "unknown key 'tops'. Did you mean 'top'? Allowed: leaves, top."),
        ({"leaves": "x" * 200}, f"leaves: Input should be a valid tuple (got '{'x' * 79}…)."),
    ],
)
def test_the_first_wrong_key_is_named(content: dict[str, object], message: str) -> None:
    assert error_of(parse_as, Tree, content, "here").startswith(f"here: {message}")
