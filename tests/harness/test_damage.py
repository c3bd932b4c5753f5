"""Damaged files of a run: whatever reads them names the file in one line, or gives what was written."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError
from bench.harness.checkpoint import Progress
from bench.harness.model_folder import ModelFolder, check_run
from bench.harness.rescore import rescore
from bench.harness.run import run, score_model
from bench.harness.train import Trainer
from bench.harness.weights import WEIGHTS, weights
from bench.records.store import CHECKPOINT, CURVE, GENERATIONS, PREVIOUS, RECORD, STATISTICS, StoredRun, load_runs
from bench.specs import RunSpec
from tests.harness.damage import damages

MakeSpec = Callable[..., RunSpec]
MODEL_FILES = (WEIGHTS, "model.json", "tokenizer.json", "encoder_tokenizer.json")


def stored(out: Path) -> StoredRun:
    (only,) = load_runs([out])
    return only


@pytest.fixture(scope="module")
def spec(micro: MakeSpec) -> RunSpec:
    """A run with every file that a run can have."""
    return micro("optimus", scoring={"n_generations": 3}, training={"checkpoint_seconds": 0.0})


@pytest.fixture(scope="module")
def undisturbed(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    run(spec, out)
    return out


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(undisturbed, tmp_path / "finished")


def assert_one_line(error: BenchError, path: Path) -> None:
    assert str(path) in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("name", [RECORD, STATISTICS, GENERATIONS, CURVE, *MODEL_FILES])
def test_damage_to_a_finished_run_is_named_by_all_that_read_it(finished: Path, name: str) -> None:
    before = stored(finished)
    path = before.path.with_name(name)
    folder, whole = path.parent, path.read_bytes()
    model = ModelFolder.read(folder)
    tensors = weights(model.load())
    found = 0
    for damage in damages(seed=1):
        damage(path)
        readers: dict[str, Callable[[], object]] = {
            RECORD: lambda: stored(finished),
            STATISTICS: before.statistics,
            GENERATIONS: lambda: rescore([before]),
        }
        if name in MODEL_FILES:
            readers[name] = lambda: ModelFolder.read(folder).load()
        for read in (lambda: check_run(stored(finished)), readers.get(name)):
            if read is not None:
                try:
                    read()
                except BenchError as error:
                    assert_one_line(error, path)
                    found += 1
                else:  # a blank in JSON became another one
                    assert name == "model.json"
                    again = ModelFolder.read(folder)
                    assert (again.spec, again.tokenizer.digest) == (model.spec, model.tokenizer.digest)
                    assert all(tensors[key].equal(value) for key, value in weights(again.load()).items())
        path.write_bytes(whole)
    assert found > 0


@pytest.mark.parametrize("name", [RECORD, STATISTICS, GENERATIONS, CURVE, *MODEL_FILES])
def test_a_damaged_run_is_not_taken_for_a_recorded_one(spec: RunSpec, finished: Path, name: str) -> None:
    before = stored(finished)
    path = before.path.with_name(name)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BenchError) as error:
        run(spec, finished)
    assert_one_line(error.value, path)
    if name != RECORD:
        assert str(error.value).endswith("Delete its folder to run it anew; --reuse accepts it.")
        assert run(spec, finished, reuse=True) == before.record
    shutil.rmtree(path.parent)
    assert run(spec, finished).measurement() == before.record.measurement()


def test_files_that_are_missing_are_said_not_to_be_verified(
    spec: RunSpec, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = stored(finished)
    before.path.with_name(WEIGHTS).unlink()  # as people do to save space
    assert run(spec, finished) == before.record
    assert not caplog.messages
    for name in (GENERATIONS, CURVE):
        before.path.with_name(name).unlink()
    assert run(spec, finished) == before.record
    assert caplog.messages == [f"{before.path.parent}: cannot verify {GENERATIONS}, {CURVE}: no such file"]


def test_the_weights_of_another_run_are_no_weights_of_this_one(
    spec: RunSpec, finished: Path, micro: MakeSpec, tmp_path: Path
) -> None:
    """A model folder that is whole, under a record that is whole."""
    other = run(spec.model_copy(update={"seed": 1}), tmp_path / "other")
    folder = stored(finished).path.parent
    for name in MODEL_FILES:
        shutil.copy(stored(tmp_path / "other").path.with_name(name), folder / name)
    assert ModelFolder.read(folder).weights_sha256 == other.model.weights_sha256
    with pytest.raises(BenchError) as error:
        run(spec, finished)
    assert_one_line(error.value, folder / WEIGHTS)


def test_weights_that_change_after_the_folder_was_read_are_not_scored(
    finished: Path, spec: RunSpec, tmp_path: Path
) -> None:
    """Whoever writes them: what is recorded as their digest is that of what was scored."""
    model = ModelFolder.read(stored(finished).path.parent)
    whole = (model.path / WEIGHTS).read_bytes()
    (model.path / WEIGHTS).write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.raises(BenchError) as error:
        score_model(model, spec.model_copy(update={"training": None}), tmp_path / "scored")
    assert_one_line(error.value, model.path / WEIGHTS)
    assert not list((tmp_path / "scored").rglob(RECORD))


def test_a_folder_of_an_earlier_version_is_read_with_a_warning(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stored(finished).path.parent
    model = ModelFolder.read(folder)
    assert not caplog.messages
    (folder / "model.json").write_text(model.spec.model_dump_json())
    again = ModelFolder.read(folder)
    assert again == ModelFolder(folder, model.spec, again.tokenizer, model.weights_sha256)
    assert caplog.messages == [f"{folder}: written without digests; nothing would tell that its files are damaged"]


# --- checkpoints ---------------------------------------------------------------------------------------------------


class _InterruptError(BaseException):
    """Ends a run in the middle."""


@pytest.fixture(scope="module")
def interrupted(spec: RunSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints."""
    out = tmp_path_factory.mktemp("interrupted")

    def interrupt(phase: str, fraction: float) -> None:
        if phase == "score":
            raise _InterruptError

    with pytest.raises(_InterruptError):
        run(spec, out, on_phase=interrupt)
    (folder,) = out.iterdir()
    assert {path.name for path in folder.iterdir()} >= {CHECKPOINT, PREVIOUS}
    return out


