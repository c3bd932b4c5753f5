"""Training by compiled kernels: the same losses and gradients, whatever the lengths of the texts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.harness.train import Trainer
from bench.specs import RunSpec

pytestmark = [
    pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler is found"),
    # torch.compile's own: on its first import, and when it asks a hidden state for a gradient.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


def gradients_of(trainer: Trainer) -> tuple[list[dict[str, Tensor]], list[int]]:
    """Trains; returns the gradients of every step by the parameters' names, and how long its texts are."""
    gradients: list[dict[str, Tensor]] = []
    lengths: list[int] = []

    def copy(*_: object) -> None:
        gradients.append({name: p.grad.clone() for name, p in trainer.parameters.items() if p.grad is not None})

    trainer.optimizer.register_step_pre_hook(copy)
    trainer.system.backbone.model.transformer.h[0].register_forward_pre_hook(
        lambda block, inputs: lengths.append(inputs[0].shape[1])
    )
    trainer.run()
    return gradients, lengths


def test_compiled_blocks_compute_the_same_for_all_lengths(
    micro: Callable[..., RunSpec],
    make_trainer: Callable[..., Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One block of a language model, trained so slowly that a step's rounding does not reach the next ones."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    graphs = torch._dynamo.utils.counters["stats"]
    eager, compiled = (
        make_trainer(
            micro(
                "lm",
                limits={"train": 40, "valid": 2},
                backbone={"layers": 1, "dropout": 0.0},
                training={"epochs": 1, "batch_tokens": 160, "learning_rate": 1e-12, "compile": compile},
            ),
            f"compile {compile}",
        )
        for compile in (False, True)
    )
    expected, lengths = gradients_of(eager)
    assert not graphs
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        found, _ = gradients_of(compiled)
    assert len(set(lengths)) > 5
    assert all(len(indices) > 1 for indices in compiled.batches)
    assert graphs["unique_graphs"] == 2  # for training and for validation; single texts would have others
    for row, of_eager in zip(compiled.progress.curve, eager.progress.curve, strict=True):
        assert row == pytest.approx(of_eager, rel=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        for name, gradient in ours.items():
            assert float((gradient - theirs[name]).norm()) <= 1e-5 * float(theirs[name].norm()), name
    block = compiled.system.backbone.model.transformer.h[0]
    assert block.forward.__func__ is type(block).forward
