"""BERTScore: generated texts and references compared token by token in the space of a pretrained encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from typing_extensions import override

from bench.bootstrap import Array
from bench.metrics.encoders import Encoder, TokenVectors, find_encoder, missing_encoder
from bench.metrics.text import PerGenerationMetric, TextSet

CHUNK = 256


@dataclass(frozen=True)
class BERTScore(PerGenerationMetric):
    """Mean F1 of greedily matched token embeddings of pairs (Zhang et al. 2020), without idf and rescaling.

    As in the authors' code special tokens can be matched but carry no weight. Of several references the one with the
    best F1 counts; an empty text scores 0.

    Attributes:
        encoder: see `bench.metrics.encoders.find_encoder`; the authors' for English is ``roberta-large``.
        layer: hidden states that are compared, the last for None; 17 for ``roberta-large``.
    """

    name = "BERTScore"
    unit = "%"
    direction = "up"
    needs = ("pairs",)

    encoder: str | Path = "minilm"
    layer: int | None = None

    @override
    def supports(self, inputs: TextSet) -> str | None:
        return super().supports(inputs) or missing_encoder(self.encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return find_encoder(self.encoder)

    @override
    def fields(self, inputs: TextSet) -> Mapping[str, object]:
        layer = "last" if self.layer is None else self.layer
        return {"of": "f1", "enc": self._encoder.signature, "layer": layer, "idf": False, "rescale": False}

    @override
    def statistics(self, inputs: TextSet) -> Array:
        values: list[float] = []
        for first in range(0, len(inputs.generations), CHUNK):
            texts = inputs.generations[first : first + CHUNK]
            groups = inputs.references[first : first + CHUNK]
            references = [text for group in groups for text in group]
            vectors = iter(self._encoder.token_vectors([*texts, *references], self.layer))
            generated = [next(vectors) for _ in texts]
            values += [
                max(_f1(text, next(vectors)) for _ in group) for text, group in zip(generated, groups, strict=True)
            ]
        return np.array(values)[:, None]


def _f1(generated: TokenVectors, reference: TokenVectors) -> float:
    if not (generated.content.any() and reference.content.any()):
        return 0.0
    similarity = generated.vectors.astype(np.float64) @ reference.vectors.T.astype(np.float64)
    precision = similarity.max(axis=1)[generated.content].mean()
    recall = similarity.max(axis=0)[reference.content].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
