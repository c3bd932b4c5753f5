"""The released model of DELLA, unconditional and conditional, by its layout of parameters.

Written from the facts of the layout and of the arithmetic, with nothing done better: separate factors with a constant 1
appended, eager attention, scores at every position. It shares no code with the suite: the oracle of the importer, and
the yardstick of the benchmarks.
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


@dataclass(frozen=True)
class Sizes:
    layers: int = 3
    width: int = 16
    heads: int = 2
    positions: int = 48
    latent_size: int = 4
    rank: int = 4
    conditional: bool = False
    dropout: float = 0.0


class InputsByOutputs(nn.Module):
    """A linear map that keeps its weight as inputs x outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.flatten(0, -2), self.weight).unflatten(0, x.shape[:-1])


class Factors(nn.Module):
    def __init__(self, width: int, latent_size: int, rank: int) -> None:
        super().__init__()
        self.text_factor = nn.ModuleList(nn.Linear(width + 1, width) for _ in range(rank))
        self.latent_factor = nn.ModuleList(nn.Linear(latent_size + 1, width) for _ in range(rank))

    def forward(self, values: Tensor, z: Tensor) -> Tensor:
        text = sum(factor(with_one(values)) for factor in self.text_factor)
        latent = sum(factor(with_one(z)) for factor in self.latent_factor)
        return text * latent[:, None]


