"""Results for a text do not depend on the other texts of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bench.batch import Batch
from bench.interface import System
from bench.testing.check import check
from bench.testing.checks.likelihood import score
from bench.testing.expect import expect, expect_close
from bench.testing.samples import generators, named_tensors, samples_of_text
from bench.testing.system_under_test import TOLERANCE, SystemUnderTest

HINT = (
    "Check attention and every sum, mean, norm or pooling over positions: padding must be masked (`batch.mask`), no"
    " statistic may be taken over the texts of a batch, and with one generator per text, the noise of a text must come"
    " from its own generator."
)


@check(HINT)
@torch.no_grad()
def alone_as_in_a_batch(tested: SystemUnderTest) -> None:
    """A text has the same posterior, prior and likelihood alone and in a batch."""
    with tested.in_precision(torch.float64) as system:
        together = _all_outputs(system, tested.batch(), tested.rows)
        for row in tested.rows:
            alone = _all_outputs(system, tested.batch([row]), [row])
            for name, tensor in together.items():
                actual = alone[name][0]
                what = f"{name} of text {row} alone equal to that in a batch"
                expect_close(what, actual, tensor[row], AXES[: actual.dim()], TOLERANCE, TOLERANCE)


ULPS = 64
"""Units in the last place by which two orders of summation in a network may move a log-probability.

They are units of the log-likelihood, plus one nat for each token: the logits may be large where log p is small.
"""


@check(f"{HINT} This check uses float32, and allows {ULPS} units in the last place of the log-likelihood.")
@torch.no_grad()
def alone_in_single_precision(tested: SystemUnderTest) -> None:
    """In float32, a text has the same likelihood alone and in a batch, up to rounding."""
    system, batch, unit = tested.system(), tested.batch(), ULPS * torch.finfo(torch.float32).eps
    path = system.encode(batch).sample(2, generators(tested.rows))
    together = system.log_likelihood(batch, path)
    for row in tested.rows:
        alone = system.log_likelihood(tested.batch([row]), samples_of_text(path, row))
        what = f"the log-likelihood of text {row} alone equal to that in a batch"
        expect_close(what, alone[0], together[row], ("sample",), unit * len(tested.texts.ids[row]), unit)


@check(HINT)
@torch.no_grad()
def padding_is_not_read(tested: SystemUnderTest) -> None:
    """Token ids in the padding have no effect."""
    with tested.in_precision(torch.float64) as system:
        batch, rows = tested.batch(), tested.rows
        changed, expected = (_all_outputs(system, each, rows) for each in (_with_other_padding(batch), batch))
        for name, tensor in expected.items():
            what = f"the same {name} with other ids in the padding"
            expect_close(what, changed[name], tensor, ("text", *AXES)[: tensor.dim()], TOLERANCE, TOLERANCE)


@check(HINT)
def scored_in_any_portion(tested: SystemUnderTest) -> None:
    """Scores do not depend on how many samples and texts are computed at once."""
    with tested.in_precision(torch.float64) as system:
        small, large = (score(system, tested.texts, k=4, batch_tokens=tokens) for tokens in (1, 10_000))
    for name in ("log_likelihood", "log_ratio", "kl", "mean", "mean_noise", "log_q", "log_q_aggregated"):
        actual, expected = (torch.from_numpy(getattr(terms, name)) for terms in (small, large))
        what = f"{name} with one text at a time equal to that with all at once"
        expect_close(what, actual, expected, ("text", "column")[: actual.dim()], TOLERANCE, TOLERANCE)


@check(
    "Check `generate`: the padding of prompts of different lengths must not be attended to or shift positions; with one"
    " seed per text, the random choices of a text must come from its own seed."
)
@torch.no_grad()
def decoded_alone_as_in_a_batch(tested: SystemUnderTest) -> None:
    """A text decoded alone equals the text decoded in a batch, for every decoding.

    In float64, so that rounding never changes which token is the best.
    """
    n = 2
    for name, decoding in tested.decodings().items():
        with tested.in_precision(torch.float64) as system:
            batch, seeds = tested.batch(), list(range(n * len(tested.rows)))
            path = system.encode(batch).sample(n, generators(tested.rows))
            together = system.generate(path, batch.condition, decoding, seeds)
            expect(len(together) == len(seeds), f"{len(seeds)} texts with {name}", f"{len(together)}")
            for row in tested.rows[1::2]:  # these are padded in the batch
                condition, own = tested.batch([row]).condition, slice(n * row, n * (row + 1))
                alone = system.generate(samples_of_text(path, row), condition, decoding, seeds[own])
                same = alone == together[own]
                expect(
                    same,
                    f"text {row} decoded alone with {name} as in a batch, {together[own]}",
                    f"{alone}",
                )


AXES = ("sample", "column")


def _all_outputs(system: System, batch: Batch, rows: Sequence[int]) -> dict[str, Tensor]:
    """Returns samples, terms and likelihoods of some texts, with one generator per text."""
    path = system.encode(batch).sample(2, generators(rows))
    seen = {f"{name} of the posterior": tensor for name, tensor in named_tensors(path).items()}
    if batch.condition is not None:
        prior = system.sample_prior(2, batch.condition, generators(rows))
        seen |= {f"{name} of the prior": tensor for name, tensor in named_tensors(prior).items()}
    return seen | {"the log-likelihood": system.log_likelihood(batch, path)}


def _with_other_padding(batch: Batch) -> Batch:
    """Returns a batch with different token ids in the padding."""
    condition, encoder = (part and _with_other_padding(part) for part in (batch.condition, batch.encoder))
    return replace(batch, ids=torch.where(batch.mask, batch.ids, 7), condition=condition, encoder=encoder)
