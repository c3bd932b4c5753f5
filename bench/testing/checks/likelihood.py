"""The likelihood: a normalised, left-to-right probability, consistent with the importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.harness.scoring import score_texts
from bench.harness.tokenized_texts import TokenizedTexts
from bench.interface import LatentPath, System
from bench.metrics.likelihood import importance_bound
from bench.metrics.model import ScoredTexts
from bench.specs import ScoringSpec
from bench.testing.check import check
from bench.testing.expect import expect, expect_close
from bench.testing.samples import for_every_text, generators, samples_of_text
from bench.testing.system_under_test import TOLERANCE, SystemUnderTest


@check(
    "Check the end of `log_likelihood`: a log-softmax over the whole vocabulary, its log-probabilities (not the loss,"
    " their negative) summed over the text. The decoder reads `batch.inputs` and predicts `batch.targets`, the next"
    " tokens; it must not read the token that it predicts."
)
@torch.no_grad()
def first_token(tested: SystemUnderTest) -> None:
    """The probabilities of all first tokens sum to 1."""
    with tested.in_precision(torch.float64) as system:
        for row, path in _two_texts(system, tested):
            total = next_token_log_p(system, tested, path, [tested.tokenizer.bos], row).logsumexp(0)
            seen = f"exp({float(total):.6g}) at text {row}"
            expect(abs(float(total)) <= TOLERANCE, "probabilities of the first token that sum to 1", seen)


@check(
    "Check the causal mask, the shift between inputs and targets, and everything but z that is computed from the whole"
    " text: given z, no token may depend on later tokens."
)
@torch.no_grad()
def no_peeking(tested: SystemUnderTest) -> None:
    """Given z, the probability of a token does not depend on later tokens."""
    with tested.in_precision(torch.float64) as system:
        for row, path in _two_texts(system, tested):
            ids = tested.texts.ids[row].tolist()
            for length in (2, len(ids) // 2, len(ids) - 1):
                every = next_token_log_p(system, tested, path, ids[:length], row).logsumexp(0)
                alone = system.log_likelihood(tested.continuations([ids[:length]], row), path)[0, 0]
                what = f"log p of {length - 1} tokens of text {row} equal to that summed over next tokens"
                expect_close(what, every, alone, (), TOLERANCE)


@check("Check how `log_likelihood` and `encode` use `batch.condition`.", conditional=True)
@torch.no_grad()
def source_matters(tested: SystemUnderTest) -> None:
    """A different source changes the likelihood of a text."""
    with tested.in_precision(torch.float64) as system:
        batch, rows = tested.batch(), tested.rows
        path = system.encode(batch).sample(1, generators(rows))
        others = tested.texts.conditions([row - 1 for row in rows])
        changed = system.log_likelihood(replace(batch, condition=others), path)
        least = float((changed - system.log_likelihood(batch, path)).abs().min())
        expect(
            least > 1e-6, "a different likelihood of each text for a different source", f"a change of {least:.2g} nats"
        )


@check(
    "`log_likelihood`, `log_p` and `log_q` of one sample make its importance weight. Check for terms of a different"
    " sample, means over samples, and densities of other distributions than those of `kl`."
)
@torch.no_grad()
def rising_bound(tested: SystemUnderTest) -> None:
    """The importance-weighted bound starts at the ELBO and rises with the number of samples.

    Averaged over disjoint blocks of samples, the bound of 2k samples is never below that of k (concavity of log).
    """
    system, k = tested.system(), 64
    terms = score(system, tested.texts, k)
    bounds = []
    for size in (1, 2, 4, 8, 16, 32, 64):
        parts = (np.split(term, k // size, axis=1) for term in (terms.log_likelihood, terms.log_ratio))
        blocks = [replace(terms, log_likelihood=part, log_ratio=ratio) for part, ratio in zip(*parts, strict=True)]
        bounds.append(float(np.mean([importance_bound(block) for block in blocks])))
    rises = ", ".join(f"{bound:.6g}" for bound in bounds)
    expect(bool((np.diff(bounds) >= -1e-12).all()), "bounds that never fall from k to 2k samples", rises)
    elbo = float((terms.log_likelihood.mean(axis=1) - terms.kl.sum(axis=1)).mean())
    error = float(terms.log_weights.std(axis=1).mean()) / math.sqrt(k * len(terms))
    near = abs(bounds[0] - elbo) <= 5 * error + 1e-9
    expect(
        near, f"a bound of one sample equal to the ELBO, {elbo:.6g} nats, within 5 x {error:.2g}", f"{bounds[0]:.6g}"
    )
    gain = bounds[-1] - bounds[0]
    if system.groups:
        expect(gain > 0.01, "a bound of 64 samples more than 0.01 nats above that of one", f"{gain:.4g}")
    else:
        expect(
            abs(gain) <= 1e-9,
            "the same likelihood for any number of samples, without latents",
            f"a change of {gain:.4g}",
        )


def next_token_log_p(
    system: System, tested: SystemUnderTest, path: LatentPath, prefix: Sequence[int], row: int
) -> Tensor:
    """Returns log p(prefix, v | z, c) for every token v of the vocabulary (V); ``path`` has one text and one sample."""
    size = len(tested.tokenizer)
    batch = tested.continuations([[*prefix, token] for token in range(size)], row)
    return system.log_likelihood(batch, for_every_text(path, size))[:, 0]


def score(system: System, texts: TokenizedTexts, k: int, batch_tokens: int = 4000) -> ScoredTexts:
    """Scores texts as the harness does."""
    scoring = ScoringSpec(n_importance_samples=k, batch_tokens=batch_tokens)
    return score_texts(system, texts, scoring, "fp32", latent_seed=3)


def _two_texts(system: System, tested: SystemUnderTest) -> list[tuple[int, LatentPath]]:
    """Returns the rows of a long and a short text, each with one sample of its posterior."""
    path = system.encode(tested.batch()).sample(1, generators(tested.rows))
    return [(row, samples_of_text(path, row)) for row in (0, 1)]
