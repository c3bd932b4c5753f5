"""Training: what is optimised, what is logged, which weights are kept, and that a number that is none is noticed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.harness import train
from bench.harness.run import run
from bench.harness.validation import Validation
from bench.harness.weights import weights
from bench.records.schema import Record
from bench.records.store import load_runs
from bench.report import build_table, render_table
from bench.specs import RunSpec
from tests.harness.learning_curves import curve

MakeSpec = Callable[..., RunSpec]
MakeTrainer = Callable[[RunSpec], train.Trainer]


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_raw_terms_are_logged_whatever_is_optimised(micro: MakeSpec, tmp_path: Path, beta: float) -> None:
    record = run(micro(f"della+constant:{beta}"), tmp_path)
    rows = curve(tmp_path, record)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["step"] == record.training["steps"]
    for row in rows:
        assert row["beta"] == beta
        assert row["train kl"] > 0
        # float32 sums of two groups.
        assert row["train kl"] == pytest.approx(row["train kl[1]"] + row["train kl[2]"], rel=1e-6)
        assert row["train loss"] == pytest.approx(row["train rec"] + beta * row["train kl"], rel=1e-6)
        assert row["valid ELBO"] == row["valid Rec"] + row["valid KL"]


def test_what_is_logged_does_not_depend_on_the_weight_before_the_first_step(
    micro: MakeSpec, make_trainer: MakeTrainer
) -> None:
    """Equal seeds, other objectives: the first step sees the same raw terms and another loss."""
    logged = []
    for objective in ("constant:1", "constant:0.1", "mean-groups"):
        trainer = make_trainer(micro(f"della+{objective}"))
        trainer.system.train()
        logged.append(trainer.step([trainer.texts["train"].batch([0, 1, 2])], step=0))
    assert logged[0][1:].equal(logged[1][1:])
    assert logged[0][1:].equal(logged[2][1:])
    loss, rec, kl = (float(value) for value in logged[1][:3])
    assert loss == pytest.approx(rec + 0.1 * kl, rel=1e-6)
    assert float(logged[2][0]) == pytest.approx(rec + kl / 2, rel=1e-6)


def test_the_learning_rate_warms_up_and_stays(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(micro("lm", training={"learning_rate": 1e-3, "warmup": 0.5}))
    rates: list[float] = []
    trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    trainer.run()
    n = trainer.total_steps
    assert len(rates) == n == 10
    assert rates == pytest.approx([1e-3 * min(1.0, (step + 1) / (0.5 * n)) for step in range(n)], rel=1e-12)


@pytest.mark.parametrize(("clip_norm", "clipped"), [(1e-3, True), (1e6, False), (None, False)])
def test_gradients_are_scaled_down_to_the_norm_and_never_up(
    micro: MakeSpec, make_trainer: MakeTrainer, clip_norm: float | None, clipped: bool
) -> None:
    trainer = make_trainer(micro("embed", training={"clip_norm": clip_norm, "epochs": 1}))
    norms: list[float] = []

    def measure(*_: object) -> None:
        norms.append(math.hypot(*(float(p.grad.norm()) for p in trainer.system.parameters() if p.grad is not None)))

    trainer.optimizer.register_step_pre_hook(measure)
    trainer.run()
    assert len(norms) == trainer.total_steps
    if clipped:
        assert norms == pytest.approx([clip_norm] * len(norms), rel=1e-3)  # torch divides by the norm + 1e-6
    else:
        assert all(1e-3 < norm < 1e6 for norm in norms)


def test_only_matrices_decay(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(micro("della", training={"weight_decay": 0.25}))
    decay = {id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(trainer.system.parameters()))
    for name, parameter in trainer.system.named_parameters():
        assert decay[id(parameter)] == (0.25 if parameter.dim() > 1 else 0.0), name


def test_the_weights_of_the_best_epoch_are_kept(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(micro("embed", training={"epochs": 4}))
    seen: list[dict[str, torch.Tensor]] = []
    results = iter([(5.0, 1.0), (3.0, 0.5), (3.5, 0.0), (3.0, 0.75)])

    def validate(self: Validation) -> tuple[float, float]:
        seen.append({name: tensor.clone() for name, tensor in weights(trainer.system).items()})
        return next(results)

    monkeypatch.setattr(Validation, "rec_and_kl", validate)
    progress = trainer.run()
    assert (progress.best_epoch, progress.best) == (2, 3.5)  # the first of the two that are equal
    kept = weights(trainer.system)
    assert all(kept[name].equal(tensor) for name, tensor in seen[1].items())
    assert not all(kept[name].equal(tensor) for name, tensor in seen[3].items())


@pytest.mark.parametrize(
    ("objective", "elbos", "best_epoch", "epochs"),
    [
        ("constant", [5, 4, 4, 4.5, 3], 2, 4),  # two epochs without a better one
        ("constant", [5, 4, 4, 3, 3, 2, 2, 2, 1], 6, 8),
        ("constant", [9, 8, 7, 6, 5, 4, 3, 2, 1], 9, 9),
        ("two-epoch-cycle", [9, 5, 8, 5, 8, 5, 1, 1, 1], 2, 6),  # odd epochs end with a small KL weight
        ("constant+then:0.5+constant", [1, 1, 1, 1, 5, 4, 4, 4, 3], 6, 8),  # only the last stage counts
    ],
)
def test_training_ends_when_the_validation_elbo_stops_falling(
    micro: MakeSpec,
    make_trainer: MakeTrainer,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    elbos: list[float],
    best_epoch: int,
    epochs: int,
) -> None:
    spec = micro(f"embed+{objective}", training={"epochs": 9, "patience": 2})
    results = iter(elbos)
    monkeypatch.setattr(Validation, "rec_and_kl", lambda validation: (next(results), 0.0))
    progress = make_trainer(spec).run()
    assert (progress.best_epoch, len(progress.curve)) == (best_epoch, epochs)
    # A run whose process died after its last epoch resumes from the checkpoint and ends there too.
    assert len(make_trainer(spec).run().curve) == epochs


def test_validation_does_not_depend_on_the_batches_nor_on_when_it_happens(
    micro: MakeSpec, make_trainer: MakeTrainer
) -> None:
    spec = micro("della")
    small = make_trainer(spec.model_copy(update={"training": spec.training.model_copy(update={"batch_tokens": 1})}))
    large = make_trainer(spec)
    once = large.validation.rec_and_kl()
    assert large.validation.rec_and_kl() == once
    torch.manual_seed(99)
    assert large.validation.rec_and_kl() == once
    assert small.validation.rec_and_kl() == pytest.approx(once, rel=1e-6)  # float32 forward passes of other shapes


def diverging(name: str) -> dict[str, Any]:
    return {"training": {"learning_rate": 1e30}} if name == "lm" else {}


@pytest.fixture(params=["lm", "nan-loss"])
def diverged(request: pytest.FixtureRequest, micro: MakeSpec, tmp_path: Path, odd_systems: None) -> Record:
    """A real system at an absurd learning rate, and one whose loss stops being a number."""
    return run(micro(request.param, **diverging(request.param)), tmp_path)


def test_a_diverged_run_is_recorded_as_such(
    diverged: Record, tmp_path: Path, files_of: Callable[[Path], set[str]]
) -> None:
    assert diverged.status == "diverged"
    assert diverged.reason is not None
    assert "not finite" in diverged.reason
    assert diverged.metrics == ()
    assert diverged.model is not None
    assert diverged.model.weights_sha256 is None
    assert "checkpoint.safetensors" not in files_of(tmp_path)
    (stored,) = load_runs([tmp_path])
    assert stored.record == diverged


def test_a_loss_that_is_no_number_is_noticed_at_the_next_look(
    micro: MakeSpec, make_trainer: MakeTrainer, odd_systems: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs have five steps; the seventh step fails, and is looked at together with the sixth."""
    monkeypatch.setattr(train, "STEPS_BETWEEN_SUMS", 2)
    progress = make_trainer(micro("nan-loss", training={"epochs": 4})).run()
    assert (progress.step, len(progress.curve)) == (7, 1)
    said = re.fullmatch(
        r"the loss was not finite at step 7; .* terms, in nats per text: loss ([\d.]+), rec ([\d.]+), kl 0",
        progress.diverged,
    )
    assert said is not None
    assert 50 < float(said[1]) == float(said[2]) < 1000


