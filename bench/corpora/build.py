"""Folders of real texts: the splits that ``--data-dir`` reads, and ``data.json``, which says where they come from."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.corpora.corpus import Corpus
from bench.corpora.hub import download, read_rows
from bench.errors import BenchError
from bench.reading import read_json
from bench.seeds import derive_seed
from bench.storage import atomic_write, file_sha256, remove_abandoned, sync_folder, temporary_path
from bench.tasks import SPLITS, TASKS, Example, Kind, Split
from bench.tasks.data import checksum
from bench.tasks.files import read_folder

FACTS = "data.json"
"""Name of the file with the facts about a folder of texts."""

SEED = 0
"""Of the choice of texts, the same everywhere."""


def build(
    name: str,
    corpus: Corpus,
    folder: Path,
    sizes: Mapping[Split, int] | None = None,
    source: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Writes the texts of a task into ``folder``, and returns the facts about them.

    Args:
        name: of the task.
        corpus: where its texts come from.
        folder: of the three splits; what was built there before is replaced.
        sizes: texts of each split; by default those of the paper.
        source: folder of texts in a form that runs read, in place of the hub.
        quiet: whether no progress of downloads is shown.

    Raises:
        BenchError: the texts cannot be had, read or written, or the folder holds texts that were not built.
    """
    _check_is_ours(folder)
    kind, wanted = TASKS.get(name).kind, {**corpus.sizes, **(sizes or {})}
    origin: dict[str, Any]
    if source is None:
        found = download(name, corpus, quiet)
        read = {split: _examples(corpus, read_rows(files, _columns(corpus))) for split, files in found.files.items()}
        origin = {"repository": corpus.repository, "revision": found.commit, "files": found.sha256}
    else:
        read = {split: list(examples) for split, examples in read_folder(source, name, kind, {})[0].items()}
        origin = {"folder": source.name}
    splits = _sampled(name, read, wanted)
    facts = {
        "task": name,
        **origin,
        "licence": corpus.licence,
        "note": "" if source else corpus.note,
        "sizes": {split: len(examples) for split, examples in splits.items()},
        "sizes_of_the_paper": dict(corpus.sizes),
        "mean_words": {field: _mean_words(splits, field) for field in corpus.words},
        "mean_words_of_the_paper": dict(corpus.words),
        "seed": SEED,
        "texts_sha256": checksum(splits),
    }
    return _write(folder, splits, kind, facts)


def verify(folder: Path) -> dict[str, Any]:
    """Returns the facts about a folder of texts whose files are those that were written.

    Raises:
        BenchError: the folder was not built, or a file is missing or damaged.
    """
    if not (folder / FACTS).is_file():
        raise BenchError(f"{folder}: no {FACTS}: these texts were not built by della-bench data build.")
    facts = read_json(folder / FACTS)
    sums = facts.get("sha256")
    if not isinstance(sums, dict) or set(sums) != {f"{split}.jsonl.gz" for split in SPLITS}:
        raise BenchError(f"{folder / FACTS}: does not name the three splits.")
    for name, expected in sums.items():
        if file_sha256(folder / name) != expected:
            raise BenchError(f"{folder / name}: damaged: its SHA-256 is not that of {FACTS}; build it again.")
    return facts


def _check_is_ours(folder: Path) -> None:
    """Refuses to mix texts that somebody put there with those that are built."""
    if (folder / FACTS).is_file():
        return
    if there := sorted(file.name for split in SPLITS for file in folder.glob(f"*{split}.*") if file.is_file()):
        raise BenchError(f"{folder} holds {there[0]}, which was not built here; name another folder with --out.")


# --- texts -------------------------------------------------------------------------------------------------------


def _columns(corpus: Corpus) -> list[str]:
    named = [column for columns in (*(corpus.source or ()), *corpus.target) for column in columns.split()]
    return list(dict.fromkeys(named))


def _examples(corpus: Corpus, rows: Iterable[tuple[object, ...]]) -> list[Example]:
    """Returns the examples in the rows of a data set; those with an empty text or source are left out."""
    columns = _columns(corpus)
    examples: list[Example] = []
    for row in rows:
        values = dict(zip(columns, row, strict=True))
        source = None if corpus.source is None else _text(values, corpus, corpus.source[0])
        for target in corpus.target:
            if (text := _text(values, corpus, target)) and source != "":
                examples.append(Example(text, source))
    return list(dict.fromkeys(examples)) if corpus.distinct else examples


def _text(values: Mapping[str, object], corpus: Corpus, columns: str) -> str:
    """Returns the text of a row, all white space in it as single blanks."""
    text = " ".join(str(values[column]) for column in columns.split() if values[column] is not None)
    for old, new in corpus.replace.items():
        text = text.replace(old, new)
    return " ".join(text.encode(errors="replace").decode().split())


def _sampled(
    name: str, read: Mapping[Split, Sequence[Example]], sizes: Mapping[Split, int]
) -> dict[Split, list[Example]]:
    """Returns the examples of every split, drawn at random where there are more than wanted.

    Raises:
        BenchError: no example is left for a split.
    """
    pools = {split: list(examples) for split, examples in read.items()}
    splits: dict[Split, list[Example]] = {}
    drawn: list[Split] = [split for split in SPLITS if split not in pools]
    for split in (*drawn, *pools):  # what has no files is drawn from train, before train
        pool = pools["train" if split in drawn else split]
        if split in drawn or sizes[split] < len(pool):
            random.Random(derive_seed(SEED, "corpus", name, split)).shuffle(pool)
        splits[split], pool[:] = pool[: sizes[split]], pool[sizes[split] :]
    if empty := [split for split in SPLITS if not splits[split]]:
        raise BenchError(f"task {name!r}: no text for the split {empty[0]!r}.")
    return {split: splits[split] for split in SPLITS}


def _mean_words(splits: Mapping[Split, Sequence[Example]], field: str) -> float:
    counts = [len((getattr(example, field) or "").split()) for examples in splits.values() for example in examples]
    return round(sum(counts) / len(counts), 2)


# --- files -------------------------------------------------------------------------------------------------------


def _write(
    folder: Path, splits: Mapping[Split, Sequence[Example]], kind: Kind, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the splits, then the facts; a process that is killed leaves no facts about texts that are not there."""
    staged: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        for split, examples in splits.items():
            path = folder / f"{split}.jsonl.gz"
            staged[path] = temporary_path(path)
            _write_lines(staged[path], examples)
        complete = {**facts, "sha256": {path.name: file_sha256(temporary) for path, temporary in staged.items()}}
        (folder / FACTS).unlink(missing_ok=True)
        for path, temporary in staged.items():
            temporary.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise BenchError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    atomic_write(folder / FACTS, (json.dumps(complete, indent=2, ensure_ascii=False) + "\n").encode())
    return complete


def _write_lines(path: Path, examples: Sequence[Example]) -> None:
    """Writes a line of JSON for each example; the same examples make the same bytes."""
    with path.open("xb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        for example in examples:
            fields = {"source": example.source} if example.source is not None else {}
            packed.write(json.dumps({**fields, "target": example.target}, ensure_ascii=False).encode() + b"\n")
