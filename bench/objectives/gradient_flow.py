"""What a part of an objective may want to know of a system before it is trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.batch import Batch
from bench.interface import LatentPath, System


@dataclass(frozen=True)
class GradientFlow:
    """An untrained system with a few texts sent through its encoder.

    Attributes:
        system: in evaluation mode.
        batch: the texts.
        path: one sample of their posteriors, with its graph.
    """

    system: System
    batch: Batch
    path: LatentPath

    @classmethod
    def of(cls, system: System, batch: Batch) -> GradientFlow:
        """Sends a batch through the encoder."""
        system.eval()
        return cls(system, batch, system.encode(batch).sample(1, _stream()))

    def encoder_only(self) -> frozenset[str]:
        """Returns the names of the parameters that q(z | x) depends on, and neither p(x | z) nor p(z)."""
        return self.posterior() - self._likelihood() - self._prior()

    def decoder_only(self) -> frozenset[str]:
        """Returns the names of the parameters that p(x | z) depends on, and neither q(z | x) nor p(z)."""
        return self._likelihood() - self.posterior() - self._prior()

    def posterior(self) -> frozenset[str]:
        """Returns the names of the parameters that q(z | x) depends on."""
        return self._reached([*self.path.mean, self.path.log_q])

    def _prior(self) -> frozenset[str]:
        prior = self.system.sample_prior(1, self.batch.condition, _stream())
        return self._reached([*prior.mean, prior.log_p])

    def _likelihood(self) -> frozenset[str]:
        return self._reached([self.system.log_likelihood(self.batch, self.path.detach())])

    def _reached(self, outputs: Iterable[Tensor]) -> frozenset[str]:
        """Returns the names of the parameters that have a gradient of any of the outputs, be it 0."""
        differentiable = [output.sum() for output in outputs if output.requires_grad]
        if not differentiable:
            return frozenset()
        named = {name: parameter for name, parameter in self.system.named_parameters() if parameter.requires_grad}
        gradients = torch.autograd.grad(differentiable, list(named.values()), retain_graph=True, allow_unused=True)
        return frozenset(name for name, gradient in zip(named, gradients, strict=True) if gradient is not None)


def _stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)
