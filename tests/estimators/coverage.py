"""How often the intervals of text metrics contain the expectation: 100 texts at a time, drawn from real ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.bootstrap import Bootstrap, Interval
from bench.metrics.text import TEXT_METRICS, TextSet
from bench.reading import read_lines

Draw = Callable[[np.random.Generator, int], TextSet]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Setting:
    """Real texts in the place of generations.

    Attributes:
        name: of the texts.
        metrics: scored on them.
        draw: returns a set of n texts, pairs or sources.
    """

    name: str
    metrics: tuple[str, ...]
    draw: Draw


def data_folder() -> Path | None:
    """Returns the folder of real texts, None if there is none on this machine."""
    folder = os.environ.get("DELLA_BENCH_DATA")
    return Path(folder) if folder else None


def settings(folder: Path) -> list[Setting]:
    """Returns sentences of PTB with fixed references, pairs of Quora, and pairs of Quora as two texts of a source."""
    sentences, corpus, train = (_lines(folder / "ptb" / f"{split}.txt.gz") for split in ("test", "valid", "train"))
    pairs = [json.loads(line) for line in _lines(folder / "quora" / "test.jsonl.gz")]

    def of_sentences(rng: np.random.Generator, n: int) -> TextSet:
        return TextSet(tuple(_chosen(sentences, rng, n)), corpus=tuple(corpus[:200]), train=tuple(train[:1000]))

    def with_all_training_texts(rng: np.random.Generator, n: int) -> TextSet:
        return TextSet(tuple(_chosen(sentences, rng, n)), train=tuple(train))

    def of_pairs(rng: np.random.Generator, n: int) -> TextSet:
        chosen = _chosen(pairs, rng, n)
        return TextSet(tuple(pair["source"] for pair in chosen), tuple((pair["target"],) for pair in chosen))

    def of_sources(rng: np.random.Generator, n: int) -> TextSet:
        texts = (pair[side] for pair in _chosen(pairs, rng, n) for side in ("source", "target"))
        return TextSet(tuple(texts), per_source=2)

    among = ("Self-BLEU", "Diversity", "Jaccard", "Jaccard-2", "Jaccard-3")
    alone = ("BLEU-all", "BLEU-texygen", "Novelty", "Length")
    within = tuple(name for name in TEXT_METRICS.builtin if name.endswith("[source]"))
    return [
        Setting("PTB", (*among, "Self-BLEU-texygen", *alone), of_sentences),
        Setting("PTB, all training texts", ("Copy rate",), with_all_training_texts),
        Setting("Quora, pairs", ("BLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L"), of_pairs),
        Setting("Quora, two texts per source", (*among, "Length", *within), of_sources),
    ]


def intervals_of(
    setting: Setting, repetitions: int, n: int, seed: int = 0
) -> Iterator[tuple[str, float, list[Interval]]]:
    """Yields each metric with its expectation, which is the mean over all draws, and its interval on each draw."""
    draws = [setting.draw(np.random.default_rng([seed, repetition]), n) for repetition in range(repetitions)]
    for name in setting.metrics:
        metric = TEXT_METRICS.get(name)()
        scores = [metric.score(texts, Bootstrap(seed=repetition)) for repetition, texts in enumerate(draws)]
        intervals = [score.interval for score in scores if score.interval is not None]
        yield name, float(np.mean([score.value for score in scores])), intervals


def _lines(path: Path) -> list[str]:
    return [line for _, line in read_lines(path)]


def _chosen(items: Sequence[ItemT], rng: np.random.Generator, n: int) -> list[ItemT]:
    return [items[index] for index in rng.choice(len(items), n, replace=False)]
