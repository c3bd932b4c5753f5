"""A text is the same text alone and in any batch: without that, no number can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bench.batch import Batch
from bench.interface import System
from bench.testing.check import check
from bench.testing.checks.likelihood import scored
from bench.testing.expect import expect, expect_close
from bench.testing.paths import of_text, streams, tensors
from bench.testing.subject import DIGITS, Subject

LOOK = (
    "Look at whatever sums, averages, normalises or pools over positions, and at attention: padding must be masked"
    " (`batch.mask`), no statistic may be taken over the texts of a batch, and a text's noise comes from its own"
    " generator where there is one per text."
)


@check(LOOK)
@torch.no_grad()
def alone_as_in_a_batch(subject: Subject) -> None:
    """A text alone has the posterior, prior and likelihood that it has in a batch."""
    with subject.in_precision(torch.float64) as system:
        together = _looked_at(system, subject.batch(), subject.rows)
        for row in subject.rows:
            alone = _looked_at(system, subject.batch([row]), [row])
            for name, tensor in together.items():
                found = alone[name][0]
                what = f"{name} of text {row} alone as in a batch"
                expect_close(what, found, tensor[row], AXES[: found.dim()], DIGITS, DIGITS)


@check(f"{LOOK} In single precision only: add up log-likelihoods in double, as `bench.backbones` does.")
@torch.no_grad()
def alone_in_single_precision(subject: Subject) -> None:
    """In single precision too a text alone is as likely as in a batch, to 1e-5 nats."""
    system, batch = subject.system(), subject.batch()
    path = system.encode(batch).sample(2, streams(subject.rows))
    together = system.log_likelihood(batch, path)
    for row in subject.rows:
        alone = system.log_likelihood(subject.batch([row]), of_text(path, row))
        what = f"the log-likelihood of text {row} alone as in a batch"
        expect_close(what, alone[0], together[row], ("sample",), 1e-5)


@check(LOOK)
@torch.no_grad()
def padding_is_not_read(subject: Subject) -> None:
    """What stands in the padding has no effect."""
    with subject.in_precision(torch.float64) as system:
        batch, rows = subject.batch(), subject.rows
        found, expected = (_looked_at(system, one, rows) for one in (_other_padding(batch), batch))
        for name, tensor in expected.items():
            what = f"the same {name} with other ids in the padding"
            expect_close(what, found[name], tensor, ("text", *AXES)[: tensor.dim()], DIGITS, DIGITS)


@check(LOOK)
def scored_in_any_portion(subject: Subject) -> None:
    """The harness scores texts alike, one sample at a time or all at once."""
    with subject.in_precision(torch.float64) as system:
        small, large = (scored(system, subject.texts, k=4, batch_tokens=tokens) for tokens in (1, 10_000))
    for name in ("log_likelihood", "log_ratio", "kl", "mean", "mean_noise", "log_q", "log_q_aggregated"):
        found, expected = (torch.from_numpy(getattr(one, name)) for one in (small, large))
        what = f"{name} of texts scored one by one as of all at once"
        expect_close(what, found, expected, ("text", "column")[: found.dim()], DIGITS, DIGITS)


@check(
    "Look at `generate`: prompts of different lengths are padded, and what stands there must be seen by none, nor move"
    " positions; each text's random choices come from its own seed where there is one per text."
)
@torch.no_grad()
def decoded_alone_as_in_a_batch(subject: Subject) -> None:
    """A text decoded alone is the text decoded in a batch, in every way of decoding.

    In double precision, where two scores that differ by rounding are never the two best.
    """
    n = 2
    for name, decoding in subject.decodings().items():
        with subject.in_precision(torch.float64) as system:
            batch, seeds = subject.batch(), list(range(n * len(subject.rows)))
            path = system.encode(batch).sample(n, streams(subject.rows))
            together = system.generate(path, batch.condition, decoding, seeds)
            expect(len(together) == len(seeds), f"{len(seeds)} texts by {name}", f"{len(together)}")
            for row in subject.rows[1::2]:  # those that are padded in the batch
                condition, own = subject.batch([row]).condition, slice(n * row, n * (row + 1))
                alone = system.generate(of_text(path, row), condition, decoding, seeds[own])
                same = alone == together[own]
                expect(same, f"by {name} the same texts of text {row} alone as in a batch, {together[own]}", f"{alone}")


AXES = ("sample", "column")


def _looked_at(system: System, batch: Batch, rows: Sequence[int]) -> dict[str, Tensor]:
    """Returns all that a system says of some texts, each with noise of its own."""
    path = system.encode(batch).sample(2, streams(rows))
    seen = {f"{name} of the posterior": tensor for name, tensor in tensors(path).items()}
    if batch.condition is not None:
        prior = system.sample_prior(2, batch.condition, streams(rows))
        seen |= {f"{name} of the prior": tensor for name, tensor in tensors(prior).items()}
    return seen | {"the log-likelihood": system.log_likelihood(batch, path)}


def _other_padding(batch: Batch) -> Batch:
    """Returns a batch that differs in what stands in the padding only."""
    condition, encoder = (part and _other_padding(part) for part in (batch.condition, batch.encoder))
    return replace(batch, ids=torch.where(batch.mask, batch.ids, 7), condition=condition, encoder=encoder)
