"""Runs on real pairs of sources and targets, which are longer and odder than those of a grammar."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.harness.run import run
from bench.records.store import GENERATIONS, load_runs
from bench.specs import RunSpec
from bench.tokenizers import load_tokenizer

LIMITS = {"train": 16, "valid": 4, "test": 6}
SOURCE_TOKENS, TARGET_TOKENS = 40, 60
TASKS = {
    "quora": "quora",
    "samsum": "cnn_dailymail",  # dialogues and their summaries in the place of news
    "cnn_dailymail": "cnn_dailymail",
    "writingprompts": "writingprompts",
}


def longer_than(limit: int, folder: Path, field: str, split: str, tokenizer_folder: Path) -> int:
    """Counts the texts of a split that have more tokens than the limit, BOS and EOS included."""
    with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)[field] for line, _ in zip(file, range(LIMITS[split]), strict=False)]
    return sum(len(ids) > limit for ids in load_tokenizer(tokenizer_folder).encode(texts))


@pytest.mark.real_data
@pytest.mark.parametrize("label", ["lm", "della"])
@pytest.mark.parametrize("folder", TASKS)
def test_real_pairs_make_a_finished_record(
    micro: Callable[..., RunSpec], real_data: Path, tmp_path: Path, folder: str, label: str
) -> None:
    spec = micro(
        label,
        TASKS[folder],
        limits=LIMITS,
        max_tokens=TARGET_TOKENS,
        max_source_tokens=SOURCE_TOKENS,
        training={"epochs": 1, "batch_tokens": 512},
        scoring={"n_generations": 3},
        decoding={"samples_per_source": 2},
    )
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"source": "files"})})
    record = run(spec, tmp_path, real_data / folder)
    assert record.status == "finished"
    names = {score.name for score in record.metrics}
    assert {"PPL", "ELBO", "BLEU", "ROUGE-L", "Self-BLEU", "Self-BLEU[source]", "Copy rate"} <= names
    assert ("KL" in names) == (label != "lm")

    (stored,) = load_runs([tmp_path])
    generated = [json.loads(line) for line in stored.path.with_name(GENERATIONS).read_text().splitlines()]
    assert len(generated) == 6
    assert generated[0]["source"] == generated[1]["source"] != generated[2]["source"]

    expected = [f"texts of the folder {folder!r}"] if folder != TASKS[folder] else []
    for field, kind, limit in (("target", "texts", TARGET_TOKENS), ("source", "sources", SOURCE_TOKENS)):
        for split, n in LIMITS.items():
            cut = longer_than(limit, real_data / folder, field, split, stored.path.parent)
            expected += [f"{cut} of {n} {split} {kind} were cut"] if cut else []
    assert list(record.data.notes) == expected
    assert any("test sources were cut" in note for note in expected)  # or nothing was seen to be counted
