"""Generated texts to score, and the registry of the metrics that are computed from them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array, Bootstrap, Interval
from bench.errors import BenchError, reason_of
from bench.metric import Metric, PerTextMetric
from bench.metrics.tokens import Ints, Tokens, load_tokenizer
from bench.registry import Registry

Role = Literal["generations", "corpus", "train"]
Need = Literal["pairs", "corpus", "train", "others", "sources"]
"""Needs of a metric beyond one generated text; "others" are more generated texts, "sources" several per source."""


@dataclass(frozen=True)
class TextSet:
    """Generated texts and the texts they are compared with. An empty text is a text: it is scored, never dropped.

    Attributes:
        generations: the generated texts.
        references: for each generated text the one or more texts it should equal (pairs); empty without pairs.
        corpus: texts of the domain, for example the test split, not matched to single generated texts.
        train: the training texts.
        per_source: number of generated texts of each source, which are consecutive; None without sources.

    Raises:
        BenchError: no generated texts, pairs that do not match them in number, or a source without all its texts.
    """

    generations: tuple[str, ...]
    references: tuple[tuple[str, ...], ...] = ()
    corpus: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    per_source: int | None = None
    _tokens: dict[tuple[Role, str, int | None], Tokens] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _vocabularies: dict[str, dict[str, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.generations:
            raise BenchError("no generated texts to score")
        if self.references and len(self.references) != len(self.generations):
            raise BenchError(f"pairs: {len(self.generations)} generated texts but {len(self.references)} references")
        if not all(self.references):
            raise BenchError(f"pairs: generated text {self.references.index(()) + 1} has no reference")
        if self.per_source is not None and (self.per_source < 1 or len(self.generations) % self.per_source):
            raise BenchError(
                f"sources: {len(self.generations)} generated texts are not {self.per_source} for each source"
            )

    @property
    def comparison(self) -> tuple[str, ...]:
        """The texts of the domain; without a corpus, the references of the pairs."""
        return self.corpus or tuple(chain.from_iterable(self.references))

    def tokens(self, role: Role, tokenizer: str, limit: int | None = None) -> Tokens:
        """Returns texts as token ids; all roles share one vocabulary per tokenizer.

        Args:
            role: which texts.
            tokenizer: see `bench.metrics.tokens`.
            limit: only the first so many texts; None for all.

        Raises:
            BenchError: no such tokenizer.
        """
        key = (role, tokenizer, limit)
        if key not in self._tokens:
            texts = {"generations": self.generations, "corpus": self.comparison, "train": self.train}[role][:limit]
            vocabulary = self._vocabularies.setdefault(tokenizer, {})
            self._tokens[key] = Tokens.intern(texts, load_tokenizer(tokenizer), vocabulary)
        return self._tokens[key]

    def by_source(self, tokenizer: str) -> Iterator[TextSet]:
        """Yields the generated texts of each source as a set of their own, already tokenized.

        Sources are distinguished by position, since two of them may be the same text.

        Args:
            tokenizer: see `bench.metrics.tokens`.
        """
        size = self.per_source or len(self.generations)
        for number, tokens in enumerate(self.tokens("generations", tokenizer).portions(size)):
            texts = TextSet(self.generations[number * size : (number + 1) * size])
            texts._tokens["generations", tokenizer, None] = tokens
            yield texts


class TextMetric(Metric[TextSet]):
    """A metric of generated texts.

    Class attributes:
        needs: what the texts must come with.
    """

    needs: ClassVar[tuple[Need, ...]] = ()

    @override
    def supports(self, inputs: TextSet) -> str | None:
        n = len(inputs.generations)
        reasons: dict[Need, str | None] = {
            "pairs": None if inputs.references else "needs references in pairs with the generated texts",
            "corpus": None if inputs.comparison else "needs reference texts",
            "train": None if inputs.train else "needs the training texts",
            "others": None if n > 1 else f"needs at least 2 generated texts, got {n}",
            "sources": None if (inputs.per_source or 0) > 1 else "needs several samples per source",
        }
        return next((reason for need in self.needs if (reason := reasons[need])), None)


class PerGenerationMetric(PerTextMetric[TextSet], TextMetric):
    """A metric with one row of statistics per generated text; the texts of a source are resampled together."""

    @override
    def cluster_size(self, inputs: TextSet) -> int:
        return inputs.per_source or 1


@dataclass(frozen=True)
class Removals:
    """What becomes of a statistic of a text when a cluster of other texts, its references, is removed.

    Only changes are listed, each once.

    Attributes:
        text: number of the text (changes).
        cluster: number of the removed cluster, never that of the text (changes).
        value: of the text without the cluster (changes).
    """

    text: Ints
    cluster: Ints
    value: Array


class AmongGenerationsMetric(PerGenerationMetric):
    """A mean over the generated texts, where every text is also a reference of all others.

    Another text in place of one moves the values of those it is a reference of, which a bootstrap of the values with
    fixed references does not see: its interval would be too narrow. The interval is that of a jackknife.
    """

    @abstractmethod
    def removals(self, inputs: TextSet, cluster_size: int) -> Removals:
        """Returns what each text's row becomes without each cluster of ``cluster_size`` consecutive other texts."""

    @override
    def interval(self, inputs: TextSet, rows: Array, bootstrap: Bootstrap) -> Interval | None:
        size = self.cluster_size(inputs)
        cluster = np.arange(len(rows)) // size
        sizes = np.bincount(cluster)
        if len(sizes) < 3:
            return None
        changes, values = self.removals(inputs, size), rows[:, 0]
        difference = np.bincount(changes.cluster, changes.value - values[changes.text], len(sizes))
        sums = values.sum() - np.bincount(cluster, values) + difference
        without = self.aggregate((sums / (len(rows) - sizes))[:, None], len(rows))
        value = float(self.aggregate(rows.mean(axis=0), len(rows)))
        return bootstrap.interval_of_jackknife(value, without, size)


