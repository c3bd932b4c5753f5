"""Metrics against the true distribution that the texts of a grammar were drawn from.

A grammar's log p(x), or log p(x | source), is exact, so the entropy of its texts is known. No model can have a smaller
expected -log p(x), and log p_K(x) never overestimates log p(x) in expectation: a value that lies below the entropy by
more than the sampling error comes from no likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from typing_extensions import override

from bench.bootstrap import Array
from bench.metrics.likelihood import LikelihoodMetric, Perplexity, importance_bound
from bench.metrics.model import ScoredTexts


class TrueDistributionMetric(LikelihoodMetric):
    """A metric that needs the exact log p(x) of a grammar corpus, and its texts whole."""

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        if reason := super().supports(inputs):
            return reason
        if inputs.true_log_p is None:
            return "the true distribution of real text is not known"
        if inputs.cut:
            return f"{inputs.cut} of {len(inputs)} texts were cut, and the exact probability is that of the whole text"
        return None


def true_log_p(inputs: ScoredTexts) -> Array:
    """Returns the exact log p(x) (N) of texts for which ``TrueDistributionMetric.supports`` gives no reason."""
    return cast(Array, inputs.true_log_p)


class EntropyPerplexity(TrueDistributionMetric, Perplexity):
    """Perplexity of the true distribution on the scored texts: no valid perplexity can be below it in expectation."""

    name = "PPL floor"
    direction = None

    @override
    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"est": "exact"}

    @override
    def log_p(self, inputs: ScoredTexts) -> Array:
        return true_log_p(inputs)


class Entropy(TrueDistributionMetric):
    """-log p(x) of the true distribution, nats per text: the entropy, which no valid ELBO can be below."""

    name = "ELBO floor"
    direction = None

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {"est": "exact", "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return -true_log_p(inputs)[:, None]


class Excess(TrueDistributionMetric):
    """-log p_K(x) above the true -log p(x), nats per text: estimates KL(truth || model) plus the gap of the bound.

    The difference is taken text by text, so its interval is much tighter than that of either mean. It is never below
    zero in expectation.
    """

    name = "Excess"
    tolerance = 0.05
    absolute_tolerance = 0.02

    @override
    def fields(self, inputs: ScoredTexts) -> Mapping[str, object]:
        estimator = {"est": "iw", "K": inputs.n_samples, "sum": "groups", "over": "exact"}
        return {**estimator, "tok": inputs.tokenizer, "n": len(inputs)}

    @override
    def statistics(self, inputs: ScoredTexts) -> Array:
        return (true_log_p(inputs) - importance_bound(inputs))[:, None]


class PerplexityRatio(TrueDistributionMetric, Perplexity):
    """PPL / PPL floor: the excess per predicted token, as a factor; 1 is the true distribution."""

    name = "PPL ratio"

    @override
    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        return {**super().estimator(inputs), "over": "exact"}

    @override
    def log_p(self, inputs: ScoredTexts) -> Array:
        return importance_bound(inputs) - true_log_p(inputs)
