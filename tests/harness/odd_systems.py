"""Systems that an author might bring along and that the harness must cope with."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.language_model import LanguageModel
from baselines.transformer_vae import EmbedVAE
from bench.batch import Batch
from bench.interface import LatentPath, Posterior
from bench.specs import RunSpec
from bench.tasks import TASKS, Example


class Oracle(LanguageModel):
    """Knows the grammars of SNLI and Quora: its likelihood is the exact one, whatever its weights."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.grammar = TASKS.get("quora" if self.conditional else "snli").grammar()

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        decode = self.tokenizer.decode
        texts = decode(batch.ids.tolist())
        sources = [None] * len(texts) if batch.condition is None else decode(batch.condition.ids.tolist())
        exact = torch.from_numpy(self.grammar.log_p(list(map(Example, texts, sources))))[:, None]
        return exact.expand(-1, path.n) + 0.0 * super().log_likelihood(batch, path)


class TooGood(Oracle):
    """Gives every text half a nat more than its probability: no model of texts."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path) + 0.5


class NaNLoss(LanguageModel):
    """Its loss is not a number from the seventh training step on."""

    steps = 0

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        self.steps += self.training
        return super().log_likelihood(batch, path) * (float("nan") if self.steps >= 7 else 1.0)


class NaNScore(EmbedVAE):
    """Trains well, but its likelihood is not a number where several samples are scored."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path) * (float("nan") if path.n > 1 else 1.0)


class Frozen(EmbedVAE):
    """Never trains its random backbone."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.backbone.requires_grad_(False)


class Raising(LanguageModel):
    """Has a bug of its own."""

    def encode(self, batch: Batch) -> Posterior:
        raise RuntimeError("shapes (3, 4)\nand (5, 6) do not fit")


class Greedy(LanguageModel):
    """Needs more memory than there is for a batch of more than 128 tokens in training."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        if self.training and batch.ids.numel() > 128:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 137438953472 bytes.")
        return super().log_likelihood(batch, path)


class Picky(LanguageModel):
    """Does not like SNLI."""

    @classmethod
    def supports(cls, spec: RunSpec) -> str | None:
        return "no captions, please" if spec.task.name == "snli" else None
