"""Training in less memory: passes over parts of a batch, and activations that are computed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import latents
from bench.backbones import TransformerStack
from bench.batch import Batch, batches_of_similar_length
from bench.harness.batches import micro_batches_on_device
from bench.harness.run import run
from bench.harness.train import Trainer
from bench.harness.weights import weights
from bench.interface import LatentPath
from bench.specs import RunSpec
from della import latents as della_latents

MakeSpec = Callable[..., RunSpec]
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def _no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every latent sample its mean: a part of a batch does not draw what the whole batch would."""

    def none(batch: int, n: int, size: int, generator: object, like: Tensor) -> Tensor:
        return like.new_zeros(batch, n, size)

    for module in (latents, della_latents):
        monkeypatch.setattr(module, "draw_noise", none)


def in_float64(trainer: Trainer) -> Trainer:
    trainer.system.double()
    return trainer


@pytest.mark.usefixtures("_no_noise")
@pytest.mark.parametrize("batch", [{}, {"batch_texts": 9}], ids=str)
@pytest.mark.parametrize("label", ["lm", "embed", "della+cyclical", "embed+aggressive:look=2,at_most=6"])
def test_steps_of_several_passes_are_those_of_one(
    micro: MakeSpec, make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, label: str, batch: dict[str, int]
) -> None:
    """Without anything random, in float64; AdamW makes as much of a tiny gradient's rounding as of a large one's."""
    whole, parts = (
        in_float64(make_trainer(micro(label, backbone={"dropout": 0.0}, training=batch | training), name))
        for name, training in (("whole", {}), ("parts", {"micro_batch_tokens": 64}))
    )
    passes = 0
    log_likelihood = parts.system.log_likelihood

    def counted(batch: Batch, path: LatentPath) -> Tensor:
        nonlocal passes
        passes += parts.system.training
        return log_likelihood(batch, path)

    monkeypatch.setattr(parts.system, "log_likelihood", counted)
    expected, found = whole.run(), parts.run()
    assert (found.step, found.tokens) == (expected.step, expected.tokens)
    assert passes > 2 * found.step
    for row, of_whole in zip(found.curve, expected.curve, strict=True):
        assert row == pytest.approx(of_whole, rel=1e-9)
    of_whole = weights(whole.system)
    for name, tensor in weights(parts.system).items():
        torch.testing.assert_close(tensor, of_whole[name], rtol=1e-6, atol=1e-8)


def test_a_batch_is_divided_into_passes_within_the_budget(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    budget = 30
    trainer = make_trainer(micro("lm", training={"micro_batch_tokens": budget}))
    texts = trainer.texts["train"]
    assert texts.lengths.max() > budget
    batches = batches_of_similar_length(texts.lengths, trainer.spec.batch_tokens)
    with closing(micro_batches_on_device(texts, batches, budget, trainer.device)) as loaded:
        for indices, parts in zip(batches, loaded, strict=True):
            assert all(part.ids.numel() <= budget or len(part) == 1 for part in parts)
            ids = [one[mask].tolist() for part in parts for one, mask in zip(part.ids, part.mask, strict=True)]
            assert sorted(ids) == sorted(texts.ids[index].tolist() for index in indices)


def test_a_batch_may_be_a_number_of_texts(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    """All texts in each epoch, in another order; the number of steps, the divisor of the loss and the curve fit."""
    trainer = make_trainer(micro("lm", training={"batch_texts": 7, "epochs": 2}))
    texts = trainer.texts["train"]
    batches: list[list[tuple[int, ...]]] = []
    take_steps = trainer.take_steps

    def noted(steps: Iterable[Sequence[Batch]]) -> None:
        taken = list(steps)
        batches.extend(sorted(ids for part in step for ids in map(tuple, part.unpadded())) for step in taken)
        take_steps(taken)

    trainer.take_steps = noted  # type: ignore[assignment, method-assign]
    progress = trainer.run()
    half = -(-len(texts) // 7)
    assert progress.step == trainer.total_steps == len(batches) == 2 * half
    every = sorted(map(tuple, texts.ids.tolist()))
    for epoch in (batches[:half], batches[half:]):
        assert sorted(len(batch) for batch in epoch)[1:] == [7] * (half - 1)
        assert sorted(text for batch in epoch for text in batch) == every
    assert batches[:half] != batches[half:]
    assert trainer.divisor == pytest.approx(7 * sum(map(len, every)) / len(every))


def test_without_a_budget_a_batch_is_one_pass(micro: MakeSpec, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(micro("lm"))
    texts = trainer.texts["train"]
    batches = batches_of_similar_length(texts.lengths, trainer.spec.batch_tokens)
    with closing(micro_batches_on_device(texts, batches, None, trainer.device)) as loaded:
        assert [[len(part) for part in parts] for parts in loaded] == [[len(indices)] for indices in batches]


each_stack = pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("della", "decoder-only"),
        ("memory", "decoder-only"),
        ("della", "encoder-decoder"),
        ("memory", "encoder-decoder"),
        ("optimus", "decoder-only"),  # behind a BERT of its own
    ],
)


def dropping(micro: MakeSpec, label: str, kind: str, layers: int = 2, **training: Any) -> RunSpec:
    task = "quora" if kind == "encoder-decoder" else "snli"
    return micro(label, task, backbone={"kind": kind, "layers": layers, "dropout": 0.2}, training=training)


@each_stack
def test_activations_computed_anew_are_the_same(micro: MakeSpec, tmp_path: Path, label: str, kind: str) -> None:
    """To the last bit, with dropout: each block drops anew what it dropped."""
    kept, anew = (
        run(dropping(micro, label, kind, activation_checkpointing=recompute), tmp_path / str(recompute))
        for recompute in (False, True)
    )
    assert kept.model is not None
    assert kept.model.weights_sha256 is not None
    assert kept.model == anew.model
    assert kept.metrics == anew.metrics


def bytes_kept(trainer: Trainer, indices: Sequence[int], recompute: bool) -> int:
    """How much the forward pass of one step keeps for the backward pass, weights aside."""
    for module in trainer.system.modules():
        if isinstance(module, TransformerStack):
            module.activation_checkpointing = recompute
    own = {parameter.untyped_storage().data_ptr() for parameter in trainer.system.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor

    trainer.system.train()
    batch = trainer.texts["train"].batch(indices)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        path = trainer.system.encode(batch).sample(1, torch.Generator().manual_seed(0))
        trainer.system.log_likelihood(batch, path)
    return sum(storage.nbytes() for storage in storages.values())


@each_stack
def test_activations_computed_anew_are_not_kept(
    micro: MakeSpec, make_trainer: MakeTrainer, label: str, kind: str
) -> None:
    """But for what goes into a block: with four blocks, what embeddings, latents and scores keep is less than half."""
    trainer = make_trainer(dropping(micro, label, kind, layers=4))
    kept, anew = (bytes_kept(trainer, range(8), recompute) for recompute in (False, True))
    assert 0 < anew < kept / 2
