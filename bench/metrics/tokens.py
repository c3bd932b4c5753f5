"""From texts to rows of integers: the tokenizers of the n-gram metrics and the interning of their tokens."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import unknown_name

Ints = npt.NDArray[np.int64]
Tokenize = Callable[[str], list[str]]


def _mteval_13a() -> Tokenize:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer = Tokenizer13a()

    @cache
    def pieces(word: str) -> list[str]:
        return tokenizer(word).split()

    def tokenize(text: str) -> list[str]:
        # The rules look at one character to either side, and whitespace is to them as good as a text's end: words can
        # be split one by one, each only once. A hyphen that ends a line is the exception: it joins two words.
        if "\n" in text:
            return tokenizer(text.rstrip()).split()  # sacrebleu strips the end of a segment
        return [piece for word in text.split() for piece in pieces(word)]

    return tokenize


def _treebank() -> Tokenize:
    from nltk.tokenize import NLTKWordTokenizer

    # nltk's word_tokenize puts a sentence splitter in front, which needs a downloaded model; on single sentences
    # the two agree.
    tokenizer: Any = NLTKWordTokenizer()
    return lambda text: list(tokenizer.tokenize(text))


def _whitespace() -> Tokenize:
    return str.split


TOKENIZERS: Mapping[str, Callable[[], Tokenize]] = {
    "13a": _mteval_13a,
    "treebank": _treebank,
    "whitespace": _whitespace,
}


def load_tokenizer(name: str) -> Tokenize:
    """Returns the function that splits a text into tokens.

    Args:
        name: ``13a`` (mteval-v13a through sacrebleu), ``treebank`` (nltk) or ``whitespace``.

    Raises:
        BenchError: the name is none of these.
    """
    if name not in TOKENIZERS:
        raise unknown_name("tokenizer", name, TOKENIZERS)
    return TOKENIZERS[name]()


@dataclass(frozen=True)
class Tokens:
    """Texts as integers.

    Attributes:
        ids: token ids of all texts, one text after the other (tokens,).
        lengths: number of tokens of each text (texts,); an empty text has length 0.
    """

    ids: Ints
    lengths: Ints

    @classmethod
    def intern(cls, texts: Iterable[str], tokenize: Tokenize, vocabulary: dict[str, int]) -> Tokens:
        """Tokenizes the texts; tokens that ``vocabulary`` lacks are added to it."""
        ids: list[int] = []
        lengths: list[int] = []
        for text in texts:
            tokens = tokenize(text)
            ids.extend([vocabulary.setdefault(token, len(vocabulary)) for token in tokens])
            lengths.append(len(tokens))
        return cls(np.array(ids, dtype=np.int64), np.array(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.lengths)

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(np.concatenate([self.ids, other.ids]), np.concatenate([self.lengths, other.lengths]))

    def portions(self, size: int) -> Iterator[Tokens]:
        """Yields every ``size`` texts in a row on their own."""
        starts = np.arange(size, len(self), size)
        ids = np.split(self.ids, np.cumsum(self.lengths)[starts - 1])
        return itertools.starmap(Tokens, zip(ids, np.split(self.lengths, starts), strict=True))
