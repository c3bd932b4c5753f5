"""Stages in training: each trains like a run of its own, the decoder begins anew where asked, the last one counts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.harness import train
from bench.harness.prepare import prepare
from bench.harness.run import run
from bench.harness.validation import Validation
from bench.harness.weights import weights
from bench.interface import LatentPath
from bench.objectives.gradient_flow import GradientFlow
from bench.specs import RunSpec
from tests.harness.learning_curves import curve

MakeSpec = Callable[..., RunSpec]
MakeTrainer = Callable[[RunSpec], train.Trainer]


def test_a_first_stage_trains_what_its_objective_alone_would(micro: MakeSpec, tmp_path: Path) -> None:
    epochs = {"training": {"epochs": 3}}
    staged = run(micro("embed+constant:0+then:0.34+constant:0.5", **epochs), tmp_path / "staged")
    alone = run(micro("embed+constant:0", **epochs), tmp_path / "alone")
    rows, row = curve(tmp_path / "staged", staged), curve(tmp_path / "alone", alone)[0]
    assert rows[0] == row
    assert [(row["stage"], row["beta"]) for row in rows] == [(1, 0.0), (2, 0.5), (2, 0.5)]
    last = rows[-1]
    assert last["train loss"] == pytest.approx(last["train rec"] + 0.5 * last["train kl"], rel=1e-6)


def test_only_epochs_of_the_last_stage_are_candidates(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(micro("embed+constant:0+then:0.5+constant", training={"epochs": 4}))
    results = iter([(1.0, 0.0), (2.0, 0.0), (5.0, 0.0), (4.0, 0.0)])
    monkeypatch.setattr(Validation, "rec_and_kl", lambda self: next(results))
    progress = trainer.run()
    assert (progress.best_epoch, progress.best) == (4, 4.0)


def snapshot(trainer: train.Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in weights(trainer.system).items()}


@pytest.mark.parametrize("name", ["embed", "della"])
def test_the_decoder_begins_anew_with_its_stage_and_nothing_else_does(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trainer = make_trainer(micro(f"{name}+constant:0+then:0.5,reset=decoder+constant", training={"epochs": 4}))
    before = snapshot(trainer)
    decoder = set(trainer.initial_decoder)
    seen: list[int] = []
    reset = trainer.reset_decoder

    def checked() -> None:
        seen.append(trainer.progress.step)
        trained = snapshot(trainer)
        assert all(not trained[name].equal(before[name]) for name in decoder)
        reset()
        after = snapshot(trainer)
        assert all(after[name].equal((before if name in decoder else trained)[name]) for name in after)
        known = {name for name, p in trainer.system.named_parameters() if trainer.optimizer.state.get(p)}
        assert known.isdisjoint(decoder)
        assert known

    monkeypatch.setattr(trainer, "reset_decoder", checked)
    trainer.run()
    assert seen == [2 * trainer.steps_per_epoch]
    assert all(trainer.optimizer.state[p] for p in trainer.system.parameters())


@pytest.mark.parametrize(
    ("name", "task"), [("embed", "snli"), ("della", "snli"), ("softmax", "quora"), ("della", "quora")]
)
def test_what_one_side_alone_uses_is_what_moves_its_distribution_alone(micro: MakeSpec, name: str, task: str) -> None:
    """Every parameter is moved in turn, and posterior, prior and likelihood are looked at."""
    prepared = prepare(micro(name, task))
    system = prepared.system(0)
    batch = prepared.texts["train"].batch(range(2))
    flow = GradientFlow.of(system, batch)
    found = flow.encoder_only(), flow.decoder_only()

    @torch.no_grad()
    def terms() -> tuple[list[Tensor], list[Tensor], Tensor]:
        path = system.encode(batch).sample(1, torch.Generator().manual_seed(0))
        prior = system.sample_prior(1, batch.condition, torch.Generator().manual_seed(0))
        return flat(path), flat(prior), system.log_likelihood(batch, flow.path)

    encoder: set[str] = set()
    decoder: set[str] = set()
    posterior, prior, likelihood = terms()
    for parameter_name, parameter in system.named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter))
        moved_posterior, moved_prior, moved_likelihood = terms()
        with torch.no_grad():
            parameter.copy_(kept)
        moves = [not all(map(torch.equal, *pair)) for pair in ((posterior, moved_posterior), (prior, moved_prior))]
        moves.append(not torch.equal(likelihood, moved_likelihood))
        if moves == [True, False, False]:
            encoder.add(parameter_name)
        if moves == [False, False, True]:
            decoder.add(parameter_name)
    assert tuple(map(set, found)) == (encoder, decoder)
    assert encoder
    assert decoder


def flat(path: LatentPath) -> list[Tensor]:
    return [*path.mean, path.log_q, path.log_p]


def test_a_validation_that_is_no_number_leaves_no_row(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(micro("embed", training={"epochs": 3}))
    results = iter([(3.0, 1.0), (math.nan, 1.0)])
    monkeypatch.setattr(Validation, "rec_and_kl", lambda self: next(results))
    progress = trainer.run()
    assert progress.diverged
    assert [row["epoch"] for row in progress.curve] == [1]
    json.dumps(progress.curve, allow_nan=False)
