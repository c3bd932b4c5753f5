"""Aggressive encoder updates against the algorithm written out with an optimizer for each side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from baselines.transformer_vae import EmbedVAE
from bench.batch import Batch, batches_of_similar_length
from bench.harness import train
from bench.harness.prepare import prepare
from bench.harness.run import run
from bench.harness.validation import Validation
from bench.harness.weights import weights
from bench.interface import LatentPath
from bench.latents import GaussianPosterior
from bench.objectives import build_stages, unsupported_reason
from bench.objectives.gradient_flow import GradientFlow
from bench.seeds import derive_seed, named_seeds
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]
MakeTrainer = Callable[[RunSpec], train.Trainer]


def adamw(parameters: list[torch.nn.Parameter], spec: RunSpec) -> torch.optim.AdamW:
    decay = [{"params": [p], "weight_decay": spec.training.weight_decay * (p.dim() > 1)} for p in parameters]
    return torch.optim.AdamW(decay, lr=spec.training.learning_rate, fused=True)


def test_an_epoch_is_the_algorithm(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    """He et al. (2019): the encoder until its burn-in loss does not fall, then the decoder, by two optimizers."""
    look, at_most, beta = 2, 7, 0.7
    spec = micro(
        f"embed+constant:{beta}+aggressive:look={look},at_most={at_most}", training={"epochs": 1, "warmup": 0.0}
    )
    prepared, trainer, seeds = prepare(spec), make_trainer(spec), named_seeds(spec.seed)
    texts = prepared.texts["train"]
    by_hand = prepared.system().train()
    encoder = [by_hand.posterior.weight, by_hand.posterior.bias]
    decoder = [p for p in by_hand.parameters() if all(p is not one for one in encoder)]
    optimizers = adamw(encoder, spec), adamw(decoder, spec)

    def gradients(indices: list[int], *path: int) -> float:
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.manual_seed(derive_seed(seeds["dropout"], *path))
        noise = torch.Generator().manual_seed(derive_seed(seeds["latent"], *path))
        batch = texts.batch(indices)
        sample = by_hand.encode(batch).sample(1, noise)
        loss = (beta * sample.kl.double().sum(-1) - by_hand.log_likelihood(batch, sample)).sum()
        (loss / spec.training.batch_tokens).backward()
        torch.nn.utils.clip_grad_norm_(list(by_hand.parameters()), spec.training.clip_norm or math.inf)
        return loss.item()

    rng = np.random.Generator(np.random.PCG64(derive_seed(seeds["data"], 0)))
    batches = batches_of_similar_length(texts.lengths, spec.training.batch_tokens, rng)
    updates = []
    for step, indices in enumerate(batches):
        draws = np.random.Generator(np.random.PCG64(derive_seed(seeds["data"], "inner", step)))
        burn_in, previous, tokens, number = 0.0, math.inf, 0.0, 0
        present = indices
        while number < at_most:
            number += 1
            burn_in += gradients(present, step, number)
            tokens += sum(len(texts.ids[index]) - 1 for index in present)
            optimizers[0].step()
            if number % look == 0:
                if burn_in / tokens >= previous:
                    break
                burn_in, previous, tokens = 0.0, burn_in / tokens, 0.0
            present = batches[draws.integers(len(batches))]
        updates.append(number)
        gradients(indices, step)
        optimizers[1].step()

    progress = trainer.run()
    assert progress.curve[0]["inner updates"] == sum(updates)
    assert len(set(updates)) > 1
    expected = weights(by_hand)
    for name, tensor in weights(trainer.system).items():
        assert tensor.equal(expected[name]), name


@pytest.mark.parametrize(
    ("losses", "updates"),
    [
        ([5.0, 5.0, 4.0, 4.0, 4.5, 4.5], 6),
        ([5.0, 5.0, 5.0, 5.0], 4),
        ([9.0, 1.0, 1.0, 8.9, 1.0, 8.8, 1.0, 8.7], 8),
        ([math.nan] * 4, 2),
    ],
)
def test_the_encoder_has_caught_up_when_a_look_finds_no_lower_loss(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, losses: list[float], updates: int
) -> None:
    """Looked at in pairs; the losses are those of equal batches."""
    trainer = make_trainer(micro("embed+aggressive:look=2,at_most=8"))
    trainer.batches = [[0]]
    seen: list[int] = []

    def scripted(batch: Sequence[Batch], step: int, *draw: int, frozen: Any = ()) -> Tensor:
        seen.extend(draw)
        return torch.tensor([losses[len(seen) - 1] if draw else 0.0])

    monkeypatch.setattr(trainer, "_update", scripted)
    trainer.progress.inner_loop = True
    trainer.step([trainer.texts["train"].batch([0])], step=3)
    assert seen == list(range(1, updates + 1))
    assert trainer.progress.inner_updates == updates


def test_once_mutual_information_stops_rising_training_is_plain_for_good(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(micro("embed+aggressive:look=1,at_most=2", training={"epochs": 5}))
    values = iter([0.5, 0.7, 0.7])
    monkeypatch.setattr(Validation, "mutual_information", lambda self: next(values))
    curve = trainer.run().curve
    assert [row.get("valid MI") for row in curve] == [0.5, 0.7, 0.7, None, None]
    assert [bool(row.get("inner updates")) for row in curve] == [True, True, True, False, False]
    assert not trainer.progress.inner_loop


def test_every_stage_catches_up_anew(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "embed+aggressive:look=1,at_most=1+then:0.34+constant+then:0.34+constant+aggressive:look=1,at_most=1"
    trainer = make_trainer(micro(label, training={"epochs": 3}))
    monkeypatch.setattr(Validation, "mutual_information", lambda self: 1.0)
    assert ["valid MI" in row for row in trainer.run().curve] == [True, False, True]


def test_mutual_information_is_that_of_all_validation_texts(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    """log q(z | x) - log of the average of q(z | x') over all texts, by torch's densities; float32 posteriors."""
    spec = micro("embed+aggressive")
    prepared, trainer = prepare(spec), make_trainer(spec)
    with torch.no_grad():
        trainer.system.posterior.weight.mul_(20.0)  # else texts hardly differ
        texts = prepared.texts["valid"]
        posteriors, samples = [], []
        for index in range(len(texts)):
            batch = texts.batch([index])
            noise = [torch.Generator().manual_seed(derive_seed(trainer.seeds["latent"], "valid", index))]
            q = trainer.system.eval().encode(batch)
            assert isinstance(q, GaussianPosterior)
            posteriors.append(Independent(Normal(q.q.mean.double(), (q.q.log_variance.double() / 2).exp()), 1))
            samples.append(q.sample(1, noise).z[0][:, 0].double())
        terms = []
        for own, z in zip(posteriors, samples, strict=True):
            under_all = torch.stack([one.log_prob(z) for one in posteriors])
            terms.append(own.log_prob(z) - under_all.logsumexp(0) + math.log(len(texts)))
    expected = float(torch.cat(terms).mean())
    assert expected > 0.1
    assert trainer.validation.mutual_information() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "task", "encoder"),
    [
        ("embed", "snli", {"posterior.weight", "posterior.bias"}),
        (
            "softmax:representation=attention_pool",
            "snli",
            {"posterior.weight", "posterior.bias", "pooling.attention_weights"},
        ),
        ("della", "snli", {"hierarchy.posterior.0.weight", "hierarchy.posterior.1.weight"}),
        (
            "della+batch-norm",
            "quora",
            {
                f"{name}.{group}.{kind}"
                for name, kind in (("hierarchy.posterior", "weight"), ("mean_norms", "shift"))
                for group in (0, 1)
            },
        ),
    ],
)
def test_what_only_the_encoder_uses_on_a_shared_stack(micro: MakeSpec, name: str, task: str, encoder: set[str]) -> None:
    prepared = prepare(micro(name, task))
    batch = prepared.texts["train"].batch([0])
    assert GradientFlow.of(prepared.system(0), batch).encoder_only() == encoder


def test_a_system_without_latent_variables_is_skipped(micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("lm+aggressive"), tmp_path)
    assert (record.status, record.reason) == ("skipped", "aggressive updates need latent variables")


class Entangled(EmbedVAE):
    """Its decoder uses all that its encoder has."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path) + 0.0 * (self.posterior.weight.sum() + self.posterior.bias.sum())


def test_an_encoder_without_weights_of_its_own_has_a_reason(micro: MakeSpec) -> None:
    prepared = prepare(micro("embed+aggressive"))
    system = prepared.system(0)
    entangled = Entangled(system.backbone, system.config)
    batch = prepared.texts["train"].batch([0])
    stages = build_stages(prepared.spec.objective, epochs=2)
    assert unsupported_reason(stages, GradientFlow.of(system, batch)) is None
    reason = unsupported_reason(stages, GradientFlow.of(entangled, batch))
    assert reason == "the encoder alone uses no parameter, so there is nothing to update"
