"""The hierarchy of layer-wise latent variables (Eq. 6 to 8 of Hu et al. 2022, 11 and 12 with a condition).

L latent groups of size D; h is the width of the representations x^(l) of a text and c^(l) of its condition. The state
z_{<l} summarises the latent variables below layer l. With z_0 = z_{<0} = 0,

    z_{<l} = tanh(W_hh z_{<l-1} + W_ih z_{l-1})                            Eq. 7
    p(z_l | z_{<l}, c):    [mean, log-variance] = W_p [z_{<l}; c^(l)]          Eq. 8, 12
    q(z_l | z_{<l}, x, c): [mean, log-variance] = W_q [x^(l); z_{<l}; c^(l)]   Eq. 8, 12

Without biases z_{<1} = 0, and without condition p(z_1) = N(0, I). If the latent variables are independent (`Separate`
in Table 4), z_{<l} is left out everywhere, and without condition p(z_l) = N(0, I).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.batch import Generators
from bench.interface import LatentPath, Posterior
from bench.latents import Gaussian, draw_noise, path_from_groups


class LatentHierarchy(nn.Module):
    """The networks of prior and posterior, one of each per group.

    W_q is applied in two parts: to x^(l) and c^(l) once per text, and to z_{<l} once per sample; likewise W_p.

    Args:
        n_groups: number of layers that carry a latent variable (L).
        size: size of each latent variable (D).
        width: width of the representations x^(l) and c^(l) (h).
        affine: whether the networks have biases.
        clamp: bound on the absolute values of means and log-variances, or None.
        initial_std: standard deviation of the weights before training.
        chained: whether a latent variable depends on those below it.
        prior_sees_condition: whether the prior depends on c.
        posterior_sees_condition: whether the posterior depends on c.
    """

    def __init__(
        self,
        n_groups: int,
        size: int,
        width: int,
        affine: bool,
        clamp: float | None,
        initial_std: float,
        chained: bool,
        prior_sees_condition: bool,
        posterior_sees_condition: bool,
    ) -> None:
        super().__init__()
        self.size = size
        self.state_size = size if chained else 0
        self.width = width
        self.clamp = clamp

        def networks(inputs: int, outputs: int, n: int = n_groups) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(inputs, outputs, bias=affine) for _ in range(n))

        n_recurrences = n_groups if chained else 0
        prior_inputs = self.state_size + prior_sees_condition * width
        self.prior = networks(prior_inputs, 2 * size, n_groups if prior_inputs else 0)
        self.posterior = networks(width + self.state_size + posterior_sees_condition * width, 2 * size)
        self.recurrence_hh = networks(size, size, n_recurrences)
        self.recurrence_ih = networks(size, size, n_recurrences)
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=initial_std)

    def __len__(self) -> int:
        return len(self.posterior)

    def idle_parameters(self) -> set[str]:
        """Returns the names of the weights that are only ever multiplied by zeros.

        z_0 and z_{<0} are zero. Without biases z_{<1} is zero too: then W_hh of the second layer has no effect, and W_p
        of the first layer has none unless it sees a condition.
        """
        if not self.state_size:
            return set()
        idle = {"recurrence_hh.0.weight", "recurrence_ih.0.weight"}
        first = _linear(self.prior)[0]
        if first.bias is None:
            idle |= {"recurrence_hh.1.weight"} if len(self) > 1 else set()
            idle |= {"prior.0.weight"} if first.in_features == self.state_size else set()
        return idle

    def posterior_text_part(self, representations: Tensor, conditions: Tensor | None) -> Tensor:
        """Returns W_q [x^(l); 0; c^(l)] of every group (B x L x 2D).

        Args:
            representations: x^(l) of every group (B x L x h).
            conditions: c^(l) of every group (B x L x h), or None.
        """
        part = _apply(self.posterior, slice(0, self.width), representations, len(representations))
        columns = slice(self.width + self.state_size, None)
        if conditions is None or _linear(self.posterior)[0].in_features == columns.start:
            return part
        return part + _product(self.posterior, columns, conditions)

    def prior_condition_part(self, conditions: Tensor | None, batch: int) -> Tensor:
        """Returns W_p [0; c^(l)] of every group, for c^(l) (B x L x h) or without condition (B x L x 2D)."""
        if not self.prior:
            return _linear(self.posterior)[0].weight.new_zeros(batch, len(self), 2 * self.size)
        sees_condition = _linear(self.prior)[0].in_features > self.state_size
        return _apply(self.prior, slice(self.state_size, None), conditions if sees_condition else None, batch)

    def next_state(self, group: int, state: Tensor, z: Tensor) -> Tensor:
        """Returns z_{<l} from z_{<l-1} and z_{l-1} (B x n x D), Eq. 7; independent variables have a state of size 0."""
        if not self.state_size:
            return state
        return torch.tanh(self.recurrence_hh[group](state) + self.recurrence_ih[group](z))

    def posterior_of(
        self, group: int, text_part: Tensor, state: Tensor, mean_transform: Callable[[Tensor], Tensor]
    ) -> Gaussian:
        """Returns q(z_l | z_{<l}, x, c) from ``posterior_text_part`` and the state (B x n x D)."""
        return self._gaussian(self.posterior, self.width, group, text_part, state, mean_transform)

    def _gaussian(
        self,
        networks: nn.ModuleList,
        column: int,
        group: int,
        part: Tensor,
        state: Tensor,
        mean_transform: Callable[[Tensor], Tensor] | None = None,
    ) -> Gaussian:
        """Adds the product of the state with a network's columns from ``column`` on."""
        parameters = part[:, None, group]
        if self.state_size:
            weight = _linear(networks)[group].weight[:, column : column + self.state_size]
            parameters = parameters + nn.functional.linear(state, weight)
        else:
            parameters = parameters.expand(*torch.broadcast_shapes(parameters.shape[:-1], state.shape[:-1]), -1)
        return Gaussian.from_parameters(parameters, self.clamp, mean_transform)

    def sample(
        self,
        n: int,
        generator: Generators,
        condition_part: Tensor,
        posterior: Callable[[int, Tensor], Gaussian] | None = None,
    ) -> LatentPath:
        """Draws n samples of each z_l given the z_{<l} drawn before; the KL of a group is exact given z_{<l}.

        Args:
            n: samples for each row of ``condition_part``.
            generator: source of the noise.
            condition_part: ``prior_condition_part`` (B x L x 2D).
            posterior: returns q(z_l | z_{<l}, x, c) for a group and a state; None samples the prior.
        """
        batch = len(condition_part)

        def drawn(group: int, q: Gaussian) -> Tensor:
            return q.draw(draw_noise(batch, n, self.size, generator, q.mean))

        return self._along_chain(batch, n, drawn, condition_part, posterior)

    def path_of(self, z: Sequence[Tensor], condition_part: Tensor) -> LatentPath:
        """Returns the path of given values of every group (B x n x D), with their terms under the prior."""
        batch, n, _ = z[0].shape
        part = condition_part.expand(batch, -1, -1)
        return self._along_chain(batch, n, lambda group, _: z[group], part, None)

    def _along_chain(
        self,
        batch: int,
        n: int,
        value: Callable[[int, Gaussian], Tensor],
        condition_part: Tensor,
        posterior: Callable[[int, Tensor], Gaussian] | None,
    ) -> LatentPath:
        """Returns the path of the values that ``value`` returns for each group and its distribution."""
        groups = []
        state = z = condition_part.new_zeros(batch, n, self.state_size)
        for group in range(len(self)):
            state = self.next_state(group, state, z)
            q = None if posterior is None else posterior(group, state)
            p = self._gaussian(self.prior, 0, group, condition_part, state)
            q = q or p
            z = value(group, q)
            groups.append((z, q.mean, q.log_prob(z), p.log_prob(z), q.kl_dimensions(p)))
        return path_from_groups(groups)