class Attention(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.c_attn = InputsByOutputs(sizes.width, 3 * sizes.width)
        self.c_proj = InputsByOutputs(sizes.width, sizes.width)
        self.lmf = Factors(sizes.width, sizes.latent_size, sizes.rank)
        self.dropout = nn.Dropout(sizes.dropout)
        self.register_buffer("bias", torch.ones(1, 1, sizes.positions, sizes.positions, dtype=torch.uint8).tril())
        self.register_buffer("masked_bias", torch.tensor(-1e4))

    def forward(self, states: Tensor, hidden: Tensor, z: Tensor | None) -> Tensor:
        """Attends over states (B x T x width); ``hidden`` is True where a position is not to be seen."""
        queries, keys, values = self.c_attn(states).chunk(3, dim=-1)
        if z is not None:
            values = self.lmf(values, z)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (queries, keys, values))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(hidden, -math.inf)
        result = self.dropout(scores.softmax(-1)) @ v
        return self.dropout(self.c_proj(result.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.c_fc = InputsByOutputs(sizes.width, 4 * sizes.width)
        self.c_proj = InputsByOutputs(4 * sizes.width, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, states: Tensor) -> Tensor:
        return self.dropout(self.c_proj(gelu_new(self.c_fc(states))))


class Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(sizes.width)
        self.attn = Attention(sizes)
        self.ln_2 = nn.LayerNorm(sizes.width)
        self.mlp = FeedForward(sizes)

    def forward(self, states: Tensor, hidden: Tensor, z: Tensor | None = None) -> Tensor:
        states = states + self.attn(self.ln_1(states), hidden, z)
        return states + self.mlp(self.ln_2(states))


class Pooling(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_weights = nn.Parameter(torch.empty(width))

    def forward(self, states: Tensor) -> Tensor:
        weights = gelu_new(states @ self.attention_weights).softmax(-1)
        return (weights[:, :, None] * states).sum(1)


class Half(nn.Module):
    """What encoder and decoder share: the stack."""

    def __init__(self, wte: nn.Module, wpe: nn.Module, h: nn.ModuleList, ln_f: nn.Module, dropout: float) -> None:
        super().__init__()
        self.wte, self.wpe, self.h, self.ln_f = wte, wpe, h, ln_f
        self.dropout = nn.Dropout(dropout)

    def embed(self, ids: Tensor) -> Tensor:
        return self.dropout(self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device)))


@dataclass(frozen=True)
class Layer:
    """One layer's posterior and prior (means and log-variances, clamped), its samples and their terms (B)."""

    q: tuple[Tensor, Tensor]
    p: tuple[Tensor, Tensor]
    z: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor


class Encoder(Half):
    def __init__(self, shared: Sequence[nn.Module], sizes: Sizes) -> None:
        super().__init__(*shared, sizes.dropout)
        layers = range(len(self.h))
        width, p = sizes.width, sizes.latent_size
        prior_inputs = p + width if sizes.conditional else p
        self.recog_network = nn.ModuleList(nn.Linear(width + p, 2 * p) for _ in layers)
        self.prior_network = nn.ModuleList(nn.Linear(prior_inputs, 2 * p) for _ in layers)
        self.reccurnt_cell_weight_hh = nn.ModuleList(nn.Linear(p, p) for _ in layers)
        self.reccurnt_cell_weight_ih = nn.ModuleList(nn.Linear(p, p) for _ in layers)
        self.pooling = nn.ModuleList(Pooling(width) for _ in layers)
        self.latent_size = p

    def representations(self, ids: Tensor, lengths: Tensor) -> list[Tensor]:
        """Pools every layer's output. Padding is not attended to, but takes part in the pooling."""
        padding = torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]
        states, pooled = self.embed(ids), []
        for block, pooling in zip(self.h, self.pooling, strict=True):
            states = block(states, padding[:, None, None])
            pooled.append(pooling(states))
        return pooled

    def latents(
        self,
        ids: Tensor,
        lengths: Tensor,
        noise: Tensor,
        condition: tuple[Tensor, Tensor] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> list[Layer]:
        """Goes through the layers of these numbers, or all, with the given noise (layers x B x p)."""
        numbers = range(len(self.h)) if numbers is None else numbers
        x = self.representations(ids, lengths)
        c: Sequence[Tensor | None] = [None] * len(self.h) if condition is None else self.representations(*condition)
        state = z = torch.zeros(len(ids), self.latent_size, device=ids.device)
        layers = []
        for number, e in zip(numbers, noise, strict=True):
            state = torch.tanh(self.reccurnt_cell_weight_hh[number](state) + self.reccurnt_cell_weight_ih[number](z))
            own = c[number]
            seen = state if own is None else torch.cat([state, own], dim=-1)
            q = clamped(self.recog_network[number](torch.cat([x[number], state], dim=-1)))
            p = clamped(self.prior_network[number](seen))
            z = q[0] + torch.exp(0.5 * q[1]) * e
            dist_q, dist_p = (torch.distributions.Normal(mean, torch.exp(0.5 * log)) for mean, log in (q, p))
            kl = torch.distributions.kl_divergence(dist_q, dist_p).sum(-1)
            layers.append(Layer(q, p, z, dist_q.log_prob(z).sum(-1), dist_p.log_prob(z).sum(-1), kl))
        return layers


def clamped(parameters: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = parameters.clamp(-5, 5).chunk(2, dim=-1)
    return mean, log_variance


class Decoder(Half):
    def __init__(self, shared: Sequence[nn.Module], vocabulary: int, sizes: Sizes, bow: bool) -> None:
        super().__init__(*shared, sizes.dropout)
        self.lm_head = nn.Linear(sizes.width, vocabulary, bias=False)
        if bow:
            self.mlp_bow = nn.Linear(sizes.latent_size, sizes.width)

    def logits(self, ids: Tensor, z: Sequence[Tensor | None]) -> Tensor:
        """Returns the scores of the next token after every prefix (B x T x V); layers with None carry no latent."""
        hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).triu(1)
        states = self.embed(ids)
        for block, one in zip(self.h, z, strict=True):
            states = block(states, hidden, one)
        return self.lm_head(self.ln_f(states))


class ReleasedDella(nn.Module):
    def __init__(self, vocabulary: int = VOCABULARY, *, bow: bool = False, std: float = 0.3, **sizes: object) -> None:
        super().__init__()
        of = Sizes(**sizes)
        blocks = nn.ModuleList(Block(of) for _ in range(of.layers))
        embeddings = nn.Embedding(vocabulary, of.width), nn.Embedding(of.positions, of.width)
        shared = (*embeddings, blocks, nn.LayerNorm(of.width))
        self.encoder = Encoder(shared, of)
        self.decoder = Decoder(shared, vocabulary, of, bow)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=std)

    def log_likelihood(self, ids: Tensor, lengths: Tensor, z: Sequence[Tensor | None], start: int = 1) -> Tensor:
        """Sums the log-probabilities of the tokens from ``start`` on (B)."""
        scores = self.decoder.logits(ids, z)[:, :-1].contiguous()
        terms = nn.functional.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        place = torch.arange(1, ids.shape[1], device=ids.device)
        counted = (place >= start) & (place < lengths[:, None])
        return -(terms.view(len(ids), -1) * counted).sum(1)
