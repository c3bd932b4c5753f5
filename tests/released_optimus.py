"""The released model of Optimus by its layout of parameters, one text at a time.

Written from the facts of the layout and of the arithmetic: attention by hand, the memory as ``layer_past``, positions
that start behind it. It shares no code with the suite, nor with transformers.
"""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tests.released_della import FeedForward as GPT2FeedForward
from tests.released_della import InputsByOutputs
from tests.released_della import Sizes as DellaSizes

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "dog", "##s", ".", "a", "no", "run", "on", "it")
PAD, BOS, EOS, VOCABULARY = 257, 258, 259, 260
"""Behind 256 bytes and GPT-2's only special token: the three that the released code adds."""


def save_wordpiece(folder: Path) -> Path:
    """Writes BERT's tokenizer in its own form."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return folder


def split(x: Tensor, heads: int) -> Tensor:
    """T x d to heads x T x d / heads."""
    return x.view(len(x), heads, -1).transpose(0, 1)


class Dense(nn.Module):
    """A linear map, which may be followed by the residual and a LayerNorm."""

    def __init__(self, inputs: int, outputs: int, norm: bool = False) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        if norm:
            self.LayerNorm = nn.LayerNorm(outputs, eps=1e-12)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertSelf(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))


class BertAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.self, self.output = heads, BertSelf(width), Dense(width, width, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split(part(x), self.heads) for part in (self.self.query, self.self.key, self.self.value))
        weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.output((weights @ v).transpose(0, 1).flatten(1), x)


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = BertAttention(width, heads)
        self.intermediate, self.output = Dense(width, 4 * width), Dense(4 * width, width, norm=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        inner = self.intermediate.dense(x)
        return self.output(0.5 * inner * (1 + torch.erf(inner / math.sqrt(2))), x)


class BertEmbeddings(nn.Module):
    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(len(WORDS), width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, ids: Tensor) -> Tensor:
        places, types = torch.arange(len(ids)), torch.zeros_like(ids)
        return self.LayerNorm(
            self.word_embeddings(ids) + self.position_embeddings(places) + self.token_type_embeddings(types)
        )


class Layers(nn.Module):
    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(width, heads) for _ in range(layers))


class BertForLatentConnector(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, positions: int, latent_size: int) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(width, positions)
        self.encoder = Layers(layers, width, heads)
        self.pooler = Dense(width, width)
        self.linear = nn.Linear(width, 2 * latent_size, bias=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance."""
        x = self.embeddings(ids)
        for layer in self.encoder.layer:
            x = layer(x)
        mean, log_variance = self.linear(torch.tanh(self.pooler.dense(x[0]))).chunk(2)
        return mean, log_variance


class GPT2Attention(nn.Module):
    def __init__(self, width: int, heads: int, positions: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = InputsByOutputs(width, 3 * width), InputsByOutputs(width, width)
        self.register_buffer("bias", torch.ones(1, 1, positions, positions).tril())

    def forward(self, x: Tensor, layer_past: tuple[Tensor, Tensor] | None) -> Tensor:
        query, key, value = self.c_attn(x).chunk(3, dim=-1)
        if layer_past is not None:
            key, value = torch.cat([layer_past[0], key]), torch.cat([layer_past[1], value])
        q, k, v = (split(part, self.heads) for part in (query, key, value))
        weights = q @ k.transpose(1, 2) / math.sqrt(v.shape[-1])
        mask = self.bias[0, :, k.shape[1] - q.shape[1] : k.shape[1], : k.shape[1]]
        weights = (weights * mask - 1e4 * (1 - mask)).softmax(-1)
        return self.c_proj((weights @ v).transpose(0, 1).flatten(1))


class GPT2Block(nn.Module):
    def __init__(self, width: int, heads: int, positions: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = GPT2Attention(width, heads, positions)
        self.mlp = GPT2FeedForward(DellaSizes(width=width))

    def forward(self, x: Tensor, layer_past: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), layer_past)
        return x + self.mlp(self.ln_2(x))


class GPT2Model(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, positions: int, latent_size: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, width), nn.Embedding(positions, width)
        self.h = nn.ModuleList(GPT2Block(width, heads, positions) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.linear = nn.Linear(latent_size, layers * width, bias=False)
        self.linear_emb = nn.Linear(latent_size, width, bias=False)

    def forward(self, ids: Tensor, z: Tensor, injection: str) -> Tensor:
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(self.h)
        past_length = 0
        if injection != "embedding":
            past = [(part[None], part[None]) for part in self.linear(z).split(self.wte.embedding_dim)]
            past_length = 1
        x = self.wte(ids) + self.wpe(torch.arange(past_length, len(ids) + past_length))
        if injection != "memory":
            x = x + self.linear_emb(z)
        for block, layer_past in zip(self.h, past, strict=True):
            x = block(x, layer_past)
        return self.ln_f(x)


class GPT2ForLatentConnector(nn.Module):
    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.transformer = GPT2Model(*sizes)
        self.lm_head = nn.Linear(self.transformer.wte.embedding_dim, VOCABULARY, bias=False)
        self.lm_head.weight = self.transformer.wte.weight


class ReleasedOptimus(nn.Module):
    """The released ``VAE``, its weights far from their start; encoder and decoder differ in all sizes."""

    def __init__(self, injection: str = "both", latent_size: int = 3) -> None:
        super().__init__()
        self.injection = injection
        self.encoder = BertForLatentConnector(2, 12, 3, 40, latent_size)
        self.decoder = GPT2ForLatentConnector(3, 16, 2, 64, latent_size)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                scale = 1.0 if name.endswith(("wpe.weight", "linear.weight", "linear_emb.weight")) else 0.3
                is_norm = name.endswith("weight") and parameter.dim() == 1
                parameter.copy_(is_norm + scale * torch.randn_like(parameter))

    def logits(self, ids: Tensor, z: Tensor) -> Tensor:
        """Scores of the next token after every prefix (T x V)."""
        return self.decoder.lm_head(self.decoder.transformer(ids, z, self.injection))

    def log_likelihood(self, ids: Tensor, z: Tensor) -> Tensor:
        scores = self.logits(ids[:-1], z).log_softmax(-1)
        return scores[torch.arange(len(ids) - 1), ids[1:]].sum()

    def checkpoint(self) -> dict[str, object]:
        """What ``save_checkpoint`` writes; the weight of the KL is a number of NumPy."""
        beta = np.float64(0.5)
        return {
            "iter": 7,
            "model_state_dict": self.state_dict(),
            "optimizer_state_dict": torch.optim.AdamW(self.parameters()).state_dict(),
            "beta": beta,
            "args": Namespace(beta=beta, device=torch.device("cpu"), latent_size=3, do_train=True),
        }
