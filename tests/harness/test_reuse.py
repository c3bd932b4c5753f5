"""What is recorded is not trained again: new metrics, other settings of scoring and other labels only score."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from bench.bootstrap import Array
from bench.errors import BenchError
from bench.harness import rescore as rescore_module
from bench.harness import run as run_module
from bench.harness.rescore import rescore
from bench.harness.run import run
from bench.metrics.likelihood import ELBO
from bench.metrics.model import ScoredTexts
from bench.metrics.surface import Length
from bench.records.schema import Record
from bench.records.store import RecordStore, StoredRun, load_runs
from bench.registry import Registry
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]
FAST = {"training": {"epochs": 1}, "scoring": {"n_generations": 4}}


class HalfELBO(ELBO):
    """A metric of a model."""

    name = "Half ELBO"

    def statistics(self, inputs: ScoredTexts) -> Array:
        return super().statistics(inputs) / 2


class DoubleLength(Length):
    """A metric of texts."""

    name = "Double length"
    version = 1


ADDED = {"model metric": {"Half ELBO": "HalfELBO"}, "text metric": {"Double length": "DoubleLength"}}


@pytest.fixture
def add_metrics(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Registers a metric of models and one of texts when it is called, as if a package with them were installed."""
    entries = Registry.entries

    def with_added(self: Registry[object]) -> dict[str, EntryPoint]:
        added = ADDED.get(self.kind, {}).items()
        return {**entries(self), **{name: EntryPoint(name, f"{__name__}:{value}", self.group) for name, value in added}}

    return lambda: monkeypatch.setattr(Registry, "entries", with_added)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes training impossible from the call on."""
    return lambda: monkeypatch.delattr(run_module, "Trainer")


def only_run(out: Path) -> StoredRun:
    (stored,) = load_runs([out])
    return stored


def without(record: Record, *names: str) -> dict[str, float]:
    return {score.name: score.value for score in record.metrics if score.name not in names}


@pytest.mark.parametrize("label", ["lm", "della"])
def test_a_new_metric_is_added_to_the_record(
    micro: MakeSpec, tmp_path: Path, add_metrics: Callable[[], None], no_training: Callable[[], None], label: str
) -> None:
    spec = micro(label, **FAST)
    before = run(spec, tmp_path / "added")
    add_metrics()
    fresh = run(spec, tmp_path / "fresh")
    no_training()
    after = run(spec, tmp_path / "added")
    scores = {score.name: score for score in after.metrics}
    assert scores["Half ELBO"].value == pytest.approx(scores["ELBO"].value / 2, rel=1e-12)
    assert scores["Half ELBO"].interval is not None
    assert scores["Double length"].value == scores["Length"].value
    assert after.run_id == before.run_id
    assert after.training_id == before.training_id
    assert after.scoring_id != before.scoring_id
    assert (after.created, after.timings, after.model) == (before.created, before.timings, before.model)
    assert after.metrics[: len(before.metrics)] == before.metrics
    assert {score.name: score for score in fresh.metrics} == scores
    assert (after.scoring_id, after.components, after.scoring_code) == (
        fresh.scoring_id,
        fresh.components,
        fresh.scoring_code,
    )
    one, other = (only_run(tmp_path / name).statistics() for name in ("added", "fresh"))
    assert one.keys() == other.keys()
    for name, rows in one.items():
        np.testing.assert_array_equal(rows, other[name])
    assert run(spec, tmp_path / "added") == after


def test_a_metric_of_texts_needs_no_weights(
    micro: MakeSpec,
    tmp_path: Path,
    add_metrics: Callable[[], None],
    no_training: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = micro("embed", **FAST)
    run(spec, tmp_path)
    only_run(tmp_path).path.with_name("model.safetensors").unlink()
    add_metrics()
    no_training()
    caplog.set_level("INFO")
    names = {score.name for score in run(spec, tmp_path).metrics}
    assert "Double length" in names
    assert "Half ELBO" not in names
    assert "without its weights, 1 metrics are left as they are" in caplog.text


@pytest.mark.parametrize("kind", [ELBO, Length])
def test_a_metric_of_a_new_version_is_computed_again(
    micro: MakeSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_training: Callable[[], None],
    kind: type[ELBO | Length],
) -> None:
    spec = micro("della", **FAST)
    before = run(spec, tmp_path)
    monkeypatch.setattr(kind, "version", kind.version + 1)
    no_training()
    after = run(spec, tmp_path)
    name = str(kind.name)
    old, new = ({score.name: score for score in record.metrics} for record in (before, after))
    assert new[name].signature == old[name].signature.replace(f"v:{kind.version - 1}", f"v:{kind.version}")
    assert without(after, name) == without(before, name)
    assert after.run_id == before.run_id


def test_nothing_is_computed_for_a_complete_record(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = micro("embed", **FAST)
    record = run(spec, tmp_path)
    monkeypatch.delattr(rescore_module, "apply_metrics")
    assert run(spec, tmp_path) == record


@pytest.mark.parametrize(
    "changes",
    [
        {"scoring": {"n_importance_samples": 7, "n_generations": 4}},
        {"scoring": {"n_generations": 5}, "decoding": {"strategy": "greedy"}},
        {"scoring": {"n_generations": 4}, "limits": {"train": 24, "valid": 8, "test": 10}},
    ],
)
def test_other_settings_of_scoring_score_the_weights_there_are(
    micro: MakeSpec, tmp_path: Path, no_training: Callable[[], None], changes: dict[str, object]
) -> None:
    spec, other = micro("embed", **FAST), micro("embed", **{**FAST, **changes})
    first = run(spec, tmp_path / "shared")
    fresh = run(other, tmp_path / "fresh")
    no_training()
    second = run(other, tmp_path / "shared")
    assert second.measurement() == fresh.measurement()
    assert (second.training_id, second.run_id[:6]) == (first.training_id, first.run_id[:6])
    assert second.run_id != first.run_id
    assert [timing.phase for timing in second.timings] == ["data", "train", "score", "generate", "metrics"]
    assert run(spec, tmp_path / "shared") == first
    for stored in load_runs([tmp_path / "shared"]):
        names = {path.name for path in stored.path.parent.iterdir()}
        assert {"model.safetensors", "model.json", "tokenizer.json", "curve.jsonl", "record.json"} <= names


def test_rows_of_equal_training_are_trained_once(
    micro: MakeSpec, tmp_path: Path, no_training: Callable[[], None]
) -> None:
    plain, named = micro("embed", **FAST), micro("embed:latent_size=32", **FAST)
    assert plain.system.options == named.system.options
    first = run(plain, tmp_path)
    no_training()
    second = run(named, tmp_path)
    assert first.training_id == second.training_id
    assert first.metrics == second.metrics
    assert {stored.record.label for stored in load_runs([tmp_path])} == {"embed", "embed:latent_size=32"}


def test_training_anew_leaves_shared_weights_alone(micro: MakeSpec, tmp_path: Path) -> None:
    spec, other = micro("embed", **FAST), micro("embed", **{**FAST, "decoding": {"strategy": "greedy"}})
    run(spec, tmp_path)
    run(other, tmp_path)
    first, second = (stored.path.with_name("model.safetensors") for stored in load_runs([tmp_path]))
    assert first.samefile(second)
    run(other, tmp_path, reuse=False)
    assert not first.samefile(second)
    assert first.read_bytes() == second.read_bytes()


def test_changed_weights_are_never_scored(micro: MakeSpec, tmp_path: Path, add_metrics: Callable[[], None]) -> None:
    spec = micro("embed", **FAST)
    run(spec, tmp_path)
    path = only_run(tmp_path).path.with_name("model.safetensors")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    add_metrics()
    with pytest.raises(BenchError, match=r"model\.safetensors: damaged"):
        run(spec, tmp_path)


def test_changed_code_of_scoring_scores_again(micro: MakeSpec, tmp_path: Path, no_training: Callable[[], None]) -> None:
    spec = micro("embed", **FAST)
    record = run(spec, tmp_path)
    code = {**record.scoring_code, "bench.metrics.likelihood": "0" * 12}
    RecordStore(tmp_path).write(record.model_copy(update={"scoring_code": code, "metrics": record.metrics[:1]}))
    no_training()
    assert run(spec, tmp_path, reuse=True).scoring_code == code
    again = run(spec, tmp_path)
    assert again.measurement() == record.measurement()
    assert again.created > record.created


def test_changed_code_of_scoring_without_weights_is_the_choice_of_the_user(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("embed", **FAST)
    record = run(spec, tmp_path)
    code = {**record.scoring_code, "bench.metrics.likelihood": "0" * 12}
    stored = RecordStore(tmp_path).write(record.model_copy(update={"scoring_code": code}))
    stored.path.with_name("model.safetensors").unlink()
    with pytest.raises(BenchError, match=r"recorded by other code: bench\.metrics\.likelihood\. Choose: --reuse"):
        run(spec, tmp_path)


def test_a_record_with_its_code_in_one_piece_is_reused(
    micro: MakeSpec, tmp_path: Path, no_training: Callable[[], None]
) -> None:
    """As records were before the code that scores was told from the code that trains."""
    spec = micro("embed", **FAST)
    record = run(spec, tmp_path)
    old = record.model_copy(update={"code": {**record.code, **record.scoring_code}, "scoring_code": {}})
    RecordStore(tmp_path).write(old)
    no_training()
    assert run(spec, tmp_path) == old


def test_rescoring_computes_scores_of_the_model_from_its_weights(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("della", **FAST)
    record = run(spec, tmp_path)
    stripped = record.model_copy(update={"metrics": (), "skipped": ()})
    RecordStore(tmp_path).write(stripped)
    (again,) = rescore(load_runs([tmp_path]))
    assert again == record
