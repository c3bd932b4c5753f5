"""A model folder of unknown origin reaches for nothing outside, and cannot take hours or all memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedConfig

from bench.errors import BenchError
from bench.harness.model_folder import ModelFolder, import_model
from tests.released_della import ReleasedDella, save_tokenizer


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., ModelFolder]:
    """Makes a model folder whose ``model.json`` names other entries of the backbone."""
    torch.manual_seed(0)
    torch.save(ReleasedDella(layers=1).state_dict(), tmp_path / "x.pt")
    import_model("della-2022", {}, tmp_path / "x.pt", tmp_path / "x", save_tokenizer(tmp_path / "gpt2"), heads=2)

    def change(**entries: Any) -> ModelFolder:
        path = tmp_path / "x" / "model.json"
        content = json.loads(path.read_text())
        content["backbone"] |= entries
        content.pop("sha256", None)
        path.write_text(json.dumps(content))
        return ModelFolder.read(tmp_path / "x")

    return change


def test_it_never_reaches_for_the_hub(changed: Callable[..., ModelFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def get_config_dict(name: str, **options: Any) -> Any:
        asked.append(options)
        raise OSError("not here")

    monkeypatch.setattr(PreTrainedConfig, "get_config_dict", get_config_dict)
    with pytest.raises(BenchError, match=r"^cannot load the backbone from somebody/evil: not here$"):
        changed(source="hub", name="somebody/evil", revision="0" * 40).load()
    assert [(options["local_files_only"], options["trust_remote_code"]) for options in asked] == [(True, False)]


@pytest.mark.parametrize(
    "entries", [{"layers": 999_999_999}, {"positions": 999_999_999}, {"width": 1_000_000, "heads": 1}]
)
def test_sizes_that_its_weights_cannot_have_are_named(
    changed: Callable[..., ModelFolder], entries: dict[str, int]
) -> None:
    with pytest.raises(
        BenchError, match=rf"model\.json: backbone of .*{next(iter(entries.values()))}.*; the weights are"
    ):
        changed(**entries).load()


def test_an_option_that_no_system_can_have_is_one_line(changed: Callable[..., ModelFolder], tmp_path: Path) -> None:
    changed()
    path = tmp_path / "x" / "model.json"
    content = json.loads(path.read_text())
    content["system"]["options"]["latent_size"] = 2**62
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"^cannot load the model from "):
        ModelFolder.read(tmp_path / "x").load()
