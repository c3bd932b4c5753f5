"""Tokenizers of the size of a run's, where its own would need texts, files or a network."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Tokenizer as Engine
from tokenizers import models

from bench.backbones import check_encoder
from bench.pretrained import PUBLIC_SETTINGS
from bench.specs import RunSpec
from bench.tokenizers import (
    BART_TOKENS,
    BERT_TOKENS,
    SPECIAL_TOKENS,
    EncoderTokens,
    Tokenizer,
    build_encoder_tokenizer,
    build_tokenizer,
)


def sized_tokenizer(spec: RunSpec) -> Tokenizer:
    """Returns a tokenizer with as many tokens as that of the run; it encodes nothing."""
    tokenizer = _of_size(spec.tokenizer.vocabulary_size, SPECIAL_TOKENS)
    if spec.tokenizer.kind != "bpe":
        settings = PUBLIC_SETTINGS.get(str(spec.tokenizer.name)) if spec.tokenizer.kind == "hub" else None
        if settings is None:
            tokenizer = build_tokenizer(spec.tokenizer, ())
        elif settings["model_type"] == "bart":
            tokenizer = _of_size(settings["vocab_size"], BART_TOKENS)
        else:
            tokenizer = _of_size(settings["vocab_size"] + len(SPECIAL_TOKENS), SPECIAL_TOKENS)
    if (encoder := spec.encoder) is None:
        return tokenizer
    if encoder.source == "scratch":
        wordpiece = _of_size(encoder.vocabulary_size, BERT_TOKENS)
    elif encoder.source == "hub" and (settings := PUBLIC_SETTINGS.get(str(encoder.name))) is not None:
        wordpiece = _of_size(settings["vocab_size"], BERT_TOKENS)
    else:
        wordpiece = build_encoder_tokenizer(encoder, ())
    return tokenizer.with_encoder(EncoderTokens(wordpiece, check_encoder(encoder).positions))


@lru_cache(maxsize=8)
def _of_size(size: int, special: tuple[str, ...]) -> Tokenizer:
    words = [*(str(number) for number in range(size - len(special))), *special]
    engine = Engine(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    return Tokenizer(engine, "words", special)
