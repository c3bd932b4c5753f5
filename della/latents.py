"""The hierarchy of layer-wise latent variables (Eq. 6 to 8 of DELLA).

L groups of size D; h is the width of the representation. With z_0 = z_{<0} = 0,

    z_{<l}            = tanh(W_hh z_{<l-1} + W_ih z_{l-1})
    p(z_l | z_{<l})   : [mean, log-variance] = W_p z_{<l}
    q(z_l | z_{<l}, x): [mean, log-variance] = W_q [x^(l); z_{<l}]

so that without biases z_{<1} = 0 and p(z_1) = N(0, I). With a condition c (Eq. 11 and 12) the prior sees
[z_{<l}; c^(l)] and the posterior [x^(l); z_{<l}; c^(l)]. Where the variables are independent of each other (`Separate`
in Table 4), z_{<l} is missing everywhere, and p(z_l) = N(0, I) without condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bench.batch import Generators
from bench.interface import LatentPath, Posterior
from bench.latents import Gaussian, draw_noise, path_of


class LatentHierarchy(nn.Module):
    """The networks of prior and posterior, one of each per group.

    Args:
        n_groups: number of layers that carry a latent variable.
        size: dimensions of each.
        representation_width: width of x^(l) and c^(l).
        affine: whether the networks have biases.
        clamp: bound on means and log-variances, or None.
        initial_std: standard deviation of the weights before training.
        chained: whether a variable depends on those before it.
        prior_sees_condition: whether the prior depends on c.
        posterior_sees_condition: whether the posterior does.
    """

    def __init__(
        self,
        n_groups: int,
        size: int,
        representation_width: int,
        affine: bool,
        clamp: float | None,
        initial_std: float = 0.02,
        chained: bool = True,
        prior_sees_condition: bool = False,
        posterior_sees_condition: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.state_size = size if chained else 0
        self.clamp = clamp
        self.width = representation_width

        def networks(inputs: int, outputs: int, needed: bool = True) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(inputs, outputs, bias=affine) for _ in range(n_groups if needed else 0))

        prior_inputs = self.state_size + prior_sees_condition * representation_width
        posterior_inputs = self.width + self.state_size + posterior_sees_condition * self.width
        self.prior = networks(prior_inputs, 2 * size, needed=prior_inputs > 0)
        self.posterior = networks(posterior_inputs, 2 * size)
        self.recurrence_hh = networks(size, size, needed=chained)
        self.recurrence_ih = networks(size, size, needed=chained)
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=initial_std)

    def __len__(self) -> int:
        return len(self.posterior)

    def idle_parameters(self) -> set[str]:
        """Returns the names of weights that only ever multiply zeros: z_0 and z_{<0}, and what follows from them.

        Without biases z_{<1} is zero too, so W_hh of the second layer learns nothing, nor does W_p of the first unless
        it sees a condition.
        """
        if not self.state_size:
            return set()
        idle = {"recurrence_hh.0.weight", "recurrence_ih.0.weight"}
        first = _linear(self.prior)[0]
        if first.bias is None:
            idle |= {"recurrence_hh.1.weight"} if len(self) > 1 else set()
            idle |= {"prior.0.weight"} if first.in_features == self.state_size else set()
        return idle

    def prior_features(self, conditions: Tensor | None, batch: int) -> Tensor:
        """Returns the part of W_p that does not depend on ancestors, for c^(l) (B x L x h) or none (B x L x 2D)."""
        if not self.prior:
            return _linear(self.posterior)[0].weight.new_zeros(batch, len(self), 2 * self.size)
        return self._features(self.prior, conditions, slice(self.state_size, None), batch)

    def posterior_features(self, representations: Tensor, conditions: Tensor | None) -> Tensor:
        """Returns the part of W_q that does not depend on ancestors: all an encoder pass has to do (B x L x 2D).

        Args:
            representations: x^(l) of every group (B x L x h).
            conditions: c^(l) of every group (B x L x h), or None.
        """
        seen = self._features(self.posterior, representations, slice(0, self.width), len(representations))
        start = self.width + self.state_size
        if _linear(self.posterior)[0].in_features == start:
            return seen
        weights = torch.stack([layer.weight[:, start:] for layer in _linear(self.posterior)])
        return seen if conditions is None else seen + torch.einsum("blh,loh->blo", conditions, weights)

    def _features(self, networks: nn.ModuleList, seen: Tensor | None, columns: slice, batch: int) -> Tensor:
        layers = _linear(networks)
        first = layers[0]
        features = first.weight.new_zeros(batch, len(layers), first.out_features)
        if seen is not None and first.weight[:, columns].shape[1]:
            weights = torch.stack([layer.weight[:, columns] for layer in layers])
            features = features + torch.einsum("blh,loh->blo", seen, weights)
        return features if first.bias is None else features + torch.stack([layer.bias for layer in layers])

    def prior_of(self, group: int, features: Tensor, ancestors: Tensor) -> Gaussian:
        """Returns p(z_l | z_{<l}, c) for the condition's features (... x 2D) and the ancestors' state (... x D)."""
        return self._given(self.prior, group, 0, features, ancestors)

    def posterior_of(
        self, group: int, features: Tensor, ancestors: Tensor, through: Callable[[Tensor], Tensor]
    ) -> Gaussian:
        """Returns q(z_l | z_{<l}, x, c) for a text's features (... x 2D) and its ancestors' state (... x D).

        The mean goes ``through`` what the objective puts behind the network.
        """
        return self._given(self.posterior, group, self.width, features, ancestors, through)

    def _given(
        self,
        networks: nn.ModuleList,
        group: int,
        column: int,
        features: Tensor,
        ancestors: Tensor,
        through: Callable[[Tensor], Tensor] | None = None,
    ) -> Gaussian:
        """Adds to the features what a network, from ``column`` on, makes of the ancestors' state."""
        if self.state_size:
            weight = _linear(networks)[group].weight[:, column : column + self.state_size]
            return Gaussian.split(features + nn.functional.linear(ancestors, weight), self.clamp, through)
        shape = torch.broadcast_shapes(features.shape[:-1], ancestors.shape[:-1])
        return Gaussian.split(features.expand(*shape, -1), self.clamp, through)

    def walk(self, batch: int, n: int, like: Tensor, choose: Callable[[int, Tensor], Tensor]) -> None:
        """Goes through the groups from the first to the last with the state of the ancestors.

        Args:
            batch: number of texts.
            n: samples per text.
            like: tensor whose type and device the states take.
            choose: given a group and z_{<l} (batch x n x D, without entries where nothing depends on it), returns z_l
                (batch x n x D).
        """
        state = previous = like.new_zeros(batch, n, self.state_size)
        for group in range(len(self)):
            if self.state_size:
                state = torch.tanh(self.recurrence_hh[group](state) + self.recurrence_ih[group](previous))
            previous = choose(group, state)

    def sample_prior(self, features: Tensor, n: int, generator: Generators) -> LatentPath:
        """Draws n joint samples of all groups from the prior for each of B ``prior_features`` (B x L x 2D)."""
        batch = len(features)
        z: list[Tensor] = []
        mean: list[Tensor] = []
        log_p: list[Tensor] = []

        def choose(group: int, ancestors: Tensor) -> Tensor:
            p = self.prior_of(group, features[:, None, group], ancestors)
            z.append(p.draw(draw_noise(batch, n, self.size, generator, p.mean)))
            mean.append(p.mean)
            log_p.append(p.log_prob(z[-1]))
            return z[-1]

        self.walk(batch, n, features, choose)
        return path_of(z, mean, log_p, log_p, [torch.zeros_like(sample) for sample in z])


