"""The equations of DELLA, written for one token, one head and one factor at a time; the oracle of the tests.

It takes the weights of our model and shares no code with it: its own GPT-2 and BART, its own hierarchy, its own
Gaussians. One text at a time, without padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.backbones.encoder_decoder import EncoderDecoder
from bench.batch import Batch
from della.model import Della


class Unfused:
    """Attention without a latent variable."""

    def value(self, layer: int, v: Tensor) -> Tensor:
        """The value vector that replaces v."""
        return v

    def tokens(self, layer: int) -> list[Tensor]:
        """Additional positions before the text; each vector is both key and value."""
        return []


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


class LiteralGPT2:
    """One stack for both passes; a source comes before its target."""

    def __init__(self, model: Any) -> None:
        self.gpt2, self.head, self.heads = model.transformer, model.lm_head, model.config.n_head

    def states(self, ids: list[int], causal: bool, fusion: Unfused) -> list[list[Tensor]]:
        states = [self.gpt2.wte.weight[token] + self.gpt2.wpe.weight[place] for place, token in enumerate(ids)]
        layers = []
        for number in range(len(self.gpt2.h)):
            states = self.block(number, states, causal, fusion)
            layers.append(states)
        return layers

    def block(self, number: int, states: list[Tensor], causal: bool, fusion: Unfused) -> list[Tensor]:
        block = self.gpt2.h[number]
        weight, bias = block.attn.c_attn.weight, block.attn.c_attn.bias
        queries, keys, projected = zip(
            *((layer_norm(block.ln_1, h) @ weight + bias).chunk(3) for h in states), strict=True
        )
        values = [fusion.value(number, value) for value in projected]
        extra = fusion.tokens(number)
        result = []
        for i, h in enumerate(states):
            seen = i + 1 if causal else len(states)
            attended = attend(queries[i], [*extra, *keys[:seen]], [*extra, *values[:seen]], self.heads)
            h = h + attended @ block.attn.c_proj.weight + block.attn.c_proj.bias
            inner = gelu_tanh(layer_norm(block.ln_2, h) @ block.mlp.c_fc.weight + block.mlp.c_fc.bias)
            result.append(h + inner @ block.mlp.c_proj.weight + block.mlp.c_proj.bias)
        return result

    def encode(self, ids: list[int]) -> list[list[Tensor]]:
        return self.states(ids, causal=False, fusion=Unfused())

    def logits(self, ids: list[int], fusion: Unfused, source: list[int]) -> Tensor:
        states = self.states([*source, *ids], causal=True, fusion=fusion)[-1][len(source) :]
        return torch.stack([self.head.weight @ layer_norm(self.gpt2.ln_f, h) for h in states])


class LiteralBart:
    """A separate encoder; the decoder attends to the source; layer norms come after each sublayer."""

    def __init__(self, model: Any) -> None:
        self.bart, self.head, self.heads = model.model, model.lm_head, model.config.decoder_attention_heads

    def embed(self, stack: Any, ids: list[int]) -> list[Tensor]:
        rows = [stack.embed_tokens.weight[t] + stack.embed_positions.weight[p + 2] for p, t in enumerate(ids)]
        return [layer_norm(stack.layernorm_embedding, row) for row in rows]

    def attention(
        self, part: Any, queries: list[Tensor], seen: list[Tensor], causal: bool, fusion: Unfused, number: int
    ) -> list[Tensor]:
        keys = [linear(part.k_proj, h) for h in seen]
        values = [fusion.value(number, linear(part.v_proj, h)) for h in seen]
        extra = fusion.tokens(number)
        result = []
        for i, h in enumerate(queries):
            upto = i + 1 if causal else len(seen)
            query = linear(part.q_proj, h)
            attended = attend(query, [*extra, *keys[:upto]], [*extra, *values[:upto]], self.heads)
            result.append(linear(part.out_proj, attended))
        return result

    def feed_forward(self, block: Any, states: list[Tensor]) -> list[Tensor]:
        return [layer_norm(block.final_layer_norm, h + linear(block.fc2, gelu(linear(block.fc1, h)))) for h in states]

    def encode(self, ids: list[int]) -> list[list[Tensor]]:
        states = self.embed(self.bart.encoder, ids)
        layers = []
        for number, block in enumerate(self.bart.encoder.layers):
            attended = self.attention(block.self_attn, states, states, False, Unfused(), number)
            states = [layer_norm(block.self_attn_layer_norm, h + a) for h, a in zip(states, attended, strict=True)]
            states = self.feed_forward(block, states)
            layers.append(states)
        return layers

    def logits(self, ids: list[int], fusion: Unfused, source: list[int]) -> Tensor:
        memory = self.encode(source)[-1]
        states = self.embed(self.bart.decoder, ids)
        for number, block in enumerate(self.bart.decoder.layers):
            own = self.attention(block.self_attn, states, states, True, fusion, number)
            states = [layer_norm(block.self_attn_layer_norm, h + a) for h, a in zip(states, own, strict=True)]
            cross = self.attention(block.encoder_attn, states, memory, False, Unfused(), number)
            states = [layer_norm(block.encoder_attn_layer_norm, h + a) for h, a in zip(states, cross, strict=True)]
            states = self.feed_forward(block, states)
        return torch.stack([self.head.weight @ h for h in states])


class Factors:
    """The maps of one layer's fusion, with their biases if there are any."""

    def __init__(self, fusion: nn.Module, layer: int) -> None:
        self.fusion, self.layer = fusion, layer
        self.rank = fusion.latent_factor.shape[1]

    def text(self, j: int, v: Tensor) -> Tensor:
        bias = self.fusion.text_bias
        return self.fusion.text_factor[self.layer, j] @ v + (0 if bias is None else bias[self.layer, j])

    def latent(self, j: int, z: Tensor) -> Tensor:
        bias = self.fusion.latent_bias
        return self.fusion.latent_factor[self.layer, j] @ z + (0 if bias is None else bias[self.layer, j])


