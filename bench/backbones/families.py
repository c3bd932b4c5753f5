"""The families of decoder-only models: GPT-2, and those that are built like Llama.

A family needs one class here, the model that it runs in ``bench.backbones.models``, and an entry in ``FAMILIES``. All
else is the same for all, because the attention of a model of transformers is a function that is found by name (see
``bench.backbones.injection``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.backbones.decoder_only import DecoderOnly
from bench.specs import StackSpec
from bench.tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GPT2(DecoderOnly):
    """GPT-2: learned positions, and one map for queries, keys and values."""

    model_name = "InjectedGPT2"
    projections = ("attn.c_attn", "attn.c_proj")

    @classmethod
    @override
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        # The formula of gelu_new in one kernel.
        return {"activation_function": "gelu_pytorch_tanh", **super().scratch_settings(spec, tokenizer)}

    @classmethod
    @override
    def dropout_settings(cls, p: float) -> dict[str, float]:
        return {"resid_pdrop": p, "embd_pdrop": p, "attn_pdrop": p}

    @override
    def blocks(self) -> Sequence[nn.Module]:
        return cast("Sequence[nn.Module]", self.model.transformer.h)

    @override
    def run(
        self, embedded: Tensor, replaced: Mapping[int, Mapping[str, Tensor]] | None = None, **keywords: Any
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        gpt2 = self.model.transformer
        positions = gpt2.wpe(torch.arange(embedded.shape[1], device=embedded.device))
        layers = self.run_blocks(self.blocks(), gpt2.drop(embedded + positions), replaced, **keywords)
        return layers, gpt2.ln_f(layers[-1])

    @override
    def merge_value_map(self, block: Any, value_map: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        # The weight of the one map is inputs x outputs, a value map is outputs x inputs.
        projection = block.attn.c_attn
        start = 2 * self.width
        weight = torch.cat([projection.weight[:, :start], projection.weight[:, start:] @ value_map.T], 1)
        value_bias = projection.bias[start:] @ value_map.T
        if bias is not None:
            value_bias = value_bias + bias
        return {
            "attn.c_attn.weight": weight,
            "attn.c_attn.bias": torch.cat([projection.bias[:start], value_bias]),
        }


class Llama(DecoderOnly):
    """Llama: rotary positions, RMSNorm, and perhaps fewer heads of keys and values than of queries.

    A model from scratch has the token embedding as output layer and no dropout but that of attention weights, as models
    of this family have.
    """

    model_name = "InjectedLlama"
    projections = ("q_proj", "k_proj", "v_proj", "o_proj")
    shares_values = True
    rotates = True

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        super().__init__(model, tokenizer)
        _use_fused_norms(model)

    @classmethod
    @override
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        return {
            "intermediate_size": 8 * spec.width // 3,
            "num_key_value_heads": spec.key_value_heads or spec.heads,
            "tie_word_embeddings": True,
            **super().scratch_settings(spec, tokenizer),
        }

    @classmethod
    @override
    def dropout_settings(cls, p: float) -> dict[str, float]:
        return {"attention_dropout": p}

    @property
    @override
    def value_width(self) -> int:
        return int(self.model.model.layers[0].self_attn.v_proj.out_features)

    @override
    def blocks(self) -> Sequence[nn.Module]:
        return cast("Sequence[nn.Module]", self.model.model.layers)

    @override
    def run(
        self, embedded: Tensor, replaced: Mapping[int, Mapping[str, Tensor]] | None = None, **keywords: Any
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        llama = self.model.model
        positions = torch.arange(embedded.shape[1], device=embedded.device)[None]
        rotations = llama.rotary_emb(embedded, position_ids=positions)
        layers = self.run_blocks(self.blocks(), embedded, replaced, position_embeddings=rotations, **keywords)
        return layers, llama.norm(layers[-1])

    @override
    def merge_value_map(self, block: Any, value_map: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        projection = block.self_attn.v_proj
        merged = {"self_attn.v_proj.weight": value_map @ projection.weight}
        if projection.bias is not None:
            mapped = value_map @ projection.bias
            merged["self_attn.v_proj.bias"] = mapped if bias is None else mapped + bias
        return merged


def _use_fused_norms(model: nn.Module) -> None:
    """Replaces the RMSNorms of transformers, which compute in float32 in any precision, by torch's of one kernel."""
    for module in list(model.modules()):
        for name, norm in module.named_children():
            if hasattr(norm, "variance_epsilon"):
                weight = cast(nn.Parameter, norm.weight)
                fused = nn.RMSNorm(len(weight), cast(float, norm.variance_epsilon))
                fused.weight = weight
                setattr(module, name, fused)


class Mistral(Llama):
    """Mistral; every token sees all tokens before it, also beyond the window of models that have one."""

    model_name = "InjectedMistral"


class Qwen2(Llama):
    """Qwen2 and 2.5: Llama with biases in the maps of queries, keys and values."""

    model_name = "InjectedQwen2"


FAMILIES: Mapping[str, type[DecoderOnly]] = {"gpt2": GPT2, "llama": Llama, "mistral": Mistral, "qwen2": Qwen2}
"""By ``model_type`` of transformers."""
