"""What stands before a run starts: its texts as ids, its identity, and its untrained system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.backbones import Tokenizer, build_backbone, build_tokenizer
from bench.harness import evaluate, train
from bench.harness.data import TokenizedTexts, tokenize
from bench.harness.provenance import file_sha256
from bench.interface import System
from bench.metrics.latent import model_metrics
from bench.records.schema import DataFacts
from bench.registry import SYSTEMS
from bench.spec import RunSpec, validated
from bench.tasks.task import Split, TaskData, get_task, load_task


@dataclass(frozen=True)
class Prepared:
    """A run that could start.

    Attributes:
        spec: its spec.
        data: its texts and what is known of them.
        tokenizer: its tokenizer.
        texts: the texts as ids.
        components: version or content digest of what decides the result besides spec and texts.
    """

    spec: RunSpec
    data: TaskData
    tokenizer: Tokenizer
    texts: Mapping[Split, TokenizedTexts]
    components: Mapping[str, int | str]

    @property
    def run_id(self) -> str:
        """The identity of the run, 12 hex digits."""
        return self.spec.run_id(self.components, self.data.sha256)

    def data_facts(self) -> DataFacts:
        """Returns what the record says of the texts."""
        cuts = [f"{one.cut} of {len(one)} {split} texts were cut" for split, one in self.texts.items() if one.cut]
        tokens = {split: int(one.predicted.sum()) for split, one in self.texts.items()}
        return DataFacts(
            task=self.data.task,
            title=get_task(self.data.task).title,
            kind=self.data.kind,
            source=self.data.source,
            version=self.data.version,
            sha256=self.data.sha256,
            statistics={**self.data.statistics(), "tokens": tokens},
            notes=(*self.data.notes, *cuts),
        )

    def system(self, seed: int) -> System:
        """Builds the untrained system, its weights drawn from ``seed``; the caller's random state is kept."""
        cls = SYSTEMS.get(self.spec.system.name)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            backbone = build_backbone(self.spec.backbone, self.tokenizer)
            options = validated(cls.Config, self.spec.system.options, f"system {self.spec.system.label!r}")
            return cls(backbone, options)


def prepare(spec: RunSpec, data_folder: Path | None = None) -> Prepared:
    """Loads and tokenizes the texts of a run.

    Args:
        spec: the resolved spec.
        data_folder: holds the task's folder; read only when the spec's source is ``files``.

    Raises:
        BenchError: bad data.
    """
    folder = data_folder if spec.task.source == "files" else None
    data = load_task(spec.task.name, source=spec.task.source, folder=folder, limits=spec.task.limits)
    tokenizer = build_tokenizer(spec.tokenizer, [example.target for example in data.splits["train"]])
    longest = spec.task.max_tokens
    if spec.backbone.source == "scratch":
        longest = min(longest, spec.backbone.positions)
    texts = {split: tokenize(examples, tokenizer, longest) for split, examples in data.splits.items()}
    return Prepared(spec, data, tokenizer, texts, _components(spec, data, tokenizer))


def _components(spec: RunSpec, data: TaskData, tokenizer: Tokenizer) -> dict[str, int | str]:
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
