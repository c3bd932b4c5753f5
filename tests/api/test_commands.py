"""The verbs of a trained model print what the methods of ``bench.TextVAE`` return."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from bench.errors import BenchError
from tests.api.test_text_vae import SOURCES, TEXTS
from tests.cli.cli_process import SCRIPT
from tests.fuzz.readers import command

A, B, C, *_ = TEXTS
SHORT = "greedy:max_tokens=12"


def folder_of(runs: Path, label: str, task: str = "snli") -> Path:
    (folder,) = runs.glob(f"{task}.{label}.*")
    return folder


@pytest.mark.parametrize(
    ("verb", "arguments", "call"),
    [
        (
            "interpolate",
            [A, B, "--steps", "3", "--layers", "1,2"],
            lambda m: m.interpolate(A, B, 3, [1, 2], max_tokens=12),
        ),
        ("swap", [A, B, "--layers", "3"], lambda m: [m.swap(A, B, [3], max_tokens=12)]),
        ("analogy", [A, B, C], lambda m: [m.analogy(A, B, C, max_tokens=12)]),
        ("reconstruct", [A, B], lambda m: m.reconstruct([A, B], max_tokens=12)),
    ],
)
def test_texts(runs: Path, verb: str, arguments: list[str], call: Callable[[bench.TextVAE], list[str]]) -> None:
    folder = folder_of(runs, "della")
    expected = call(bench.load(folder))
    printed = command(verb, folder, *arguments, "--decoding", SHORT)
    assert len(printed.splitlines()) == len(expected)
    found = json.loads(command(verb, folder, *arguments, "--decoding", SHORT, "--json"))
    assert [each["reconstruction"] if verb == "reconstruct" else each for each in found] == expected


@pytest.mark.parametrize("separator", ["\f", "\u2028"])
def test_texts_of_a_file_and_of_the_standard_input(runs: Path, tmp_path: Path, separator: str) -> None:
    """Only a line end ends a text."""
    lines, folder = f"{A}{separator}{B}\n{C}\n", folder_of(runs, "embed")
    expected = bench.load(folder).reconstruct([f"{A}{separator}{B}", C], max_tokens=12)
    (tmp_path / "texts.txt").write_text(lines)
    options = ("--decoding", SHORT, "--json")
    found = json.loads(command("reconstruct", folder, "--file", tmp_path / "texts.txt", *options))
    assert [each["reconstruction"] for each in found] == expected
    piped = reconstruct_standard_input(folder, lines.encode(), *options)
    assert (piped.returncode, json.loads(piped.stdout)) == (0, found)


def test_a_file_of_a_conditional_task_gives_the_sources_too(runs: Path, tmp_path: Path) -> None:
    folder, path = folder_of(runs, "della", "quora"), tmp_path / "texts.jsonl"
    lines = [{"target": text, "source": source} for text, source in zip(TEXTS, SOURCES, strict=True)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = json.loads(command("reconstruct", folder, "--file", path, "--decoding", SHORT, "--json"))
    expected = bench.load(folder).reconstruct(TEXTS, SOURCES, max_tokens=12)
    assert [each["reconstruction"] for each in found] == expected
    with pytest.raises(BenchError, match=r"--source and the sources in .*texts\.jsonl exclude each other"):
        command("reconstruct", folder, "--file", path, "--source", "why")
    with pytest.raises(BenchError, match=r"embed has no sources\."):
        command("reconstruct", folder_of(runs, "embed"), "--file", path)
    path.write_text(f"{json.dumps(lines[0])}\n{json.dumps({'target': 'no source'})}\n")
    with pytest.raises(BenchError, match=r"texts\.jsonl, line 2: no field 'source'"):
        command("reconstruct", folder, "--file", path)


@pytest.mark.parametrize(
    ("given", "message"), [(b"", b"no texts: name some"), (b"a man\n\xff\n", b"line 2: not UTF-8")]
)
def test_mistakes_in_the_standard_input(runs: Path, given: bytes, message: bytes) -> None:
    done = reconstruct_standard_input(folder_of(runs, "embed"), given)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert message in done.stderr


def reconstruct_standard_input(folder: Path, given: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    arguments = [SCRIPT, "reconstruct", str(folder), "-", *options]
    return subprocess.run(arguments, input=given, capture_output=True, check=False)  # noqa: S603


def test_samples(runs: Path) -> None:
    folder = folder_of(runs, "embed", "quora")
    arguments = ("sample", folder, "-n", "2", "--seed", "3", "--json", "--decoding", "sample:max_tokens=6")
    found = json.loads(command(*arguments, "--source", SOURCES[0]))
    assert found == bench.load(folder).sample(2, SOURCES[:1], seed=3, max_tokens=6)
    with pytest.raises(BenchError, match="needs the source"):
        command(*arguments)


def test_neighbours_in_a_file(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    folder = folder_of(runs, "della")
    found = json.loads(command("neighbours", folder, A, "--among", tmp_path / "texts.txt", "-k", "2", "--json"))
    assert [each["text"] for each in found] == [text for text, _ in bench.load(folder).neighbours(A, TEXTS, 2)]
    assert found[0]["text"] == A


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["interpolate", "lm", A, B], "lm has no latent variables."),
        (["swap", "della", A, B, "--layers", "one"], "--layers one: expected whole numbers, comma-separated."),
        (["swap", "della", A, B, "--layers", "9"], "the model has groups 1 to 3."),
        (["swap", "della", A, B, "--layers", ""], "--layers: name at least one latent group; the lowest is 1."),
        (["sample", "della", "--decoding", "gready"], "gready"),
        (["sample", "della", "--decoding", "sample:beams=4"], "beams has no effect with the strategy 'sample'"),
        (["swap", "della", A, B, "--layers", "1", "--decoding", "greedy:top_p=0.9"], "only with 'sample'."),
        (["reconstruct", "della"], "no texts: name some, a --file, or - for the lines of the standard input."),
        (["reconstruct", "della", A, "--file", "texts.txt"], "texts and --file exclude each other."),
    ],
)
def test_mistakes(runs: Path, arguments: list[str], message: str) -> None:
    verb, label, *rest = arguments
    with pytest.raises(BenchError) as error:
        command(verb, folder_of(runs, label), *rest)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"model\.json"):
        command("sample", tmp_path)
