"""Bias and spread of every estimator: linear-Gaussian texts, whose exact values are known, scored by the harness.

``python -m tests.estimators docs`` writes ``estimators.csv``, ``estimators.svg`` and the tables of ``estimators.md``.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from bench.bootstrap import Array, Bootstrap
from bench.harness.scoring import score_texts
from bench.harness.tokenized_texts import tokenize
from bench.metrics.entropy import Excess, true_log_p
from bench.metrics.latent import ActiveUnits, LatentVarianceMetric, MutualInformation, count_active_units
from bench.metrics.likelihood import ELBO, KL, LikelihoodMetric, Reconstruction
from bench.metrics.model import ScoredTexts, model_metrics
from bench.metrics.probe import probe
from bench.seeds import derive_seed
from bench.specs import ScoringSpec
from bench.tasks import Example
from della.protocol import ReleasedActiveUnits, ReleasedPerplexity
from tests.estimators.coverage import data_folder, intervals_of, settings
from tests.estimators.linear_gaussian import LinearGaussian, LinearGaussianSystem, number_tokenizer, spell

N_SAMPLES = (1, 2, 5, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)
N_TEXTS = (10, 30, 100, 300, 1000)
DELTAS = (0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 1.0)
NATS = (0.01, 1.0, 3.0, 6.0, 9.0)
WRONG, NARROW = "posterior a little off", "posterior too narrow"


@dataclass(frozen=True)
class Estimate:
    """What an estimator gave in independent repetitions.

    Attributes:
        study: ``bound``, ``terms``, ``information``, ``units``, ``intervals`` or ``text_intervals``.
        estimator: what was estimated, and how.
        x: number of samples, of texts, or threshold; what the study varies.
        truth: the closed form.
        mean: mean over repetitions, which are the seeds from 0 on.
        sd: standard deviation over repetitions; of a share of repetitions, its standard error.
        repetitions: how many.
    """

    study: str
    estimator: str
    x: float
    truth: float
    mean: float
    sd: float
    repetitions: int

    @classmethod
    def of(cls, study: str, estimator: str, x: float, truth: float, values: Sequence[float]) -> Estimate:
        """Returns the summary of the values of all repetitions."""
        return cls(study, estimator, x, truth, fmean(values), stdev(values), len(values))

    @classmethod
    def share(cls, study: str, estimator: str, x: float, truth: float, hits: Sequence[bool]) -> Estimate:
        """Returns the share of repetitions in which something was so."""
        share = fmean(hits)
        return cls(study, estimator, x, truth, share, math.sqrt(share * (1 - share) / len(hits)), len(hits))


@dataclass(frozen=True)
class Scored:
    """Texts of a model as numbers (n x T), and what the harness makes of them."""

    x: Array
    texts: ScoredTexts


def score(model: LinearGaussian, n: int, k: int, seed: int) -> Scored:
    """Draws n texts from the model and scores them as the harness scores any system, with k samples each."""
    x = model.draw(n, np.random.default_rng(derive_seed(seed, "texts")))
    spelled = spell(x)
    tokenizer = number_tokenizer(spelled)
    ids = tokenize([Example(text) for text in spelled], tokenizer, max_tokens=x.shape[1] + 2)
    system = LinearGaussianSystem(model, tokenizer)
    # Samples not asked for are drawn and left: the harness takes two or more.
    scoring = ScoringSpec(n_importance_samples=max(2, k), batch_tokens=4096)
    scored = score_texts(system, ids, scoring, "fp32", derive_seed(seed, "latent"))
    return Scored(x, replace(scored, true_log_p=model.log_p(x)))


def portions(scored: ScoredTexts, k: int, most: int = 100) -> Iterator[ScoredTexts]:
    """Yields the same texts with k importance samples of their own at a time, ``most`` times at most."""
    for start in range(0, min(scored.n_samples // k, most) * k, k):
        own = slice(start, start + k)
        yield replace(scored, log_likelihood=scored.log_likelihood[:, own], log_ratio=scored.log_ratio[:, own])


def hierarchy() -> LinearGaussian:
    """Returns four groups of one dimension below texts of six numbers, with the exact posterior."""
    rng = np.random.default_rng(1)
    weights = np.tril(0.7 * rng.normal(size=(4, 4)), -1)
    return LinearGaussian.with_exact_posterior(
        (1,) * 4, weights, rng.uniform(0.5, 1.0, 4), rng.normal(size=(6, 4)), noise=0.5
    )


def channel(nats: float) -> LinearGaussian:
    """Returns one group of four dimensions, of which the exact posterior holds ``nats`` of information on the text."""
    orthogonal = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 4)))[0]
    signal = math.expm1(nats / 2)  # nats / 4 = log(1 + signal) / 2 for each dimension
    return LinearGaussian.with_exact_posterior((4,), np.zeros((4, 4)), np.ones(4), orthogonal * signal**0.5, 1.0)


def layers(seeing: int) -> LinearGaussian:
    """Returns four groups of four dimensions whose posterior is the prior, but that ``seeing`` of them see the text."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(4), 4)
    weights = np.where(group[:, None] > group, 0.3 * rng.normal(size=(16, 16)), 0.0)
    prior = LinearGaussian.with_exact_posterior((4,) * 4, weights, np.ones(16), np.zeros((6, 16)), noise=1.0)
    slopes = np.zeros((16, 6))
    slopes[rng.permutation(16)[:seeing], np.arange(seeing) % 6] = np.geomspace(0.1, 1.0, seeing)
    return replace(prior, slopes=slopes)


