"""A batch of texts as padded token ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ids = npt.NDArray[np.int32]
"""Token ids of a text (T)."""


Generators = torch.Generator | Sequence[torch.Generator]
"""One stream for a whole batch, or one per text: then a text's noise does not depend on its batch."""


Seeds = int | Sequence[int]
"""One seed for a whole batch, from which one for each text is derived, or one per text."""


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids; every text begins with BOS and, unless it was cut, ends with EOS.

    Attributes:
        ids: token ids (B x T).
        mask: True at tokens, False at padding (B x T).
        predicted: flat indices into B x (T-1) of the tokens that are predicted: all but BOS and padding.
        condition: the texts conditioned on, or None.
        encoder: the same texts in the tokens of the system's own encoder, or None.
    """

    ids: Tensor
    mask: Tensor
    predicted: Tensor
    condition: Batch | None = None
    encoder: Batch | None = None

    @classmethod
    def collate(
        cls,
        texts: Sequence[Sequence[int] | Ids],
        pad: int,
        condition: Batch | None = None,
        encoder: Batch | None = None,
    ) -> Batch:
        """Pads token ids on the right to the longest text."""
        lengths = np.array([len(text) for text in texts])
        ids = np.full((len(texts), lengths.max()), pad, dtype=np.int64)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = text
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        predicted = np.flatnonzero(mask[:, 1:])
        return cls(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(predicted), condition, encoder)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def padded(self) -> bool:
        """Whether any text is shorter than the longest."""
        return len(self.predicted) < self.targets.numel()

    @property
    def inputs(self) -> Tensor:
        """Tokens the decoder reads (B x (T-1))."""
        return self.ids[:, :-1]

    @property
    def targets(self) -> Tensor:
        """Tokens the decoder predicts, padding included (B x (T-1))."""
        return self.ids[:, 1:]

    def unpadded(self) -> list[list[int]]:
        """Returns the ids of each text without padding."""
        return [ids[mask].tolist() for ids, mask in zip(self.ids, self.mask, strict=True)]

    def to(self, device: torch.device | str) -> Batch:
        """Returns the batch on ``device``; from pinned memory to a GPU it is not waited for."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Returns the batch in memory that a GPU can read by itself."""
        return self.mapped(Tensor.pin_memory)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Returns the batch with every tensor changed alike, those of conditions and of the encoder included."""
        condition, encoder = (None if part is None else part.mapped(change) for part in (self.condition, self.encoder))
        return Batch(change(self.ids), change(self.mask), change(self.predicted), condition, encoder)


def batches_of_similar_length(
    lengths: Sequence[int] | npt.NDArray[np.int64], batch_tokens: int, rng: np.random.Generator | None = None
) -> list[list[int]]:
    """Groups texts so that each batch, padded to its longest text, holds at most ``batch_tokens`` tokens.

    Args:
        lengths: tokens of each text.
        batch_tokens: budget; a single longer text still makes a batch of its own.
        rng: mixes texts of equal length and the order of batches, so that every epoch differs; the number of batches
            does not depend on it. Without it, texts go by length and index.

    Returns:
        Indices of the texts of each batch.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    lengths = np.asarray(lengths)
    order = order[np.argsort(lengths[order], kind="stable")]
    batches: list[list[int]] = [[]]
    for index, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        # Sorted by length: the newest text is the longest, and decides what the batch is padded to.
        if batches[-1] and (len(batches[-1]) + 1) * length > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    if rng is not None:
        batches = [batches[place] for place in rng.permutation(len(batches))]
    return batches


def batches_of_texts(n_texts: int, batch_texts: int, rng: np.random.Generator | None = None) -> list[list[int]]:
    """Groups texts into batches of ``batch_texts`` in an order that ``rng`` draws, or in their own.

    Returns:
        Indices of the texts of each batch.
    """
    order = np.arange(n_texts) if rng is None else rng.permutation(n_texts)
    return [order[start : start + batch_texts].tolist() for start in range(0, n_texts, batch_texts)]


def divided(batch: Sequence[int], lengths: npt.NDArray[np.int64], batch_tokens: int) -> list[list[int]]:
    """Divides a batch into ones of at most ``batch_tokens``; takes and returns indices of texts."""
    parts = batches_of_similar_length(lengths[list(batch)], batch_tokens)
    return [[batch[place] for place in part] for part in parts]
