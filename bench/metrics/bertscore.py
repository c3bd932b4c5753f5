"""BERTScore: references and samples compared token by token in the space of a pretrained encoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.bootstrap import Array
from bench.metric import Signature, signature
from bench.metrics.encoders import Encoder, TokenVectors, find_encoder, missing_encoder
from bench.metrics.text import MeanOverTexts, OfPairs, TextSet

CHUNK = 256


@dataclass(frozen=True)
class BERTScore(MeanOverTexts, OfPairs):
    """Mean F1 of greedily matched token embeddings of pairs (Zhang et al. 2020), without idf and rescaling.

    As in the authors' code special tokens can be matched but carry no weight. Of several references the one with the
    best F1 counts; an empty sample scores 0.

    Attributes:
        encoder: see `bench.metrics.encoders.find_encoder`; the authors' for English is ``roberta-large``.
        layer: hidden states that are compared, the last for None; 17 for ``roberta-large``.
    """

    name = "BERTScore"
    version = 1
    unit = "%"
    direction = "up"

    encoder: str | Path = "minilm"
    layer: int | None = None

    def supports(self, inputs: TextSet) -> str | None:
        """Needs pairs and an encoder."""
        return super().supports(inputs) or missing_encoder(self.encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return find_encoder(self.encoder)

    def signature(self, inputs: TextSet) -> Signature:
        """Returns the encoder with the digest of its weights, and the layer."""
        layer = "last" if self.layer is None else self.layer
        return signature(
            self.name, self.version, of="f1", enc=self._encoder.signature, layer=layer, idf=False, rescale=False
        )

    def statistics(self, inputs: TextSet) -> Array:
        """Returns the F1 of every pair (texts x 1)."""
        self.require(inputs)
        values: list[float] = []
        for first in range(0, len(inputs.samples), CHUNK):
            samples = inputs.samples[first : first + CHUNK]
            groups = inputs.references[first : first + CHUNK]
            references = [text for group in groups for text in group]
            vectors = iter(self._encoder.token_vectors([*samples, *references], self.layer))
            sampled = [next(vectors) for _ in samples]
            values += [
                max(_f1(sample, next(vectors)) for _ in group) for sample, group in zip(sampled, groups, strict=True)
            ]
        return np.array(values)[:, None]


def _f1(sample: TokenVectors, reference: TokenVectors) -> float:
    if not (sample.content.any() and reference.content.any()):
        return 0.0
    similarity = sample.vectors.astype(np.float64) @ reference.vectors.T.astype(np.float64)
    precision = similarity.max(axis=1)[sample.content].mean()
    recall = similarity.max(axis=0)[reference.content].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