def test_out_of_memory_halves_the_micro_batches_once(micro: MakeSpec, tmp_path: Path, odd_systems: None) -> None:
    """Steps are those of the whole batch; a second time is a failure."""
    halved = run(micro("greedy", training={"batch_tokens": 256}), tmp_path / "halved")
    told = run(micro("greedy", training={"batch_tokens": 256, "micro_batch_tokens": 128}), tmp_path / "told")
    assert halved.training["micro_batch_tokens"] == 128
    assert "micro_batch_tokens" not in told.training
    assert halved.training["steps"] == told.training["steps"]
    assert halved.model == told.model
    assert halved.training_id != told.training_id
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run(micro("greedy", training={"batch_tokens": 1024}), tmp_path / "too much")
    (failed,) = load_runs([tmp_path / "too much"])
    assert failed.record.status == "failed"


def test_a_diverged_run_is_shown_as_such(diverged: Record, micro: MakeSpec, tmp_path: Path) -> None:
    finished = run(micro("embed"), tmp_path / "finished")
    table = build_table([finished, diverged], allow_mixed=True)
    for form in ("md", "term", "csv"):
        text = render_table(table, form)
        assert "diverged" in text
        assert "nan" not in text.lower().replace("nan-loss", "")


def test_a_diverged_run_is_not_run_again(
    diverged: Record, micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(train, "Trainer")
    label = diverged.label
    assert run(micro(label, **diverging(label)), tmp_path) == diverged
