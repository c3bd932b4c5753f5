"""One run, from its spec to its record: what the record says, what lies beside it, and that it can be trusted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.bootstrap import Array, Bootstrap
from bench.errors import BenchError
from bench.harness import run as run_module
from bench.harness.apply_metrics import apply_metrics, bootstrap_of
from bench.harness.model_folder import load_model
from bench.harness.prepare import prepare
from bench.harness.run import run
from bench.harness.scoring import score_texts
from bench.harness.weights import load_weights
from bench.records.schema import Record
from bench.records.store import StoredRun, load_runs
from bench.report import build_table, narrow_layout, render_table
from bench.seeds import SEED_NAMES, named_seeds
from bench.specs import RunSpec
from bench.suites import load_suite
from bench.systems import SYSTEMS
from bench.tasks import load_texts

MakeSpec = Callable[..., RunSpec]


def stored(out: Path) -> StoredRun:
    (only,) = load_runs([out])
    return only


def values(record: Record) -> dict[str, float]:
    return {score.name: score.value for score in record.metrics}


def test_a_record_says_where_every_number_comes_from(
    micro: MakeSpec, tmp_path: Path, files_of: Callable[[Path], set[str]]
) -> None:
    spec = micro("della", seed=3, scoring={"n_generations": 2})
    record = run(spec, tmp_path)
    data = load_texts(spec.task)
    assert record.status == "finished"
    assert (record.label, record.task, record.scale, record.seed) == ("della", "snli", "micro", 3)
    assert RunSpec.model_validate(record.spec) == spec
    assert record.seeds == named_seeds(3)
    assert set(record.seeds) == set(SEED_NAMES)
    assert {"system della", "task snli", "tokenizer", "train", "evaluate", "metric PPL"} <= record.components.keys()
    assert {"objective two-epoch-cycle", "objective sum-groups"} <= record.components.keys()
    assert record.data.sha256 == data.sha256
    assert record.data.statistics["test"]["texts"] == 12
    assert record.data.statistics["tokens"].keys() == {"train", "valid", "test"}
    assert record.environment.torch == torch.__version__
    assert record.environment.instruction_set == torch.backends.cpu.get_cpu_capability()
    assert record.environment.processor is None or record.environment.processor.strip()
    assert [timing.phase for timing in record.timings] == ["data", "train", "score", "generate", "metrics"]
    assert all(timing.seconds > 0 for timing in record.timings)
    assert record.peak_memory_bytes is not None
    assert record.peak_memory_bytes > 10**7
    assert record.training["epochs"] == 2
    assert record.training["best_epoch"] in (1, 2)
    n = {score.name: score.n for score in record.metrics}
    assert (n["PPL"], n["KL[2]"], n["Dist-1"]) == (12, 12, 2)
    assert len((stored(tmp_path).path.with_name("generations.jsonl")).read_text().splitlines()) == 2
    assert files_of(tmp_path) == {
        *("record.json", "statistics.npz", "generations.jsonl", "curve.jsonl", "model.json", "model.safetensors"),
        "tokenizer.json",
    }
    weights = stored(tmp_path).path.with_name("model.safetensors").read_bytes()
    assert record.model is not None
    assert record.model.weights_sha256 == hashlib.sha256(weights).hexdigest()


def test_a_run_that_exists_is_not_run_again(micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run(micro("lm"), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    monkeypatch.delattr(run_module, "Trainer")
    assert run(micro("lm"), tmp_path) == record
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("label", ["lm", "della"])
def test_the_same_seed_gives_the_same_record_and_another_seed_another(
    micro: MakeSpec, tmp_path: Path, label: str
) -> None:
    torch.manual_seed(1)
    first = run(micro(label), tmp_path / "first")
    torch.manual_seed(2)  # the state of the caller does not matter
    again, other = run(micro(label), tmp_path / "again"), run(micro(label, seed=1), tmp_path / "other")
    assert first.measurement() == again.measurement()
    assert first.run_id != other.run_id
    assert first.data == other.data
    assert first.model is not None
    assert other.model is not None
    assert first.model.weights_sha256 != other.model.weights_sha256
    assert all(values(first)[name] != values(other)[name] for name in ("PPL", "ELBO", "Rec"))


@pytest.mark.parametrize("label", ["lm", "softmax", "della"])
def test_batches_of_scoring_move_no_score(micro: MakeSpec, tmp_path: Path, label: str) -> None:
    """The decoder's budget changes speed and memory only, and so the identity of the run not at all."""
    small, large = (
        run(micro(label, scoring={"batch_tokens": tokens, "bootstrap_samples": 0}), tmp_path / str(tokens))
        for tokens in (64, 10**6)
    )
    assert small.run_id == large.run_id
    assert small.model == large.model
    assert values(small).keys() == values(large).keys()
    for name, value in values(small).items():
        # A small MI is the difference of two densities of tens of nats.
        assert value == pytest.approx(values(large)[name], rel=1e-6, abs=1e-5 if name == "MI" else 0), name


