"""Data sets of the Hugging Face hub: parquet files of one commit, downloaded, verified and read.

The hub's client resumes what was cut, keeps files in its cache and works from the cache without a network. Nothing that
comes with a data set is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from bench.corpora.corpus import Corpus
from bench.errors import BenchError, first_line
from bench.storage import file_sha256
from bench.tasks import Split

EXTRA = "real texts from the hub need pyarrow: pip install 'della-bench[hub]'"


class Download(NamedTuple):
    """Files of a data set.

    Attributes:
        commit: that the revision stood for.
        files: of each split, in the order of their names.
        sha256: of each file, by its name in the data set.
    """

    commit: str
    files: dict[Split, tuple[Path, ...]]
    sha256: dict[str, str]


def download(name: str, corpus: Corpus, quiet: bool = False) -> Download:
    """Returns the parquet files of a corpus, from the hub or from the cache of its client.

    Args:
        name: of the task.
        corpus: what is downloaded.
        quiet: whether no progress is shown.

    Raises:
        BenchError: the hub cannot be reached, the data set, its revision or its files are not there, a file is damaged,
            or the disk is full.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    where, patterns = f"{corpus.repository}@{corpus.revision}", list(corpus.files.values())
    try:
        with _messages(quiet):
            found = snapshot_download(
                corpus.repository, repo_type="dataset", revision=corpus.revision, allow_patterns=patterns
            )
    except RevisionNotFoundError as error:
        raise BenchError(
            f"{corpus.repository} has no revision {corpus.revision!r}; --revision names another."
        ) from error
    except RepositoryNotFoundError as error:
        raise BenchError(
            f"the hub has no data set {corpus.repository!r}; show {name} prints the YAML file to copy and change."
        ) from error
    except Exception as error:  # of the client, of its HTTP library and of the operating system
        raise BenchError(
            f"cannot download {where}: {first_line(error)} Without a network, put texts of your own into DATA/{name}:"
            " train, valid and test as .txt or .jsonl (docs/data.md)."
        ) from error
    folder = Path(found)
    files = {
        split: tuple(sorted(file for file in folder.rglob("*.parquet") if _matches(file, folder, pattern)))
        for split, pattern in corpus.files.items()
    }
    for split in files:
        if not files[split]:
            raise BenchError(f"{where}: no file {corpus.files[split]!r} for the split {split!r}.")
    sums = {str(file.relative_to(folder)): _verified(file) for of_split in files.values() for file in of_split}
    return Download(folder.name, files, sums)


@contextmanager
def _messages(quiet: bool) -> Iterator[None]:
    """Shows the progress of downloads unless ``quiet``, and no warnings of the client: its error tells the last one."""
    from huggingface_hub import utils

    client: Any = utils  # partly typed
    verbosity = client.logging.get_verbosity()
    client.logging.set_verbosity_error()
    (client.disable_progress_bars if quiet else client.enable_progress_bars)()
    try:
        yield
    finally:
        client.logging.set_verbosity(verbosity)


def _matches(file: Path, folder: Path, pattern: str) -> bool:
    return fnmatch(file.relative_to(folder).as_posix(), pattern)


def _verified(file: Path) -> str:
    """Returns the SHA-256 of a file, by which the cache of the hub's client names it; a damaged one is removed."""
    blob, found = file.resolve(), file_sha256(file)
    if re.fullmatch("[0-9a-f]{64}", blob.name) and found != blob.name:
        blob.unlink(missing_ok=True)
        file.unlink(missing_ok=True)
        raise BenchError(
            f"{file.name}: damaged: its SHA-256 is not that of the hub; the same command downloads it again."
        )
    return found


def read_rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """Yields the values of the columns, row by row.

    Raises:
        BenchError: pyarrow is missing, a file is no parquet file, or it lacks a column.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise BenchError(EXTRA) from error
    for file in files:
        try:
            with ParquetFile(file) as parquet:
                if missing := [column for column in columns if column not in parquet.schema_arrow.names]:
                    raise BenchError(
                        f"{file.name}: no column {missing[0]!r}; there are {', '.join(parquet.schema_arrow.names)}."
                    )
                for batch in parquet.iter_batches(columns=list(columns)):
                    yield from zip(*(batch.column(column).to_pylist() for column in columns), strict=True)
        except (ArrowException, OSError) as error:
            raise BenchError(f"cannot read {file.name}: {first_line(error)}") from error
