"""Several processes of one run, connected for real: the weights, the curve and the scores of one process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.errors import BenchError
from bench.harness import process_group as module
from bench.harness.prepare import prepare
from bench.harness.process_group import ALONE, ProcessGroup, process_group
from bench.harness.scoring import score_texts
from bench.harness.train import Trainer
from bench.harness.validation import Validation
from bench.metrics.model import TERMS, ScoredTexts
from bench.objectives import build_stages
from bench.records.store import CURVE, load_runs
from bench.seeds import named_seeds
from bench.specs import RunSpec
from tests.cli.cli_process import SCRIPT, run_script

T = TypeVar("T")
MakeSpec = Callable[..., RunSpec]

SCALE = """
limits: {train: 41, valid: 9, test: 13}
max_tokens: 60
tokenizer: {vocabulary_size: 280}
backbone: {layers: 2, width: 16, heads: 2, positions: 80, dropout: 0.1}
training: {epochs: 2, batch_tokens: 512, micro_batch_tokens: 100}
scoring: {n_importance_samples: 4, batch_tokens: 200, bootstrap_samples: 20, n_generations: 3}
decoding: {max_tokens: 8}
"""


def test_two_processes_train_and_score_as_one(tmp_path: Path) -> None:
    """With dropout and latent samples. Sums of several micro-batches round in another order."""
    pytest.importorskip("accelerate", reason="the extra 'parallel' is not installed")
    (tmp_path / "micro.yaml").write_text(SCALE)
    arguments = ["run", "table8", "--scale", "micro.yaml", "--systems", "della+bow", "--tasks", "snli", "--jobs", "1"]
    one = run_script([*arguments, "--out", "one"], tmp_path)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    two = subprocess.run(  # noqa: S603
        [*launch, SCRIPT, *arguments, "--out", "two"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (one.code, two.returncode) == (0, 0), two.stderr
    (alone,), (together,) = (load_runs([tmp_path / name]) for name in ("one", "two"))
    assert together.record.run_id == alone.record.run_id
    of_one, of_two = (
        [json.loads(line) for line in run.path.with_name(CURVE).read_text().splitlines()] for run in (alone, together)
    )
    for row, same in zip(of_two, of_one, strict=True):
        assert row == pytest.approx(same, rel=1e-6)
    for score, same in zip(together.record.metrics, alone.record.metrics, strict=True):
        assert score.signature == same.signature
        assert score.value == pytest.approx(same.value, rel=1e-5, abs=1e-6)
    again = run_script([*arguments, "--out", "two"], tmp_path)
    assert again.code == 0
    assert load_runs([tmp_path / "two"]) == [together]
    assert two.stdout.count("The table lies in") == 1


@dataclass(frozen=True)
class Threads(ProcessGroup):
    """A process that is a thread: messages go through a list that all threads see."""

    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    messages: list[Any] = field(default_factory=list)

    @override
    def gather(self, value: T) -> list[T]:
        self.messages[self.rank] = value
        self.barrier.wait()
        values = list(self.messages)
        self.barrier.wait()
        return values


def in_threads(size: int, work: Callable[[ProcessGroup], T]) -> list[T]:
    """Returns what each of several connected processes returns."""
    barrier, messages = threading.Barrier(size), [None] * size
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: work(Threads(rank, size, None, barrier, messages)), range(size)))


@pytest.mark.parametrize("size", [2, 3, 7])
def test_every_text_has_one_process(size: int) -> None:
    items = list(range(16))
    shares = [ProcessGroup(rank, size).share(items) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("size", [2, 3, 20])
@pytest.mark.parametrize("label", ["lm", "della"])
def test_shares_of_scoring_are_joined_in_the_order_of_the_texts(micro: MakeSpec, label: str, size: int) -> None:
    """Also where there are more processes than batches: those without a text add nothing."""
    spec = micro(label, scoring={"batch_tokens": 120, "n_importance_samples": 3})
    prepared = prepare(spec)
    system, texts = prepared.system(0), prepared.texts["test"]

    def terms(processes: ProcessGroup) -> ScoredTexts:
        return score_texts(system, texts, spec.scoring, "fp32", 5, processes=processes)

    expected = terms(ALONE)
    for found in in_threads(size, terms):
        for name in TERMS:
            # One process adds the posteriors of all texts in another order.
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12)


def test_the_validation_of_shares_is_that_of_all_texts(micro: MakeSpec) -> None:
    spec = micro("embed")
    prepared = prepare(spec)
    system, texts = prepared.system(0), prepared.texts["valid"]
    expected = Validation(system, texts, 100, "fp32", 5).rec_and_kl()
    for found in in_threads(3, lambda processes: Validation(system, texts, 100, "fp32", 5, processes).rec_and_kl()):
        assert found == pytest.approx(expected, rel=1e-12)


def test_a_batch_must_have_a_micro_batch_for_each_process(micro: MakeSpec, tmp_path: Path) -> None:
    for training in ({}, {"micro_batch_tokens": 129}):
        with pytest.raises(BenchError, match=r"^2 processes .* set training.micro_batch_tokens to 128 or less"):
            trainer_of(micro("lm", training={"batch_tokens": 256, **training}), tmp_path)
    trainer_of(micro("lm", training={"batch_tokens": 256, "micro_batch_tokens": 128}), tmp_path)


@pytest.mark.parametrize("label", ["embed+batch-norm", "embed+aggressive"])
def test_what_looks_at_a_whole_batch_is_refused(micro: MakeSpec, tmp_path: Path, label: str) -> None:
    with pytest.raises(BenchError, match=r"cannot be trained by several processes\.$"):
        trainer_of(micro(label, training={"micro_batch_tokens": 50}), tmp_path)


def trainer_of(spec: RunSpec, folder: Path) -> Trainer:
    assert spec.training is not None
    prepared, seeds = prepare(spec), named_seeds(spec.seed)
    stages = build_stages(spec.objective, spec.training.epochs)
    system, group = prepared.system(), ProcessGroup(1, 2)
    return Trainer(system, prepared.texts, stages, spec.training, seeds, folder, lambda phase, done: None, {}, group)


def test_gradients_are_added_up_in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that no process has a gradient of keeps none; one that another process has gets zeros to add to."""
    monkeypatch.setattr(module, "BUCKET", 10)
    sent: list[int] = []

    def doubled(tensor: Tensor) -> None:
        sent.append(tensor.numel())
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "all_reduce", doubled)
    shapes = [(2, 3), (4,), (20,), (1,), (1,)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for number, parameter in enumerate(parameters[:-1]):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    ProcessGroup(0, 2).sum_gradients(parameters)
    assert sent == [len(shapes), 10, 20, 1]
    for number, parameter in enumerate(parameters[:-1]):
        assert parameter.grad is not None
        assert parameter.grad.eq(2.0 * (number + 1)).all()
    assert parameters[-1].grad is None


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert process_group() is ALONE
    assert (ALONE.leads, ALONE.broadcast(3), ALONE.gather(3)) == (True, 3, [3])


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(BenchError, match=r"need Accelerate: pip install 'della-bench\[parallel\]'"):
        process_group()
