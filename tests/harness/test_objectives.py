"""Objectives in whole runs: every part trains, and what makes no sense for a system is skipped with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.transformer_vae import EmbedVAE
from bench.batch import Batch
from bench.harness.prepare import Prepared, prepare
from bench.harness.run import run
from bench.harness.scoring import score_texts
from bench.harness.train import Trainer
from bench.harness.weights import load_weights
from bench.interface import LatentPath, Posterior, System
from bench.objectives import OBJECTIVES, apply_adaptations, build_stages, resolve_objective, unsupported_reason
from bench.objectives.gradient_flow import GradientFlow
from bench.records.store import RecordStore
from bench.seeds import named_seeds
from bench.specs import RunSpec
from bench.systems import SYSTEMS
from tests.harness.learning_curves import curve

MakeSpec = Callable[..., RunSpec]


def built(prepared: Prepared) -> tuple[System, Batch]:
    system = prepared.system()
    return system, prepared.texts["train"].batch(range(3))


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES.names()) - {"then"}))  # which divides others
@pytest.mark.parametrize("system", ["embed", "della"])
def test_every_part_trains_to_finite_scores(micro: MakeSpec, tmp_path: Path, system: str, name: str) -> None:
    record = run(micro(f"{system}+{name}"), tmp_path)
    assert record.status == "finished", record.reason
    scores = {metric.name: metric.value for metric in record.metrics}
    assert math.isfinite(scores["PPL"])
    rows = curve(tmp_path, record)
    assert len(rows) == 2
    assert all(math.isfinite(value) for row in rows for value in row.values())


@pytest.mark.parametrize("name", [name for name in SYSTEMS.names() if name != "lm"])
@pytest.mark.parametrize("task", ["snli", "quora"])
def test_the_dimensions_of_every_posterior_add_up_to_its_groups(micro: MakeSpec, name: str, task: str) -> None:
    system, batch = built(prepare(micro(name, task)))
    path = system.encode(batch).sample(2, torch.Generator().manual_seed(0))
    assert path.kl_dimensions is not None
    assert tuple(one.shape for one in path.kl_dimensions) == tuple((3, 2, size) for size in system.groups)
    torch.testing.assert_close(torch.stack([one.sum(-1) for one in path.kl_dimensions], dim=-1), path.kl)


@pytest.mark.parametrize("label", ["free-bits", "free-bits:8,per=text", "free-bits:1,per=group"])
def test_free_bits_of_no_latent_variable_are_a_skipped_run(micro: MakeSpec, tmp_path: Path, label: str) -> None:
    record = run(micro(f"lm+{label}"), tmp_path)
    assert (record.status, record.reason) == ("skipped", "free bits need latent variables")
    assert record.metrics == ()
    assert record.model is None


def test_a_loss_of_its_own_parameters_trains_them_and_leaves_the_system_as_it_is(
    micro: MakeSpec, tmp_path: Path
) -> None:
    record = run(micro("embed+bow"), tmp_path / "bow")
    without = run(micro("embed"), tmp_path / "without")
    assert record.model is not None
    assert without.model is not None
    assert record.model.parameters == without.model.parameters
    assert record.model.weights_sha256 != without.model.weights_sha256
    names = [
        set(load_file(RecordStore(out).path(one.spec, one.run_id) / "model.safetensors"))
        for out, one in ((tmp_path / "bow", record), (tmp_path / "without", without))
    ]
    assert names[0] == names[1]
    rows = curve(tmp_path / "bow", record)
    assert rows[-1]["train bow"] < rows[0]["train bow"]
    constant = curve(tmp_path / "constant", run(micro("embed+constant+bow"), tmp_path / "constant"))[-1]
    expected = constant["train rec"] + constant["train kl"] + 0.2 * constant["train bow"]
    assert constant["train loss"] == pytest.approx(expected, rel=1e-6)


def test_a_bag_of_words_of_no_latent_variable_is_a_skipped_run(micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("lm+bow"), tmp_path)
    assert (record.status, record.reason) == ("skipped", "a bag-of-words loss needs latent variables")


@pytest.mark.parametrize(("name", "task"), [("softmax", "snli"), ("della", "snli"), ("della", "quora")])
@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_batch_norm_fixes_the_variance_of_every_groups_means(
    micro: MakeSpec, name: str, task: str, gamma: float
) -> None:
    """Of a training batch, given the sampled ancestors; float32, and epsilon is small beside variances of 1e-4."""
    prepared = prepare(micro(f"{name}+batch-norm:{gamma}", task))
    system = prepared.system(0).train()
    batch = prepared.texts["train"].batch(range(12))
    path = system.encode(batch).sample(1, torch.Generator().manual_seed(0))
    assert len(path.mean) == len(system.groups)
    for mean in path.mean:
        variance = mean.flatten(0, 1).var(0, unbiased=False)
        torch.testing.assert_close(variance, torch.full_like(variance, gamma**2), rtol=1e-3, atol=0)


def test_a_batch_normalised_system_is_scored_alike_from_its_file_and_in_any_batch(
    micro: MakeSpec, tmp_path: Path
) -> None:
    spec = micro("della+batch-norm")
    record = run(spec, tmp_path)
    prepared = prepare(spec)
    system = prepared.system(seed=99)
    load_weights(system, RecordStore(tmp_path).path(record.spec, record.run_id) / "model.safetensors")
    assert all(bool(norm.running_mean.any()) for norm in system.mean_norms)
    seed = named_seeds(spec.seed)["latent"]

    def elbo(batch_tokens: int) -> float:
        scoring = spec.scoring.model_copy(update={"batch_tokens": batch_tokens})
        scored = score_texts(system, prepared.texts["test"], scoring, spec.precision, seed)
        return float((scored.kl.sum(1) - scored.log_likelihood.mean(1)).mean())

    stored = next(metric.value for metric in record.metrics if metric.name == "ELBO")
    assert elbo(spec.scoring.batch_tokens) == stored
    assert elbo(1) == pytest.approx(stored, rel=1e-6)  # float32 forward passes of other shapes


def test_batch_norm_needs_latent_variables_whose_means_it_sees(micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("lm+batch-norm"), tmp_path)
    assert (record.status, record.reason) == ("skipped", "batch norm of posterior means needs latent variables")

    class Elsewhere(EmbedVAE):
        """Does not send its means through ``posterior_mean``."""

        def posterior_mean(self, mean: torch.Tensor, group: int = 0) -> torch.Tensor:
            return mean

    spec = micro("embed+batch-norm")
    system, batch = built(prepare(spec))
    elsewhere = Elsewhere(system.backbone, system.config)
    apply_adaptations(elsewhere, spec.objective)
    stages = build_stages(spec.objective, epochs=2)
    assert unsupported_reason(stages, GradientFlow.of(system, batch)) is None
    reason = unsupported_reason(stages, GradientFlow.of(elsewhere, batch))
    assert reason == "its posterior means do not go through System.posterior_mean"


def test_batch_norm_keeps_the_kl_up(micro: MakeSpec, tmp_path: Path) -> None:
    """At the ELBO's own weight, where it falls else: gamma^2 / 2 nats for each of 32 dimensions, less what varies."""
    kl = {
        label: curve(tmp_path / label, run(micro(label, training={"epochs": 6}), tmp_path / label))[-1]["train kl"]
        for label in ("embed+constant", "embed+constant+batch-norm:1")
    }
    assert kl["embed+constant"] < 4
    assert kl["embed+constant+batch-norm:1"] > 15.9


