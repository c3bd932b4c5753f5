"""The known floor: what the distribution that a corpus was drawn from has to say of the scored texts.

A grammar's log p(x), or log p(x | source), is exact, so the entropy of its texts is known. No model can have a smaller
expected -log p(x), and log p_K(x) never overestimates log p(x) in expectation: what lies below the floor by more than
the sampling error is no likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.bootstrap import Array
from bench.metric import Signature, signature
from bench.metrics.likelihood import LikelihoodMetric, Perplexity, ScoredTexts, importance_bound


class OfKnownTruth(LikelihoodMetric):
    """A metric that needs the true distribution of the scored texts."""

    def supports(self, inputs: ScoredTexts) -> str | None:
        """Needs the exact log p(x) of a grammar corpus, and its texts whole."""
        if inputs.known_log_p is None:
            return "the true distribution of real text is not known"
        if inputs.cut:
            return f"{inputs.cut} of {len(inputs)} texts were cut, and the exact probability is that of the whole text"
        return None


def known_log_p(inputs: ScoredTexts) -> Array:
    """Returns the exact log p(x) (N); not a number where ``OfKnownTruth.supports`` gives a reason."""
    return np.full(len(inputs), np.nan) if inputs.known_log_p is None or inputs.cut else inputs.known_log_p


class EntropyPerplexity(OfKnownTruth, Perplexity):
    """Perplexity of the true distribution on the scored texts: no valid perplexity can be below it in expectation."""

    name = "PPL floor"
    direction = None

    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        """States that the value is exact."""
        return {"est": "exact"}

    def log_p(self, inputs: ScoredTexts) -> Array:
        """Returns the exact log p(x) (N)."""
        return known_log_p(inputs)


class Entropy(OfKnownTruth):
    """-log p(x) of the true distribution, nats per text: the entropy, which no valid ELBO can be below."""

    name = "ELBO floor"
    direction = None

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States that the value is exact."""
        return signature(self.name, self.version, est="exact", n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: the exact -log p(x)."""
        return -known_log_p(inputs)[:, None]


class Excess(OfKnownTruth):
    """-log p_K(x) above the true -log p(x), nats per text: estimates KL(truth || model) plus what the bound is loose.

    The difference is taken text by text, so its interval is much tighter than that of either mean. It is never below
    zero in expectation.
    """

    name = "Excess"
    tolerance = 0.05

    def signature(self, inputs: ScoredTexts) -> Signature:
        """States the estimator of both sides."""
        fields = {"est": "iw", "K": inputs.n_samples, "sum": "groups", "over": "exact", "tok": inputs.tokenizer}
        return signature(self.name, self.version, **fields, n=len(inputs))

    def statistics(self, inputs: ScoredTexts) -> Array:
        """One column: log p(x) - log p_K(x)."""
        return (known_log_p(inputs) - importance_bound(inputs))[:, None]


class PerplexityRatio(OfKnownTruth, Perplexity):
    """PPL / PPL floor: the excess per predicted token, as a factor; 1 is the true distribution."""

    name = "PPL ratio"

    def estimator(self, inputs: ScoredTexts) -> Mapping[str, object]:
        """States the estimator of both sides."""
        return {**super().estimator(inputs), "over": "exact"}

    def log_p(self, inputs: ScoredTexts) -> Array:
        """Returns log p_K(x) - log p(x) (N)."""
        return importance_bound(inputs) - known_log_p(inputs)
