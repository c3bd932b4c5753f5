"""The scored texts of a model, and the registry of the metrics that are computed from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from bench.bootstrap import Array
from bench.metric import Metric
from bench.registry import Registry

TERMS = ("log_likelihood", "log_ratio", "kl", "mean", "mean_noise", "first_mean", "log_q", "log_q_aggregated")
"""The attributes of ``ScoredTexts`` that a model computed."""


@dataclass(frozen=True)
class ScoredTexts:
    """The unreduced terms of N texts, from which all likelihood and latent metrics are computed.

    K samples of the posterior per text, G latent groups, D latent dimensions in all. Everything is in nats and counts
    the predicted tokens: EOS yes, BOS no.

    Attributes:
        groups: sizes of the latent groups.
        tokenizer: name of the tokenizer with its digest.
        tokens: predicted tokens of each text (N).
        words: whitespace-separated words (N).
        bytes: UTF-8 bytes (N).
        log_likelihood: log p(x | z_k) (N x K).
        log_ratio: log p(z_k) - log q(z_k | x), summed over groups (N x K).
        kl: analytic KL of each group, averaged over the samples of its ancestors (N x G).
        mean: posterior means, averaged over the samples of their ancestors (N x D).
        mean_noise: squared standard error of ``mean``: variance over samples / K (N x D).
        first_mean: posterior means given the first sample of their ancestors (N x D).
        log_q: log q(z_1 | x) of each text's first sample (N).
        log_q_aggregated: log of the average of q(z_1 | x') over all N texts x' (N).
        conditional: whether x is generated from a source c; then all densities are conditional on c.
        cut: number of texts that were too long and lost their end.
        true_log_p: exact log p(x) of the whole texts under the true distribution, or None for real text (N).
        probe_hits: by true latent factor, the result of ``bench.metrics.probe.probe``; empty for real text.
    """

    groups: tuple[int, ...]
    tokenizer: str
    tokens: Array
    words: Array
    bytes: Array
    log_likelihood: Array
    log_ratio: Array
    kl: Array
    mean: Array
    mean_noise: Array
    first_mean: Array
    log_q: Array
    log_q_aggregated: Array
    conditional: bool = False
    cut: int = 0
    true_log_p: Array | None = None
    probe_hits: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_samples(self) -> int:
        """K."""
        return self.log_likelihood.shape[1]

    @cached_property
    def _infinite(self) -> dict[str, npt.NDArray[np.bool_]]:
        """The terms that are NaN or infinite somewhere, each with the texts (N) where it is."""
        terms = {name: getattr(self, name).reshape(len(self), -1) for name in TERMS}
        texts = {name: ~np.isfinite(term).all(axis=1) for name, term in terms.items()}
        return {name: mask for name, mask in texts.items() if mask.any()}

    @property
    def not_finite(self) -> str | None:
        """Says which term is NaN or infinite, and for how many texts; None if all are finite.

        Comparisons with NaN are false, so that counts and maxima of such terms look like those of a good model.
        """
        for name, texts in self._infinite.items():
            return f"{name} is not finite for {int(texts.sum())} of {len(self)} texts"
        return None

    @property
    def n_not_finite(self) -> int:
        """Number of texts that have a term which is NaN or infinite."""
        return int(np.logical_or.reduce(list(self._infinite.values())).sum()) if self._infinite else 0

    @property
    def variation(self) -> str | None:
        """What varies over the texts besides x, for the signatures of metrics that compare texts; None for nothing."""
        return "text+source" if self.conditional else None

    @property
    def reconstruction(self) -> Array:
        """Reconstruction term -E_q log p(x | z) of each text (N)."""
        return -self.log_likelihood.mean(axis=1)

    @property
    def log_weights(self) -> Array:
        """Log importance weights log p(x, z_k) - log q(z_k | x) (N x K)."""
        return self.log_likelihood + self.log_ratio


class ModelMetric(Metric[ScoredTexts]):
    """A metric of a model, computed from its scored texts, which must be finite.

    A subclass with further conditions adds them to those of ``super().supports``.
    """

    @override
    def supports(self, inputs: ScoredTexts) -> str | None:
        return inputs.not_finite

    def variants(self, groups: Sequence[int], factors: Sequence[str]) -> Iterable[ModelMetric]:
        """Returns the same metric of single latent groups and factors; none by default.

        Args:
            groups: numbers of the latent groups, from 1; empty where there is only one group.
            factors: names of the true latent factors of the texts.
        """
        return ()


MODEL_METRICS: Registry[Callable[..., ModelMetric]] = Registry(
    "model metric",
    {
        "PPL": "bench.metrics.likelihood:Perplexity",
        "PPL floor": "bench.metrics.entropy:EntropyPerplexity",
        "PPL ratio": "bench.metrics.entropy:PerplexityRatio",
        "PPL word": "bench.metrics.likelihood:WordPerplexity",
        "BPB": "bench.metrics.likelihood:BitsPerByte",
        "ELBO": "bench.metrics.likelihood:ELBO",
        "ELBO floor": "bench.metrics.entropy:Entropy",
        "Excess": "bench.metrics.entropy:Excess",
        "Rec": "bench.metrics.likelihood:Reconstruction",
        "KL": "bench.metrics.likelihood:KL",
        "MI": "bench.metrics.latent:MutualInformation",
        "AU": "bench.metrics.latent:ActiveUnits",
        "AU(0.1)": "bench.metrics.latent:active_units_above_01",
        "AU(0.2)": "bench.metrics.latent:active_units_above_02",
        "ESS": "bench.metrics.likelihood:EffectiveSampleSize",
        "Probe": "bench.metrics.probe:Probe",
        "Majority": "bench.metrics.probe:MajorityRate",
    },
    "della_bench.model_metrics",
)
"""The metrics of a model by name; each is a class or function that is called without arguments."""


def model_metrics(
    groups: Sequence[int] = (), factors: Iterable[str] = (), names: Collection[str] | None = None
) -> list[ModelMetric]:
    """Returns metrics of a model in the order of a record: as registered, those of packages last, then variants.

    A metric that cannot be imported is left out.

    Args:
        groups: sizes of the latent groups; where there are several, each has its own variants.
        factors: true latent factors of the texts; each has its own variants.
        names: of the metrics; None for all.
    """
    (registered, _), factors = MODEL_METRICS.all(), tuple(factors)
    ordered = [name for name in dict.fromkeys([*MODEL_METRICS.builtin, *registered]) if names is None or name in names]
    metrics = [registered[name]() for name in ordered]
    numbers = range(1, len(groups) + 1) if len(groups) > 1 else ()
    return [*metrics, *(variant for metric in metrics for variant in metric.variants(numbers, factors))]
