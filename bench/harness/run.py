"""One run, from its spec to its record: the only place where data, system, objective and metrics meet."""

from __future__ import annotations

import hashlib
import platform
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

import bench
from bench.backbones import Tokenizer, build_backbone, build_tokenizer
from bench.errors import BenchError
from bench.harness import evaluate, train
from bench.harness.data import TokenizedTexts, tokenize
from bench.interface import System
from bench.metrics.latent import model_metrics
from bench.metrics.likelihood import ScoredTexts
from bench.objectives import build_objective
from bench.records.schema import (
    SPEED,
    DataFacts,
    Environment,
    ModelFacts,
    Record,
    RecordedScore,
    Skipped,
    Timing,
)
from bench.records.store import RecordStore
from bench.registry import SYSTEMS
from bench.score import Array, Bootstrap, PerTextMetric
from bench.seeds import SeedName, named_seeds
from bench.spec import RunSpec, validated
from bench.tasks.task import TaskData, get_task, load_task


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.timings: list[Timing] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times what happens inside."""
        start = time.perf_counter()
        yield
        self.timings.append(Timing(phase=name, seconds=time.perf_counter() - start))


def run(
    spec: RunSpec,
    out: Path,
    data_folder: Path | None = None,
    report: train.Report = lambda phase, fraction: None,
    device: str | None = None,
) -> Record:
    """Trains, scores and records one run, or returns the record that is already there.

    A run that was killed resumes from its last checkpoint in the same folder.

    Args:
        spec: the resolved spec.
        out: folder of the records.
        data_folder: holds the task's folder; needed when the spec's source is ``files``.
        report: told of progress.
        device: ``cpu`` or ``cuda``; the GPU if there is one.

    Raises:
        BenchError: bad data, or a spec that does not fit it.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    watch, store = Stopwatch(), RecordStore(out)
    with watch.phase("data"):
        data = load_task(
            spec.task.name,
            source=spec.task.source,
            folder=data_folder if spec.task.source == "files" else None,
            limits=spec.task.limits,
        )
        tokenizer = build_tokenizer(spec.tokenizer, [example.target for example in data.splits["train"]])
        texts = {split: tokenize(examples, tokenizer, _positions(spec)) for split, examples in data.splits.items()}
    components = component_versions(spec, data, tokenizer)
    run_id = spec.run_id(components, data.sha256)
    if (found := store.find(run_id)) is not None:
        return found.record
    common = {
        "run_id": run_id,
        "suite_version": bench.__version__,
        **_commit(),
        "spec": spec.model_dump(mode="json"),
        "components": components,
        "seeds": dict(named_seeds(spec.seed)),
        "data": _data_facts(data, texts),
        "environment": _environment(spec, place),
    }
    cls = SYSTEMS.get(spec.system.name)
    if (reason := cls.supports(spec)) is not None:
        record = Record(created=datetime.now(UTC), status="skipped", reason=reason, **common)
        return store.write(record).record

    seeds = named_seeds(spec.seed)
    system = build_system(spec, tokenizer, seeds["init"]).to(place)
    folder = store.path(common["spec"], run_id)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / "tokenizer.json")
    with watch.phase("train"):
        trainer = train.Trainer(system, texts, build_objective(spec.objective), spec.training, seeds, folder, report)
        progress = trainer.run()
    facts = {
        "model": ModelFacts(
            parameters=sum(parameter.numel() for parameter in system.parameters()),
            weights_sha256=None if progress.diverged else file_sha256(trainer.best_weights),
            vocabulary_size=len(tokenizer),
            details={"latent_groups": len(system.groups), "latent_dimensions": sum(system.groups)},
        ),
        "training": {
            "steps": progress.step,
            "epochs": len(progress.curve),
            "best_epoch": progress.best_epoch,
            SPEED: progress.tokens / max(progress.seconds, 1e-9),
        },
    }
    if progress.diverged:
        reason = f"the loss was not finite by step {progress.step}"
        record = Record(
            created=datetime.now(UTC), status="diverged", reason=reason, timings=tuple(watch.timings), **common, **facts
        )
        stored = store.write(record, curve=progress.curve)
    else:
        record, statistics, generations = _scored(
            spec, system, data, texts["test"], seeds, watch, report, common, facts
        )
        stored = store.write(record, statistics, generations, progress.curve)
    trainer.checkpoint.unlink(missing_ok=True)
    return stored.record


