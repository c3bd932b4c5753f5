"""What every backbone does alike: likelihoods of the predicted tokens only, and generation from an injection.

N is the number of texts times samples, P the number of predicted tokens of the B texts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from bench.backbones.decoding import sampling_processors, texts_of
from bench.backbones.injection import Injection
from bench.backbones.likelihood import text_log_likelihood
from bench.backbones.stack import Stack
from bench.batch import Batch, Seeds
from bench.errors import BenchError
from bench.specs import DecodingSpec
from bench.tokenizers import SPECIAL_TOKENS, Tokenizer

# Vocabularies are padded to a multiple of at most so much, which suits some hardware.
VOCABULARY_PADDING = 128


class Backbone(Stack):
    """A Hugging Face model with a language-modelling head as encoder and decoder of a text VAE."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer) -> None:
        super().__init__(model, tokenizer)
        # How a pretrained model was last decoded is no part of it, but generate() fills in what a spec leaves open.
        model.generation_config = GenerationConfig()

    @property
    def output_layer(self) -> nn.Linear:
        """The map from hidden states to the scores of all tokens."""
        return cast(nn.Linear, self.model.lm_head)

    def decoder_blocks(self) -> Sequence[nn.Module]:
        """Returns the blocks of the decoder: all, unless encoder and decoder are two."""
        return self.blocks()

    @abstractmethod
    def decoder_attention(self) -> Sequence[nn.Module]:
        """Returns the self-attention of every decoder block; ``gate_index`` and ``memory_index`` are set on these."""

    @abstractmethod
    def merged_values(self, injection: Injection) -> dict[int, dict[str, Tensor]]:
        """Returns value projections composed with the injection's maps: by decoder block, by name in the block."""

    @abstractmethod
    def decode(self, batch: Batch, injection: Injection, n: int) -> tuple[Tensor, Tensor]:
        """Runs the decoder over the texts, each n times.

        Returns:
            Hidden states before the output layer (N x positions x width), and where among the positions each text's
            BOS stands (B).
        """

    @abstractmethod
    def prompt(self, n: int, condition: Batch | None) -> dict[str, Tensor]:
        """Returns what generation starts from, as keywords, for n samples of every condition (or n in all)."""

    def give_memory(self, layers: Sequence[int]) -> None:
        """Marks the layers (0-based) that the parts of an injection's memory belong to, in this order; at first all."""
        self._mark("memory_index", layers)

    def gate_layers(self, layers: Sequence[int]) -> None:
        """Marks the layers (0-based) that gates, shifts and value maps belong to, in this order; at first none."""
        self._mark("gate_index", layers)

    def _mark(self, name: str, layers: Sequence[int]) -> None:
        for number, attention in enumerate(self.decoder_attention()):
            setattr(attention, name, layers.index(number) if number in layers else None)

    def untie_head(self) -> None:
        """Gives the output layer weights of its own, newly drawn, as in the released DELLA code."""
        head = nn.Linear(self.width, self.vocabulary_size, bias=False)
        self.model.config.tie_word_embeddings = False
        self.model.lm_head = head

    def next_token_logits(self, hidden: Tensor) -> Tensor:
        """Returns the scores of the token after each hidden state (P x vocabulary)."""
        return cast(Tensor, self.model.lm_head(hidden))

    def log_likelihood(self, batch: Batch, injection: Injection, n: int = 1) -> Tensor:
        """Returns log p(x | injection, condition) summed over the predicted tokens, in nats (B x n).

        Args:
            batch: B texts, with their conditions if they have any.
            injection: what is added, for N = B x n samples; the n samples of a text are neighbours.
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

        Sampling draws the noise of each text from a stream of its own, so that a text does not depend on those it is
        decoded beside; the global random state is not touched.

        Args:
            n: number of samples of every condition, or in all without condition.
            injection: what is added, one row per text to decode.
            decoding: how.
            seed: of sampling.
            condition: B texts to condition on.
        """
        prompt = self.prompt(n, condition)
        given = prompt["decoder_input_ids" if "decoder_input_ids" in prompt else "input_ids"].shape[1]
        rows = n if condition is None else n * len(condition)
        settings = GenerationConfig(
            bos_token_id=self.tokenizer.bos,
            eos_token_id=self.tokenizer.eos,
            pad_token_id=self.tokenizer.pad,
            decoder_start_token_id=self.tokenizer.bos,
            max_new_tokens=max(1, min(decoding.max_tokens, self.positions - given)),
            min_new_tokens=decoding.min_tokens or None,
            repetition_penalty=decoding.repetition_penalty,
            num_beams=decoding.beams if decoding.strategy == "beam" else 1,
            do_sample=False,
        )
        sampling = sampling_processors(decoding, seed, rows)
        with torch.no_grad(), ExitStack() as stack:
            for layer, tensors in self.merged_values(injection).items():
                stack.enter_context(swapped(self.decoder_blocks()[layer], tensors))
            ids = self.model.generate(
                generation_config=settings, logits_processor=sampling, **prompt, **injection.keywords()
            )
        return texts_of(cast(Tensor, ids)[:, given:], self.tokenizer)


def fit_vocabulary(model: PreTrainedModel, tokenizer: Tokenizer, where: str) -> None:
    """Gives a pretrained model room for the special tokens that its vocabulary lacks.

    Raises:
        BenchError: the tokenizer has so many more or fewer tokens that it cannot be the model's own.
    """
    size, tokens = model.config.vocab_size, len(tokenizer)
    if not size - VOCABULARY_PADDING < tokens <= size + len(SPECIAL_TOKENS):
        raise BenchError(
            f"{where}: weights for a vocabulary of {size} tokens, but the tokenizer has {tokens};"
            " pretrained weights need their own tokenizer (tokenizer.kind 'folder')."
        )
    if size < tokens:
        model.resize_token_embeddings(tokens, mean_resizing=False)


@contextmanager
def swapped(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Puts other values into parameters of a model for a while, without gradients."""
    parameters = dict(model.named_parameters())
    kept = {name: parameters[name].data for name in tensors}
    try:
        for name, tensor in tensors.items():
            parameters[name].data = tensor.detach()
        yield
    finally:
        for name, tensor in kept.items():
            parameters[name].data = tensor
