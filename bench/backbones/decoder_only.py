"""The decoder-only backbone: one Hugging Face GPT-2 that encodes bidirectionally and decodes causally.

Both passes use the same weights. The decoder pass takes an `Injection`; the model itself is not changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

from bench.backbones.injection import ATTENTION, Injection, register_attention
from bench.backbones.tokenizers import Tokenizer
from bench.errors import BenchError
from bench.interface import Batch
from bench.spec import BackboneSpec, DecodingSpec

# Rows of logits computed at once: bounds the memory of a 50k vocabulary to about 0.4 GB of float32.
LOGITS_PER_CHUNK = 2**26


class InjectedGPT2(GPT2LMHeadModel):  # type: ignore[misc]  # transformers classes are untyped to mypy
    """GPT-2 that adds to token embeddings and logits what its keywords carry; attention takes the rest itself."""

    def forward(  # type: ignore[no-untyped-def]  # the base's many optional arguments pass through
        self,
        input_ids: Tensor | None = None,
        decoder_embedding: Tensor | None = None,
        decoder_logits: Tensor | None = None,
        decoder_gate: Tensor | None = None,
        decoder_memory: Tensor | None = None,
        **kwargs,
    ) -> CausalLMOutputWithCrossAttentions:
        """Runs GPT-2 on ids with the injection's tensors, one row per sequence."""
        if decoder_embedding is not None:
            kwargs["inputs_embeds"] = self.transformer.wte(input_ids) + decoder_embedding[:, None]
            input_ids = None
        injected = {"decoder_gate": decoder_gate, "decoder_memory": decoder_memory}
        output = super().forward(input_ids, **{k: v for k, v in injected.items() if v is not None}, **kwargs)
        if decoder_logits is not None:
            output.logits = output.logits + decoder_logits[:, None]
        return output