@dataclass(frozen=True)
class HierarchicalPosterior(Posterior):
    """q(z_1 .. z_L | x, c) of B texts.

    Attributes:
        hierarchy: the networks.
        text_part: ``LatentHierarchy.posterior_text_part`` of the texts (B x L x 2D).
        condition_part: ``LatentHierarchy.prior_condition_part`` of their conditions (B x L x 2D).
        posterior_mean: ``System.posterior_mean``.
    """

    hierarchy: LatentHierarchy
    text_part: Tensor
    condition_part: Tensor
    posterior_mean: Callable[[Tensor, int], Tensor]

    @override
    def sample(self, n: int, generator: Generators) -> LatentPath:
        return self.hierarchy.sample(n, generator, self.condition_part, self._posterior_of)

    @override
    def log_prob(self, path: LatentPath) -> Tensor:
        # The state depends on z alone: samples that all texts share have one state, not one per text.
        log_q = []
        state = z = self.text_part.new_zeros(len(path.z[0]), path.n, self.hierarchy.state_size)
        for group, group_z in enumerate(path.z):
            state = self.hierarchy.next_state(group, state, z)
            log_q.append(self._posterior_of(group, state).log_prob(group_z))
            z = group_z
        return torch.stack(log_q, dim=-1)

    def _posterior_of(self, group: int, state: Tensor) -> Gaussian:
        return self.hierarchy.posterior_of(
            group, self.text_part, state, mean_transform=lambda mean: self.posterior_mean(mean, group)
        )


def _product(networks: nn.ModuleList, columns: slice, inputs: Tensor) -> Tensor:
    """Returns the product of some columns of every group's weight with that group's input (B x L x h)."""
    weights = torch.stack([layer.weight[:, columns] for layer in _linear(networks)])
    return torch.einsum("blh,loh->blo", inputs, weights)


def _apply(networks: nn.ModuleList, columns: slice, inputs: Tensor | None, batch: int) -> Tensor:
    """Returns ``_product``, or zeros without inputs, plus the bias of every group's network."""
    layers = _linear(networks)
    outputs = layers[0].weight.new_zeros(batch, len(layers), layers[0].out_features)
    if inputs is not None:
        outputs = outputs + _product(networks, columns, inputs)
    return outputs if layers[0].bias is None else outputs + torch.stack([layer.bias for layer in layers])


def _linear(networks: nn.ModuleList) -> list[nn.Linear]:
    return cast("list[nn.Linear]", list(networks))
