"""The data of a task: the examples of every split, their checksum, and what is known about their distribution."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Kind = Literal["unconditional", "conditional"]

HASHED_AT_ONCE = 4096
"""Lines; many calls for one line each take much longer."""

LogP = Callable[["Sequence[Example]"], npt.NDArray[np.float64]]
"""Exact log p(target), or log p(target | source), in nats, one per example."""


@dataclass(frozen=True, slots=True)
class Example:
    """A target and, in a conditional task, the source that it is generated from."""

    target: str
    source: str | None = None


@dataclass(frozen=True)
class TaskData:
    """The examples of one task, with what is known about their distribution.

    Attributes:
        task: registered name.
        kind: whether the examples have sources.
        version: of the task's definition; a grammar draws the same texts as long as the version is the same.
        source: ``grammar`` or ``files``.
        sha256: checksum of the examples in their order (see ``checksum``).
        splits: the examples of every split.
        factors: true values of the latent factors, one per example, by split and factor; empty for files.
        log_p: exact log probability of any example under the distribution of the examples, in nats; None for files,
            where it is unknown.
        notes: remarks for the reader of the results, for example ``valid repeats 12 of the texts of train``.
    """

    task: str
    kind: Kind
    version: int
    source: str
    sha256: str
    splits: Mapping[Split, tuple[Example, ...]]
    factors: Mapping[Split, Mapping[str, tuple[str, ...]]]
    log_p: LogP | None
    notes: tuple[str, ...]

    @cached_property
    def split_sha256(self) -> dict[Split, str]:
        """Checksum of the examples of each split."""
        return {split: _sha256(_lines(split, examples)) for split, examples in self.splits.items()}

    @cached_property
    def test_log_p(self) -> npt.NDArray[np.float64] | None:
        """``log_p`` of the test examples, computed once for all runs of a task; None where it is unknown."""
        return None if self.log_p is None else self.log_p(self.splits["test"])

    def statistics(self) -> dict[str, Any]:
        """Returns JSON-ready figures by split: texts, words (split at white space), counts of factor values."""
        figures: dict[str, Any] = {}
        for split, examples in self.splits.items():
            figures[split] = {
                "texts": len(examples),
                "distinct_texts": len(_distinct(examples)),
                "target": _lengths([example.target for example in examples]),
                "factors": {name: dict(Counter(values)) for name, values in self.factors[split].items()},
            }
            if self.kind == "conditional":
                figures[split]["source"] = _lengths([example.source or "" for example in examples])
        return figures


def checksum(splits: Mapping[Split, Sequence[Example]]) -> str:
    """Returns the SHA-256 over the splits in the order train, valid, test.

    Each split contributes a line with its name and size, then a line ``[source, target]`` of ASCII JSON per example.
    So a change of a text, of the order, or of a text's split changes the sum.
    """
    return _sha256(line for split in SPLITS for line in _lines(split, splits[split]))


def _lines(split: Split, examples: Sequence[Example]) -> Iterator[bytes]:
    yield f"{split} {len(examples)}\n".encode()
    for example in examples:
        source = "null" if example.source is None else encode_basestring_ascii(example.source)
        yield f"[{source}, {encode_basestring_ascii(example.target)}]\n".encode()


def _sha256(lines: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    while portion := b"".join(islice(lines, HASHED_AT_ONCE)):
        digest.update(portion)
    return digest.hexdigest()


def repetitions(splits: Mapping[Split, Sequence[Example]]) -> tuple[str, ...]:
    """Returns a note for each split that repeats texts of an earlier one, which makes its score optimistic."""
    distinct = {split: _distinct(splits[split]) for split in SPLITS[:-1]}
    counts = {
        (earlier, split): sum(_key(example) in distinct[earlier] for example in splits[split])
        for earlier, split in combinations(SPLITS, 2)
    }
    return tuple(f"{split} repeats {n} of the texts of {earlier}" for (earlier, split), n in counts.items() if n)


def _distinct(examples: Iterable[Example]) -> set[str | tuple[str, str]]:
    return set(map(_key, examples))


def _key(example: Example) -> str | tuple[str, str]:
    """Returns what only equal examples have in common; a text keeps its hash, which a dataclass computes anew."""
    return example.target if example.source is None else (example.source, example.target)


def _lengths(texts: Sequence[str]) -> dict[str, Any]:
    lengths, distinct = [], set[str]()
    for text in texts:  # without the words of all texts in memory at once
        words = text.split()
        lengths.append(len(words))
        distinct.update(words)
    return {
        "mean_words": sum(lengths) / len(lengths),
        "min_words": min(lengths),
        "max_words": max(lengths),
        "distinct_words": len(distinct),
    }
