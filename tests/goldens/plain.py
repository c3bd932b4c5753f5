"""A small system, tokenizer and texts that use no registered component, so that golden values move for one cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers
from torch import Tensor, nn

from bench.backbones import decode_stepwise, text_log_likelihood
from bench.batch import Batch, Generators, Seeds
from bench.harness.tokenized_texts import TokenizedTexts, tokenize
from bench.interface import LatentPath, Posterior, System
from bench.latents import Gaussian, draw_noise, path_from_groups, standard_normal_like
from bench.specs import DecodingSpec, SystemConfig
from bench.tasks import Example
from bench.tokenizers import SPECIAL_TOKENS, Tokenizer

WORDS = ("the", "old", "ferry", "left", "harbour", "before", "rain", "began", ".", "nobody", "saw", "it")
TEXTS = tuple(
    Example(
        " ".join(WORDS[(first + step * (1 + first % 4)) % len(WORDS)] for step in range(2 + first * 5 % 8)),
        " ".join(WORDS[(first * step + 1) % len(WORDS)] for step in range(1 + first % 3)),
    )
    for first in range(14)
)
"""Texts and sources of 2 to 9, and 1 to 3 words."""


def tokenizer_of(words: Sequence[str], special: Sequence[str] = SPECIAL_TOKENS) -> Tokenizer:
    """Returns a tokenizer of words, which is not trained."""
    engine = Engine(models.WordLevel({word: place for place, word in enumerate((*special, *words))}))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Tokenizer(engine, "words", special)


def tokenized(conditional: bool = False, start: int = 0, stop: int | None = None) -> TokenizedTexts:
    """Returns some of the texts; the longest are cut."""
    return tokenize(TEXTS[start:stop], tokenizer_of(WORDS), max_tokens=10, max_source_tokens=8 if conditional else None)


class Plain(System):
    """Two latent groups, the second given the first; every token depends on the one before it, on z and the source."""

    uses_transformer = False
    groups = (2, 3)

    def __init__(self, tokenizer: Tokenizer, width: int, config: SystemConfig, conditional: bool = False) -> None:
        super().__init__(tokenizer, width, config, conditional)
        size = len(tokenizer)
        self.read, self.previous, self.source = (nn.Embedding(size, width) for _ in range(3))
        self.first, self.second = nn.Linear(width, 2 * 2), nn.Linear(width + 2, 2 * 3)
        self.latent, self.head = nn.Linear(5, width), nn.Linear(width, size)
        self.dropout = nn.Dropout(0.2)

    @property
    def output_layer(self) -> nn.Linear:
        return self.head

    def encode(self, batch: Batch) -> Posterior:
        return PlainPosterior(self, mean_of_words(self.dropout(self.read(batch.ids)), batch))

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        texts = 1 if condition is None else len(condition)
        groups = [standard_normal_like(self.head.weight.new_zeros(texts, n, size)) for size in self.groups]
        drawn = [(p, p.draw(draw_noise(texts, n, p.mean.shape[-1], generator, p.mean))) for p in groups]
        return path_from_groups([(z, p.mean, p.log_prob(z), p.log_prob(z), torch.zeros_like(z)) for p, z in drawn])

    def hidden(self, path: LatentPath, condition: Batch | None) -> Tensor:
        """Returns what z and the source add to the state of every token (B n x 1 x width)."""
        states = self.latent(torch.cat(path.z, dim=-1))
        if condition is not None:
            states = states + mean_of_words(self.source(condition.ids), condition)[:, None]
        return states.flatten(0, 1)[:, None]

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        previous = self.dropout(self.previous(batch.inputs)).repeat_interleave(path.n, dim=0)
        states = (previous + self.hidden(path, batch.condition)).tanh()
        return text_log_likelihood(batch, states, self.head, len(self.tokenizer), path.n)

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        hidden = self.hidden(path, condition)[:, 0]

        def step(newest: Tensor) -> Tensor:
            return self.head((self.previous(newest) + hidden).tanh())

        return decode_stepwise(step, len(hidden), self.tokenizer, decoding, seed, hidden.device)


@dataclass(frozen=True)
class PlainPosterior(Posterior):
    system: Plain
    text: Tensor

    def group(self, index: int, first: Tensor | None, n: int) -> Gaussian:
        """Returns q of a group (B x n x D), given the samples of the first."""
        text = self.text[:, None].expand(-1, n, -1)
        parameters = self.system.first(text) if first is None else self.system.second(torch.cat([text, first], dim=-1))
        return Gaussian.from_parameters(parameters, mean_transform=lambda mean: self.system.posterior_mean(mean, index))

    def sample(self, n: int, generator: Generators) -> LatentPath:
        groups: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = []
        for index, size in enumerate(self.system.groups):
            q = self.group(index, groups[0][0] if groups else None, n)
            p = standard_normal_like(q.mean)
            z = q.draw(draw_noise(len(self.text), n, size, generator, q.mean))
            groups.append((z, q.mean, q.log_prob(z), p.log_prob(z), q.kl_dimensions(p)))
        return path_from_groups(groups)

    def log_prob(self, path: LatentPath) -> Tensor:
        first, second = (z.expand(len(self.text), *z.shape[1:]) for z in path.z)
        given = (self.group(0, None, path.n), self.group(1, first, path.n))
        return torch.stack([q.log_prob(z) for q, z in zip(given, (first, second), strict=True)], dim=-1)


def mean_of_words(states: Tensor, batch: Batch) -> Tensor:
    """Returns the mean over the tokens of each text (B x width)."""
    return (states * batch.mask[..., None]).sum(1) / batch.mask.sum(1, keepdim=True)


@contextmanager
def in_double() -> Iterator[None]:
    """Draws and computes in float64, and leaves torch's random state as it was."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def plain_system(conditional: bool = False) -> Plain:
    """Returns the system in float64 where the default is; the first group's KL is small, the second's large."""
    system = Plain(tokenizer_of(WORDS), 8, SystemConfig(), conditional)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape))
    return system.eval()
