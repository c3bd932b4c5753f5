"""Texts for the tests of the text metrics: awkward ones, random ones, and real ones where there are any."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest
from hypothesis import strategies as st

AWKWARD = (
    "",
    "the",
    "the cat sat on the mat .",
    "the cat sat on the mat .",
    "the the the the the the",
    "The cat's mat, isn't it? It costs $1,000.50 - or so...",
    "l'été à Łódź : 日本 の 夏 🙂 🙂",
    "   two   spaces\tand a tab  ",
    "a b",
    "b a",
)

WORDS = ("the", "cat", "a", "on", ".", "été", "日本", "don't", "1,000.5", "x-y", "The")

texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
text_lists = st.lists(texts, min_size=1, max_size=7).map(tuple)


def random_texts(n: int, seed: int, mean_length: int = 10, vocabulary: int = 60) -> tuple[str, ...]:
    """Returns texts of Zipf-distributed words, some of them empty."""
    rng = random.Random(seed)
    weights = [1 / rank for rank in range(1, vocabulary + 1)]
    lengths = [rng.randint(0, 2 * mean_length) for _ in range(n)]
    return tuple(" ".join(f"w{i}" for i in rng.choices(range(vocabulary), weights, k=length)) for length in lengths)


def real_texts(name: str, n: int) -> tuple[str, ...]:
    """Returns the first lines of a gzipped file in the folder of real data; skips the test without it."""
    folder = os.environ.get("DELLA_BENCH_DATA")
    if not folder or not (path := Path(folder) / name).is_file():
        pytest.skip(f"needs {name} in the folder DELLA_BENCH_DATA")
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return tuple(line.rstrip("\n") for line, _ in zip(file, range(n), strict=False))
