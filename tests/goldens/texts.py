"""What each task draws, and the tokens that its texts become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers

from bench import tokenizers
from bench.harness import tokenized_texts
from bench.harness.tokenized_texts import tokenize
from bench.specs import EncoderSpec, TaskSpec, TokenizerSpec
from bench.tasks import TASKS, Example, load_texts
from bench.tokenizers import (
    BERT_TOKENS,
    SPECIAL_TOKENS,
    EncoderTokens,
    Tokenizer,
    build_encoder_tokenizer,
    build_tokenizer,
)
from tests.goldens.golden import Golden, Kind, own_names

EXAMPLES = (
    Example("The ferry left the harbour before the rain began.", "when?"),
    Example("", "the ferry, the harbour and the rain"),
    Example("  two  spaces,\n\na line\tand <eos> ", ""),
    Example("naïve café 冬 🙂"),
)


def measure_task(name: str) -> Golden:
    task, data = TASKS.get(name), load_texts(TaskSpec(name=name))
    assert data.log_p is not None
    values: dict[str, Any] = {
        "sha256": data.sha256,
        "log_p": data.log_p(data.splits["test"][:5]).tolist(),
        "factors": {factor: list(column[:5]) for factor, column in data.factors["test"].items()},
    }
    return Golden(data.version, f"version of TASK in {task.grammar.__module__}", values)


TASK = Kind("task", lambda: own_names(TASKS), measure_task)


def trained() -> dict[str, Any]:
    texts = [side for example in EXAMPLES for side in (example.target, example.source or "")]
    bpe = build_tokenizer(TokenizerSpec(vocabulary_size=290), texts * 3)
    wordpiece = build_encoder_tokenizer(EncoderSpec(vocabulary_size=80), texts * 3)
    assert bpe.byte_counts is not None
    return {"bpe": bpe.encode(texts), "bytes": bpe.byte_counts.tolist(), "wordpiece": wordpiece.encode(texts)}


def of_bytes(special: Sequence[str]) -> Tokenizer:
    """Returns a tokenizer of bytes, which is not trained."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine = Engine(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return Tokenizer(engine, "bytes", special)


def tokenized() -> dict[str, Any]:
    tokenizer = of_bytes(SPECIAL_TOKENS).with_encoder(EncoderTokens(of_bytes(BERT_TOKENS), positions=9))
    texts = tokenize(EXAMPLES, tokenizer, max_tokens=20, max_source_tokens=12)
    return {name: array.tolist() for name, array in texts.arrays().items()}


MEASURES: Mapping[str, tuple[ModuleType, Callable[[], dict[str, Any]]]] = {
    "tokenizer": (tokenizers, trained),
    "tokenized texts": (tokenized_texts, tokenized),
}


def measure_tokens(name: str) -> Golden:
    module, values = MEASURES[name]
    return Golden(module.VERSION, f"VERSION in {module.__name__}", values())


TOKENS = Kind("tokens", lambda: MEASURES, measure_tokens)
