"""What stands before a run starts: its texts as ids, its identity, and its untrained system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.backbones import Tokenizer, build_backbone, build_tokenizer
from bench.errors import BenchError
from bench.harness import evaluate, generate, train
from bench.harness.data import TokenizedTexts, tokenize
from bench.harness.provenance import file_sha256
from bench.interface import System
from bench.metrics.model import model_metrics
from bench.records.schema import DataFacts
from bench.registry import SYSTEMS
from bench.spec import RunSpec, validated
from bench.tasks.task import Split, TaskData, get_task, load_texts


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
        cuts += [
            f"{one.sources_cut} of {len(one)} {split} sources were cut"
            for split, one in self.texts.items()
            if one.sources_cut
        ]
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
            return cls(backbone, options, self.spec.task.conditional)


def prepare(spec: RunSpec, data_folder: Path | None = None) -> Prepared:
    """Loads and tokenizes the texts of a run.

    Args:
        spec: the resolved spec.
        data_folder: holds the task's folder; read only when the spec's source is ``files``.

    Raises:
        BenchError: bad data.
    """
    data = load_texts(spec.task, data_folder)
    tokenizer = build_tokenizer(spec.tokenizer, _training_texts(data))
    sources = spec.task.max_source_tokens if spec.task.conditional else None
    longest = _longest_text(spec, sources or 0)
    texts = {split: tokenize(examples, tokenizer, longest, sources) for split, examples in data.splits.items()}
    return Prepared(spec, data, tokenizer, texts, _components(spec, data, tokenizer))


def _training_texts(data: TaskData) -> list[str]:
    """Returns the training texts, sources included: one tokenizer reads and writes."""
    examples = data.splits["train"]
    return [example.target for example in examples] + [example.source for example in examples if example.source]


def _longest_text(spec: RunSpec, source_tokens: int) -> int:
    """Returns how many tokens a text may have, given what a backbone from scratch has positions for."""
    if spec.backbone.source != "scratch":
        return spec.task.max_tokens
    room = spec.backbone.positions - (source_tokens if spec.backbone.kind == "decoder-only" else 0)
    if room < 3:
        raise BenchError(
            f"backbone.positions ({spec.backbone.positions}) leave no room for a text behind sources of up to"
            f" max_source_tokens ({source_tokens})."
        )
    return min(spec.task.max_tokens, room)


def _components(spec: RunSpec, data: TaskData, tokenizer: Tokenizer) -> dict[str, int | str]:
    versions: dict[str, int | str] = {
        f"system {spec.system.name}": SYSTEMS.get(spec.system.name).version,
        f"task {data.task}": data.version,
        "tokenizer": tokenizer.digest[:12],
        "train": train.VERSION,
        "evaluate": evaluate.VERSION,
        "generate": generate.VERSION,
        **{f"metric {metric.name}": metric.version for metric in model_metrics(())},
    }
    if spec.backbone.path is not None:
        versions["backbone"] = file_sha256(spec.backbone.path / "model.safetensors")[:12]
    return versions