class _Generation(nn.Module):
    """Gives ``generate`` the form of a forward pass, so that it can run with merged weights."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, **kwargs: Any) -> Tensor:
        return cast(Tensor, self.model.generate(**kwargs))


@dataclass(frozen=True)
class Encoded:
    """Hidden states of the encoder pass.

    Attributes:
        layers: output of every block (L of B x T x width).
        last: output of the last block after the final layer norm (B x T x width).
    """

    layers: tuple[Tensor, ...]
    last: Tensor


class DecoderOnly(nn.Module):
    """GPT-2 as encoder and decoder.

    Attributes:
        model: the Hugging Face model.
        tokenizer: its tokenizer, which supplies BOS, EOS and padding.
    """

    def __init__(self, model: GPT2LMHeadModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        # Texts are padded on the right and never read beyond their end: no padding mask, no warning about one.
        model.config.pad_token_id = None
        model.config.bos_token_id, model.config.eos_token_id = tokenizer.bos, tokenizer.eos
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos, eos_token_id=tokenizer.eos, pad_token_id=tokenizer.pad
        )

    @property
    def width(self) -> int:
        """Hidden size."""
        return int(self.model.config.n_embd)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.model.config.n_layer)

    @property
    def initial_std(self) -> float:
        """Standard deviation of the backbone's weights before any training; what is added to it begins alike."""
        return float(self.model.config.initializer_range)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, special tokens included."""
        return int(self.model.config.vocab_size)

    def gate_layers(self, layers: tuple[int, ...]) -> None:
        """Marks the layers (0-based) whose attention output the gates of an injection multiply, in this order."""
        for number, block in enumerate(self.model.transformer.h):
            block.attn.gate_index = layers.index(number) if number in layers else None

    def untie_head(self) -> None:
        """Gives the output layer weights of its own, newly drawn, as in the released DELLA code."""
        head = nn.Linear(self.width, self.vocabulary_size, bias=False)
        self.model.config.tie_word_embeddings = False
        self.model.lm_head = head

    def encode(self, batch: Batch) -> Encoded:
        """Runs all blocks with every token seeing every other; padding is seen by none."""
        outputs: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
            for block in self.model.transformer.h
        ]
        try:
            result = self.model.transformer(batch.ids, attention_mask=batch.mask[:, None, None], use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return Encoded(tuple(outputs), result.last_hidden_state)

    def log_likelihood(self, batch: Batch, injection: Injection, n: int = 1) -> Tensor:
        """Returns log p(x | injection) summed over the predicted tokens, in nats (B x n).

        Args:
            batch: B texts.
            injection: what is added, for N = B x n samples; the n samples of a text are neighbours.
            n: samples per text.
        """
        hidden, targets, rows = self._predicted_states(batch, injection, n)
        terms = [
            self._token_log_likelihood(part, target, row, injection.logits)
            for part, target, row in zip(
                *(tensor.split(self._chunk) for tensor in (hidden, targets, rows)), strict=True
            )
        ]
        # Summed in double precision: 100 tokens make about 500 nats, where float32 resolves only 3e-5.
        total = torch.zeros(len(batch) * n, dtype=torch.float64, device=hidden.device)
        return total.index_add(0, rows, torch.cat(terms).double()).view(len(batch), n)

    @property
    def _chunk(self) -> int:
        return max(1, LOGITS_PER_CHUNK // self.vocabulary_size)

    def _predicted_states(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns hidden states (P x width), targets (P) and sample numbers (P) of the P predicted tokens of N."""
        inputs = batch.inputs.repeat_interleave(n, dim=0)
        keywords = injection.keywords()
        keywords.pop("decoder_logits", None)
        embedding = keywords.pop("decoder_embedding", None)
        embedded = self.model.transformer.wte(inputs)
        if embedding is not None:
            embedded = embedded + embedding[:, None]
        output = torch.func.functional_call(
            self.model.transformer,
            self._merged_values(injection),
            kwargs={"inputs_embeds": embedded, "use_cache": False, **keywords},
        )
        length = inputs.shape[1]
        text, position = batch.predicted // length, batch.predicted % length
        rows = (text[:, None] * n + torch.arange(n, device=text.device)).T.flatten()
        picked = rows * length + position.repeat(n)
        hidden = output.last_hidden_state.flatten(0, 1)[picked]
        return hidden, batch.targets.flatten()[batch.predicted].repeat(n), rows

    def _token_log_likelihood(self, hidden: Tensor, targets: Tensor, rows: Tensor, shift: Tensor | None) -> Tensor:
        logits = self.model.lm_head(hidden)
        if shift is not None:
            logits = logits + shift[rows]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -nn.functional.cross_entropy(logits, targets, reduction="none")

    def _merged_values(self, injection: Injection, prefix: str = "") -> dict[str, Tensor]:
        """Returns the fused query-key-value weights whose values are composed with the injection's maps."""
        if injection.values is None:
            return {}
        merged: dict[str, Tensor] = {}
        for index, layer in enumerate(injection.layers):
            name, attention = f"{prefix}h.{layer}.attn.c_attn", self.model.transformer.h[layer].attn.c_attn
            split = 2 * self.width
            # GPT-2 keeps its linear maps as inputs x outputs, an injection's as outputs x inputs.
            map_ = injection.values[index].T
            merged[f"{name}.weight"] = torch.cat([attention.weight[:, :split], attention.weight[:, split:] @ map_], 1)
            bias = attention.bias[split:] @ map_
            if injection.value_bias is not None:
                bias = bias + injection.value_bias[index]
            merged[f"{name}.bias"] = torch.cat([attention.bias[:split], bias])
        return merged

    def generate(self, n: int, injection: Injection, decoding: DecodingSpec, seed: int) -> list[list[int]]:
        """Decodes n texts, one per row of the injection; returns their ids without BOS and EOS.

        The random state of the caller is left as it was.
        """
        device = self.model.device
        settings = GenerationConfig(
            bos_token_id=self.tokenizer.bos,
            eos_token_id=self.tokenizer.eos,
            pad_token_id=self.tokenizer.pad,
            max_new_tokens=min(decoding.max_tokens, int(self.model.config.n_positions) - 1),
            **_STRATEGIES[decoding.strategy](decoding),
        )
        prompt = torch.full((n, 1), self.tokenizer.bos, device=device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(seed)
            ids = torch.func.functional_call(
                _Generation(self.model),
                self._merged_values(injection, prefix="model.transformer."),
                kwargs={
                    "input_ids": prompt,
                    "attention_mask": torch.ones_like(prompt),
                    "generation_config": settings,
                    **injection.keywords(),
                },
            )
        special = {self.tokenizer.pad, self.tokenizer.bos, self.tokenizer.eos}
        return [_until(row, self.tokenizer.eos, special) for row in ids[:, 1:].tolist()]


_STRATEGIES: dict[str, Any] = {
    "sample": lambda d: {"do_sample": True, "temperature": d.temperature, "top_k": d.top_k, "top_p": d.top_p},
    "greedy": lambda d: {"do_sample": False},
    "beam": lambda d: {"do_sample": False, "num_beams": d.beams},
}


def _until(ids: list[int], end: int, special: set[int]) -> list[int]:
    """Cuts at the first end token and leaves other special tokens out."""
    stop = ids.index(end) if end in ids else len(ids)
    return [one for one in ids[:stop] if one not in special]


def build_backbone(spec: BackboneSpec, tokenizer: Tokenizer) -> DecoderOnly:
    """Builds the backbone of a run; random weights come from torch's global generator.

    Raises:
        BenchError: a source without its path or name, or a folder that does not exist.
    """
    register_attention()
    dropout: dict[str, Any] = {f"{place}_pdrop": spec.dropout for place in ("resid", "embd", "attn")}
    if spec.source == "scratch":
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=spec.positions,
            n_embd=spec.width,
            n_layer=spec.layers,
            n_head=spec.heads,
            # GPT-2's 0.02 belongs to its width of 768; scaled so that a narrower model starts with signals as strong.
            activation_function="gelu_pytorch_tanh",  # the formula of gelu_new in one kernel
            initializer_range=0.02 * (768 / spec.width) ** 0.5,
            bos_token_id=tokenizer.bos,
            eos_token_id=tokenizer.eos,
            attn_implementation=ATTENTION,
            **dropout,
        )
        return DecoderOnly(InjectedGPT2(config), tokenizer)
    where: Any = spec.path if spec.source == "folder" else spec.name
    if where is None:
        missing = "path" if spec.source == "folder" else "name"
        raise BenchError(f"backbone.source is {spec.source!r} but backbone.{missing} is not set.")
    if spec.source == "folder" and not (where / "config.json").is_file():
        raise BenchError(f"no model in {where}: expected config.json and model.safetensors.")
    model = InjectedGPT2.from_pretrained(
        where, revision=spec.revision, attn_implementation=ATTENTION, use_safetensors=True, **dropout
    )
    if model.config.vocab_size < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return DecoderOnly(model, tokenizer)