def posteriors() -> dict[str, LinearGaussian]:
    """Returns the hierarchy with two wrong posteriors.

    One is off by 0.1 in every mean and 1.3 times as wide. The other, 0.4 times as wide, is so narrow that importance
    weights have no finite variance.
    """
    return {WRONG: hierarchy().perturbed(0.1, 1.3), NARROW: hierarchy().perturbed(0.0, 0.4)}


def bound(repetitions: int = 10, n: int = 50, n_samples: Sequence[int] = N_SAMPLES) -> Iterator[Estimate]:
    """Yields how far log p_K is above log p(x), by K, beside first-order theory and the released arithmetic."""
    for name, model in posteriors().items():
        runs = [score(model, n, max(n_samples), seed) for seed in range(repetitions)]
        for k in n_samples:
            parts = [part for run in runs for part in portions(run.texts, k)]
            yield Estimate.of("bound", f"log p_K, {name}", k, 0.0, [-Excess().score(part).value for part in parts])
            theory = [-0.5 / k * float(model.chi_square(run.x).mean()) for run in runs]
            if math.isfinite(theory[0]):
                yield Estimate.of("bound", f"-χ²/2K, {name}", k, 0.0, theory)
            if k <= 30:
                tempered = [ReleasedPerplexity().log_p(part) - true_log_p(part) for part in parts]
                yield Estimate.of("bound", f"della-2022, {name}", k, 0.0, [float(errors.mean()) for errors in tempered])


def terms(repetitions: int = 10, n: int = 100, k: int = 100) -> Iterator[Estimate]:
    """Yields how far ELBO, Rec and KL are above the closed forms for the same texts."""
    for name, model in posteriors().items():
        runs = [score(model, n, k, seed) for seed in range(repetitions)]
        for metric, closed in _terms(model).items():
            errors = [metric.score(run.texts).value - float(closed(run.x).mean()) for run in runs]
            yield Estimate.of("terms", f"{metric.name}, {name}", k, 0.0, errors)


def intervals(repetitions: int = 200, n: int = 100, k: int = 10) -> Iterator[Estimate]:
    """Yields how often the 95 % interval of a model metric over n texts holds its expectation.

    The expectation of ELBO, Rec and KL and the number of active units are closed forms; the expectation of the others
    is the mean over all repetitions.
    """
    model = posteriors()[WRONG]
    # The mean of a quadratic function over these points is its mean over all texts.
    root = math.sqrt(len(model.loadings)) * np.linalg.cholesky(model.text_covariance).T
    points = np.concatenate([root, -root])
    with_units = layers(6)
    closed = {
        **{metric.name: float(term(points).mean()) for metric, term in _terms(model).items()},
        **{ActiveUnits(delta).name: float((with_units.mean_variances > delta).sum()) for delta in (0.01, 0.1, 0.2)},
        ReleasedActiveUnits().name: float((with_units.conditional_mean_variances > 0.2).sum() / 4),
    }
    metrics = model_metrics(factors=["sign"])
    counts = [metric for metric in metrics if isinstance(metric, LatentVarianceMetric)]
    others = [metric for metric in metrics if metric not in counts]
    # All units of the hierarchy are active in every repetition.
    for name, of_name, measured in ((WRONG, model, others), ("six units see the text", with_units, counts)):
        runs = [_with_factor(score(of_name, n, k, seed)) for seed in range(repetitions)]
        for metric in measured:
            scores = [metric.score(run, Bootstrap(seed=seed)) for seed, run in enumerate(runs)]
            truth = closed.get(metric.name, fmean(score.value for score in scores))
            intervals = [score.interval for score in scores if score.interval is not None]
            covered = [interval.low <= truth <= interval.high for interval in intervals]
            yield Estimate.share("intervals", f"{metric.name}, {name}", n, 0.95, covered)


def _with_factor(scored: Scored) -> ScoredTexts:
    """Returns scored texts with a factor for the probes: the sign of a text's first number."""
    factors = {"sign": ["below" if first < 0 else "above" for first in scored.x[:, 0]]}
    return replace(scored.texts, probe_hits=probe(scored.texts.mean, (scored.texts.mean.shape[1],), factors))


def text_intervals(repetitions: int = 200, n: int = 100) -> Iterator[Estimate]:
    """Yields how often the 95 % interval of a text metric holds its expectation for n real texts.

    Nothing without the folder of real texts.
    """
    folder = data_folder()
    for setting in settings(folder) if folder else ():
        for name, truth, intervals in intervals_of(setting, repetitions, n):
            covered = [interval.low <= truth <= interval.high for interval in intervals]
            yield Estimate.share("text_intervals", f"{name}, {setting.name}", n, 0.95, covered)


