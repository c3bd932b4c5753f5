"""Parquet files in the layout of the hub's data sets, of invented texts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from bench.corpora import Corpus

Columns = Mapping[str, Sequence[object]]


def parquet(columns: Columns) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), buffer)
    return buffer.getvalue()


def words_of(*path: object) -> str:
    """An invented text of some words; the same path gives the same text."""
    number = sum(map(ord, "".join(map(str, path))))
    return (
        " ".join(f"word{(number * place) % 97}" for place in range(1, 5 + number % 4)) + f" {'-'.join(map(str, path))}"
    )


def files_of(corpus: Corpus, rows: Mapping[str, int]) -> dict[str, bytes]:
    """Parquet files, two for each pattern of a corpus, with invented texts in its columns and in one more."""
    columns = [name for part in (*(corpus.source or ()), *corpus.target) for name in part.split()]
    files = {}
    for split, pattern in corpus.files.items():
        for part in range(2):
            numbers = range(part * rows[split], (part + 1) * rows[split])
            table = {column: [words_of(split, column, number) for number in numbers] for column in columns}
            files[pattern.replace("*", f"0000{part}-of-00002")] = parquet({**table, "label": [0] * rows[split]})
    return files
