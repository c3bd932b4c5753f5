"""What all backbones share: the likelihood of the predicted tokens, and generation with an injection.

N is the number of texts times samples, P the number of predicted tokens of the B texts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.backbones.decoding import token_processors, without_special_tokens
from bench.backbones.injection import Injection
from bench.backbones.likelihood import text_log_likelihood
from bench.backbones.linear import Linear
from bench.backbones.lora import with_adapters
from bench.backbones.stack import TransformerStack
from bench.batch import Batch, Seeds
from bench.errors import BenchError
from bench.specs import DecodingSpec
from bench.tokenizers import SPECIAL_TOKENS, Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY_PADDING = 128
"""Pretrained vocabularies may be padded to a multiple of at most this number, which suits some hardware."""


class Backbone(TransformerStack):
    """A Hugging Face model with a language-modelling head as encoder and decoder of a text VAE.

    Class attributes:
        projections: the ends of the names of all attention projections in the model.
    """

    projections: ClassVar[tuple[str, ...]]

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        from transformers import GenerationConfig

        super().__init__(model, tokenizer)
        # A pretrained model brings settings of decoding, which generate() would use where a spec leaves them open.
        model.generation_config = GenerationConfig()

    @property
    def output_layer(self) -> nn.Linear:
        """The map from hidden states to the scores of all tokens."""
        return cast(nn.Linear, self.model.lm_head)

    @property
    def value_width(self) -> int:
        """Size of a token's value vectors in a decoder block, all heads together."""
        return self.width

    def decoder_blocks(self) -> Sequence[nn.Module]:
        """Returns the blocks of the decoder, which are all blocks unless the encoder has its own."""
        return self.blocks()

    @abstractmethod
    def merge_value_map(self, block: Any, value_map: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Returns the weights, by name in a decoder block, of its value projection followed by v -> W v + b.

        A projection without bias leaves b to the attention function.

        Args:
            block: decoder block.
            value_map: W (value width x value width).
            bias: b (value width), or None for zero.
        """

    @abstractmethod
    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs the decoder over the texts, each n times.

        Returns:
            Hidden states before the output layer (N x positions x width), and the position of each text's BOS (B).
        """

    @abstractmethod
    def prompt(self, n: int, condition: Batch | None) -> dict[str, Tensor]:
        """Returns the keywords that generation starts from, for n samples of every condition (n in all without)."""

    def merged_value_maps(self, injection: Injection) -> dict[int, dict[str, Tensor]]:
        """Returns the weights that replace those of decoder blocks: by the block's index, by name in the block."""
        if injection.values is None or injection.rank > 1:
            return {}
        blocks, biases = self.decoder_blocks(), injection.value_bias
        merged = {}
        for i, layer in enumerate(range(len(blocks)) if injection.layers is None else injection.layers):
            block, value_map = blocks[layer], injection.values[i]
            weights = self.merge_value_map(block, value_map, None if biases is None else biases[i])
            merged[layer] = with_adapters(block, weights, value_map)
        return merged

    def untie_head(self) -> None:
        """Gives the output layer its own, newly drawn weights, as in the released DELLA code."""
        head = Linear(self.width, self.vocabulary_size, bias=False)
        self.model.config.tie_word_embeddings = False
        self.model.lm_head = head

    def next_token_logits(self, hidden: Tensor) -> Tensor:
        """Returns the scores of the token after each hidden state (P x vocabulary)."""
        return cast(Tensor, self.model.lm_head(hidden))

    def log_likelihood(self, batch: Batch, injection: Injection, n: int = 1) -> Tensor:
        """Returns log p(x | injection, condition) summed over the predicted tokens, in nats (B x n).

        Args:
            batch: B texts, with their conditions if they have any.
            injection: one row for each of N = B x n samples; the n samples of a text are adjacent.
            n: samples per text.
        """
        states, starts = self.decode(batch, injection, n)
        return text_log_likelihood(
            batch, states, self.next_token_logits, self.vocabulary_size, n, starts, injection.logits
        )

    def generate(
        self, n: int, injection: Injection, decoding: DecodingSpec, seed: Seeds, condition: Batch | None = None
    ) -> list[list[int]]:
        """Decodes texts; returns their ids without BOS and EOS.

        Sampling draws the noise of each text from its own stream, so that a text does not depend on the other texts of
        its batch; the global random state is not touched.

        Args:
            n: number of samples of every condition, or in all without condition.
            injection: one row per text to decode.
            decoding: strategy and its settings.
            seed: seed of sampling.
            condition: B texts to condition on.
        """
        from transformers import GenerationConfig

        prompt = self.prompt(n, condition)
        rows, prompt_length = prompt["decoder_input_ids" if "decoder_input_ids" in prompt else "input_ids"].shape
        settings = GenerationConfig(
            bos_token_id=self.tokenizer.bos,
            eos_token_id=self.tokenizer.eos,
            pad_token_id=self.tokenizer.pad,
            decoder_start_token_id=self.tokenizer.bos,
            max_new_tokens=max(1, min(decoding.max_tokens, self.positions - prompt_length)),
            num_beams=decoding.beams if decoding.strategy == "beam" else 1,
            do_sample=False,
        )
        processors = token_processors(decoding, seed, rows, prompt_length, self.tokenizer, self.model.device)
        with torch.no_grad(), ExitStack() as stack:
            for layer, weights in self.merged_value_maps(injection).items():
                stack.enter_context(_replaced_weights(self.decoder_blocks()[layer], weights))
            keywords = {"decoder_injection": injection.repeated(settings.num_beams), **prompt}
            ids = self.model.generate(generation_config=settings, logits_processor=processors, **keywords)
        return without_special_tokens(cast(Tensor, ids)[:, prompt_length:], self.tokenizer)

    @classmethod
    @override
    def fit_tokenizer(cls, model: PreTrainedModel, tokenizer: Tokenizer, where: str) -> None:
        """Enlarges the vocabulary of a pretrained model by the special tokens that it lacks.

        They start at the mean of the others: at first an unseen token is as likely as an average one.

        Raises:
            BenchError: the numbers of tokens differ by so much that the tokenizer cannot be the model's own.
        """
        size, tokens = model.config.vocab_size, len(tokenizer)
        if not size - VOCABULARY_PADDING < tokens <= size + len(SPECIAL_TOKENS):
            raise BenchError(
                f"{where}: weights for a vocabulary of {size} tokens, but the tokenizer has {tokens};"
                " pretrained weights need their own tokenizer (tokenizer.kind 'folder' or 'hub')."
            )
        if size < tokens:
            model.resize_token_embeddings(tokens, mean_resizing=False)
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                layer.weight.data[size:] = layer.weight.data[:size].mean(0)


@contextmanager
def _replaced_weights(block: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Replaces the values of parameters, by name, while the context lasts; without gradients."""
    parameters = dict(block.named_parameters())
    originals = {name: parameters[name].data for name in weights}
    try:
        for name, tensor in weights.items():
            parameters[name].data = tensor.detach()
        yield
    finally:
        for name, tensor in originals.items():
            parameters[name].data = tensor
