"""Models that are trained already: scored as their runs scored them, whoever trained them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.audit import audit, rows_of_runs
from bench.errors import BenchError
from bench.harness.model_folder import ModelFolder, import_model, save_model
from bench.harness.plan import evaluation_spec
from bench.harness.run import run, score_model
from bench.records.compare import compare_runs
from bench.records.store import StoredRun, load_runs
from bench.scales import NamedDecoding, Scale
from bench.specs import RunSpec
from tests.released_della import ReleasedDella, save_tokenizer

MakeSpec = Callable[..., RunSpec]


def stored(out: Path) -> StoredRun:
    (only,) = load_runs([out])
    return only


def scale_of(spec: RunSpec) -> Scale:
    """The scale with the same texts and the same scoring."""
    sizes = {name: getattr(spec.task, name) for name in ("limits", "max_tokens", "max_source_tokens")}
    return Scale(**sizes, scoring=spec.scoring, decoding=NamedDecoding(**spec.decoding.model_dump()))


@pytest.mark.parametrize(("label", "task"), [("della", "snli"), ("embed+batch-norm", "snli"), ("della-2022", "quora")])
def test_a_model_has_the_scores_that_its_run_recorded(micro: MakeSpec, tmp_path: Path, label: str, task: str) -> None:
    spec = micro(label, task, scoring={"n_generations": 2})
    trained = run(spec, tmp_path / "run")
    model = ModelFolder.read(stored(tmp_path / "run").path.parent)
    again = evaluation_spec(model, task, 0, "micro", scale_of(spec), "grammar")
    record = score_model(model, again, tmp_path / "again")
    assert record.metrics == trained.metrics
    assert record.skipped == trained.skipped
    assert record.model == trained.model
    assert (record.spec["training"], record.training) == (None, {})
    identities = RunSpec.model_validate(record.spec).identify(record.components, record.data.split_sha256)
    assert identities == (record.training_id, record.scoring_id, record.run_id)
    assert [timing.phase for timing in record.timings] == ["data", "score", "generate", "metrics"]
    assert record.label == trained.label
    compared = compare_runs([stored(tmp_path / "run")], [stored(tmp_path / "again")]).comparisons
    assert compared[0].name == "spec"
    assert "spec.training (a section and None)" in compared[0].reason
    assert {comparison.verdict for comparison in compared[1:]} == {"ok"}
    assert record.run_id != trained.run_id
    assert not {"train", "objective sum-groups"} & record.components.keys()
    assert ("objective batch-norm" in record.components) == ("batch-norm" in label)
    assert trained.model is not None
    assert record.components["weights"] == str(trained.model.weights_sha256)[:12]
    assert stored(tmp_path / "again").statistics().keys() == stored(tmp_path / "run").statistics().keys()
    assert not stored(tmp_path / "again").path.with_name("curve.jsonl").exists()


def test_what_says_nothing_of_training_is_not_run(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("lm").model_copy(update={"training": None})
    with pytest.raises(BenchError, match=r"^snli lm seed 0: spec\.training is None; only a trained model"):
        run(spec, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def imported(tmp_path: Path) -> Callable[[bool], ModelFolder]:
    def make(conditional: bool) -> ModelFolder:
        torch.manual_seed(0)
        torch.save(ReleasedDella(conditional=conditional, positions=160).state_dict(), tmp_path / "x.pt")
        import_model("della-2022", {}, tmp_path / "x.pt", tmp_path / "x", save_tokenizer(tmp_path / "gpt2"), heads=2)
        return ModelFolder.read(tmp_path / "x")

    return make


@pytest.mark.parametrize(("conditional", "task"), [(False, "snli"), (True, "quora")])
def test_an_imported_checkpoint_is_scored_on_a_task(
    micro: MakeSpec, tmp_path: Path, imported: Callable[[bool], ModelFolder], conditional: bool, task: str
) -> None:
    model = imported(conditional)
    scale = scale_of(micro("lm", task, scoring={"n_generations": 2}))
    spec = evaluation_spec(model, task, 3, "micro", scale, "grammar")
    record = score_model(model, spec, tmp_path / "out")
    assert (record.status, record.label, record.task, record.seed) == ("finished", "x", task, 3)
    assert {"PPL", "KL", "KL[3]", "MI", "PPL@della-2022"} <= {score.name for score in record.metrics}
    assert record.data.kind == ("conditional" if conditional else "unconditional")
    assert all(one.severity != "impossible" for one in audit(rows_of_runs([stored(tmp_path / "out")])))
    assert len(stored(tmp_path / "out").path.with_name("generations.jsonl").read_text().splitlines()) == 2
    stamp = stored(tmp_path / "out").path.stat().st_mtime_ns
    assert score_model(model, spec, tmp_path / "out") == record
    assert stored(tmp_path / "out").path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("conditional", "task", "complaint"),
    [
        (False, "quora", "x is unconditional; task 'quora' is conditional."),
        (True, "snli", "x is conditional; task 'snli' is unconditional."),
    ],
)
def test_a_task_of_the_other_kind_is_refused(
    micro: MakeSpec, imported: Callable[[bool], ModelFolder], conditional: bool, task: str, complaint: str
) -> None:
    with pytest.raises(BenchError, match=complaint):
        evaluation_spec(imported(conditional), task, 0, "micro", scale_of(micro("lm")), "grammar")


@pytest.mark.parametrize("missing", ["model.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_is_not_whole_is_named(imported: Callable[[bool], ModelFolder], missing: str) -> None:
    folder = imported(False).path
    (folder / missing).unlink()
    with pytest.raises(BenchError, match=f"no model in .*x: it lacks {missing}"):
        ModelFolder.read(folder)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("model.json", "{", "model.json: not JSON"),
        ("model.json", "{}", "model.json: system: Field required"),
        ("model.safetensors", "x", "model.safetensors: damaged"),
        ("tokenizer.json", "[]", "tokenizer.json: damaged"),
    ],
)
def test_a_damaged_folder_is_named(
    imported: Callable[[bool], ModelFolder], name: str, content: str, complaint: str
) -> None:
    folder = imported(False).path
    (folder / name).write_text(content)
    with pytest.raises(BenchError, match=complaint):
        ModelFolder.read(folder).load()


def test_an_imported_folder_says_where_it_comes_from(imported: Callable[[bool], ModelFolder]) -> None:
    folder = imported(True).path
    said = json.loads((folder / "model.json").read_text())
    assert said["origin"].startswith("x.pt, sha256 ")
    assert (said["conditional"], said["backbone"]["heads"], said["system"]["options"]["rank"]) == (True, 2, 4)
    assert {path.name for path in folder.iterdir()} == {"model.json", "model.safetensors", "tokenizer.json"}


@pytest.mark.parametrize("part", ["hierarchy", "lm_head"])
def test_a_model_with_a_weight_that_is_not_a_number_diverged(
    micro: MakeSpec, tmp_path: Path, imported: Callable[[bool], ModelFolder], part: str
) -> None:
    """Its comparisons with NaN would be plausible counts, such as one active unit."""
    model = imported(False)
    system = model.load()
    names = [name for name, parameter in system.named_parameters() if part in name and parameter.dim() > 1]
    with torch.no_grad():
        dict(system.named_parameters())[names[-1]].view(-1)[0] = float("nan")
    save_model(model.path, model.spec, model.tokenizer, system)
    model = ModelFolder.read(model.path)
    spec = evaluation_spec(model, "snli", 0, "micro", scale_of(micro("lm")), "grammar")
    record = score_model(model, spec, tmp_path / "out")
    assert record.status == "diverged"
    assert re.fullmatch(r"\d+ of \d+ test texts have terms that are not finite", record.reason or "")
    assert record.metrics == ()
