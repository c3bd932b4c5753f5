"""From the KL of each latent group to one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bench.objectives.part import Reduction

if TYPE_CHECKING:
    from torch import Tensor


class SumGroups(Reduction):
    """The KL of the joint posterior, a sum over groups (Eq. 6 of DELLA): with beta = 1 the loss is -ELBO."""

    @override
    def __call__(self, kl: Tensor) -> Tensor:
        return kl.sum(-1)


class MeanGroups(Reduction):
    """The mean over groups, as in the released DELLA code: a beta-VAE with beta divided by the number of groups."""

    @override
    def __call__(self, kl: Tensor) -> Tensor:
        return kl.sum(-1) / max(1, kl.shape[-1])


class FirstGroup(Reduction):
    """The KL of the first group alone (`l = 1 KL` in Table 4 of DELLA). No bound: the other groups cost nothing."""

    @override
    def __call__(self, kl: Tensor) -> Tensor:
        return kl[..., :1].sum(-1)


class LastGroup(Reduction):
    """The KL of the last group alone (`l = 12 KL` in Table 4 of DELLA). No bound: the other groups cost nothing."""

    @override
    def __call__(self, kl: Tensor) -> Tensor:
        return kl[..., -1:].sum(-1)
