"""Runs on pretrained folders: finished, cut to what the weights take, and known by their content."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.harness.plan import plan
from bench.harness.preflight import check_inputs
from bench.harness.prepare import prepare
from bench.harness.run import run
from bench.specs import BackboneKind, RunSpec
from bench.suites import Suite
from tests.hub import COMMIT
from tests.pretrained_models import BYTES, POSITIONS, SPECIAL, save

MakeSpec = Callable[..., RunSpec]
TASKS: dict[BackboneKind, str] = {"decoder-only": "writingprompts", "encoder-decoder": "cnn_dailymail"}


def on_folder(micro: MakeSpec, label: str, task: str, folder: Path) -> RunSpec:
    return micro(
        label,
        task,
        limits={"train": 8, "valid": 4, "test": 6},
        max_source_tokens=40 if task == "writingprompts" else 2 * POSITIONS,
        max_tokens=2 * POSITIONS,
        tokenizer={"kind": "folder", "path": folder},
        backbone={"source": "folder", "path": folder},
        training={"epochs": 1},
        scoring={"n_generations": 2},
    )


@pytest.mark.parametrize("label", ["lm", "della"])
@pytest.mark.parametrize("kind", TASKS)
def test_a_folder_makes_a_finished_record(micro: MakeSpec, tmp_path: Path, kind: BackboneKind, label: str) -> None:
    folder = save(kind, tmp_path / "weights")
    spec = on_folder(micro, label, TASKS[kind], folder)
    record = run(spec, tmp_path / "runs")
    assert record.status == "finished"
    assert {"PPL", "ELBO", "BLEU"} <= {score.name for score in record.metrics}
    assert {"backbone", "tokenizer"} <= record.components.keys()

    prepared = prepare(spec)
    data, texts = prepared.data.splits["test"], prepared.texts["test"]
    room = POSITIONS - 40 if kind == "decoder-only" else POSITIONS
    whole = [len(ids) for ids in prepared.tokenizer.encode([example.target for example in data])]
    assert texts.ids.lengths.tolist() == [min(length, room) for length in whole]
    whole = [len(ids) for ids in prepared.tokenizer.encode([example.source or "" for example in data])]
    longest = 40 if kind == "decoder-only" else POSITIONS
    assert texts.sources.lengths.tolist() == [min(length, longest) for length in whole]
    cut = sum(length > longest for length in whole)
    assert cut > 0
    assert f"{cut} of 6 test sources were cut" in record.data.notes


@pytest.mark.parametrize("kind", TASKS)
def test_zero_shot_scores_the_weights_of_the_folder(micro: MakeSpec, tmp_path: Path, kind: BackboneKind) -> None:
    folder = save(kind, tmp_path / "weights", vocab_size=BYTES + SPECIAL)
    record = run(on_folder(micro, "lm:zero-shot", TASKS[kind], folder), tmp_path / "runs")
    assert record.status == "finished"
    assert record.training == {"steps": 0, "epochs": 0}
    assert record.model is not None
    assert record.model.trainable_parameters == 0
    (run_folder,) = (tmp_path / "runs").glob("*/model.safetensors")
    found, given = load_file(run_folder), load_file(folder / "model.safetensors")
    assert all(torch.equal(found[f"backbone.model.{name}"], tensor) for name, tensor in given.items())
    fine_tuned = run(on_folder(micro, "lm", TASKS[kind], folder), tmp_path / "runs")
    assert fine_tuned.training["steps"]
    assert fine_tuned.run_id != record.run_id


def test_the_scale_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    (scale,) = re.findall(r"```yaml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    save("decoder-only", tmp_path / "weights" / "gpt2")
    save("encoder-decoder", tmp_path / "weights" / "bart-base")
    few = "limits: {train: 4, valid: 2, test: 2}\nscoring: {n_importance_samples: 2, n_generations: 1}\n"
    Path("mine.yaml").write_text(f"{few}training: {{epochs: 1}}\n{scale}")
    suite = Suite(name="mine", systems=("lm",), tasks=("snli", "quora"))
    for spec in plan(suite, "mine.yaml"):
        record = run(spec, tmp_path / "runs")
        assert record.status == "finished"
        assert record.model is not None
        assert record.model.vocabulary_size == 259


def test_the_same_weights_elsewhere_are_the_same_run(micro: MakeSpec, tmp_path: Path) -> None:
    here, there = save("encoder-decoder", tmp_path / "here"), tmp_path / "there"
    shutil.copytree(here, there)
    other = save("encoder-decoder", tmp_path / "other", vocab_size=259)
    ids = [prepare(on_folder(micro, "lm", "quora", folder)).identities.run for folder in (here, there, other)]
    assert len(set(ids)) == 2
    assert ids[0] == ids[1]


def test_the_hub_makes_the_run_of_a_folder(micro: MakeSpec, tmp_path: Path, hub: Callable[[Path], str]) -> None:
    """Same scores; the run names the commit, and another commit is another run."""
    folder = save("decoder-only", tmp_path / "weights")
    name = hub(folder)
    local = on_folder(micro, "embed", "writingprompts", folder)
    entries = {"name": name, "revision": COMMIT, "path": None}
    remote = local.model_copy(
        update={
            "tokenizer": local.tokenizer.model_copy(update={**entries, "kind": "hub"}),
            "backbone": local.backbone.model_copy(update={**entries, "source": "hub"}),
        }
    )
    check_inputs([remote], None)
    of_folder, of_hub = (run(spec, tmp_path / "runs") for spec in (local, remote))
    assert of_hub.status == "finished"
    values = [{score.name: score.value for score in record.metrics} for record in (of_folder, of_hub)]
    assert values[0] == values[1]
    identities = prepare(remote).identities
    for section in ("tokenizer", "backbone"):
        part = getattr(remote, section).model_copy(update={"revision": "f" * 40})
        other = remote.model_copy(update={section: part})
        prepared = replace(prepare(remote), spec=other)
        assert prepared.identities.training != identities.training


@pytest.mark.parametrize("label", ["lm", "embed"])
def test_sources_are_cut_to_the_positions_of_a_model_from_scratch(micro: MakeSpec, tmp_path: Path, label: str) -> None:
    record = run(
        micro(label, "quora", max_source_tokens=60, backbone={"positions": 20}, training={"epochs": 1}), tmp_path
    )
    assert record.status == "finished"
    assert any("test sources were cut" in note for note in record.data.notes)
    assert any("test texts were cut" in note for note in record.data.notes)
