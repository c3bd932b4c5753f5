"""The encoder-only stack: a Hugging Face BERT, for systems that do not encode with their backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from typing_extensions import override

from bench.backbones.stack import EncoderOutput, TransformerStack, padding_mask
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import StackSpec
from bench.tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EncoderOnly(TransformerStack):
    """BERT with its pooler; it reads ``Batch.encoder``, the texts in BERT's own tokens."""

    model_name = "BertModel"

    @classmethod
    @override
    def scratch_settings(cls, spec: StackSpec, tokenizer: Tokenizer) -> dict[str, Any]:
        return {
            "intermediate_size": 4 * spec.width,
            # BERT normalises every sum. With BERT's own 0.02, scaled or not, the state of [CLS] depends so little on
            # the other tokens that a posterior does not learn to read the text in a short training.
            "initializer_range": spec.width**-0.5,
            "pad_token_id": tokenizer.pad,
        }

    @classmethod
    @override
    def dropout_settings(cls, p: float) -> dict[str, float]:
        return {"hidden_dropout_prob": p, "attention_probs_dropout_prob": p}

    @classmethod
    @override
    def fit_tokenizer(cls, model: PreTrainedModel, tokenizer: Tokenizer, where: str) -> None:
        if len(tokenizer) > (size := model.config.vocab_size):
            raise BenchError(f"{where}: weights for {size} tokens, but the tokenizer has {len(tokenizer)}.")

    @override
    def blocks(self) -> Sequence[nn.Module]:
        return cast("Sequence[nn.Module]", self.model.encoder.layer)

    @override
    def encode(self, batch: Batch) -> EncoderOutput:
        """Runs BERT over the texts, [CLS] first; the pooler is tanh of a linear map of the state of [CLS].

        Raises:
            BenchError: the batch was made without BERT's tokens.
        """
        texts = batch.encoder
        if texts is None:
            raise BenchError("the batch lacks its texts in the tokens of the encoder.")
        bert = self.model
        layers = self.run_blocks(self.blocks(), bert.embeddings(texts.ids), attention_mask=padding_mask(texts))
        return EncoderOutput(layers, layers[-1], bert.pooler(layers[-1]), texts.mask)