def build_system(spec: RunSpec, tokenizer: Tokenizer, seed: int) -> System:
    """Builds the untrained system of a run, its weights drawn from ``seed``; the caller's random state is kept."""
    cls = SYSTEMS.get(spec.system.name)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = build_backbone(spec.backbone, tokenizer)
        return cls(backbone, validated(cls.Config, spec.system.options, f"system {spec.system.label!r}"))


def component_versions(spec: RunSpec, data: TaskData, tokenizer: Tokenizer) -> dict[str, int | str]:
    """Returns the version or content digest of everything, besides spec and texts, that decides the result."""
    versions: dict[str, int | str] = {
        f"system {spec.system.name}": SYSTEMS.get(spec.system.name).version,
        f"task {data.task}": data.version,
        "tokenizer": tokenizer.digest[:12],
        "train": train.VERSION,
        "evaluate": evaluate.VERSION,
        **{f"metric {metric.name}": metric.version for metric in model_metrics(())},
    }
    if spec.backbone.path is not None:
        versions["backbone"] = file_sha256(spec.backbone.path / "model.safetensors")[:12]
    return versions


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hex.

    Raises:
        BenchError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror}.") from error


def _scored(
    spec: RunSpec,
    system: System,
    data: TaskData,
    texts: TokenizedTexts,
    seeds: Mapping[SeedName, int],
    watch: Stopwatch,
    report: train.Report,
    common: dict[str, Any],
    facts: dict[str, Any],
) -> tuple[Record, dict[str, Array], list[dict[str, Any]]]:
    with watch.phase("score"):
        # A text that was cut is not the text whose probability the grammar knows.
        known = data.log_p(data.splits["test"]) if data.log_p is not None and not texts.cut else None
        scored = evaluate.score_texts(system, texts, spec.scoring, spec.training, seeds["latent"], known, report)
    with watch.phase("metrics"):
        scores, skipped, statistics = measure(scored, spec.scoring.bootstrap_samples, seeds["bootstrap"])
    with watch.phase("generate"):
        samples = evaluate.generate_texts(system, spec.scoring.n_generations, spec.decoding, seeds["sampling"], report)
    record = Record(
        created=datetime.now(UTC),
        metrics=tuple(RecordedScore.of(score) for score in scores),
        skipped=tuple(skipped),
        timings=tuple(watch.timings),
        peak_memory_bytes=_peak_memory(next(system.parameters()).device),
        **common,
        **facts,
    )
    return record, statistics, [{"text": text} for text in samples]


def measure(
    scored: ScoredTexts, bootstrap_samples: int, bootstrap_seed: int
) -> tuple[list[Any], list[Skipped], dict[str, Array]]:
    """Applies every likelihood and latent metric.

    Returns:
        The scores; the metrics that do not apply, with reasons; the per-text statistics by metric name.
    """
    bootstrap = Bootstrap(bootstrap_samples, bootstrap_seed) if bootstrap_samples else None
    scores, skipped, statistics = [], [], {}
    for metric in model_metrics(scored.groups):
        if (reason := metric.supports(scored)) is not None:
            skipped.append(Skipped(metric=metric.name, reason=reason))
            continue
        scores.append(metric.score(scored, bootstrap))
        if isinstance(metric, PerTextMetric):
            statistics[metric.name] = metric.statistics(scored)
    return scores, skipped, statistics


def _positions(spec: RunSpec) -> int:
    return (
        min(spec.task.max_tokens, spec.backbone.positions)
        if spec.backbone.source == "scratch"
        else spec.task.max_tokens
    )


def _data_facts(data: TaskData, texts: Mapping[Any, TokenizedTexts]) -> DataFacts:
    cuts = [f"{one.cut} of {len(one)} {split} texts were cut" for split, one in texts.items() if one.cut]
    task = get_task(data.task)
    return DataFacts(
        task=data.task,
        title=task.title,
        kind=data.kind,
        source=data.source,
        version=data.version,
        sha256=data.sha256,
        statistics={**data.statistics(), "tokens": {split: int(one.predicted.sum()) for split, one in texts.items()}},
        notes=(*data.notes, *cuts),
    )


def _environment(spec: RunSpec, device: torch.device) -> Environment:
    with train.precision(spec.training, device):
        name = "bf16" if torch.is_autocast_enabled(device.type) else "fp32"
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        precision=name,
        torch=torch.__version__,
        transformers=transformers.__version__,
    )


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _commit() -> dict[str, Any]:
    """Returns the commit of the checkout this package runs from, or nothing for an installed one."""
    root = Path(bench.__file__).parents[1]
    if not (root / ".git").exists():
        return {}

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603, S607
        return done.stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD") or None,
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
    }
