"""Preparation of a run: its texts as token ids, its identity, and its untrained system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import tokenizers

from bench.backbones import check_backbone, check_encoder
from bench.cache import cached_arrays
from bench.errors import BenchError
from bench.harness.build import build_system
from bench.harness.code import Code, code_of_run
from bench.harness.components import components
from bench.harness.model_folder import ModelFolder
from bench.harness.tokenized_texts import VERSION, TokenizedTexts, tokenize
from bench.interface import System
from bench.records.schema import DataFacts
from bench.seeds import named_seeds
from bench.specs import EncoderSpec, Identities, RunSpec, TokenizerSpec
from bench.systems import SYSTEMS
from bench.tasks import TASKS, Example, Split, TaskData, load_texts
from bench.tokenizers import EncoderTokens, Tokenizer, build_encoder_tokenizer, build_tokenizer


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        spec: its spec.
        data: the texts of its task, and facts about them.
        tokenizer: its tokenizer, with the tokens of the separate encoder if the system has one.
        limits: the largest number of tokens of a text, and of a source (None on unconditional tasks).
        components: version or content digest of each component.
        code: the modules that decide the result.
    """

    spec: RunSpec
    data: TaskData
    tokenizer: Tokenizer
    limits: tuple[int, int | None]
    components: Mapping[str, int | str]
    code: Code

    @cached_property
    def texts(self) -> Mapping[Split, TokenizedTexts]:
        """The texts as token ids, made when they are needed: a run that is recorded needs none."""
        return tokenize_splits(self.data, self.tokenizer, self.limits)

    @cached_property
    def identities(self) -> Identities:
        """What identifies the run."""
        return self.spec.identify(self.components, self.data.split_sha256)

    def data_facts(self) -> DataFacts:
        """Returns the facts about the texts for the record."""
        notes = [
            f"{cut} of {len(texts)} {split} {what}"
            for what in self.texts["train"].cuts
            for split, texts in self.texts.items()
            if (cut := texts.cuts[what])
        ]
        tokens = {split: int(texts.predicted.sum()) for split, texts in self.texts.items()}
        return DataFacts(
            task=self.data.task,
            title=TASKS.get(self.data.task).title,
            kind=self.data.kind,
            source=self.data.source,
            version=self.data.version,
            sha256=self.data.sha256,
            split_sha256=dict(self.data.split_sha256),
            statistics={**self.data.statistics(), "tokens": tokens},
            notes=(*self.data.notes, *notes),
        )

    def system(self, seed: int | None = None) -> System:
        """Builds the untrained system with weights drawn from ``seed``, by default from that of the run."""
        if seed is None:
            seed = named_seeds(self.spec.seed)["init"]
        return build_system(SYSTEMS.get(self.spec.system.name), self.spec.model, self.tokenizer, seed)


def prepare(spec: RunSpec, data_folder: Path | None = None, model: ModelFolder | None = None) -> Prepared:
    """Reads the texts of a run, trains or reads its tokenizer, and identifies the run.

    Args:
        spec: the resolved spec.
        data_folder: parent of the task's folder; read only when the spec's source is ``files``.
        model: the trained model, for a run that only scores: its tokenizer is used, and its weights identify the run.

    Raises:
        BenchError: bad data.
    """
    data = load_texts(spec.task, data_folder)
    tokenizer = model.tokenizer if model else _tokenizer(spec, data)
    return Prepared(
        spec, data, tokenizer, text_limits(spec), components(spec, data, tokenizer, model), code_of_run(spec)
    )


def _tokenizer(spec: RunSpec, data: TaskData) -> Tokenizer:
    """Returns the tokenizer of a run; a process builds that of many runs once, unless its files change."""
    folders = [part.path for part in (spec.tokenizer, spec.encoder) if part is not None and part.path is not None]
    files = [file for folder in folders for file in folder.glob("*")]
    states = sorted((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
    training = _TrainingTexts(data.split_sha256["train"], data.splits["train"])
    return _build_tokenizer(spec.tokenizer, spec.encoder, training, tuple(states))


@dataclass(frozen=True)
class _TrainingTexts:
    """The training texts, which are equal if their checksums are."""

    sha256: str
    examples: Sequence[Example] = field(compare=False)


@lru_cache(maxsize=16)
def _build_tokenizer(
    spec: TokenizerSpec,
    encoder: EncoderSpec | None,
    training: _TrainingTexts,
    file_states: tuple[tuple[str, int, int], ...],
) -> Tokenizer:
    """Builds a tokenizer; one that is trained sees texts and sources of the training split."""
    examples = training.examples
    texts = [example.target for example in examples] + [example.source for example in examples if example.source]
    tokenizer = build_tokenizer(spec, texts)
    if encoder is None:
        return tokenizer
    wordpiece = build_encoder_tokenizer(encoder, texts)
    return tokenizer.with_encoder(EncoderTokens(wordpiece, check_encoder(encoder).positions))


def tokenize_splits(
    data: TaskData, tokenizer: Tokenizer, limits: tuple[int, int | None]
) -> dict[Split, TokenizedTexts]:
    """Returns the texts of every split as token ids, from the cache if they are there.

    Args:
        data: the texts.
        tokenizer: of the run.
        limits: the largest number of tokens of a text, and of a source (None on unconditional tasks).
    """
    encoder = tokenizer.encoder
    identity = {
        "texts": data.sha256,
        "tokenizer": _identity(tokenizer),
        "limits": limits,
        "encoder": encoder and [*_identity(encoder.tokenizer), encoder.positions],
        "version": VERSION,
        "tokenizers": tokenizers.__version__,
    }

    def tokenize_split(split: Split) -> TokenizedTexts:
        arrays = cached_arrays(
            "texts",
            {**identity, "split": split},
            lambda: tokenize(data.splits[split], tokenizer, *limits).arrays(),
        )
        return TokenizedTexts.from_arrays(arrays)

    return {split: tokenize_split(split) for split in data.splits}


def _identity(tokenizer: Tokenizer) -> Sequence[str | int]:
    """Returns what decides the ids: the same file can be read with other special tokens."""
    return [tokenizer.digest, tokenizer.pad, tokenizer.bos, tokenizer.eos]


def text_limits(spec: RunSpec) -> tuple[int, int | None]:
    """Returns the largest number of tokens of a text, and of a source (None on unconditional tasks).

    Raises:
        BenchError: the positions of the backbone leave no room for a text, or the backbone cannot be built.
    """
    positions = check_backbone(spec.backbone).positions
    source = min(spec.task.max_source_tokens, positions) if spec.task.conditional else None
    room = positions - (source or 0 if spec.backbone.kind == "decoder-only" else 0)
    if room < 3:
        raise BenchError(
            f"the backbone's {positions} positions leave no room for a text behind sources of up to"
            f" task.max_source_tokens, {spec.task.max_source_tokens}."
        )
    return min(spec.task.max_tokens, room), source
