"""MyVAE: a text VAE to begin from. Replace what it computes; keep what it returns."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn

from bench.backbones import Backbone, InjectedSystem, Injection
from bench.batch import Batch, Generators
from bench.interface import LatentPath, Posterior
from bench.latents import Gaussian, GaussianPosterior, sample_gaussian_prior, standard_normal_like
from bench.specs import SystemConfig


class MyVAEConfig(SystemConfig):
    """Options of MyVAE, each with a default.

    Attributes:
        latent_size: dimensions of z.
    """

    latent_size: int = Field(32, ge=1)


class MyVAE(InjectedSystem):
    """One latent variable with a standard normal prior, added to the embedding of every token."""

    Config = MyVAEConfig
    config: MyVAEConfig
    default_objective = "two-epoch-cycle"

    def __init__(self, backbone: Backbone, config: MyVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.groups = (config.latent_size,)
        self.posterior = nn.Linear(backbone.width, 2 * config.latent_size)
        self.projection = nn.Linear(config.latent_size, backbone.width, bias=False)

    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z | x), computed from the first token's state in the backbone's encoder pass."""
        statistics = self.posterior(self.backbone.encode(batch).first_token_state)
        return GaussianPosterior(Gaussian.from_parameters(statistics, mean_transform=self.posterior_mean))

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws n samples of p(z) = N(0, I) for every condition, or n in total without condition."""
        return sample_gaussian_prior(self._prior(condition), n, generator)

    def path_of(self, z: Sequence[Tensor], condition: Batch | None) -> LatentPath:
        """Returns the path of given values of z, with which a user can move through the latent space."""
        prior = self._prior(condition)
        return GaussianPosterior(prior, prior).path_of(z[0])

    def _prior(self, condition: Batch | None) -> Gaussian:
        texts = 1 if condition is None else len(condition)
        return standard_normal_like(self.projection.weight.new_zeros(texts, self.config.latent_size))

    def inject(self, path: LatentPath) -> Injection:
        """Returns what z adds to the decoder; see `Injection` for the other places where it may enter."""
        return Injection(embedding=self.projection(path.z[0].flatten(0, 1)))
