"""Runs of a system that has an encoder of its own: what is recorded of it, and what makes it another run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.harness.preflight import check_inputs
from bench.harness.prepare import prepare
from bench.harness.run import run
from bench.specs import EncoderSpec, RunSpec
from tests.pretrained_models import POSITIONS, save_bert

MakeSpec = Callable[..., RunSpec]


def on_folder(micro: MakeSpec, folder: Path, task: str = "snli") -> RunSpec:
    return micro("optimus", task, encoder={"source": "folder", "path": folder})


def test_an_encoder_from_scratch_is_recorded(
    micro: MakeSpec, tmp_path: Path, files_of: Callable[[Path], set[str]]
) -> None:
    spec = micro("optimus")
    record = run(spec, tmp_path)
    assert record.status == "finished"
    assert RunSpec.model_validate(record.spec) == spec
    assert spec.encoder == EncoderSpec(
        layers=2, width=16, heads=2, positions=160, dropout=0.1, vocabulary_size=280
    )  # as the backbone
    assert {"tokenizer.json", "encoder_tokenizer.json"} <= files_of(tmp_path)
    tokens = prepare(spec).tokenizer.encoder
    assert tokens is not None
    assert record.components["encoder tokenizer"] == tokens.tokenizer.digest[:12]
    assert "encoder" not in record.components
    (folder,) = tmp_path.iterdir()
    written = (folder / "encoder_tokenizer.json").read_bytes()
    assert hashlib.sha256(written).hexdigest() == tokens.tokenizer.digest


def test_other_systems_know_nothing_of_it(micro: MakeSpec) -> None:
    plain, told = micro("embed"), micro("embed", encoder={"layers": 5})
    assert plain == told
    assert plain.encoder is None
    assert prepare(plain).identities.run == prepare(told).identities.run
    assert prepare(plain).tokenizer.encoder is None


def test_it_is_as_the_backbone_of_the_row(micro: MakeSpec) -> None:
    deeper = micro("optimus@layers=2x")
    assert deeper.encoder is not None
    assert deeper.encoder.layers == deeper.backbone.layers == 4


def test_another_size_is_another_run(micro: MakeSpec) -> None:
    ids = {prepare(micro("optimus", encoder=changes)).identities.run for changes in ({}, {"layers": 1}, {"layers": 2})}
    assert len(ids) == 2  # two layers are what the backbone has


@pytest.mark.parametrize("task", ["snli", "quora"])
def test_a_pretrained_encoder_makes_a_finished_record(micro: MakeSpec, tmp_path: Path, task: str) -> None:
    record = run(on_folder(micro, save_bert(tmp_path / "bert"), task), tmp_path / "runs")
    assert record.status == "finished"
    assert {"encoder", "encoder tokenizer"} <= record.components.keys()


def test_the_same_encoder_elsewhere_is_the_same_run(micro: MakeSpec, tmp_path: Path) -> None:
    here, there, other = save_bert(tmp_path / "here"), tmp_path / "there", save_bert(tmp_path / "other", seed=1)
    shutil.copytree(here, there)
    cased = shutil.copytree(here, tmp_path / "cased")
    settings = (cased / "tokenizer.json").read_text()
    (cased / "tokenizer.json").write_text(settings.replace('"lowercase": true', '"lowercase": false'))
    assert (cased / "tokenizer.json").read_text() != settings
    ids = [prepare(on_folder(micro, folder)).identities.run for folder in (here, there, other, cased)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_texts_that_only_the_encoder_cuts_are_counted(micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("optimus", encoder={"positions": 12}, training={"epochs": 2}), tmp_path)
    assert any(note.endswith("test texts were cut for the encoder") for note in record.data.notes)
    assert not any(note.endswith("texts were cut") for note in record.data.notes)
    assert "PPL floor" in {score.name for score in record.metrics}  # what is predicted is whole


def test_a_pretrained_encoder_says_what_it_reads(micro: MakeSpec, tmp_path: Path) -> None:
    tokens = prepare(on_folder(micro, save_bert(tmp_path / "bert"))).tokenizer.encoder
    assert tokens is not None
    assert tokens.positions == POSITIONS


def test_what_is_wrong_stops_a_grid_before_it_starts(micro: MakeSpec, tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    check_inputs([on_folder(micro, folder)], None)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BenchError, match=r"bert: expected tokenizer\.json, or vocab\.txt\.$"):
        check_inputs([on_folder(micro, folder)], None)
    with pytest.raises(BenchError, match=r"^encoder\.width is 15, no multiple of encoder\.heads, 2\.$"):
        check_inputs([micro("optimus", encoder={"width": 15})], None)
