"""The models of transformers that the stacks run, with the changes that they need.

Importing transformers takes longer than all else that a recorded grid does, so this module is imported when a stack is
built, and no module that is imported earlier imports transformers.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from transformers import (
    BartForConditionalGeneration,
    BertModel,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
)
from transformers.modeling_outputs import ModelOutput, Seq2SeqLMOutput
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from bench.backbones.injection import Injection
from bench.backbones.linear import Linear, linear, pays

__all__ = [
    "BertModel",
    "FastConv1D",
    "InjectedBart",
    "InjectedGPT2",
    "InjectedLlama",
    "InjectedMistral",
    "InjectedQwen2",
    "use_fast_linear",
]


class InjectedCausalLM(PreTrainedModel):  # type: ignore[misc]  # transformers is not typed to mypy
    """Mixed into a causal language model of transformers: its forward pass takes an injection."""

    def forward(  # type: ignore[no-untyped-def]  # the base's many optional arguments pass through
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        decoder_injection: Injection | None = None,
        **kwargs,
    ) -> ModelOutput:
        """Runs the model on ids with an injection, one row per sequence; see ``bench.backbones.injection``.

        ``position_ids`` is named here because ``generate`` passes it only to a forward that names it. Positions then
        count tokens and not padding: a prompt padded on the left gives the same text as without padding.
        """
        injection = decoder_injection or Injection()
        kwargs |= {"position_ids": position_ids, "decoder_injection": injection}
        output = super().forward(inputs_embeds=injection.embedded(self.get_input_embeddings()(input_ids)), **kwargs)
        output.logits = injection.scored(output.logits)
        return output


class InjectedGPT2(InjectedCausalLM, GPT2LMHeadModel):  # type: ignore[misc]  # as its base
    """GPT-2 that takes an injection."""


class InjectedLlama(InjectedCausalLM, LlamaForCausalLM):  # type: ignore[misc]  # as its base
    """Llama that takes an injection."""


class InjectedMistral(InjectedCausalLM, MistralForCausalLM):  # type: ignore[misc]  # as its base
    """Mistral that takes an injection."""


class InjectedQwen2(InjectedCausalLM, Qwen2ForCausalLM):  # type: ignore[misc]  # as its base
    """Qwen2 that takes an injection."""


class InjectedBart(BartForConditionalGeneration):  # type: ignore[misc]  # transformers is not typed to mypy
    """BART that takes the keywords of an injection; see ``bench.backbones.injection``."""

    def forward(  # type: ignore[no-untyped-def]  # the base's many optional arguments pass through
        self,
        input_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_injection: Injection | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput:
        """Runs BART with an injection, one row per sequence."""
        injection = decoder_injection or Injection()
        embedded = injection.embedded(self.model.decoder.embed_tokens(decoder_input_ids))
        kwargs |= {"decoder_inputs_embeds": embedded, "decoder_injection": injection}
        output = super().forward(input_ids, **kwargs)
        output.logits = injection.scored(output.logits)
        return output


class FastConv1D(Conv1D):  # type: ignore[misc]  # transformers is not typed to mypy
    """GPT-2's linear map, whose weight is inputs x outputs, by oneDNN where that pays."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias) if pays(x, self.weight) else cast(Tensor, super().forward(x))


def use_fast_linear(model: nn.Module) -> None:
    """Lets every linear map of a model use oneDNN where that pays; the weights stay where they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
        elif type(module) is Conv1D:
            module.__class__ = FastConv1D
