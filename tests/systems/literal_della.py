"""DELLA as its equations read, one token, one head and one factor at a time; the oracle of the tests.

It takes the weights of our model and shares no code with it: its own GPT-2 and BART, its own hierarchy, its own
Gaussians. One text at a time, without padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.backbones.encoder_decoder import EncoderDecoder
from bench.interface import Batch
from della.model import Della

Fuse = Callable[[int, Tensor], Tensor]
"""Takes the number of a layer and a value vector; returns the value vector that attention sees."""


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + (layer.bias if layer.bias is not None else 0.0)


def layer_norm(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return norm.weight * centred / torch.sqrt((centred**2).mean() + norm.eps) + norm.bias


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attend(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], heads: int) -> Tensor:
    """Softmax attention of one query, head by head."""
    size = len(query) // heads
    result = []
    for head in range(heads):
        at = slice(head * size, (head + 1) * size)
        scores = torch.stack([query[at] @ key[at] / math.sqrt(size) for key in keys])
        weights = torch.exp(scores - scores.max())
        weights = weights / weights.sum()
        result.append(sum(weight * value[at] for weight, value in zip(weights, values, strict=True)))
    return torch.cat(result)


def unchanged(layer: int, value: Tensor) -> Tensor:
    return value


class LiteralGPT2:
    """One stack for both passes; a source stands in front of its target."""

    def __init__(self, model) -> None:
        self.gpt2, self.head, self.heads = model.transformer, model.lm_head, model.config.n_head

    def states(self, ids: list[int], causal: bool, fuse: Fuse) -> list[list[Tensor]]:
        states = [self.gpt2.wte.weight[token] + self.gpt2.wpe.weight[place] for place, token in enumerate(ids)]
        layers = []
        for number in range(len(self.gpt2.h)):
            states = self.block(number, states, causal, fuse)
            layers.append(states)
        return layers

    def block(self, number: int, states: list[Tensor], causal: bool, fuse: Fuse) -> list[Tensor]:
        block = self.gpt2.h[number]
        weight, bias = block.attn.c_attn.weight, block.attn.c_attn.bias
        queries, keys, values = zip(
            *((layer_norm(block.ln_1, h) @ weight + bias).chunk(3) for h in states), strict=True
        )
        values = [fuse(number, value) for value in values]
        result = []
        for i, h in enumerate(states):
            seen = i + 1 if causal else len(states)
            attended = attend(queries[i], keys[:seen], values[:seen], self.heads)
            h = h + attended @ block.attn.c_proj.weight + block.attn.c_proj.bias
            inner = gelu_tanh(layer_norm(block.ln_2, h) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias)
            result.append(h + inner @ block.mlp.c_proj.weight + block.mlp.c_proj.bias)
        return result

    def encode(self, ids: list[int]) -> list[list[Tensor]]:
        return self.states(ids, causal=False, fuse=unchanged)

    def logits(self, ids: list[int], fuse: Fuse, source: list[int]) -> Tensor:
        states = self.states([*source, *ids], causal=True, fuse=fuse)[-1][len(source) :]
        return torch.stack([self.head.weight @ layer_norm(self.gpt2.ln_f, h) for h in states])


class LiteralBart:
    """An encoder of its own; the decoder attends to the source; layer norms come after each part."""

    def __init__(self, model) -> None:
        self.bart, self.head, self.heads = model.model, model.lm_head, model.config.decoder_attention_heads

    def embed(self, stack, ids: list[int]) -> list[Tensor]:
        rows = [stack.embed_tokens.weight[t] + stack.embed_positions.weight[p + 2] for p, t in enumerate(ids)]
        return [layer_norm(stack.layernorm_embedding, row) for row in rows]

    def attention(self, part, queries: list[Tensor], seen: list[Tensor], causal: bool, fuse=None) -> list[Tensor]:
        keys = [linear(part.k_proj, h) for h in seen]
        values = [linear(part.v_proj, h) for h in seen]
        values = values if fuse is None else [fuse(value) for value in values]
        result = []
        for i, h in enumerate(queries):
            upto = i + 1 if causal else len(seen)
            result.append(linear(part.out_proj, attend(linear(part.q_proj, h), keys[:upto], values[:upto], self.heads)))
        return result

    def feed_forward(self, block, states: list[Tensor]) -> list[Tensor]:
        return [layer_norm(block.final_layer_norm, h + linear(block.fc2, gelu(linear(block.fc1, h)))) for h in states]

    def encode(self, ids: list[int]) -> list[list[Tensor]]:
        states = self.embed(self.bart.encoder, ids)
        layers = []
        for block in self.bart.encoder.layers:
            attended = self.attention(block.self_attn, states, states, causal=False)
            states = [layer_norm(block.self_attn_layer_norm, h + a) for h, a in zip(states, attended, strict=True)]
            states = self.feed_forward(block, states)
            layers.append(states)
        return layers

    def logits(self, ids: list[int], fuse: Fuse, source: list[int]) -> Tensor:
        memory = self.encode(source)[-1]
        states = self.embed(self.bart.decoder, ids)
        for number, block in enumerate(self.bart.decoder.layers):
            own = self.attention(block.self_attn, states, states, True, lambda v, n=number: fuse(n, v))
            states = [layer_norm(block.self_attn_layer_norm, h + a) for h, a in zip(states, own, strict=True)]
            cross = self.attention(block.encoder_attn, states, memory, causal=False)
            states = [layer_norm(block.encoder_attn_layer_norm, h + a) for h, a in zip(states, cross, strict=True)]
            states = self.feed_forward(block, states)
        return torch.stack([self.head.weight @ h for h in states])


class LiteralDella:
    """Eq. 7 to 9, and 11 to 12 where there is a source."""

    def __init__(self, system: Della) -> None:
        self.system = system
        literal = LiteralBart if isinstance(system.backbone, EncoderDecoder) else LiteralGPT2
        self.stack = literal(system.backbone.model)
        self.clamp = system.config.clamp

    def fuse(self, z: list[Tensor]) -> Fuse:
        """Eq. 9: the product of two sums over the rank, in layers that carry a latent variable."""
        fusion, layers = self.system.fusion, self.system.layers

        def fused(number: int, v: Tensor) -> Tensor:
            if number not in layers:
                return v
            group = layers.index(number)
            text = torch.zeros_like(v)
            latent = torch.zeros_like(v)
            for j in range(fusion.text_factor.shape[1]):
                text = text + fusion.text_factor[group, j] @ v
                latent = latent + fusion.latent_factor[group, j] @ z[group]
                if fusion.text_bias is not None and fusion.latent_bias is not None:
                    text = text + fusion.text_bias[group, j]
                    latent = latent + fusion.latent_bias[group, j]
            return text * latent

        return fused

    def representations(self, ids: list[int]) -> list[Tensor]:
        """x^(l) of every layer that carries a latent variable, from the bidirectional pass."""
        encoded = self.stack.encode(ids)
        states = [encoded[number] for number in self.system.layers]
        if self.system.pooling is None:
            return [layer[0] for layer in states]
        return [self.pool(group, layer) for group, layer in enumerate(states)]

    def pool(self, group: int, states: list[Tensor]) -> Tensor:
        w = self.system.pooling[group].attention_weights
        scores = torch.stack([gelu_tanh(h @ w) for h in states])
        weights = torch.exp(scores) / torch.exp(scores).sum()
        return sum(a * h for a, h in zip(weights, states, strict=True))

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        if self.clamp is not None:
            parameters = torch.clamp(parameters, -self.clamp, self.clamp)
        half = len(parameters) // 2
        return parameters[:half], parameters[half:]

    def latents(
        self, ids: list[int], noise: Tensor, source: list[int] | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Eq. 7 and 8 (11 and 12) with the given noise (L x D): z_l, and log q, log p, KL of every layer."""
        net = self.system.hierarchy
        x = self.representations(ids)
        c = None if source is None else self.representations(source)
        z_previous = torch.zeros(net.size)
        state = torch.zeros(net.size)
        z, log_q, log_p, kl = [], [], [], []
        for group in range(len(x)):
            state = torch.tanh(linear(net.recurrence_hh[group], state) + linear(net.recurrence_ih[group], z_previous))
            prior_sees, posterior_sees = [state], [x[group], state]
            if c is not None:
                prior_sees.append(c[group])
                posterior_sees += [c[group]] if self.system.config.posterior_sees_condition else []
            mean_p, log_variance_p = self.split(linear(net.prior[group], torch.cat(prior_sees)))
            mean_q, log_variance_q = self.split(linear(net.posterior[group], torch.cat(posterior_sees)))
            z_previous = mean_q + torch.exp(log_variance_q / 2) * noise[group]
            q = torch.distributions.Normal(mean_q, torch.exp(log_variance_q / 2))
            p = torch.distributions.Normal(mean_p, torch.exp(log_variance_p / 2))
            z.append(z_previous)
            log_q.append(q.log_prob(z_previous).sum())
            log_p.append(p.log_prob(z_previous).sum())
            kl.append(torch.distributions.kl_divergence(q, p).sum())
        return z, torch.stack(log_q), torch.stack(log_p), torch.stack(kl)

    def logits(self, ids: list[int], z: list[Tensor], source: list[int] | None = None) -> Tensor:
        """Scores of the next token after every prefix of the target (T x V)."""
        return self.stack.logits(ids, self.fuse(z), source or [])

    def log_likelihood(self, ids: list[int], z: list[Tensor], source: list[int] | None = None) -> Tensor:
        scores = torch.log_softmax(self.logits(ids[:-1], z, source), dim=-1)
        return sum(scores[place, token] for place, token in enumerate(ids[1:]))


def texts_of(batch: Batch) -> list[list[int]]:
    return [ids[mask].tolist() for ids, mask in zip(batch.ids, batch.mask, strict=True)]


def sources_of(batch: Batch) -> list[list[int] | None]:
    return texts_of(batch.condition) if batch.condition is not None else [None] * len(batch)
