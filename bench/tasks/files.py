r"""Texts from files: a folder with a file per split, plain or gzipped, in one of three forms.

- ``{train,valid,test}.txt``: one text per line, with its white space; also ``TASK.train.txt`` and so on;
- the same with a label and a tab before every text, as in the released Yelp and Yahoo files of earlier papers. A file
  has this form if its FIRST line is a label of at most 20 characters without a space, one tab, and a text without a
  tab. Then every line must have it, and the labels are dropped; otherwise tabs are part of the texts;
- ``{train,valid,test}.jsonl``: one object per line with the field ``target``, for conditional tasks also ``source``.
  Other fields are ignored.

Lines end with ``\n`` or ``\r\n``; no other character breaks a line. A byte-order mark is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path

from bench.errors import BenchError, did_you_mean
from bench.reading import parse_json, read_lines, text_of
from bench.tasks.data import SPLITS, Example, Kind, Split

_SUFFIXES: Mapping[Kind, tuple[str, ...]] = {
    "unconditional": (".txt", ".txt.gz", ".jsonl", ".jsonl.gz"),
    "conditional": (".jsonl", ".jsonl.gz"),
}
_LABELLED = re.compile(r"\S{1,20}\t([^\t]*)")


def read_folder(
    folder: Path, task: str, kind: Kind, limits: Mapping[Split, int]
) -> tuple[dict[Split, tuple[Example, ...]], tuple[str, ...]]:
    """Returns the examples of every split, and notes on how they were read.

    Args:
        folder: the folder of the task's files, or its parent if it has the task's name.
        task: name of the task.
        kind: whether every text needs a source.
        limits: number of texts to read of a split, the first ones.

    Raises:
        BenchError: a folder or split is missing, a split has two files, or a line is wrong; the message names the file
            and the line.
    """
    if not folder.is_dir():
        raise BenchError(f"task {task!r}: no folder {folder}.")
    home = folder / task if (folder / task).is_dir() else folder
    splits: dict[Split, tuple[Example, ...]] = {}
    # The folder may hold texts of another task, which a reader of the results must know.
    notes = [] if (name := home.resolve().name) == task else [f"texts of the folder {name!r}"]
    for split in SPLITS:
        path = _split_file(home, task, split, kind)
        with closing(read_lines(path)) as all_lines:
            lines = _nonblank(path, islice(all_lines, limits.get(split)))
            if ".jsonl" in path.suffixes:
                splits[split] = tuple(_example(line, kind, f"{path}, line {number}") for number, line in lines)
            else:
                splits[split], labelled = _plain_examples(path, lines)
                if labelled:
                    notes.append(f"{split}: a label before every text was dropped")
        if not splits[split]:
            raise BenchError(f"{path}: the file is empty.")
    return splits, tuple(notes)


def _split_file(home: Path, task: str, split: Split, kind: Kind) -> Path:
    names = [split + suffix for suffix in _SUFFIXES[kind]]
    files = [home / each for name in names for each in (name, f"{task}.{name}") if (home / each).is_file()]
    if not files:
        parent = "" if home.name == task else f", which has no folder {task!r} either"
        raise BenchError(f"task {task!r}: no {split} split: looked for {', '.join(names)} in {home}{parent}.")
    if len(files) > 1:
        raise BenchError(f"task {task!r}: more than one {split} split: {', '.join(map(str, files))}. Keep one.")
    return files[0]


def _nonblank(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yields the lines with their numbers; a blank one is an error."""
    for number, line in lines:
        if not line.strip():
            raise BenchError(f"{path}, line {number}: the line is blank.")
        yield number, line


def _plain_examples(path: Path, lines: Iterator[tuple[int, str]]) -> tuple[tuple[Example, ...], bool]:
    """Returns one example per line, and whether the lines were labelled."""
    examples: list[Example] = []
    labelled = False
    for number, line in lines:
        match = _LABELLED.fullmatch(line) if number == 1 or labelled else None
        if number == 1:
            labelled = match is not None
        if not labelled:
            examples.append(Example(line))
        elif match is None:
            raise BenchError(f"{path}, line {number}: expected label<TAB>text, which is the form of line 1.")
        elif not match[1].strip():
            raise BenchError(f"{path}, line {number}: no text after the label.")
        else:
            examples.append(Example(match[1]))
    return tuple(examples), labelled


def _example(line: str, kind: Kind, where: str) -> Example:
    """Returns the example that a line of JSON holds."""
    fields = parse_json(line, where)
    if not isinstance(fields, dict):
        raise BenchError(f"{where}: expected an object with the field 'target', got {line[:40]!r}.")
    if kind == "unconditional":
        if "source" in fields:
            raise BenchError(f"{where}: field 'source' in an unconditional task.")
        return Example(_text_field(fields, "target", where))
    return Example(_text_field(fields, "target", where), _text_field(fields, "source", where))


def _text_field(fields: Mapping[str, object], name: str, where: str) -> str:
    if name not in fields:
        present = ", ".join(map(repr, fields)) or "none"
        raise BenchError(f"{where}: field {name!r} is missing.{did_you_mean(name, fields)} Fields there: {present}.")
    if not (text := text_of(fields[name], f"{where}: field {name!r}")).strip():
        raise BenchError(f"{where}: field {name!r} is empty.")
    return text
