"""DELLA as its equations read, one token, one head and one factor at a time; the oracle of the tests.

It takes the weights of our model and shares no code with it: its own GPT-2, its own hierarchy, its own Gaussians.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.interface import Batch
from della.model import Della


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + (layer.bias if layer.bias is not None else 0.0)


def layer_norm(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return norm.weight * centred / torch.sqrt((centred**2).mean() + norm.eps) + norm.bias


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class LiteralDella:
    """One text at a time, without padding."""

    def __init__(self, system: Della) -> None:
        self.system = system
        self.gpt2 = system.backbone.model.transformer
        self.heads = system.backbone.model.config.n_head
        self.clamp = system.config.clamp

    def block(self, number: int, states: list[Tensor], causal: bool, z: Tensor | None) -> list[Tensor]:
        """One Transformer block over the states of a text; with z, Eq. 9 replaces every value vector."""
        block = self.gpt2.h[number]
        attention = block.attn
        projected = [
            (layer_norm(block.ln_1, h) @ attention.c_attn.weight + attention.c_attn.bias).chunk(3) for h in states
        ]
        values = [v for _, _, v in projected]
        if z is not None:
            values = [self.fuse(number, v, z) for v in values]
        size = len(states[0]) // self.heads
        result = []
        for i, h in enumerate(states):
            seen = range(i + 1) if causal else range(len(states))
            heads = []
            for head in range(self.heads):
                at = slice(head * size, (head + 1) * size)
                scores = torch.stack([projected[i][0][at] @ projected[j][1][at] / math.sqrt(size) for j in seen])
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                heads.append(sum(w * values[j][at] for w, j in zip(weights, seen, strict=True)))
            h = h + torch.cat(heads) @ attention.c_proj.weight + attention.c_proj.bias
            inner = gelu(layer_norm(block.ln_2, h) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias)
            result.append(h + inner @ block.mlp.c_proj.weight + block.mlp.c_proj.bias)
        return result

    def fuse(self, number: int, v: Tensor, z: Tensor) -> Tensor:
        """Eq. 9: the product of two sums over the rank."""
        fusion, group = self.system.fusion, self.system.layers.index(number)
        text = torch.zeros_like(v)
        latent = torch.zeros_like(v)
        for j in range(fusion.text_factor.shape[1]):
            text = text + fusion.text_factor[group, j] @ v
            latent = latent + fusion.latent_factor[group, j] @ z
            if fusion.text_bias is not None and fusion.latent_bias is not None:
                text = text + fusion.text_bias[group, j]
                latent = latent + fusion.latent_bias[group, j]
        return text * latent

    def embed(self, ids: list[int]) -> list[Tensor]:
        return [self.gpt2.wte.weight[token] + self.gpt2.wpe.weight[place] for place, token in enumerate(ids)]

    def representations(self, ids: list[int]) -> list[Tensor]:
        """x^(l) of every layer that carries a latent variable, from the bidirectional pass."""
        states = self.embed(ids)
        found = []
        for number in range(len(self.gpt2.h)):
            states = self.block(number, states, causal=False, z=None)
            if number in self.system.layers:
                group = self.system.layers.index(number)
                found.append(states[0] if self.system.pooling is None else self.pool(group, states))
        return found

    def pool(self, group: int, states: list[Tensor]) -> Tensor:
        w = self.system.pooling[group].attention_weights
        scores = torch.stack([gelu(h @ w) for h in states])
        weights = torch.exp(scores) / torch.exp(scores).sum()
        return sum(a * h for a, h in zip(weights, states, strict=True))

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        if self.clamp is not None:
            parameters = torch.clamp(parameters, -self.clamp, self.clamp)
        half = len(parameters) // 2
        return parameters[:half], parameters[half:]

    def latents(self, ids: list[int], noise: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Eq. 7 and 8 with the given noise (L x D): z_l, and log q, log p, KL of every layer."""
        net = self.system.hierarchy
        x = self.representations(ids)
        z_previous = torch.zeros(net.size)
        state = torch.zeros(net.size)
        z, log_q, log_p, kl = [], [], [], []
        for group in range(len(x)):
            state = torch.tanh(linear(net.recurrence_hh[group], state) + linear(net.recurrence_ih[group], z_previous))
            mean_p, log_variance_p = self.split(linear(net.prior[group], state))
            mean_q, log_variance_q = self.split(linear(net.posterior[group], torch.cat([x[group], state])))
            z_previous = mean_q + torch.exp(log_variance_q / 2) * noise[group]
            q = torch.distributions.Normal(mean_q, torch.exp(log_variance_q / 2))
            p = torch.distributions.Normal(mean_p, torch.exp(log_variance_p / 2))
            z.append(z_previous)
            log_q.append(q.log_prob(z_previous).sum())
            log_p.append(p.log_prob(z_previous).sum())
            kl.append(torch.distributions.kl_divergence(q, p).sum())
        return z, torch.stack(log_q), torch.stack(log_p), torch.stack(kl)

    def logits(self, ids: list[int], z: list[Tensor]) -> Tensor:
        """Scores of the next token after every prefix (T x V)."""
        states = self.embed(ids)
        for number in range(len(self.gpt2.h)):
            latent = z[self.system.layers.index(number)] if number in self.system.layers else None
            states = self.block(number, states, causal=True, z=latent)
        head = self.system.backbone.model.lm_head.weight
        return torch.stack([head @ layer_norm(self.gpt2.ln_f, h) for h in states])

    def log_likelihood(self, ids: list[int], z: list[Tensor]) -> Tensor:
        scores = torch.log_softmax(self.logits(ids[:-1], z), dim=-1)
        return sum(scores[place, token] for place, token in enumerate(ids[1:]))


def texts_of(batch: Batch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]
