"""What a text's likelihood must be: a probability, of the text from left to right, and one that the bound reaches."""

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
from bench.metrics.likelihood import ScoredTexts, importance_bound
from bench.specs import ScoringSpec
from bench.testing.check import check
from bench.testing.expect import expect, expect_close
from bench.testing.paths import for_each, of_text, streams
from bench.testing.subject import DIGITS, Subject


@check(
    "Look at the end of `log_likelihood`: a log-softmax over the whole vocabulary, its log-probabilities (not the loss,"
    " their negative) summed over the text; the decoder reads `batch.inputs` and predicts `batch.targets`, the next"
    " token: it must not read the token that it predicts."
)
@torch.no_grad()
def first_token(subject: Subject) -> None:
    """The probabilities of all possible first tokens sum to one."""
    with subject.in_precision(torch.float64) as system:
        for row, path in _paths(system, subject):
            total = next_token(system, subject, path, [subject.tokenizer.bos], row).logsumexp(0)
            seen = f"exp({float(total):.6g}) at text {row}"
            expect(abs(float(total)) <= DIGITS, "probabilities of the first token that sum to 1", seen)


@check(
    "Look at the causal mask, at the shift between inputs and targets, and at anything computed from the whole text"
    " besides z: with z given, no token may depend on those after it."
)
@torch.no_grad()
def no_peeking(subject: Subject) -> None:
    """With z given, a later token never changes the probability of earlier ones."""
    with subject.in_precision(torch.float64) as system:
        for row, path in _paths(system, subject):
            ids = subject.texts.ids[row].tolist()
            for length in (2, len(ids) // 2, len(ids) - 1):
                every = next_token(system, subject, path, ids[:length], row).logsumexp(0)
                alone = system.log_likelihood(subject.continuations([ids[:length]], row), path)[0, 0]
                what = f"the first {length - 1} of text {row}'s tokens as likely alone as before all that can follow"
                expect_close(what, every, alone, (), DIGITS)


@check("Look at how `log_likelihood` and `encode` use `batch.condition`.", conditional=True)
@torch.no_grad()
def source_matters(subject: Subject) -> None:
    """Another source gives a text another likelihood."""
    with subject.in_precision(torch.float64) as system:
        batch, rows = subject.batch(), subject.rows
        path = system.encode(batch).sample(1, streams(rows))
        others = subject.texts.conditions([row - 1 for row in rows])
        moved = system.log_likelihood(replace(batch, condition=others), path)
        least = float((moved - system.log_likelihood(batch, path)).abs().min())
        expect(least > 1e-6, "another likelihood of each text beside another source", f"{least:.2g} nats")


@check(
    "`log_likelihood`, `log_p` and `log_q` make the importance weights, all of one sample; look for terms that belong"
    " to another sample, are averaged over samples, or are not those of the same distributions as `kl`."
)
@torch.no_grad()
def rising_bound(subject: Subject) -> None:
    """The importance-weighted bound begins at the ELBO and rises with the samples.

    Averaged over disjoint blocks of samples, the bound of 2k samples is never below that of k (concavity of log).
    """
    system, k = subject.system(), 64
    found = scored(system, subject.texts, k)
    bounds = []
    for size in (1, 2, 4, 8, 16, 32, 64):
        terms = (np.split(term, k // size, axis=1) for term in (found.log_likelihood, found.log_ratio))
        blocks = [replace(found, log_likelihood=one, log_ratio=ratio) for one, ratio in zip(*terms, strict=True)]
        bounds.append(float(np.mean([importance_bound(block) for block in blocks])))
    rises = ", ".join(f"{bound:.6g}" for bound in bounds)
    expect(bool((np.diff(bounds) >= -1e-12).all()), "bounds that never fall from k to 2k samples", rises)
    elbo = float((found.log_likelihood.mean(axis=1) - found.kl.sum(axis=1)).mean())
    error = float(found.log_weights.std(axis=1).mean()) / math.sqrt(k * len(found))
    near = abs(bounds[0] - elbo) <= 5 * error + 1e-9
    expect(near, f"a bound of one sample at the ELBO, {elbo:.6g} nats within 5 x {error:.2g}", f"{bounds[0]:.6g}")
    gain = bounds[-1] - bounds[0]
    if system.groups:
        expect(gain > 0.01, "a bound that gains more than 0.01 nats by 64 samples", f"{gain:.4g}")
    else:
        expect(abs(gain) <= 1e-9, "an exact likelihood, without latents, for any number of samples", f"{gain:.4g} more")


def next_token(system: System, subject: Subject, path: LatentPath, prefix: Sequence[int], row: int) -> Tensor:
    """Returns log p(prefix, v | z, c) of every token v of the vocabulary (V), for a path of one text and sample."""
    size = len(subject.tokenizer)
    batch = subject.continuations([[*prefix, token] for token in range(size)], row)
    return system.log_likelihood(batch, for_each(path, size))[:, 0]


def scored(system: System, texts: TokenizedTexts, k: int, batch_tokens: int = 4000) -> ScoredTexts:
    """Returns what the harness makes of a system."""
    scoring = ScoringSpec(n_importance_samples=k, batch_tokens=batch_tokens)
    return score_texts(system, texts, scoring, "fp32", latent_seed=3)


def _paths(system: System, subject: Subject) -> list[tuple[int, LatentPath]]:
    """Returns a long and a short text, each with one sample of its posterior."""
    path = system.encode(subject.batch()).sample(1, streams(subject.rows))
    return [(row, of_text(path, row)) for row in (0, 1)]
