"""Which parameters of a system q(z | x), p(x | z) and p(z) depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.batch import Batch
from bench.interface import LatentPath, System


@dataclass(frozen=True)
class GradientFlow:
    """An untrained system with one sample of the posterior of a few texts, to follow gradients from outputs.

    Attributes:
        system: in evaluation mode.
        batch: the texts.
        path: the sample, with its graph.
    """

    system: System
    batch: Batch
    path: LatentPath

    @classmethod
    def of(cls, system: System, batch: Batch) -> GradientFlow:
        """Encodes a batch and samples its posterior."""
        system.eval()
        return cls(system, batch, system.encode(batch).sample(1, _generator()))

    def encoder_only(self) -> frozenset[str]:
        """Returns the names of the parameters that q(z | x) uses and neither p(x | z) nor p(z) does."""
        return self.posterior() - self._likelihood() - self._prior()

    def decoder_only(self) -> frozenset[str]:
        """Returns the names of the parameters that p(x | z) uses and neither q(z | x) nor p(z) does."""
        return self._likelihood() - self.posterior() - self._prior()

    def posterior(self) -> frozenset[str]:
        """Returns the names of the parameters that q(z | x) uses."""
        return self._parameters_of([*self.path.mean, self.path.log_q])

    def _prior(self) -> frozenset[str]:
        prior = self.system.sample_prior(1, self.batch.condition, _generator())
        return self._parameters_of([*prior.mean, prior.log_p])

    def _likelihood(self) -> frozenset[str]:
        return self._parameters_of([self.system.log_likelihood(self.batch, self.path.detach())])

    def _parameters_of(self, outputs: Iterable[Tensor]) -> frozenset[str]:
        """Returns the names of the parameters that some output depends on, even if its gradient is 0."""
        differentiable = [output.sum() for output in outputs if output.requires_grad]
        if not differentiable:
            return frozenset()
        named = {name: parameter for name, parameter in self.system.named_parameters() if parameter.requires_grad}
        gradients = torch.autograd.grad(differentiable, list(named.values()), retain_graph=True, allow_unused=True)
        return frozenset(name for name, gradient in zip(named, gradients, strict=True) if gradient is not None)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
