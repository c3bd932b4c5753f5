"""Divergence of the distribution of generated texts from that of real texts: CND and MAUVE."""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import override

from bench.bootstrap import Bootstrap, Interval
from bench.errors import BenchError
from bench.metric import Score
from bench.metrics.encoders import INSTALL, Encoder, find_encoder, missing_encoder, missing_packages
from bench.metrics.ngrams import check_order, ngrams_of_order
from bench.metrics.text import TextMetric, TextSet

MIN_TEXTS = 500
"""Fewest texts per side for MAUVE: 50 clusters, at the library's ten texts per cluster. With a few clusters any two
sets of texts look equal.
"""
SCALING = 5
"""The constant c of MAUVE's divergence curve, the library's default."""
FIRST_SEED = 25
"""First k-means seed of MAUVE, the library's default."""


class InnerProducts(NamedTuple):
    """Inner products of two n-gram distributions, P of real texts and Q of generated texts.

    Attributes:
        pp: sum of P².
        qq: sum of Q², the NRR of Li et al. 2020 with its sign turned.
        pq: sum of P Q, the CR of Li et al. 2020.
    """

    pp: float
    qq: float
    pq: float


@dataclass(frozen=True)
class NGramDivergence(TextMetric):
    """A divergence of pooled n-gram distributions from the theory of Li et al. 2020 (ICML).

    Their coverage rate CR = ΣPQ and negative repetition rate NRR = -ΣQ² are the terms of ΣP² - 2 CR - NRR = Σ(P-Q)².
    How the authors and the papers after them normalise it is not published; the signature names the form used here.
    It has no interval: a resample of the generated texts repeats their n-grams, which raises ΣQ².

    Attributes:
        n: order of the n-grams.
        tokenizer: see `bench.metrics.tokens`.
    """

    unit = "1"
    direction = "down"
    absolute_tolerance = 0.005
    needs = ("corpus",)

    n: int = 2
    tokenizer: str = "13a"

    def __post_init__(self) -> None:
        check_order(self.n)

    @property
    @abstractmethod
    def form(self) -> str:
        """The normalisation, for the signature."""

    @abstractmethod
    def value(self, products: InnerProducts) -> float:
        """Returns the divergence."""

    @override
    def supports(self, inputs: TextSet) -> str | None:
        if reason := super().supports(inputs):
            return reason
        longest = min(inputs.tokens(role, self.tokenizer).lengths.max() for role in ("generations", "corpus"))
        return None if longest >= self.n else f"needs texts of {self.n} tokens or more on both sides"

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        sides = {"texts": len(inputs.generations), "refs": len(inputs.comparison)}
        return {"n": self.n, "form": self.form, "tok": self.tokenizer, **sides}

    def inner_products(self, inputs: TextSet) -> InnerProducts:
        """Returns the inner products of the two distributions."""
        texts, corpus = inputs.tokens("generations", self.tokenizer), inputs.tokens("corpus", self.tokenizer)
        counts = ngrams_of_order(texts + corpus, self.n)
        generated = counts.text < len(texts)
        p, q = (np.bincount(counts.gram, weights=np.where(side, counts.count, 0)) for side in (~generated, generated))
        p, q = p / p.sum(), q / q.sum()
        return InnerProducts(float(p @ p), float(q @ q), float(p @ q))

    @override
    def score(self, inputs: TextSet, bootstrap: Bootstrap | None = None) -> Score:
        self.require(inputs)
        return self._score(inputs, self.value(self.inner_products(inputs)), len(inputs.generations))


class CND(NGramDivergence):
    """Squared distance of the n-gram distributions of generated and real texts, from 0 (equal) to 1 (disjoint)."""

    name = "CND"
    form = "l2/(pp+qq)"

    @override
    def value(self, products: InnerProducts) -> float:
        """Returns Σ(P-Q)² / (ΣP² + ΣQ²)."""
        return max(1.0 - 2.0 * products.pq / (products.pp + products.qq), 0.0)


class LogCND(NGramDivergence):
    """Log ratio of the squared norms of two n-gram distributions to their inner product, from 0 (equal)."""

    name = "CND-log"
    form = "log(pp*qq/pq^2)"

    @override
    def supports(self, inputs: TextSet) -> str | None:
        if reason := super().supports(inputs):
            return reason
        return (
            None if self.inner_products(inputs).pq else f"infinite: samples and reference texts share no {self.n}-gram"
        )

    @override
    def value(self, products: InnerProducts) -> float:
        """Returns log(ΣP² ΣQ² / (ΣPQ)²)."""
        return max(float(np.log(products.pp) + np.log(products.qq) - 2.0 * np.log(products.pq)), 0.0)


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """Discards what the process writes to standard error: the clustering warns there of clusters of ten texts.

    The library chooses their size, and its warning comes from C++, so that no filter of Python reaches it.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@dataclass(frozen=True)
class MAUVE(TextMetric):
    """MAUVE of text features against real texts, mean over clusterings (Pillutla et al. 2021), by mauve-text.

    The value depends on the clustering's random start, so it is the mean over several; the interval is the mean plus
    and minus one standard deviation over them. Fewer texts than the 5000 of the paper bias it upward.

    Attributes:
        encoder: see `bench.metrics.encoders.find_encoder`; the paper's is ``gpt2-large``.
        clusterings: number of k-means seeds, counted up from 25, the library's own.
    """

    name = "MAUVE"
    unit = "1"
    direction = "up"
    tolerance = 0.05
    needs = ("corpus",)

    encoder: str | Path = "minilm"
    clusterings: int = 5

    def __post_init__(self) -> None:
        if self.clusterings < 5:
            raise BenchError(f"MAUVE: {self.clusterings} clusterings; allowed: 5 or more")

    @override
    def supports(self, inputs: TextSet) -> str | None:
        if reason := super().supports(inputs):
            return reason
        if (fewest := min(len(inputs.generations), len(inputs.comparison))) < MIN_TEXTS:
            return f"needs at least {MIN_TEXTS} texts on both sides, got {fewest}"
        if packages := missing_packages(self.encoder, "mauve"):
            return f"needs {' and '.join(packages)}: {INSTALL}"
        return missing_encoder(self.encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return find_encoder(self.encoder)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        seeds = f"{FIRST_SEED}-{FIRST_SEED + self.clusterings - 1}"
        settings = {"feat": self._encoder.signature, "buckets": "n/10", "scale": SCALING, "seeds": seeds}
        return {**settings, "texts": len(inputs.generations), "refs": len(inputs.comparison)}

    @override
    def score(self, inputs: TextSet, bootstrap: Bootstrap | None = None) -> Score:
        """Returns the mean over clusterings, and one standard deviation to either side of it."""
        self.require(inputs)
        library: Any = import_module("mauve")
        real, generated = (self._encoder.features(texts) for texts in (inputs.comparison, inputs.generations))
        seeds = range(FIRST_SEED, FIRST_SEED + self.clusterings)
        with _without_standard_error():
            values = [
                library.compute_mauve(
                    p_features=real, q_features=generated, seed=seed, mauve_scaling_factor=SCALING, verbose=False
                ).mauve
                for seed in seeds
            ]
        mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
        spread = Interval(mean - deviation, mean + deviation, 0.6827, f"sd:{self.clusterings}-clusterings")
        return self._score(inputs, mean, len(inputs.generations), spread)