def _terms(model: LinearGaussian) -> dict[LikelihoodMetric, Callable[[Array], Array]]:
    return {ELBO(): model.elbo, Reconstruction(): model.rec, KL(): model.kl}


def information(
    repetitions: int = 10, nats: Sequence[float] = NATS, n_texts: Sequence[int] = N_TEXTS
) -> Iterator[Estimate]:
    """Yields MI by the number of texts scored, and how often it is negative, by what the posterior really holds."""
    for truth in nats:
        model = channel(truth)
        for n in n_texts:
            values = [MutualInformation().score(score(model, n, 2, seed).texts).value for seed in range(repetitions)]
            yield Estimate.of("information", f"MI, {truth:g} nats", n, model.mutual_information, values)
            if truth < 1:
                negative = [value < 0 for value in values]
                yield Estimate.share("information", f"share below zero, {truth:g} nats", n, 0.0, negative)


def units(
    repetitions: int = 10, n: int = 1000, n_samples: Sequence[int] = (10, 30), deltas: Sequence[float] = DELTAS
) -> Iterator[Estimate]:
    """Yields the number of active units by threshold: ours by K, and with one sample of the ancestors as released."""
    for name, seeing in (("collapsed", 0), ("six units see the text", 6)):
        model = layers(seeing)
        for k in n_samples:
            runs = [score(model, n, k, seed).texts for seed in range(repetitions)]
            for delta in deltas:
                truth = float((model.mean_variances > delta).sum())
                counts = [ActiveUnits(delta).score(run).value for run in runs]
                yield Estimate.of("units", f"AU, K = {k}, {name}", delta, truth, counts)
                if k == max(n_samples):
                    # The harness draws one sample first whatever K is, so these are the same for all K.
                    released = [
                        count_active_units(run.first_mean, 0.0 * run.first_mean, delta, None)[0] for run in runs
                    ]
                    yield Estimate.of("units", f"one sample of ancestors, {name}", delta, truth, released)


STUDIES: tuple[Callable[[], Iterable[Estimate]], ...] = (bound, terms, intervals, text_intervals, information, units)


def write_csv(estimates: Iterable[Estimate]) -> str:
    """Returns the estimates as CSV."""
    file = io.StringIO()
    names = [field.name for field in fields(Estimate)]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for estimate in estimates:
        writer.writerow({name: f"{v:.10g}" if isinstance(v, float) else v for name, v in asdict(estimate).items()})
    return file.getvalue()


def read_csv(text: str) -> list[Estimate]:
    """Reads what ``write_csv`` wrote."""
    types = {"study": str, "estimator": str, "repetitions": int}
    rows = csv.DictReader(io.StringIO(text))
    return [Estimate(**{name: types.get(name, float)(value) for name, value in row.items()}) for row in rows]


COLUMNS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "bound": ("K", (1, 10, 30, 100, 1000, 5000)),
    "terms": ("K", (100,)),
    "intervals": ("texts", (100,)),
    "text_intervals": ("texts", (100,)),
    "information": ("texts", (30, 100, 1000)),
    "units": ("delta", (0.01, 0.1, 0.2)),
}
"""What each study varies, and the values of it that its table shows."""


def markdown_table(estimates: Iterable[Estimate], study: str) -> str:
    """Returns the table of a study: an estimator a row, mean ± standard deviation over repetitions in each cell."""
    varied, columns = COLUMNS[study]
    rows: dict[str, dict[float, Estimate]] = defaultdict(dict)
    for estimate in estimates:
        if estimate.study == study and estimate.x in columns:
            rows[estimate.estimator][estimate.x] = estimate
    lines = [
        f"| | truth | {' | '.join(f'{varied} = {x:g}' for x in columns)} |",
        f"| --- |{' ---: |' * (len(columns) + 1)}",
    ]
    for estimator, cells in rows.items():
        truths = dict.fromkeys(f"{estimate.truth:.3g}" for estimate in cells.values())
        # Adding zero takes the sign from a zero.
        values = [f"{round(cells[x].mean, 3) + 0.0:.3f} ± {cells[x].sd:.3f}" if x in cells else "" for x in columns]
        lines.append(f"| {estimator} | {', '.join(truths)} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def with_tables(document: str, estimates: Sequence[Estimate]) -> str:
    """Returns a document with the table of each study between ``<!-- table: study -->`` and ``<!-- end -->``."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{markdown_table(estimates, match[2])}<!-- end -->"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?<!-- end -->", table, document, flags=re.DOTALL)


def documents(estimates: Sequence[Estimate], folder: Path) -> dict[Path, bytes]:
    """Returns the estimates as CSV and the page with their tables, by path in ``folder``."""
    page = folder / "estimators.md"
    return {
        folder / "estimators.csv": write_csv(estimates).encode(),
        page: with_tables(page.read_text(encoding="utf-8"), estimates).encode(),
    }
