"""How many texts a run has, and how long they are: counted, or those of the paper where the texts are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.corpora import corpora, load_corpus
from bench.errors import BenchError
from bench.harness.prepare import prepare, text_limits
from bench.harness.tokenized_texts import TokenizedTexts
from bench.specs import RunSpec
from bench.tasks import Split, load_texts

TOKENS_PER_WORD = 1.14
"""Of GPT-2's tokenizer on the Yahoo texts of the paper, where 78.87 words are 89.80 tokens."""


@dataclass(frozen=True)
class Lengths:
    """Texts of a split and their mean lengths in tokens.

    Attributes:
        texts: number of texts.
        target: predicted tokens of a text.
        source: tokens of a source; 0 on unconditional tasks.
        encoder: tokens of a text, and of a source, for a separate encoder; None if they are not counted.
    """

    texts: int
    target: float
    source: float = 0.0
    encoder: tuple[float, float] | None = None

    @classmethod
    def of(cls, texts: TokenizedTexts) -> Lengths:
        """Returns the lengths of tokenized texts."""
        means = [0.0 if ids is None else float(ids.lengths.mean()) for ids in (texts.ids, texts.sources)]
        parts = [None if ids is None else ids.encoder for ids in (texts.ids, texts.sources)]
        encoder = [0.0 if ids is None else float(ids.lengths.mean()) for ids in parts]
        return cls(len(texts), means[0] - 1, means[1], (encoder[0], encoder[1]) if texts.ids.encoder else None)


def lengths_of(spec: RunSpec, data_folder: Path | None) -> tuple[Mapping[Split, Lengths], str]:
    """Returns the lengths of each split, and where they come from.

    Raises:
        BenchError: the texts are bad, or there are none and the task is none of the paper.
    """
    name = spec.task.name
    if spec.task.source == "files" and not _has_texts(data_folder, name):
        if name not in corpora():
            raise BenchError(f"task {name!r}: no texts, and no known sizes; name their folder with --data-dir.")
        corpus = load_corpus(name)
        words = [corpus.words["target"]], [corpus.words.get("source", 0)]
        return {split: _of_words(spec, split, n, *words) for split, n in corpus.sizes.items()}, "Table 7 of the paper"
    if spec.tokenizer.kind == "hub" or (spec.encoder is not None and spec.encoder.source == "hub"):
        splits = load_texts(spec.task, data_folder).splits
        counts = {
            split: (
                [len(example.target.split()) for example in examples],
                [len((example.source or "").split()) for example in examples],
            )
            for split, examples in splits.items()
        }
        return {
            split: _of_words(spec, split, len(words[0]), *words) for split, words in counts.items()
        }, "words of texts"
    return {split: Lengths.of(texts) for split, texts in prepare(spec, data_folder).texts.items()}, "tokens of texts"


def _has_texts(data_folder: Path | None, task: str) -> bool:
    if data_folder is None:
        return False
    return any(next(folder.glob("train.*"), None) is not None for folder in (data_folder / task, data_folder))


def _of_words(spec: RunSpec, split: Split, n: int, target: Sequence[int], source: Sequence[int]) -> Lengths:
    """Returns lengths in tokens for numbers of words, cut as those of the run."""
    longest, longest_source = text_limits(spec)
    targets = np.minimum(np.array(target) * TOKENS_PER_WORD + 1, longest - 1)
    sources = np.minimum(np.array(source) * TOKENS_PER_WORD + 2, longest_source or 0)
    return Lengths(min(n, spec.task.limits.get(split, n)), float(targets.mean()), float(sources.mean()))
