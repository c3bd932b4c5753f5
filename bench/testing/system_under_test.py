"""The system under test: tiny, in one of the settings of the tasks, with four texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from bench.batch import Batch
from bench.harness.build import build_system
from bench.harness.tokenized_texts import TokenizedTexts, tokenize
from bench.interface import System
from bench.objectives import resolve_objective
from bench.reading import parse_as
from bench.scales import Scale
from bench.specs import (
    BackboneKind,
    BackboneSpec,
    DecodingSpec,
    EncoderSpec,
    RunSpec,
    SystemSpec,
    TaskSpec,
    TokenizerSpec,
)
from bench.tasks import Example
from bench.testing.expect import DOUBLE_PRECISION, ConformanceError
from bench.tokenizers import EncoderTokens, Tokenizer, build_encoder_tokenizer, build_tokenizer

TEXTS = (
    Example("the cat sat on the mat .", "where is the cat ?"),
    Example("a dog runs", "what does it do"),
    Example("far away , behind the hills , a very old fox and two young dogs quarrel", "the fox and the lazy dog ."),
    Example("not now", "who"),
)
"""Texts and sources of different lengths; the shortest has two words, the longest more than 50 tokens."""

LONG, SHORT = 2, 1
"""Rows of a long and of a short text."""

SCALE = Scale(
    max_tokens=64,
    max_source_tokens=48,
    tokenizer=TokenizerSpec(vocabulary_size=300),
    backbone=BackboneSpec(layers=3, width=16, heads=2, positions=96, dropout=0.1),
)

DECODINGS: Mapping[str, DecodingSpec] = {
    "sampling": DecodingSpec(max_tokens=16),
    "top-k": DecodingSpec(max_tokens=16, top_k=5, temperature=0.7),
    "top-p": DecodingSpec(max_tokens=16, top_p=0.8),
    "greedy": DecodingSpec(max_tokens=16, strategy="greedy"),
    "beam": DecodingSpec(max_tokens=16, strategy="beam", beams=3),
    "penalty": DecodingSpec(max_tokens=16, min_tokens=4, repetition_penalty=1.2),
}


TOLERANCE = 1e-8
"""Tolerance in float64, absolute and relative: large weights amplify rounding errors."""


@dataclass(frozen=True)
class Setting:
    """A kind of backbone, with or without sources.

    Attributes:
        name: its name on the command line.
        kind: the kind of backbone.
        conditional: whether texts have sources.
        task: a task with this setting.
        backbone: entries of the backbone that differ.
    """

    name: str
    kind: BackboneKind
    conditional: bool
    task: str
    backbone: Mapping[str, Any] = field(default_factory=dict, hash=False)


SETTINGS = (
    Setting("unconditional", "decoder-only", False, "ptb"),
    Setting("conditional", "decoder-only", True, "writingprompts"),
    Setting("encoder-decoder", "encoder-decoder", True, "quora"),
    Setting("llama", "decoder-only", False, "ptb", {"family": "llama", "key_value_heads": 1}),
)


@dataclass(frozen=True)
class SystemUnderTest:
    """A system class with options, in a setting.

    Attributes:
        cls: the system class.
        options: options that differ from the defaults.
        setting: the setting.
        dropout: whether there is dropout in training mode.
    """

    cls: type[System]
    options: Mapping[str, Any] = field(default_factory=dict)
    setting: Setting = SETTINGS[0]
    dropout: bool = True

    @property
    def tokenizer(self) -> Tokenizer:
        """A tokenizer with 300 tokens."""
        return _tokenizer(SCALE.encoder_for(self.cls.encoder_kind))

    @property
    def texts(self) -> TokenizedTexts:
        """The tokenized texts, with sources in a conditional setting."""
        sources = SCALE.max_source_tokens if self.setting.conditional else None
        return tokenize(TEXTS, self.tokenizer, SCALE.max_tokens, sources)

    @property
    def rows(self) -> range:
        """The row numbers of the texts."""
        return range(len(TEXTS))

    def batch(self, rows: Sequence[int] | None = None) -> Batch:
        """Returns a batch of the texts at ``rows``, by default of all."""
        return self.texts.batch(self.rows if rows is None else rows)

    def continuations(self, ids: Sequence[Sequence[int]], row: int) -> Batch:
        """Returns a batch of token ids, all with the source of text ``row``."""
        conditions = self.texts.conditions([row] * len(ids))
        return Batch.collate(ids, self.tokenizer.pad, conditions)

    def spec(self, decoding: DecodingSpec | None = None) -> RunSpec:
        """Returns the spec of a run, for ``supports``.

        Raises:
            BenchError: unknown or invalid options.
        """
        config = parse_as(self.cls.Config, self.options, self.cls.__name__)
        changes: dict[str, Any] = {"kind": self.setting.kind, **self.setting.backbone}
        encoder = SCALE.encoder_for(self.cls.encoder_kind)
        if not self.dropout:
            probabilities = {name for name, value in config if "dropout" in name and isinstance(value, float)}
            config = config.model_copy(update=dict.fromkeys(probabilities, 0.0))
            changes["dropout"] = 0.0
            encoder = encoder and encoder.model_copy(update={"dropout": 0.0})
        return RunSpec(
            system=SystemSpec(name=self.cls.__name__, options=config.model_dump(mode="json"), label=self.cls.__name__),
            objective=resolve_objective(self.cls.default_objective.split("+")),
            task=TaskSpec(name=self.setting.task, conditional=self.setting.conditional),
            scale="conformance",
            tokenizer=SCALE.tokenizer,
            backbone=SCALE.backbone.model_copy(update=changes),
            encoder=encoder,
            decoding=decoding or DecodingSpec(),
        )

    def unsupported(self) -> str | None:
        """Returns why the system does not support the setting; None if it does."""
        return self.cls.supports(self.spec())

    def decodings(self) -> dict[str, DecodingSpec]:
        """Returns the decodings that the system supports, by name."""
        return {name: spec for name, spec in DECODINGS.items() if self.cls.supports(self.spec(spec)) is None}

    def system(self, seed: int = 0, moved: bool = True) -> System:
        """Builds the system in evaluation mode; ``moved`` adds noise to its weights.

        Some initial weights are zero or small and would hide a missing term.
        """
        system = build_system(self.cls, self.spec().model, self.tokenizer, seed).eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for parameter in system.parameters() if moved else ():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return system

    @contextmanager
    def trained_without_dropout(self) -> Iterator[System]:
        """Yields the system in float64 and in training mode, but without dropout.

        Dropout is switched off in the backbone, in options of the system whose name contains "dropout", and in torch's
        modules. Batch norm stays in evaluation mode, since in training mode it is another function.
        """
        with replace(self, dropout=False).in_precision(torch.float64) as system:
            for module in system.train().modules():
                if isinstance(module, nn.modules.dropout._DropoutNd):
                    module.p = 0.0
                elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
                    module.dropout = 0.0
                elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
            system.mean_norms.eval()
            yield system

    @contextmanager
    def in_precision(self, dtype: torch.dtype, seed: int = 0) -> Iterator[System]:
        """Yields the system in a precision; in float64, two orders of summation agree to about 1e-12."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield self.system(seed).to(dtype)
        except ConformanceError:
            raise
        except Exception as error:
            if dtype == torch.float64 and re.search("dtype|scalar type|same type", str(error)):
                error.add_note(DOUBLE_PRECISION)
            raise
        finally:
            torch.set_default_dtype(before)


TRAINING_TEXTS = [side for example in TEXTS for side in (example.target[:24], example.source or "")] * 3


@cache
def _tokenizer(encoder: EncoderSpec | None) -> Tokenizer:
    tokenizer = build_tokenizer(SCALE.tokenizer, TRAINING_TEXTS)
    if encoder is None:
        return tokenizer
    return tokenizer.with_encoder(EncoderTokens(build_encoder_tokenizer(encoder, TRAINING_TEXTS), encoder.positions))
