"""The texts that are scored, and the table of the metrics that score them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Literal

from bench.bootstrap import Array
from bench.errors import BenchError
from bench.metric import Metric, PerTextMetric
from bench.metrics.tokens import Tokens, load_tokenizer
from bench.registry import Registry

Part = Literal["samples", "corpus", "train"]


@dataclass(frozen=True)
class TextSet:
    """Generated texts and what they are compared with. An empty text is a text: it is scored, never dropped.

    Attributes:
        samples: the generated texts.
        references: for each sample the one or more texts it should equal (pairs); empty without pairs.
        corpus: texts of the domain, the test split for example, in no relation to single samples.
        train: the training texts.
        per_source: samples of each source, which stand side by side; None where samples have no source.

    Raises:
        BenchError: no samples, pairs that do not match the samples in number, or a source without all its samples.
    """

    samples: tuple[str, ...]
    references: tuple[tuple[str, ...], ...] = ()
    corpus: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    per_source: int | None = None
    _tokens: dict[tuple[Part, str, int | None], Tokens] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _vocabularies: dict[str, dict[str, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.samples:
            raise BenchError("no generated texts to score")
        if self.references and len(self.references) != len(self.samples):
            raise BenchError(f"pairs: {len(self.samples)} generated texts but {len(self.references)} references")
        if not all(self.references):
            raise BenchError(f"pairs: generated text {self.references.index(()) + 1} has no reference")
        if self.per_source is not None and (self.per_source < 1 or len(self.samples) % self.per_source):
            raise BenchError(f"sources: {len(self.samples)} generated texts are not {self.per_source} for each source")

    @property
    def comparison(self) -> tuple[str, ...]:
        """The texts of the domain; without a corpus, the references of the pairs."""
        return self.corpus or tuple(chain.from_iterable(self.references))

    def tokens(self, part: Part, tokenizer: str, limit: int | None = None) -> Tokens:
        """Returns texts as token ids; all parts share one vocabulary per tokenizer, and nothing is tokenized twice.

        Args:
            part: which texts.
            tokenizer: see `bench.metrics.tokens`.
            limit: only the first so many texts; None for all.

        Raises:
            BenchError: no such tokenizer.
        """
        key = (part, tokenizer, limit)
        if key not in self._tokens:
            texts = {"samples": self.samples, "corpus": self.comparison, "train": self.train}[part][:limit]
            vocabulary = self._vocabularies.setdefault(tokenizer, {})
            self._tokens[key] = Tokens.intern(texts, load_tokenizer(tokenizer), vocabulary)
        return self._tokens[key]

    def by_source(self, tokenizer: str) -> Iterator[TextSet]:
        """Yields the samples of each source as a set of their own, already tokenized.

        Sources are told apart by their place, since two of them may be the same text.

        Args:
            tokenizer: see `bench.metrics.tokens`.
        """
        size = self.per_source or len(self.samples)
        for number, tokens in enumerate(self.tokens("samples", tokenizer).portions(size)):
            texts = TextSet(self.samples[number * size : (number + 1) * size])
            texts._tokens["samples", tokenizer, None] = tokens
            yield texts

    def lacks(self, *, pairs: bool = False, corpus: bool = False, train: bool = False, samples: int = 1) -> str | None:
        """Returns what is missing of the named needs, or None; the wording is a reason for an empty cell."""
        needs = {
            "needs references in pairs with the generated texts": not pairs or bool(self.references),
            "needs reference texts": not corpus or bool(self.comparison),
            "needs the training texts": not train or bool(self.train),
            f"needs at least {samples} generated texts, got {len(self.samples)}": len(self.samples) >= samples,
        }
        return next((reason for reason, met in needs.items() if not met), None)


class PerSampleMetric(PerTextMetric[TextSet]):
    """A metric with one row of statistics per sample; the samples of a source are resampled as one."""

    def cluster_size(self, inputs: TextSet) -> int:
        """Returns the number of samples per source."""
        return inputs.per_source or 1


class OfPairs(Metric[TextSet]):
    """A metric that compares each sample with its own references."""

    def supports(self, inputs: TextSet) -> str | None:
        """Needs pairs."""
        return inputs.lacks(pairs=True)


class MeanOverTexts(PerSampleMetric):
    """A metric that is the mean of one number per text; fractions become percent where the unit is ``%``."""

    def aggregate(self, means: Array, n: int) -> Array:
        """Returns the value for the mean of the one column."""
        mean: Array = means[..., 0]
        return 100.0 * mean if self.unit == "%" else mean


_ROOM = "bench.metrics"

TEXT_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "BLEU": f"{_ROOM}.overlap:BLEU",
        "BLEU-all": f"{_ROOM}.overlap:AllReferencesBLEU",
        "BLEU-texygen": f"{_ROOM}.overlap:TexygenBLEU",
        "ROUGE-1": f"{_ROOM}.overlap:Rouge1",
        "ROUGE-2": f"{_ROOM}.overlap:Rouge2",
        "ROUGE-L": f"{_ROOM}.overlap:RougeL",
        "BERTScore": f"{_ROOM}.bertscore:BERTScore",
        "Self-BLEU": f"{_ROOM}.diversity:SelfBLEU",
        "Self-BLEU-texygen": f"{_ROOM}.diversity:TexygenSelfBLEU",
        "Dist-1": f"{_ROOM}.diversity:Dist1",
        "Dist-2": f"{_ROOM}.diversity:Dist2",
        "Dist-3": f"{_ROOM}.diversity:Dist3",
        "Dist-4": f"{_ROOM}.diversity:Dist4",
        "Jaccard": f"{_ROOM}.diversity:Jaccard1",
        "Jaccard-2": f"{_ROOM}.diversity:Jaccard2",
        "Jaccard-3": f"{_ROOM}.diversity:Jaccard3",
        "Diversity": f"{_ROOM}.diversity:Diversity",
        "Novelty": f"{_ROOM}.diversity:Novelty",
        "Self-BLEU[source]": f"{_ROOM}.within_source:SelfBLEUWithinSource",
        "Dist-1[source]": f"{_ROOM}.within_source:Dist1WithinSource",
        "Dist-2[source]": f"{_ROOM}.within_source:Dist2WithinSource",
        "Jaccard[source]": f"{_ROOM}.within_source:JaccardWithinSource",
        "Diversity[source]": f"{_ROOM}.within_source:DiversityWithinSource",
        "CND": f"{_ROOM}.divergence:CND",
        "CND-log": f"{_ROOM}.divergence:LogCND",
        "MAUVE": f"{_ROOM}.divergence:MAUVE",
        "Copy rate": f"{_ROOM}.surface:CopyRate",
        "Length": f"{_ROOM}.surface:Length",
        "Empty rate": f"{_ROOM}.surface:EmptyRate",
    }
)

text_metrics: Registry[type[Metric[TextSet]]] = Registry("text metric", TEXT_METRICS, "della_bench.text_metrics")
"""The metrics by name, those of other packages included; called without arguments, each has its defaults."""