def tensor_product(factors: Factors, v: Tensor, z: Tensor) -> Tensor:
    """Eq. 9: the product of two sums."""
    ranks = range(factors.rank)
    text, latent = ([side(j, vector) for j in ranks] for side, vector in ((factors.text, v), (factors.latent, z)))
    return torch.stack(text).sum(dim=0) * torch.stack(latent).sum(dim=0)


def low_rank(factors: Factors, v: Tensor, z: Tensor) -> Tensor:
    """Liu et al. 2018: the sum of products."""
    return torch.stack([factors.text(j, v) * factors.latent(j, z) for j in range(factors.rank)]).sum(dim=0)


def add(factors: Factors, v: Tensor, z: Tensor) -> Tensor:
    return torch.stack([factors.text(j, v) + factors.latent(j, z) for j in range(factors.rank)]).sum(dim=0)


FORMULAS = {"tensor_product": tensor_product, "low_rank": low_rank, "add": add}


class Fused(Unfused):
    """Attention with latent variables z, one per fused layer."""

    def __init__(self, system: Della, z: list[Tensor]) -> None:
        self.name, self.fusion, self.z = system.config.fusion, system.fusion, z

    def value(self, layer: int, v: Tensor) -> Tensor:
        if self.name not in FORMULAS or layer not in self.fusion.layers:
            return v
        index = self.fusion.layers.index(layer)
        return FORMULAS[self.name](Factors(self.fusion, index), v, self.z[index])

    def tokens(self, layer: int) -> list[Tensor]:
        if self.name != "memory" or layer not in self.fusion.layers:
            return []
        index = self.fusion.layers.index(layer)
        token = self.fusion.latent_factor[index] @ self.z[index]
        return [token if self.fusion.latent_bias is None else token + self.fusion.latent_bias[index]]


class LiteralDella:
    """Eq. 7 to 9, and 11 to 12 where there is a source."""

    def __init__(self, system: Della) -> None:
        self.system = system
        literal = LiteralBart if isinstance(system.backbone, EncoderDecoder) else LiteralGPT2
        self.stack = literal(system.backbone.model)
        self.clamp = system.config.clamp
        self.shared = system.config.latents == "shared"
        self.chained = system.config.dependence == "chained" and not self.shared

    def fuse(self, z: list[Tensor]) -> Fused:
        """Each layer's own latent variable, or the shared one in every layer."""
        return Fused(self.system, z * len(self.system.fusion.layers) if self.shared else z)

    def representations(self, ids: list[int]) -> list[Tensor]:
        """x^(l) of every layer with a latent variable, or of the last for a shared one; from the bidirectional pass."""
        encoded = self.stack.encode(ids)
        states = [encoded[number] for number in self.system.fusion.layers]
        states = states[-1:] if self.shared else states
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
            prior_sees, posterior_sees = [], [x[group]]
            if self.chained:
                hh, ih = net.recurrence_hh[group], net.recurrence_ih[group]
                state = torch.tanh(linear(hh, state) + linear(ih, z_previous))
                prior_sees.append(state)
                posterior_sees.append(state)
            if c is not None:
                prior_sees.append(c[group])
                posterior_sees += [c[group]] if self.system.config.posterior_sees_condition else []
            standard = torch.zeros(2 * net.size)
            parameters_p = linear(net.prior[group], torch.cat(prior_sees)) if prior_sees else standard
            mean_p, log_variance_p = self.split(parameters_p)
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
        """Logits of the next token after every prefix of the target (T x V)."""
        return self.stack.logits(ids, self.fuse(z), source or [])

    def log_likelihood(self, ids: list[int], z: list[Tensor], source: list[int] | None = None) -> Tensor:
        scores = torch.log_softmax(self.logits(ids[:-1], z, source), dim=-1)
        return torch.stack([scores[place, token] for place, token in enumerate(ids[1:])]).sum()


def sources_of(batch: Batch) -> Sequence[list[int] | None]:
    return batch.condition.unpadded() if batch.condition is not None else [None] * len(batch)