@pytest.mark.parametrize("label", ["embed", "optimus", "della-2022", "embed+batch-norm"])
def test_the_scored_weights_can_be_loaded_and_scored_again(micro: MakeSpec, tmp_path: Path, label: str) -> None:
    """Through the folder alone."""
    spec = micro(label)
    record = run(spec, tmp_path)
    folder, seeds = stored(tmp_path).path.parent, record.seeds
    prepared = prepare(spec)
    system = load_model(folder)
    tokenizer = system.tokenizer
    assert (tokenizer.name, tokenizer.digest) == (prepared.tokenizer.name, prepared.tokenizer.digest)
    scored = score_texts(system, prepared.texts["test"], spec.scoring, spec.precision, seeds["latent"])
    measured = apply_metrics(scored, None, prepared.data, bootstrap_of(spec.scoring, seeds["bootstrap"]))
    assert tuple(measured.scores) == record.metrics
    assert tuple(measured.skipped) == record.skipped


def test_weights_of_another_system_are_refused(micro: MakeSpec, tmp_path: Path) -> None:
    """Other names, and the same names in another shape."""
    run(micro("embed"), tmp_path)
    weights = stored(tmp_path).path.with_name("model.safetensors")
    for other in (micro("memory:latent_size=8"), micro("lm"), micro("embed", backbone={"width": 32})):
        system = prepare(other).system(0)
        before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
        with pytest.raises(BenchError, match=r"model\.safetensors: weights of another system") as error:
            load_weights(system, weights)
        assert "\n" not in str(error.value)
        assert all(tensor.equal(before[name]) for name, tensor in system.state_dict().items())


