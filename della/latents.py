"""The hierarchy of layer-wise latent variables (Eq. 6 to 8 of DELLA).

L groups of size D; h is the width of the representation. With z_0 = z_{<0} = 0,

    z_{<l}            = tanh(W_hh z_{<l-1} + W_ih z_{l-1})
    p(z_l | z_{<l})   : [mean, log-variance] = W_p z_{<l}
    q(z_l | z_{<l}, x): [mean, log-variance] = W_q [x^(l); z_{<l}]

so that without biases z_{<1} = 0 and p(z_1) = N(0, I). With a condition c (Eq. 11 and 12) the prior sees
[z_{<l}; c^(l)] and the posterior [x^(l); z_{<l}; c^(l)].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bench.interface import Generators, LatentPath, Posterior
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
        prior_sees_condition: bool = False,
        posterior_sees_condition: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.clamp = clamp
        self.width = representation_width
        prior_inputs = size + prior_sees_condition * representation_width
        posterior_inputs = representation_width + size + posterior_sees_condition * representation_width
        self.prior = nn.ModuleList(nn.Linear(prior_inputs, 2 * size, bias=affine) for _ in range(n_groups))
        self.posterior = nn.ModuleList(nn.Linear(posterior_inputs, 2 * size, bias=affine) for _ in range(n_groups))
        self.recurrence_hh = nn.ModuleList(nn.Linear(size, size, bias=affine) for _ in range(n_groups))
        self.recurrence_ih = nn.ModuleList(nn.Linear(size, size, bias=affine) for _ in range(n_groups))
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=initial_std)

    def __len__(self) -> int:
        return len(self.prior)

    def prior_features(self, conditions: Tensor | None, batch: int) -> Tensor:
        """Returns the part of W_p that does not depend on ancestors, for c^(l) (B x L x h) or none (B x L x 2D)."""
        return self._features(self.prior, conditions, slice(self.size, None), batch)

    def posterior_features(self, representations: Tensor, conditions: Tensor | None) -> Tensor:
        """Returns the part of W_q that does not depend on ancestors: all an encoder pass has to do (B x L x 2D).

        Args:
            representations: x^(l) of every group (B x L x h).
            conditions: c^(l) of every group (B x L x h), or None.
        """
        seen = self._features(self.posterior, representations, slice(0, self.width), len(representations))
        if _linear(self.posterior)[0].in_features == self.width + self.size:
            return seen
        weights = torch.stack([layer.weight[:, self.width + self.size :] for layer in _linear(self.posterior)])
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
        weight = _linear(self.prior)[group].weight[:, : self.size]
        return Gaussian.split(features + nn.functional.linear(ancestors, weight), self.clamp)

    def posterior_of(self, group: int, features: Tensor, ancestors: Tensor) -> Gaussian:
        """Returns q(z_l | z_{<l}, x, c) for a text's features (... x 2D) and its ancestors' state (... x D)."""
        weight = _linear(self.posterior)[group].weight[:, self.width : self.width + self.size]
        return Gaussian.split(features + nn.functional.linear(ancestors, weight), self.clamp)

    def walk(self, batch: int, n: int, like: Tensor, choose: Callable[[int, Tensor], Tensor]) -> None:
        """Goes through the groups from the first to the last with the state of the ancestors.

        Args:
            batch: number of texts.
            n: samples per text.
            like: tensor whose type and device the states take.
            choose: given a group and z_{<l} (batch x n x D), returns z_l (batch x n x D).
        """
        state = like.new_zeros(batch, n, self.size)
        previous = state
        for group in range(len(self)):
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
    """

    hierarchy: LatentHierarchy
    features: Tensor
    prior_features: Tensor

    def sample(self, n: int, generator: Generators) -> LatentPath:
        """Draws each group given the groups sampled below it; the KL is analytic given these."""
        batch, net = len(self.features), self.hierarchy
        z: list[Tensor] = []
        mean: list[Tensor] = []
        terms: list[tuple[Tensor, Tensor, Tensor]] = []

        def choose(group: int, ancestors: Tensor) -> Tensor:
            q = net.posterior_of(group, self.features[:, None, group], ancestors)
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
            q = self.hierarchy.posterior_of(group, self.features[:, None, group], ancestors)
            terms.append(q.log_prob(path.z[group]))
            return path.z[group]

        self.hierarchy.walk(path.z[0].shape[0], path.n, self.features, choose)
        return torch.stack(terms, dim=-1)


def _linear(networks: nn.ModuleList) -> list[nn.Linear]:
    return cast("list[nn.Linear]", list(networks))
