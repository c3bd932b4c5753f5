"""What a task hands to the harness: texts by split, their checksum, and what is known of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Kind = Literal["unconditional", "conditional"]

LogP = Callable[["Sequence[Example]"], npt.NDArray[np.float64]]
"""Exact log p(target), or log p(target | source), in nats, one per example."""


@dataclass(frozen=True)
class Example:
    """One text, and for a conditional task the text it is conditioned on."""

    target: str
    source: str | None = None


@dataclass(frozen=True)
class TaskData:
    """The texts of one task from one source, with what is known of them.

    Attributes:
        task: registered name.
        kind: whether the texts are conditioned on others.
        version: version of the task's definition; the same version from the same source is the same texts.
        source: where the texts come from: ``grammar`` or ``files``.
        sha256: checksum of exactly these texts, in their order (see ``checksum``).
        splits: the examples of every split.
        factors: true values of the latent factors, one per text, by split and factor; no factors for real text.
        log_p: the exact log probability of any example under the distribution the texts were drawn from, in nats;
            None for real text, whose distribution nobody knows.
        notes: what a reader of the results should know, for example ``valid repeats 12 of the texts of train``.
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

    def statistics(self) -> dict[str, Any]:
        """Returns JSON-ready figures by split: texts, words (split at white space), counts of factor values."""
        figures: dict[str, Any] = {}
        for split, examples in self.splits.items():
            figures[split] = {
                "texts": len(examples),
                "distinct_texts": len(set(examples)),
                "target": _lengths([example.target for example in examples]),
                "factors": {name: dict(Counter(values)) for name, values in self.factors[split].items()},
            }
            if self.kind == "conditional":
                figures[split]["source"] = _lengths([example.source or "" for example in examples])
        return figures


def checksum(splits: Mapping[Split, Sequence[Example]]) -> str:
    """Returns the SHA-256 over the splits in the order train, valid, test.

    Every split is one line with its name and size, then one line ``[source, target]`` of ASCII JSON per example:
    any change of a text, of the order, or of the split a text is in changes the sum.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split} {len(splits[split])}\n".encode())
        for example in splits[split]:
            digest.update(json.dumps([example.source, example.target]).encode() + b"\n")
    return digest.hexdigest()


def repetitions(splits: Mapping[Split, Sequence[Example]]) -> tuple[str, ...]:
    """Returns a note for each split that repeats texts of an earlier one, which makes its score optimistic."""
    notes = []
    for at, split in enumerate(SPLITS):
        for earlier in SPLITS[:at]:
            known = set(splits[earlier])
            count = sum(example in known for example in splits[split])
            if count:
                notes.append(f"{split} repeats {count} of the texts of {earlier}")
    return tuple(notes)


def _lengths(texts: Sequence[str]) -> dict[str, Any]:
    words = [text.split() for text in texts]
    lengths = [len(text) for text in words]
    return {
        "mean_words": sum(lengths) / len(lengths),
        "min_words": min(lengths),
        "max_words": max(lengths),
        "distinct_words": len({word for text in words for word in text}),
    }
