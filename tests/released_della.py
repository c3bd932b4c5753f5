"""The released model of DELLA, unconditional and conditional, by its layout of parameters; the oracle of the importer.

Written from the facts of the layout, one text at a time. It shares no code with the suite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn

PAD, BOS, EOS, VOCABULARY = 256, 257, 258, 259
"""Behind 256 bytes: GPT-2's only special token, which pads, and the two that the released code adds."""


def save_tokenizer(folder: Path) -> Path:
    """Writes a tokenizer of bytes in GPT-2's own form."""
    folder.mkdir()
    words = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def gelu_new(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def with_one(x: Tensor) -> Tensor:
    """Appends the constant 1, behind what is there."""
    return torch.cat([x, x.new_ones(*x.shape[:-1], 1)], dim=-1)


class InputsByOutputs(nn.Module):
    """A linear map that keeps its weight as inputs x outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Factors(nn.Module):
    def __init__(self, width: int, latent_size: int, rank: int) -> None:
        super().__init__()
        self.text_factor = nn.ModuleList(nn.Linear(width + 1, width) for _ in range(rank))
        self.latent_factor = nn.ModuleList(nn.Linear(latent_size + 1, width) for _ in range(rank))

    def forward(self, values: Tensor, z: Tensor) -> Tensor:
        text = sum(factor(with_one(values)) for factor in self.text_factor)
        latent = sum(factor(with_one(z)) for factor in self.latent_factor)
        return text * latent


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, positions: int, latent_size: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = InputsByOutputs(width, 3 * width)
        self.c_proj = InputsByOutputs(width, width)
        self.lmf = Factors(width, latent_size, rank)
        self.register_buffer("bias", torch.ones(1, 1, positions, positions, dtype=torch.uint8).tril())
        self.register_buffer("masked_bias", torch.tensor(-1e4))

    def forward(self, states: Tensor, hidden: Tensor, z: Tensor | None) -> Tensor:
        """Attends over T states; ``hidden`` (T x T) is True where a position is not to be seen."""
        queries, keys, values = self.c_attn(states).chunk(3, dim=-1)
        if z is not None:
            values = self.lmf(values, z)
        result = []
        for q, k, v in zip(*(one.chunk(self.heads, dim=-1) for one in (queries, keys, values)), strict=True):
            scores = (q @ k.T / math.sqrt(q.shape[-1])).masked_fill(hidden, -math.inf)
            result.append(scores.softmax(-1) @ v)
        return self.c_proj(torch.cat(result, dim=-1))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = InputsByOutputs(width, 4 * width)
        self.c_proj = InputsByOutputs(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        return self.c_proj(gelu_new(self.c_fc(states)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, positions: int, latent_size: int, rank: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, positions, latent_size, rank)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)

    def forward(self, states: Tensor, hidden: Tensor, z: Tensor | None = None) -> Tensor:
        states = states + self.attn(self.ln_1(states), hidden, z)
        return states + self.mlp(self.ln_2(states))


class Pooling(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_weights = nn.Parameter(torch.empty(width))

    def forward(self, states: Tensor) -> Tensor:
        return gelu_new(states @ self.attention_weights).softmax(0) @ states


class Half(nn.Module):
    """What encoder and decoder share: the stack."""

    def __init__(self, wte: nn.Module, wpe: nn.Module, h: nn.ModuleList, ln_f: nn.Module) -> None:
        super().__init__()
        self.wte, self.wpe, self.h, self.ln_f = wte, wpe, h, ln_f

    def embed(self, ids: Tensor) -> Tensor:
        return self.wte(ids) + self.wpe(torch.arange(len(ids)))


@dataclass(frozen=True)
class Layer:
    """One layer's posterior and prior (means and log-variances, clamped), its sample and its terms."""

    q: tuple[Tensor, Tensor]
    p: tuple[Tensor, Tensor]
    z: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor


class Encoder(Half):
    def __init__(self, shared: Sequence[nn.Module], width: int, latent_size: int, conditional: bool) -> None:
        super().__init__(*shared)
        layers = range(len(self.h))
        p = latent_size
        prior_inputs = p + width if conditional else p
        self.recog_network = nn.ModuleList(nn.Linear(width + p, 2 * p) for _ in layers)
        self.prior_network = nn.ModuleList(nn.Linear(prior_inputs, 2 * p) for _ in layers)
        self.reccurnt_cell_weight_hh = nn.ModuleList(nn.Linear(p, p) for _ in layers)
        self.reccurnt_cell_weight_ih = nn.ModuleList(nn.Linear(p, p) for _ in layers)
        self.pooling = nn.ModuleList(Pooling(width) for _ in layers)
        self.latent_size = latent_size

    def representations(self, ids: Tensor, padding: int = 0) -> list[Tensor]:
        """Pools every layer's output. Padding at the end is not attended to, but takes part in the pooling."""
        hidden = torch.zeros(len(ids), len(ids), dtype=torch.bool)
        hidden[:, len(ids) - padding :] = True
        states, pooled = self.embed(ids), []
        for block, pooling in zip(self.h, self.pooling, strict=True):
            states = block(states, hidden)
            pooled.append(pooling(states))
        return pooled

    def latents(
        self, ids: Tensor, noise: Tensor, condition: Tensor | None = None, numbers: Sequence[int] | None = None
    ) -> list[Layer]:
        """Goes through the layers of these numbers, or all, with the given noise (layers x p)."""
        numbers = range(len(self.h)) if numbers is None else numbers
        x = self.representations(ids)
        c = [None] * len(self.h) if condition is None else self.representations(condition)
        state = z = torch.zeros(self.latent_size)
        layers = []
        for number, e in zip(numbers, noise, strict=True):
            state = torch.tanh(self.reccurnt_cell_weight_hh[number](state) + self.reccurnt_cell_weight_ih[number](z))
            seen = state if c[number] is None else torch.cat([state, c[number]])
            q = clamped(self.recog_network[number](torch.cat([x[number], state])))
            p = clamped(self.prior_network[number](seen))
            z = q[0] + torch.exp(0.5 * q[1]) * e
            dist_q, dist_p = (torch.distributions.Normal(mean, torch.exp(0.5 * log)) for mean, log in (q, p))
            kl = torch.distributions.kl_divergence(dist_q, dist_p).sum()
            layers.append(Layer(q, p, z, dist_q.log_prob(z).sum(), dist_p.log_prob(z).sum(), kl))
        return layers


def clamped(parameters: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = parameters.clamp(-5, 5).chunk(2)
    return mean, log_variance


class Decoder(Half):
    def __init__(self, shared: Sequence[nn.Module], vocabulary: int, width: int, latent_size: int, bow: bool) -> None:
        super().__init__(*shared)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if bow:
            self.mlp_bow = nn.Linear(latent_size, width)

    def logits(self, ids: Tensor, z: Sequence[Tensor | None]) -> Tensor:
        """Returns the scores of the next token after every prefix (T x V); layers with None carry no latent."""
        hidden = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
        states = self.embed(ids)
        for block, one in zip(self.h, z, strict=True):
            states = block(states, hidden, one)
        return self.lm_head(self.ln_f(states))


class ReleasedDella(nn.Module):
    def __init__(
        self,
        vocabulary: int = VOCABULARY,
        *,
        layers: int = 3,
        width: int = 16,
        heads: int = 2,
        positions: int = 48,
        latent_size: int = 4,
        rank: int = 4,
        conditional: bool = False,
        bow: bool = False,
    ) -> None:
        super().__init__()
        blocks = nn.ModuleList(Block(width, heads, positions, latent_size, rank) for _ in range(layers))
        shared = (nn.Embedding(vocabulary, width), nn.Embedding(positions, width), blocks, nn.LayerNorm(width))
        self.encoder = Encoder(shared, width, latent_size, conditional)
        self.decoder = Decoder(shared, vocabulary, width, latent_size, bow)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.3)

    def log_likelihood(self, ids: Tensor, z: Sequence[Tensor | None], start: int = 1) -> Tensor:
        """Sums the log-probabilities of the tokens from ``start`` on."""
        scores = self.decoder.logits(ids[:-1], z).log_softmax(-1)
        return sum(scores[place - 1, ids[place]] for place in range(start, len(ids)))