@dataclass(frozen=True)
class HierarchicalPosterior(Posterior):
    """q(z_1 .. z_L | x) of B texts.

    Attributes:
        hierarchy: the networks.
        features: what the encoder has to say about each text and group (B x L x 2D).
        prior_features: what it has to say about each condition and group (B x L x 2D).
        posterior_mean: what the mean of a group goes through.
    """

    hierarchy: LatentHierarchy
    features: Tensor
    prior_features: Tensor
    posterior_mean: Callable[[Tensor, int], Tensor]

    def sample(self, n: int, generator: Generators) -> LatentPath:
        """Draws each group given the groups sampled below it; the KL is analytic given these."""
        batch, net = len(self.features), self.hierarchy
        z: list[Tensor] = []
        mean: list[Tensor] = []
        terms: list[tuple[Tensor, Tensor, Tensor]] = []

        def choose(group: int, ancestors: Tensor) -> Tensor:
            q = self._given(group, ancestors)
            p = net.prior_of(group, self.prior_features[:, None, group], ancestors)
            z.append(q.draw(draw_noise(batch, n, net.size, generator, q.mean)))
            mean.append(q.mean)
            terms.append((q.log_prob(z[-1]), p.log_prob(z[-1]), q.kl_dimensions(p)))
            return z[-1]

        net.walk(batch, n, self.features, choose)
        return path_of(z, mean, *zip(*terms, strict=True))

    def log_prob(self, path: LatentPath) -> Tensor:
        """Scores joint samples under every text's posterior (B x n x L).

        The ancestors' states do not depend on the text, so samples shared by all texts walk the hierarchy once.
        """
        terms: list[Tensor] = []

        def choose(group: int, ancestors: Tensor) -> Tensor:
            q = self._given(group, ancestors)
            terms.append(q.log_prob(path.z[group]))
            return path.z[group]

        self.hierarchy.walk(path.z[0].shape[0], path.n, self.features, choose)
        return torch.stack(terms, dim=-1)

    def _given(self, group: int, ancestors: Tensor) -> Gaussian:
        return self.hierarchy.posterior_of(
            group, self.features[:, None, group], ancestors, lambda mean: self.posterior_mean(mean, group)
        )


def _linear(networks: nn.ModuleList) -> list[nn.Linear]:
    return cast("list[nn.Linear]", list(networks))
