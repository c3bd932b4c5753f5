from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.specs import TaskSpec
from bench.tasks import Example, load_texts
from bench.tasks import task as task_module
from bench.tasks.data import SPLITS
from bench.tasks.files import read_folder


def write(folder: Path, **files: bytes | str) -> Path:
    """Writes files named by split and suffix, ``train_txt_gz`` for train.txt.gz; gzips what ends in gz."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("_", ".")).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return folder


def pairs(*fields: dict[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in fields)


GOOD = {"valid_txt": "c\n", "test_txt": "d\n"}
PAIR = pairs({"source": "s", "target": "t"})
GOOD_PAIRS = {"valid_jsonl": PAIR, "test_jsonl": PAIR}


def train(folder: Path, **file: bytes | str) -> list[str]:
    splits, _ = read_folder(write(folder, **file, **GOOD), "yelp", "unconditional", {})
    return [example.target for example in splits["train"]]


@pytest.mark.parametrize("name", ["train_txt", "train_txt_gz"])
def test_a_line_is_a_text_and_keeps_its_white_space(tmp_path: Path, name: str) -> None:
    content = "a  b \r\n\tc\n x\u2028y\x0bz\x85w \nlast\rone"
    assert train(tmp_path, **{name: content}) == ["a  b ", "\tc", " x\u2028y\x0bz\x85w ", "last\rone"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert train(tmp_path, train_txt=b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n") == ["a", "\ufeffb"]


@pytest.mark.parametrize("name", ["train_jsonl", "train_jsonl_gz"])
def test_an_object_per_line_is_a_text(tmp_path: Path, name: str) -> None:
    content = pairs({"target": " a\nb ", "id": 7}, {"label": "x", "target": "\u00e9 \U0001f600"})
    assert train(tmp_path, **{name: content}) == [" a\nb ", "\u00e9 \U0001f600"]


def test_pairs_are_read_for_a_conditional_task(tmp_path: Path) -> None:
    two = pairs({"source": "s 1", "target": "t 1"}, {"target": "t 2", "source": " s 2", "more": None})
    folder = write(tmp_path / "quora", train_jsonl=two, **GOOD_PAIRS)
    splits, notes = read_folder(folder, "quora", "conditional", {})
    assert splits["train"] == (Example("t 1", "s 1"), Example("t 2", " s 2"))
    assert notes == ()


def test_labels_are_dropped_where_the_first_line_has_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "yelp", train_txt="0\tgood food .\n4\tbad .\n", **GOOD)
    splits, notes = read_folder(folder, "yelp", "unconditional", {})
    assert splits["train"] == (Example("good food ."), Example("bad ."))
    assert notes == ("train: a label before every text was dropped",)


@pytest.mark.parametrize(
    "first",
    ["no tab", "two words\ttext", "a\tb\tc", "averyveryverylonglabel\ttext", "\ttext"],
)
def test_tabs_are_text_where_the_first_line_has_no_label(tmp_path: Path, first: str) -> None:
    assert train(tmp_path, train_txt=f"{first}\n0\tb\n") == [first, "0\tb"]


def test_the_folder_may_hold_the_task_or_be_its_own(tmp_path: Path) -> None:
    write(tmp_path / "yelp", train_txt="a\n", **GOOD)
    task = TaskSpec(name="yelp", source="files")
    inner, outer = load_texts(task, tmp_path / "yelp"), load_texts(task, tmp_path)
    assert inner == outer
    assert (inner.source, inner.version, inner.log_p, inner.notes) == ("files", 1, None, ())
    assert inner.factors == {split: {} for split in SPLITS}
    assert inner.splits == {"train": (Example("a"),), "valid": (Example("c"),), "test": (Example("d"),)}


def test_a_folder_of_another_name_is_taken_as_it_is_and_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "dialogues", train_jsonl=pairs({"source": "s 1", "target": "t 1"}), **GOOD_PAIRS)
    data = load_texts(TaskSpec(name="cnn_dailymail", source="files"), folder)
    assert (data.task, data.kind, data.log_p) == ("cnn_dailymail", "conditional", None)
    assert data.splits["train"] == (Example("t 1", "s 1"),)
    assert data.notes == ("texts of the folder 'dialogues'", "test repeats 1 of the texts of valid")


def test_limits_keep_the_first_texts_and_read_no_further(tmp_path: Path) -> None:
    folder = write(tmp_path, train_txt="a\nb\n\nc\n", **GOOD)
    data = load_texts(TaskSpec(name="yelp", source="files", limits={"train": 2, "valid": 9}), folder)
    assert [example.target for example in data.splits["train"]] == ["a", "b"]
    assert len(data.splits["valid"]) == 1


def test_repeated_texts_are_noted(tmp_path: Path) -> None:
    folder = write(tmp_path / "yelp", train_txt="a\nb\n", valid_txt="b\nc\nb\n", test_txt="d\n")
    assert load_texts(TaskSpec(name="yelp", source="files"), folder).notes == ("valid repeats 2 of the texts of train",)


def test_the_checksum_is_of_the_texts_not_of_the_files(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", train_txt="a\nb\n", **GOOD)
    other = write(tmp_path / "other", train_jsonl_gz=pairs({"target": "a"}, {"target": "b"}), **GOOD)
    sums = {load_texts(TaskSpec(name="yelp", source="files"), folder).sha256 for folder in (plain, other)}
    assert len(sums) == 1
    assert load_texts(TaskSpec(name="yelp", source="files", limits={"train": 1}), plain).sha256 not in sums


TEXT = "unconditional"
PAIRS = "conditional"
TRUNCATED = gzip.compress(os.urandom(3000))[:-20]
BAD = {
    "empty": (TEXT, "train.txt", b"", r"train\.txt: the file is empty"),
    "empty gzip": (TEXT, "train.txt.gz", gzip.compress(b""), r"train\.txt\.gz: the file is empty"),
    "blank line": (TEXT, "train.txt", b"a\n \t\nb\n", r"train\.txt, line 2: the line is blank"),
    "blank last line": (TEXT, "train.txt", b"a\n\n", r"train\.txt, line 2: the line is blank"),
    "blank object": (TEXT, "train.jsonl", b'{"target": "a"}\n\n', r"train\.jsonl, line 2: the line is blank"),
    "latin-1": (TEXT, "train.txt", b"a\nb\ncaf\xe9\n", r"train\.txt, line 3: not UTF-8 \(byte 4 of the line\)"),
    "missing label": (TEXT, "train.txt", b"0\ta\nb\n", r"train\.txt, line 2: expected label<TAB>text"),
    "second tab": (TEXT, "train.txt", b"0\ta\n1\tb\tc\n", r"train\.txt, line 2: expected label<TAB>text"),
    "label alone": (TEXT, "train.txt", b"0\ta\n1\t\n", r"train\.txt, line 2: no text after the label"),
    "truncated gzip": (
        TEXT,
        "train.txt.gz",
        gzip.compress(b"a\n" * 9)[:-9],
        r"cannot read .*train\.txt\.gz after line \d: ",
    ),
    "not gzip": (TEXT, "train.txt.gz", b"a\nb\n", r"cannot read .*train\.txt\.gz: Not a gzipped file"),
    "damaged gzip": (
        TEXT,
        "train.txt.gz",
        gzip.compress(b"a\n")[:10] + b"\xff" * 20,
        r"cannot read .*gz: ",
    ),
    "broken JSON": (
        TEXT,
        "train.jsonl",
        b'{"target": "a"}\n{"target": \n',
        r"jsonl, line 2: not JSON: Expecting value at column",
    ),
    "no object": (
        TEXT,
        "train.jsonl",
        b'["a"]\n',
        r"line 1: expected an object with the field 'target', got '\[\"a\"\]'",
    ),
    "missing target": (
        TEXT,
        "train.jsonl",
        b'{"traget": "a"}\n',
        r"line 1: field 'target' is missing\. Did you mean 'traget'\? .*'traget'",
    ),
    "no fields": (TEXT, "train.jsonl", b"{}\n", r"line 1: field 'target' is missing\. Fields there: none"),
    "empty target": (TEXT, "train.jsonl", b'{"target": " "}\n', r"line 1: field 'target' is empty"),
    "field twice": (
        TEXT,
        "train.jsonl",
        b'{"target": "a", "target": "b"}\n',
        r"train.jsonl, line 1: 'target' is given",
    ),
    "depth": (
        TEXT,
        "train.jsonl",
        b'{"target": "a", "n": ' + b"[" * 100_000,
        r"train.jsonl, line 1: nested too deeply",
    ),
    "long number": (
        TEXT,
        "train.jsonl",
        b'{"target": "a", "n": ' + b"1" * 5000 + b"}",
        r"train.jsonl, line 1: a number of 5000 digits",
    ),
    "number": (TEXT, "train.jsonl", b'{"target": 3}\n', r"line 1: field 'target': expected text, got int"),
    "half a character": (
        TEXT,
        "train.jsonl",
        b'{"target": "a\\ud83d"}\n',
        r"line 1: half a surrogate pair",
    ),
    "source in vain": (TEXT, "train.jsonl", PAIR.encode(), r"line 1: field 'source' in an unconditional task"),
    "missing source": (PAIRS, "train.jsonl", b'{"target": "a"}\n', r"line 1: field 'source' is missing"),
    "source in some lines only": (
        PAIRS,
        "train.jsonl",
        (PAIR + '{"target": "a"}\n').encode(),
        r"train\.jsonl, line 2: field 'source' is missing\. Fields there: 'target'",
    ),
    "broken JSON of a pair": (
        PAIRS,
        "train.jsonl",
        (PAIR + '{"source": "s" "target": "t"}\n').encode(),
        r"train\.jsonl, line 2: not JSON: Expecting ',' delimiter at column 16",
    ),
    "pair without target": (
        PAIRS,
        "train.jsonl",
        (PAIR + '{"source": "s", "summary": "t"}\n').encode(),
        r"train\.jsonl, line 2: field 'target' is missing\. Fields there: 'source', 'summary'",
    ),
    "pair with empty target": (
        PAIRS,
        "train.jsonl.gz",
        gzip.compress((PAIR + PAIR + '{"source": "s", "target": " "}\n').encode()),
        r"train\.jsonl\.gz, line 3: field 'target' is empty",
    ),
    "empty source": (PAIRS, "train.jsonl", b'{"target": "a", "source": ""}\n', r"line 1: field 'source' is empty"),
    "null source": (
        PAIRS,
        "train.jsonl",
        b'{"target": "a", "source": null}\n',
        r"line 1: field 'source': expected text, got NoneType",
    ),
    "text for pairs": (PAIRS, "train.txt", b"a\n", r"no train split: looked for train\.jsonl, train\.jsonl\.gz in"),
}


@pytest.mark.parametrize(("kind", "name", "content", "message"), BAD.values(), ids=BAD)
def test_bad_data_is_named_with_file_and_line(tmp_path: Path, kind: str, name: str, content: str, message: str) -> None:
    write(tmp_path, **(GOOD if kind == TEXT else GOOD_PAIRS))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match=message) as error:
        read_folder(tmp_path, "yelp", kind, {})
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=f"task 'yelp': no folder {tmp_path / 'none'}"):
        load_texts(TaskSpec(name="yelp", source="files"), tmp_path / "none")


def test_a_missing_split_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "yelp", train_txt="a\n", test_txt="b\n")
    looked_for = r"valid\.txt, valid\.txt\.gz, valid\.jsonl, valid\.jsonl\.gz"
    with pytest.raises(BenchError, match=f"no valid split: looked for {looked_for} in {tmp_path / 'yelp'}"):
        load_texts(TaskSpec(name="yelp", source="files"), tmp_path)
    with pytest.raises(BenchError, match=f"in {tmp_path}, which has no folder 'snli' either"):
        load_texts(TaskSpec(name="snli", source="files"), tmp_path)


def test_two_files_of_a_split_are_one_too_many(tmp_path: Path) -> None:
    folder = write(tmp_path, train_txt="a\n", train_txt_gz="a\n", **GOOD)
    with pytest.raises(BenchError, match=r"more than one train split: .*train\.txt, .*train\.txt\.gz\. Keep one"):
        load_texts(TaskSpec(name="yelp", source="files"), folder)


REAL = {
    "ptb": (42_068, 3_370, 3_761),
    "yahoo": (16_000, 2_000, 2_000),
    "yelp": (9_918, 1_000, 1_000),
    "snli": (26_539, 1_988, 2_003),
}
# Of the folders of the paired tasks, and of one that stands in for another: (task, folder).
REAL_PAIRS = {
    ("quora", ""): (35_123, 2_000, 3_979),
    ("cnn_dailymail", ""): (164, 20, 20),
    ("cnn_dailymail", "samsum"): (1_237, 200, 200),
    ("writingprompts", ""): (444, 50, 97),
}


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "sizes"), REAL.items(), ids=REAL)
def test_real_texts_load_in_full(real_data: Path, name: str, sizes: tuple[int, ...]) -> None:
    data = load_texts(TaskSpec(name=name, source="files"), real_data)
    assert tuple(len(data.splits[split]) for split in SPLITS) == sizes
    # The standard split of PTB shares short sentences; the other folders were split without repeats.
    assert all(note.startswith(("valid repeats", "test repeats")) for note in data.notes)
    assert bool(data.notes) == (name == "ptb")


@pytest.mark.real_data
@pytest.mark.parametrize(("where", "sizes"), REAL_PAIRS.items(), ids=["-".join(where) for where in REAL_PAIRS])
def test_real_pairs_load_in_full(real_data: Path, where: tuple[str, ...], sizes: tuple[int, ...]) -> None:
    name, folder = where
    data = load_texts(TaskSpec(name=name, source="files"), real_data / folder)
    assert tuple(len(data.splits[split]) for split in SPLITS) == sizes
    assert all(example.source for split in SPLITS for example in data.splits[split])
    assert data.notes == ((f"texts of the folder {folder!r}",) if folder else ())


def test_texts_are_read_once_unless_their_files_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(f"one {split}\n")
    reads: list[str] = []

    def counted(*arguments: Any) -> Any:
        reads.append(arguments[1])
        return read_folder(*arguments)

    monkeypatch.setattr(task_module, "read_folder", counted)
    spec = TaskSpec(name="yelp", source="files")
    data = load_texts(spec, tmp_path)
    assert load_texts(spec, tmp_path) is data
    assert reads == ["yelp"]
    (tmp_path / "test.txt").write_text("another text\n")
    assert [example.target for example in load_texts(spec, tmp_path).splits["test"]] == ["another text"]
    assert load_texts(spec.model_copy(update={"limits": {"train": 1}}), tmp_path).splits["train"]
    assert reads == ["yelp"] * 3
