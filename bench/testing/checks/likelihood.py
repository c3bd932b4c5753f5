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
from bench.testing.expect import Inconclusive, expect, expect_close
from bench.testing.samples import for_every_text, generators, samples_of_text
from bench.testing.system_under_test import LONG, SHORT, TOLERANCE, SystemUnderTest


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
            difference = abs(float(total))
            expect(difference <= TOLERANCE, "probabilities of the first token that sum to 1", seen, difference)


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
            for length in sorted({2, len(ids) // 4, len(ids) // 2, len(ids) - 1} - {0, 1}):
                every = next_token_log_p(system, tested, path, ids[:length], row).logsumexp(0)
                alone = system.log_likelihood(tested.continuations([ids[:length]], row), path)[0, 0]
                what = f"log p of {length - 1} tokens of text {row} equal to that summed over next tokens"
                expect_close(what, every, alone, (), TOLERANCE)


@check(
    "Check what `log_likelihood` sums over: all of `batch.targets` at `batch.predicted`, in texts of any length, with"
    " EOS at the end."
)
@torch.no_grad()
def every_token_counts(tested: SystemUnderTest) -> None:
    """Every token of a text, EOS included, makes the text less probable."""
    with tested.in_precision(torch.float64) as system:
        for row, path in _two_texts(system, tested):
            ids = tested.texts.ids[row].tolist()
            terms = token_log_p(system, tested, path, ids, row)
            token = int(terms.argmax()) + 1
            seen = f"{float(terms.max()):.4g} nats for token {token} of the {len(ids) - 1} of text {row}"
            expect(bool(terms.max() < -TOLERANCE), "log p of each token below 0", seen)


@check(
    "Check the shift between inputs and targets: the state after reading token t, not that of an earlier token,"
    " predicts token t + 1."
)
@torch.no_grad()
def newest_token_is_read(tested: SystemUnderTest) -> None:
    """The probability of a token depends on the token directly before it."""
    with tested.in_precision(torch.float64) as system:
        row, path = _two_texts(system, tested)[0]
        ids = tested.texts.ids[row].tolist()
        other = [ids[0], *((token + 7) % 200 + 40 for token in ids[1:])]
        places = range(1, len(ids) - 1)
        expected = token_log_p(system, tested, path, ids, row)[1:]

        def change(prefixes: list[list[int]]) -> Tensor:
            """Returns by how much log p of every token changes after other prefixes."""
            longer = [[*prefix, ids[len(prefix)]] for prefix in prefixes]
            before, after = (_each_log_likelihood(system, tested, path, texts, row) for texts in (prefixes, longer))
            return (after - before - expected).abs()

        if not bool((change([other[: place + 1] for place in places]) > 1e-6).any()):
            raise Inconclusive("no token depends on the tokens before it")
        least = change([[*ids[:place], other[place]] for place in places])
        place = int(least.argmin()) + 1
        seen = f"a change of {float(least.min()):.2g} nats of token {place + 1} for another token {place}"
        expect(bool((least > TOLERANCE).all()), "a different log p of every token after another token", seen)


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


def token_log_p(system: System, tested: SystemUnderTest, path: LatentPath, ids: Sequence[int], row: int) -> Tensor:
    """Returns log p of every token of a text after BOS, given z and the tokens before it (T - 1)."""
    prefixes = [ids[:stop] for stop in range(2, len(ids) + 1)]
    return _each_log_likelihood(system, tested, path, prefixes, row).diff(prepend=torch.zeros(1, dtype=torch.float64))


def _each_log_likelihood(
    system: System, tested: SystemUnderTest, path: LatentPath, texts: Sequence[Sequence[int]], row: int
) -> Tensor:
    """Returns log p(x | z, c) of some texts, all with the same sample and the source of text ``row``."""
    return system.log_likelihood(tested.continuations(texts, row), for_every_text(path, len(texts)))[:, 0].double()


def score(system: System, texts: TokenizedTexts, k: int, batch_tokens: int = 4000) -> ScoredTexts:
    """Scores texts as the harness does."""
    scoring = ScoringSpec(n_importance_samples=k, batch_tokens=batch_tokens)
    return score_texts(system, texts, scoring, "fp32", latent_seed=3)


def _two_texts(system: System, tested: SystemUnderTest) -> list[tuple[int, LatentPath]]:
    """Returns the rows of a long and a short text, each with one sample of its posterior."""
    path = system.encode(tested.batch()).sample(1, generators(tested.rows))
    return [(row, samples_of_text(path, row)) for row in (LONG, SHORT)]