def test_weights_with_one_name_too_many_are_refused(micro: MakeSpec, tmp_path: Path) -> None:
    run(micro("lm"), tmp_path)
    weights = stored(tmp_path).path.with_name("model.safetensors")
    save_file({**load_file(weights), "extra": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(BenchError, match="'extra'"):
        load_weights(prepare(micro("lm")).system(0), tmp_path / "more.safetensors")


def test_an_unsupported_run_is_recorded_with_its_reason_and_shown(
    micro: MakeSpec, tmp_path: Path, odd_systems: None, files_of: Callable[[Path], set[str]]
) -> None:
    record = run(micro("picky"), tmp_path / "picky")
    assert (record.status, record.reason) == ("skipped", "no captions, please")
    assert record.metrics == ()
    assert record.model is None
    assert files_of(tmp_path / "picky") == {"record.json"}
    text = render_table(build_table([run(micro("lm"), tmp_path / "lm"), record]), "md")
    assert "no captions, please" in text
    assert "—" in text


def test_a_metric_that_does_not_apply_is_listed_with_its_reason(micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("lm"), tmp_path)
    reasons = {skipped.metric: skipped.reason for skipped in record.skipped}
    assert reasons.keys() >= {"KL", "MI", "AU", "ESS", "KL@della-2022"}
    assert set(reasons.values()) == {"no latent variable"}
    assert not reasons.keys() & values(record).keys()


def test_a_value_that_is_no_number_never_becomes_a_score(micro: MakeSpec, tmp_path: Path, odd_systems: None) -> None:
    record = run(micro("nan-score"), tmp_path)
    assert record.status == "diverged"
    assert record.reason is not None
    assert record.reason.endswith(" of 12 test texts have terms that are not finite")
    assert record.metrics == ()
    assert load_runs([tmp_path])[0].record == record


def test_the_floor_is_withheld_where_texts_are_cut(micro: MakeSpec, tmp_path: Path) -> None:
    """A text that was cut is not the one whose probability the grammar knows."""
    whole, cut = (run(micro("lm", max_tokens=length), tmp_path) for length in (100, 20))
    assert {"PPL floor", "Excess"} <= values(whole).keys()
    assert not {"PPL floor", "Excess"} & values(cut).keys()
    (reason,) = (skipped.reason for skipped in cut.skipped if skipped.metric == "Excess")
    assert reason.endswith("of 12 texts were cut, and the exact probability is that of the whole text")
    assert any("test texts were cut" in note for note in cut.data.notes)
    assert not any("cut" in note for note in whole.data.notes)


# --- against what is known of the grammar -------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["snli", "quora"])
def test_a_system_that_knows_the_grammar_sits_on_the_floor(
    micro: MakeSpec, tmp_path: Path, odd_systems: None, task: str
) -> None:
    """End to end: ids, order, counts and estimator lose nothing, so the perplexity is the exact one."""
    record = run(micro("oracle", task, max_source_tokens=100, scoring={"batch_tokens": 100}), tmp_path)
    assert values(record)["PPL"] == pytest.approx(values(record)["PPL floor"], rel=1e-12)
    assert values(record)["PPL ratio"] == pytest.approx(1.0, rel=1e-12)
    assert values(record)["Excess"] == pytest.approx(0.0, abs=1e-12)
    statistics = stored(tmp_path).statistics()
    np.testing.assert_allclose(statistics["PPL"], statistics["PPL floor"], rtol=1e-12)


@pytest.mark.parametrize("task", ["snli", "quora"])
def test_a_likelihood_that_is_none_lies_below_the_floor(
    micro: MakeSpec, tmp_path: Path, odd_systems: None, task: str
) -> None:
    record = run(micro("too-good", task, max_source_tokens=100), tmp_path)
    (excess,) = (score for score in record.metrics if score.name == "Excess")
    assert excess.value == pytest.approx(-0.5)
    assert excess.interval is not None
    assert excess.interval.high < 0


@pytest.fixture(scope="module")
def trained(micro: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], StoredRun]:
    """Trains systems far enough for their latent variables and bounds to mean something, each once."""
    out = tmp_path_factory.mktemp("trained")
    found: dict[str, StoredRun] = {}

    def train(label: str) -> StoredRun:
        if label not in found:
            spec = micro(
                f"{label}+constant:0.2" if label != "lm" else label,
                limits={"train": 400, "test": 60},
                tokenizer={"vocabulary_size": 500},
                backbone={"width": 32, "dropout": 0.0},
                training={"epochs": 4, "batch_tokens": 256, "learning_rate": 1e-2},
                scoring={"n_importance_samples": 12, "batch_tokens": 8192, "n_generations": 0},
            )
            run(spec, out / label)
            found[label] = stored(out / label)
        return found[label]

    return train


def assert_not_negative_beyond_sampling_error(differences: Array) -> None:
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    assert differences.mean() >= -3 * error - 1e-6, (differences.mean(), error)


@pytest.mark.parametrize("label", SYSTEMS.names())
def test_no_system_beats_the_known_floor(trained: Callable[[str], StoredRun], label: str) -> None:
    """E log p(x) - E log p_K(x) is a KL divergence plus what the bound lacks; paired over texts."""
    run_ = trained(label)
    assert_not_negative_beyond_sampling_error(run_.statistics()["Excess"][:, 0])
    assert values(run_.record)["PPL"] < 500 / 8  # it has learnt something: 500 is the size of the vocabulary


@pytest.mark.parametrize("label", SYSTEMS.names())
def test_the_importance_weighted_bound_is_above_the_elbo(trained: Callable[[str], StoredRun], label: str) -> None:
    run_ = trained(label)
    statistics = run_.statistics()
    gained = statistics["ELBO"][:, 0] - statistics["PPL"][:, 0]
    assert_not_negative_beyond_sampling_error(gained)
    if label == "lm":
        np.testing.assert_allclose(gained, 0, atol=1e-9)
    else:
        assert gained.mean() > 1e-3
        assert values(run_.record)["KL"] >= 0


def test_both_protocols_of_one_run_stand_side_by_side(trained: Callable[[str], StoredRun]) -> None:
    records = [trained(label).record for label in ("lm", "embed", "della")]
    layout = load_suite("protocols").layout
    assert layout is not None
    table = build_table(records, narrow_layout(layout.model_copy(update={"others": True}), records))
    shown = {row.label.partition("+")[0]: row.cells for row in table.rows}
    names = [column.metric for _, column in table.columns]
    kl, released_kl = (names.index(name) for name in ("KL", "KL@della-2022"))
    assert shown["embed"][kl].value == pytest.approx(shown["embed"][released_kl].value)
    assert shown["della"][kl].value == pytest.approx(2 * (shown["della"][released_kl].value or 0.0))
    assert shown["lm"][names.index("PPL@della-2022")].state == "measured"


def test_the_bootstrap_seed_moves_intervals_and_no_score(micro: MakeSpec) -> None:
    spec = micro("embed")
    prepared = prepare(spec)
    scored = score_texts(prepared.system(0), prepared.texts["test"], spec.scoring, spec.precision, 0)
    one, other = (apply_metrics(scored, None, prepared.data, Bootstrap(50, seed)).scores for seed in (1, 2))
    assert [score.value for score in one] == [score.value for score in other]
    assert [score.interval for score in one] != [score.interval for score in other]


def test_frozen_weights_are_counted_and_random_ones_are_warned_of(
    micro: MakeSpec, tmp_path: Path, odd_systems: None, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = run(micro("frozen"), tmp_path).model
    assert "parameters are frozen and, with a backbone from scratch, stay random" in caplog.text
    caplog.clear()
    whole = run(micro("embed"), tmp_path).model
    assert frozen is not None
    assert whole is not None
    assert not caplog.text
    assert frozen.parameters == whole.parameters == whole.trainable_parameters
    assert 0 < (frozen.trainable_parameters or 0) < frozen.parameters