def state(trainer: Trainer) -> tuple[Progress, dict[str, torch.Tensor]]:
    trainer.best.clear()
    progress = trainer.checkpoint.load()
    moments = {
        f"{name}/{key}": value
        for name, parameter in trainer.parameters.items()
        for key, value in trainer.optimizer.state[parameter].items()
    }
    best = {f"best/{name}": value for name, value in trainer.best.items()}
    return progress, {**{k: v.clone() for k, v in weights(trainer.system).items()}, **best, **moments}


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_is_loaded(
    spec: RunSpec,
    interrupted: Path,
    make_trainer: Callable[[RunSpec, str], Trainer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (source,) = interrupted.iterdir()
    folder = tmp_path / "x"
    trainer = make_trainer(spec, "x")
    states = {}
    for name in (CHECKPOINT, PREVIOUS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(source / name, folder / CHECKPOINT)
        states[name] = state(trainer)
    assert states[CHECKPOINT][0] != states[PREVIOUS][0]
    set_aside = 0
    for damage in damages(seed=2):
        shutil.rmtree(folder)
        shutil.copytree(source, folder)
        damage(folder / CHECKPOINT)
        caplog.clear()
        progress, tensors = state(trainer)
        aside = folder / f"{CHECKPOINT}.damaged"
        expected = states[PREVIOUS if aside.exists() else CHECKPOINT]
        assert progress == expected[0]
        assert all(value.equal(expected[1][name]) for name, value in tensors.items())
        if aside.exists():
            set_aside += 1
            (line,) = caplog.messages
            assert line.startswith(f"{folder / CHECKPOINT}: damaged (")
            assert "\n" not in line
            assert line.endswith(
                f"it is set aside as {CHECKPOINT}.damaged; training goes on from the checkpoint before it, or else from"
                " the start"
            )
    assert set_aside > 0


@pytest.mark.parametrize("damaged", [(CHECKPOINT,), (CHECKPOINT, PREVIOUS)])
def test_a_run_goes_on_without_its_damaged_checkpoints_and_ends_as_if_nothing_had_been(
    spec: RunSpec,
    undisturbed: Path,
    interrupted: Path,
    tmp_path: Path,
    damaged: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = shutil.copytree(interrupted, tmp_path / "out")
    (folder,) = out.iterdir()
    for name in damaged:
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])
    record = run(spec, out)
    assert record.measurement() == stored(undisturbed).record.measurement()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(damaged)
    for path in stored(undisturbed).path.parent.iterdir():
        if path.name != RECORD:
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert {path.name for path in folder.iterdir()} == {path.name for path in stored(undisturbed).path.parent.iterdir()}


def test_a_process_that_dies_between_two_checkpoints_leaves_the_earlier_one(
    spec: RunSpec, undisturbed: Path, interrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is, between the two renames."""
    out = shutil.copytree(interrupted, tmp_path / "out")
    (folder,) = out.iterdir()
    (folder / CHECKPOINT).unlink()
    assert run(spec, out).measurement() == stored(undisturbed).record.measurement()
    assert not caplog.records


def test_a_repeated_run_that_is_killed_with_new_weights_leaves_no_record_of_the_old_ones(
    spec: RunSpec, finished: Path
) -> None:
    before = stored(finished)

    def interrupt(phase: str, fraction: float) -> None:
        if phase == "score":
            raise _InterruptError

    with pytest.raises(_InterruptError):
        run(spec, finished, on_phase=interrupt, reuse=False)
    assert load_runs([finished]) == []
    assert run(spec, finished).measurement() == before.record.measurement()