class Waits(TorchDispatchMode):
    """Counts how often a tensor's value is asked for, which on a GPU waits for all that is under way."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(
    ("system", "objective"),
    [
        ("della", "cyclical+free-bits:0.5,batch_mean=true+bow+batch-norm"),
        ("softmax", "free-bits:8,text,max"),
        ("memory", "li-2019"),
    ],
)
def test_no_step_waits_for_a_value(
    micro: MakeSpec, make_trainer: Callable[[RunSpec], Trainer], system: str, objective: str
) -> None:
    trainer = make_trainer(micro(f"{system}+{objective}"))
    with Waits() as waits:
        logged = trainer.step([trainer.texts["train"].batch([0, 1, 2])], step=0)
    assert waits.count == 0
    with Waits() as waits:
        assert logged.isfinite().all()
    assert waits.count == 1


class Undivided(EmbedVAE):
    """Gives the KL of its group as a whole."""

    def encode(self, batch: Batch) -> Posterior:
        posterior = super().encode(batch)

        class Whole(Posterior):
            def sample(self, n: int, generator: Any) -> LatentPath:
                return replace(posterior.sample(n, generator), kl_dimensions=None)

            def log_prob(self, path: LatentPath) -> torch.Tensor:
                return posterior.log_prob(path)

        return Whole()


def test_free_bits_per_dimension_of_a_posterior_without_dimensions_have_a_reason(micro: MakeSpec) -> None:
    prepared = prepare(micro("embed"))
    system, batch = built(prepared)
    undivided = Undivided(system.backbone, system.config)
    trial = GradientFlow.of(undivided, batch)
    reasons = [
        unsupported_reason(build_stages(resolve_objective([label]), 1), trial)
        for label in ("free-bits", "free-bits:1,per=group", "free-bits:1,per=text")
    ]
    assert reasons == [
        "free bits per dimension need a posterior that gives the KL of every dimension (kl_dimensions)",
        None,
        None,
    ]


def test_a_threshold_that_everything_is_under_trains_without_the_kl(micro: MakeSpec, tmp_path: Path) -> None:
    """With a mask over all of it the weights are those of an autoencoder; the raw KL is logged all the same."""
    masked = run(micro("embed+constant+free-bits:1e6"), tmp_path / "masked")
    unweighted = run(micro("embed+constant:0"), tmp_path / "unweighted")
    assert masked.model is not None
    assert unweighted.model is not None
    assert masked.model.weights_sha256 == unweighted.model.weights_sha256
    row = curve(tmp_path / "masked", masked)[-1]
    assert row["train kl"] > 0
    assert row["train loss"] == pytest.approx(row["train rec"], rel=1e-12)