TEXT_METRICS: Registry[Callable[..., TextMetric]] = Registry(
    "text metric",
    {
        "BLEU": "bench.metrics.overlap:BLEU",
        "BLEU-all": "bench.metrics.overlap:AllReferencesBLEU",
        "BLEU-texygen": "bench.metrics.overlap:TexygenBLEU",
        "ROUGE-1": "bench.metrics.overlap:rouge_1",
        "ROUGE-2": "bench.metrics.overlap:rouge_2",
        "ROUGE-L": "bench.metrics.overlap:rouge_l",
        "BERTScore": "bench.metrics.bertscore:BERTScore",
        "Self-BLEU": "bench.metrics.diversity:SelfBLEU",
        "Self-BLEU-texygen": "bench.metrics.diversity:TexygenSelfBLEU",
        "Dist-1": "bench.metrics.diversity:dist_1",
        "Dist-2": "bench.metrics.diversity:dist_2",
        "Dist-3": "bench.metrics.diversity:dist_3",
        "Dist-4": "bench.metrics.diversity:dist_4",
        "Jaccard": "bench.metrics.diversity:jaccard_1",
        "Jaccard-2": "bench.metrics.diversity:jaccard_2",
        "Jaccard-3": "bench.metrics.diversity:jaccard_3",
        "Diversity": "bench.metrics.diversity:Diversity",
        "Novelty": "bench.metrics.diversity:Novelty",
        "Self-BLEU[source]": "bench.metrics.within_source:self_bleu",
        "Dist-1[source]": "bench.metrics.within_source:dist_1",
        "Dist-2[source]": "bench.metrics.within_source:dist_2",
        "Jaccard[source]": "bench.metrics.within_source:jaccard",
        "Diversity[source]": "bench.metrics.within_source:diversity",
        "CND": "bench.metrics.divergence:CND",
        "CND-log": "bench.metrics.divergence:LogCND",
        "MAUVE": "bench.metrics.divergence:MAUVE",
        "Copy rate": "bench.metrics.surface:CopyRate",
        "Length": "bench.metrics.surface:Length",
        "Empty rate": "bench.metrics.surface:EmptyRate",
    },
    "della_bench.text_metrics",
)
"""The metrics of generated texts by name; each is a class or function that is called with options or without."""


def text_metrics(options: Mapping[str, Mapping[str, Any]] | None = None) -> tuple[list[TextMetric], dict[str, str]]:
    """Returns all text metrics, sorted by name, and the reasons why others cannot be used here.

    Args:
        options: name to options of a metric, in place of their defaults.
    """
    metrics: list[TextMetric] = []
    reasons: dict[str, str] = {}
    for name in TEXT_METRICS.names():
        try:
            metrics.append(TEXT_METRICS.get(name)(**(options or {}).get(name, {})))
        except Exception as error:  # noqa: BLE001  # a metric may come from any package
            reasons[name] = reason_of(error)
    return metrics, reasons
