"""Runs with LoRA: only adapters and latent modules are trained, and models and checkpoints come back bit-equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.harness.model_folder import load_model
from bench.harness.run import run
from bench.harness.weights import weights as system_weights
from bench.specs import RunSpec
from tests.pretrained_models import BYTES, SPECIAL, save


@pytest.fixture
def spec(micro: Callable[..., RunSpec], tmp_path: Path) -> RunSpec:
    folder = save("decoder-only", tmp_path / "weights", "llama", vocab_size=BYTES + SPECIAL)
    return micro(
        "della:neutral",
        "ptb",
        limits={"train": 24, "valid": 4, "test": 6},
        tokenizer={"kind": "folder", "path": folder},
        backbone={"source": "folder", "path": folder, "lora_rank": 3, "dropout": 0.2},
        training={"epochs": 2, "batch_tokens": 100, "checkpoint_seconds": 0.0},
        scoring={"n_generations": 2},
        max_tokens=40,
    )


def test_a_run_trains_the_adapters_and_its_model_comes_back(spec: RunSpec, tmp_path: Path) -> None:
    record = run(spec, tmp_path / "runs")
    assert record.status == "finished"
    (file,) = (tmp_path / "runs").glob("*/model.safetensors")
    weights, given = load_file(file), load_file(tmp_path / "weights" / "model.safetensors")
    frozen = {name: tensor for name, tensor in weights.items() if name.startswith("backbone.") and "lora_" not in name}
    names = {name: name.removeprefix("backbone.model.").replace(".base_layer", "") for name in frozen}
    assert all(torch.equal(tensor, given[names[name]]) for name, tensor in frozen.items() if "inv_freq" not in name)
    assert all(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)
    assert record.model is not None
    buffers = sum(tensor.numel() for name, tensor in weights.items() if "inv_freq" in name)
    assert record.model.parameters == sum(tensor.numel() for tensor in weights.values()) - buffers
    assert record.model.trainable_parameters == record.model.parameters - sum(map(Tensor.numel, given.values()))
    restored = system_weights(load_model(file.parent))
    assert all(torch.equal(restored[name], tensor) for name, tensor in weights.items())


def test_an_interrupted_run_ends_with_the_same_weights(spec: RunSpec, tmp_path: Path) -> None:
    def interrupt(phase: str, fraction: float) -> None:
        if phase == "train" and fraction > 0.6:
            raise KeyboardInterrupt

    run(spec, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "parts", on_phase=interrupt)
    assert list((tmp_path / "parts").glob("*/checkpoint.safetensors"))
    run(spec, tmp_path / "parts")
    files = [next((tmp_path / name).glob("*/model.safetensors")) for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
