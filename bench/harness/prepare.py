"""What stands before a run starts: its texts as ids, its identity, and its untrained system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from bench.backbones import check_backbone, check_encoder
from bench.cache import cached_arrays
from bench.errors import BenchError
from bench.harness import generate, scoring, train
from bench.harness.build import build_system
from bench.harness.model_folder import WEIGHTS, ModelFolder
from bench.harness.tokenized_texts import VERSION, TokenizedTexts, tokenize
from bench.interface import System
from bench.metrics.model import model_metrics
from bench.records.schema import DataFacts
from bench.specs import RunSpec
from bench.storage import file_sha256
from bench.systems import SYSTEMS
from bench.tasks.task import Split, TaskData, get_task, load_texts
from bench.tokenizers import EncoderTokens, Tokenizer, build_encoder_tokenizer, build_tokenizer


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
        cuts = [
            f"{cut} of {len(one)} {split} {what}"
            for what in self.texts["train"].cuts
            for split, one in self.texts.items()
            if (cut := one.cuts[what])
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
        return build_system(SYSTEMS.get(self.spec.system.name), self.spec.model, self.tokenizer, seed)


def prepare(spec: RunSpec, data_folder: Path | None = None, model: ModelFolder | None = None) -> Prepared:
    """Loads and tokenizes the texts of a run.

    Args:
        spec: the resolved spec.
        data_folder: holds the task's folder; read only when the spec's source is ``files``.
        model: what is scored, if nothing is trained: its tokenizers are used, and its weights identify the run.

    Raises:
        BenchError: bad data.
    """
    data = load_texts(spec.task, data_folder)
    training_texts = _training_texts(data)
    tokenizer = model.tokenizer if model else _tokenizer(spec, training_texts)
    texts = _tokenized(data, tokenizer, text_limits(spec))
    components = _components(spec, data, tokenizer)
    if model is not None:
        del components["train"]
        components["weights"] = model.digest()[:12]
    return Prepared(spec, data, tokenizer, texts, components)


def _training_texts(data: TaskData) -> list[str]:
    """Returns the training texts, sources included: one tokenizer reads and writes."""
    examples = data.splits["train"]
    return [example.target for example in examples] + [example.source for example in examples if example.source]


def _tokenizer(spec: RunSpec, training_texts: Sequence[str]) -> Tokenizer:
    """Returns the tokenizer of a run, with the tokens of the separate encoder if the system has one."""
    tokenizer = build_tokenizer(spec.tokenizer, training_texts)
    if spec.encoder is None:
        return tokenizer
    wordpiece = build_encoder_tokenizer(spec.encoder, training_texts)
    return tokenizer.with_encoder(EncoderTokens(wordpiece, check_encoder(spec.encoder)))


def _tokenized(data: TaskData, tokenizer: Tokenizer, limits: tuple[int, int | None]) -> dict[Split, TokenizedTexts]:
    """Returns the texts of every split as ids, from the cache if they were tokenized before."""
    encoder = tokenizer.encoder
    content = {
        "texts": data.sha256,
        "tokenizer": _identity(tokenizer),
        "limits": limits,
        "encoder": encoder and [*_identity(encoder.tokenizer), encoder.positions],
        "version": VERSION,
        "tokenizers": tokenizers.__version__,
    }

    def of(split: Split) -> TokenizedTexts:
        arrays = cached_arrays(
            "texts",
            {**content, "split": split},
            lambda: tokenize(data.splits[split], tokenizer, *limits).arrays(),
        )
        return TokenizedTexts.from_arrays(arrays)

    return {split: of(split) for split in data.splits}


def _identity(tokenizer: Tokenizer) -> list[str | int]:
    """Returns what decides a tokenizer's ids: the same content may serve with other special tokens."""
    return [tokenizer.digest, tokenizer.pad, tokenizer.bos, tokenizer.eos]


def text_limits(spec: RunSpec) -> tuple[int, int | None]:
    """Returns how many tokens a text may have, and a source (None without), given the positions of the backbone.

    Raises:
        BenchError: no room for a text, or a backbone that cannot be.
    """
    positions = check_backbone(spec.backbone)
    source = min(spec.task.max_source_tokens, positions) if spec.task.conditional else None
    room = positions - (source or 0 if spec.backbone.kind == "decoder-only" else 0)
    if room < 3:
        raise BenchError(
            f"the backbone's {positions} positions leave no room for a text behind sources of up to"
            f" task.max_source_tokens, {spec.task.max_source_tokens}."
        )
    return min(spec.task.max_tokens, room), source


def _components(spec: RunSpec, data: TaskData, tokenizer: Tokenizer) -> dict[str, int | str]:
    versions: dict[str, int | str] = {
        f"system {spec.system.name}": SYSTEMS.get(spec.system.name).version,
        f"task {data.task}": data.version,
        "tokenizer": tokenizer.digest[:12],
        "train": train.VERSION,
        "evaluate": scoring.VERSION,
        "generate": generate.VERSION,
        **{f"metric {metric.name}": metric.version for metric in model_metrics(())},
    }
    if tokenizer.encoder is not None:
        versions["encoder tokenizer"] = tokenizer.encoder.tokenizer.digest[:12]
    for section, stack in (("backbone", spec.backbone), ("encoder", spec.encoder)):
        if stack is not None and stack.path is not None:
            versions[section] = file_sha256(stack.path / WEIGHTS)[:12]
    return versions
