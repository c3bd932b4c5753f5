"""FLOPs and memory of a system, counted on torch's meta device, where a pass computes shapes and no values."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from bench.backbones import TransformerStack
from bench.backbones.likelihood import LOGITS_AT_ONCE
from bench.batch import Batch
from bench.harness.lengths import Lengths
from bench.interface import System
from bench.specs import RunSpec, TrainingSpec

PADDING = 2
"""Length of the longest text of a batch, in lengths of a mean one, if batches hold texts of any length."""


@dataclass(frozen=True)
class _Cost:
    """FLOPs of a pass over some texts, and the bytes of the activations that it keeps for the backward pass."""

    flops: float
    bytes: float = 0.0

    def extrapolated(self, more: _Cost, texts: int) -> _Cost:
        """Returns the cost of a pass over ``texts``, from those over two texts (this one) and over three."""
        return _Cost(
            *(two + (three - two) * (texts - 2) for two, three in zip(astuple(self), astuple(more), strict=True))
        )


def _batch(n: int, lengths: Lengths, padding: float, encoder: bool) -> Batch:
    """Returns n texts of the given lengths on the meta device; one is longer by the factor ``padding``."""

    def texts(length: float, longest: float) -> Batch:
        return Batch.collate([[0] * round(longest), *[[0] * round(length)] * (n - 1)], 0)

    target, source = lengths.encoder or (lengths.target + 1, lengths.source)
    batch = texts(lengths.target + 1, padding * lengths.target + 1)
    if encoder:
        batch = replace(batch, encoder=texts(target, padding * target))
    if lengths.source:
        condition = texts(lengths.source, lengths.source)
        batch = replace(batch, condition=replace(condition, encoder=texts(source, source) if encoder else None))
    return batch.to("meta")


def _texts_per_pass(training: TrainingSpec, lengths: Lengths) -> tuple[int, float]:
    """Returns the texts of a forward and backward pass, and its padding."""
    length, padding = lengths.target + 1 + lengths.source, 1.0
    texts = max(1, int(training.batch_tokens / length))
    if training.batch_texts is not None:
        texts, padding = training.batch_texts, PADDING
    if training.micro_batch_tokens is not None:  # parts of a batch hold texts of similar length
        texts, padding = max(1, min(texts, int(training.micro_batch_tokens / length))), 1.0
    return min(texts, lengths.texts), padding


def training_step(spec: RunSpec, training: TrainingSpec, system: System, lengths: Lengths) -> tuple[float, int]:
    """Returns FLOPs of training per text, and the bytes that a step needs."""
    texts, padding = _texts_per_pass(training, lengths)
    for stack in (module for module in system.modules() if isinstance(module, TransformerStack)):
        stack.activation_checkpointing = training.activation_checkpointing
    weights = {parameter.untyped_storage()._cdata for parameter in system.parameters()}

    def cost(n: int) -> _Cost:
        batch, kept = _batch(n, lengths, padding, spec.encoder is not None), dict[int, Tensor]()

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage()._cdata] = tensor
            return tensor

        with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
            path = system.encode(batch).sample(1, torch.Generator().manual_seed(0))
            (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
        system.zero_grad()
        activations = (tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)
        return _Cost(counter.get_total_flops(), sum(activations))

    step = cost(2).extrapolated(cost(3), texts)
    numbers = sum(parameter.numel() * (4 if parameter.requires_grad else 1) for parameter in system.parameters())
    return step.flops / texts, int(4 * numbers + step.bytes + 3 * 4 * LOGITS_AT_ONCE)


def scoring_pass(spec: RunSpec, system: System, lengths: Lengths) -> tuple[float, float]:
    """Returns FLOPs of encoding a text, and of decoding it with one sample."""
    texts = max(1, min(lengths.texts, int(spec.scoring.batch_tokens / (lengths.target + 1 + lengths.source))))

    @torch.no_grad()
    def costs(n: int) -> tuple[_Cost, _Cost]:
        batch = _batch(n, lengths, 1.0, spec.encoder is not None)
        with FlopCounterMode(display=False) as encoding:
            path = system.encode(batch).sample(1, torch.Generator().manual_seed(0))
        with FlopCounterMode(display=False) as decoding:
            system.log_likelihood(batch, path)
        return _Cost(encoding.get_total_flops()), _Cost(decoding.get_total_flops())

    encoding, decoding = (two.extrapolated(three, texts) for two, three in zip(costs(2), costs(3), strict=True))
    return encoding.flops / texts, decoding.flops / texts
