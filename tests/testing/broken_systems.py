"""A sound system, and copies of it that each break the contract in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from baselines.transformer_vae import EmbedVAE, TransformerVAEConfig
from bench.backbones import Backbone, Injection, decode_stepwise, text_log_likelihood
from bench.batch import Batch, Generators, Seeds
from bench.interface import LatentPath, Posterior
from bench.latents import Gaussian, GaussianPosterior, sample_gaussian_prior
from bench.specs import DecodingSpec, RunSpec


class Sound(EmbedVAE):
    """Keeps the contract, without conditions."""

    @classmethod
    def supports(cls, spec: RunSpec) -> str | None:
        return "no conditions" if spec.task.conditional else None


@dataclass(frozen=True)
class Changed(Posterior):
    """A posterior whose samples or densities were changed."""

    right: Posterior
    of_samples: Callable[[LatentPath], LatentPath] = lambda path: path
    of_density: Callable[[LatentPath, Tensor], Tensor] = lambda path, density: density

    def sample(self, n: int, generator: Generators) -> LatentPath:
        return self.of_samples(self.right.sample(n, generator))

    def log_prob(self, path: LatentPath) -> Tensor:
        return self.of_density(path, self.right.log_prob(path))


# Six mistakes that papers' code has made.


class FutureLeak(Sound):
    """The decoder sees the average of all tokens of the text, also of those to come."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        seen = batch.mask[:, 1:, None]
        mean = (self.backbone.model.transformer.wte(batch.inputs) * seen).sum(1) / seen.sum(1)
        leaking = self.inject(path).embedding + mean.repeat_interleave(path.n, 0)
        return self.backbone.log_likelihood(batch, Injection(embedding=leaking), path.n)


class UnmaskedPadding(Sound):
    """A text is represented by an average over its tokens and the padding behind them."""

    def encode(self, batch: Batch) -> Posterior:
        average = self.backbone.encode(batch).last.mean(1)
        return GaussianPosterior(Gaussian.from_parameters(self.posterior(average), mean_transform=self.posterior_mean))


class AveragedKL(Sound):
    """The KL is averaged over dimensions."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), lambda path: replace(path, kl=path.kl / path.z[0].shape[-1]))


class WrongSign(Sound):
    """The likelihood is the loss."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return -super().log_likelihood(batch, path)


class IgnoredSeed(Sound):
    """Texts are sampled with one and the same seed."""

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        return super().generate(path, condition, decoding, 0)


class DroppedEmpty(Sound):
    """Empty texts are left out."""

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        return [text for text in super().generate(path, condition, decoding, seed) if text]


# And what else can go wrong.


class NoVersion(Sound):
    """Its version is none."""

    version = 0


class SummedSamples(Sound):
    """The likelihood is summed over samples."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path).sum(1)


class SampledKL(Sound):
    """The KL is the log-ratio of the sample, not its expectation."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), lambda path: replace(path, kl=path.log_q - path.log_p))


class HalvedDimensions(Sound):
    """The KL of dimensions is that of half of them."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), lambda path: replace(path, kl_dimensions=(path.kl_dimensions[0] / 2,)))


class SampleAsMean(Sound):
    """The mean is the sample."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), lambda path: replace(path, mean=path.z))


class ShiftedMean(Sound):
    """The mean is that of another distribution."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), lambda path: replace(path, mean=(path.mean[0] + 0.5,)))


class OtherDensity(Sound):
    """The density leaves a constant out."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), of_density=lambda path, density: density + math.log(2 * math.pi))


class OwnSamplesOnly(Sound):
    """The density is that of each text's own samples, in number and order."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), of_density=lambda path, density: density[: len(path.z[0])])


class PriorWithoutDensity(Sound):
    """Samples of the prior have no density."""

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        path = super().sample_prior(n, condition, generator)
        return replace(path, log_q=torch.zeros_like(path.log_q))


class TwoPriors(Sound):
    """The prior that is sampled is not the one that the posterior is compared with."""

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        moved = torch.full((1, self.config.latent_size), 2.0)
        return sample_gaussian_prior(Gaussian(moved.to(self.posterior.weight), 0 * moved), n, generator)


class UnweightedValues(Sound):
    """Given values have no prior density."""

    def path_of(self, z: Sequence[Tensor], condition: Batch | None) -> LatentPath:
        path = super().path_of(z, condition)
        return replace(path, log_q=0 * path.log_q, log_p=0 * path.log_p)


class EncodingTwice(Sound):
    """The posterior runs the encoder whenever it is sampled."""

    @dataclass(frozen=True)
    class Late(Posterior):
        encode: Callable[[], Posterior]

        def sample(self, n: int, generator: Generators) -> LatentPath:
            return self.encode().sample(n, generator)

        def log_prob(self, path: LatentPath) -> Tensor:
            return self.encode().log_prob(path)

    def encode(self, batch: Batch) -> Posterior:
        return self.Late(lambda: super(EncodingTwice, self).encode(batch))


class GlobalNoise(Sound):
    """Noise comes from the global generator."""

    @dataclass(frozen=True)
    class Noisy(GaussianPosterior):
        def sample(self, n: int, generator: Generators) -> LatentPath:
            own = torch.Generator().manual_seed(int(torch.randint(1000, ())))
            return super().sample(n, own)

    def encode(self, batch: Batch) -> Posterior:
        posterior = super().encode(batch)
        assert isinstance(posterior, GaussianPosterior)
        return self.Noisy(posterior.q)


class UnusedLatents(Sound):
    """z does not reach the decoder."""

    def inject(self, path: LatentPath) -> Injection:
        return super().inject(replace(path, z=(0 * path.z[0],)))


class Unnormalised(Sound):
    """A constant is left out of the likelihood."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path) + 1.0


class BlindToSources(EmbedVAE):
    """The decoder does not see the source."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(replace(batch, condition=None), path)


class SinglePrecision(Sound):
    """The likelihood is that of a large number of nats, in single precision."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        length = batch.ids.shape[1]
        return (super().log_likelihood(batch, path).to(path.log_q.dtype) + 1000.0 * length) - 1000.0 * length


class BlindDecoding(Sound):
    """Texts are decoded from z = 0."""

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        return super().generate(replace(path, z=(0 * path.z[0],)), condition, decoding, seed)


class NoTemperature(Sound):
    """Texts are sampled at temperature 1, whatever is asked for."""

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        return super().generate(path, condition, decoding.model_copy(update={"temperature": 1.0}), seed)


class UnusedWeights(Sound):
    """A layer is built and forgotten."""

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.forgotten = nn.Linear(2, 2)


class FalselyIdle(Sound):
    """A layer is called idle that is not."""

    def idle_parameters(self) -> frozenset[str]:
        return frozenset({"projection.weight"})


class Unlearning(Sound):
    """The gradient of the likelihood has the wrong sign."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        log_likelihood = super().log_likelihood(batch, path)
        return 2 * log_likelihood.detach() - log_likelihood


class UnsavedScale(Sound):
    """What z is multiplied by is drawn at random and no part of the weights."""

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.scale = float(torch.randn(()))

    def inject(self, path: LatentPath) -> Injection:
        return super().inject(replace(path, z=(self.scale * path.z[0],)))


class Erratic(Sound):
    """Its likelihood varies too much with z for two estimates to be compared."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path) + 10 * path.z[0].sum(-1)


class Raising(Sound):
    """Has a bug of its own."""

    def encode(self, batch: Batch) -> Posterior:
        raise RuntimeError("shapes (3, 4)\nand (5, 6) do not fit")


# Decoding that disagrees with the likelihood after the first token.


class OwnDecoding(Sound):
    """Decodes with its own loop, correctly; what follows breaks ``next_logits``."""

    @classmethod
    def supports(cls, spec: RunSpec) -> str | None:
        return super().supports(spec) or ("no beam search" if spec.decoding.strategy == "beam" else None)

    def next_logits(self, ids: Tensor, injection: Injection) -> Tensor:
        """Returns the logits after token ids (N x T)."""
        return self.read(ids, torch.arange(ids.shape[1]), injection)

    def read(self, ids: Tensor, positions: Tensor, injection: Injection) -> Tensor:
        model = self.backbone.model
        return model(input_ids=ids, position_ids=positions[None], decoder_injection=injection).logits[:, -1]

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        injection, rows = self.inject(path), path.n * len(path.log_q)
        ids = torch.empty(rows, 0, dtype=torch.long)

        def step(newest: Tensor) -> Tensor:
            nonlocal ids
            ids = torch.cat([ids, newest[:, None]], dim=1)
            return self.next_logits(ids, injection)

        return decode_stepwise(step, rows, self.tokenizer, decoding, seed, ids.device)


class PositionZero(OwnDecoding):
    """In decoding every token has position 0."""

    def next_logits(self, ids: Tensor, injection: Injection) -> Tensor:
        return self.read(ids, torch.zeros(ids.shape[1], dtype=torch.long), injection)


class NewestTokenOnly(OwnDecoding):
    """In decoding all but the newest token are forgotten."""

    def next_logits(self, ids: Tensor, injection: Injection) -> Tensor:
        return self.read(ids[:, -1:], torch.tensor([ids.shape[1] - 1]), injection)


class LostCache(OwnDecoding):
    """In decoding the ninth token is lost after it was read."""

    def next_logits(self, ids: Tensor, injection: Injection) -> Tensor:
        places = torch.tensor([place for place in range(ids.shape[1]) if place != 8 or ids.shape[1] == 9])
        return self.read(ids[:, places], places, injection)


class StateBefore(Sound):
    """The likelihood of a token is computed from the state two tokens back; decoding is right."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        states, starts = self.backbone.decode(batch, self.inject(path), path.n)
        states = torch.cat([states[:, :1], states[:, :-1]], dim=1)
        size = self.backbone.vocabulary_size
        return text_log_likelihood(batch, states, self.backbone.next_token_logits, size, path.n, starts)


class OffByOne(OwnDecoding, StateBefore):
    """Loss, scoring and decoding agree: all of them predict a token from the state two tokens back."""

    def next_logits(self, ids: Tensor, injection: Injection) -> Tensor:
        return super().next_logits(ids[:, : max(1, ids.shape[1] - 1)], injection)


def changed_decoding(**update: object) -> type[Sound]:
    """Returns a system that ignores an option of decoding."""

    class Ignoring(Sound):
        def generate(
            self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
        ) -> list[list[int]]:
            return super().generate(path, condition, decoding.model_copy(update=update), seed)

    return Ignoring


NoTopP = changed_decoding(top_p=1.0)
NoPenalty = changed_decoding(repetition_penalty=1.0)
NoMinimum = changed_decoding(min_tokens=0)


# Tokens that are not scored.


class ChosenTokens(Sound):
    """Scores the predicted tokens that ``scored`` chooses."""

    def scored(self, length: Tensor, position: Tensor) -> Tensor:
        """Takes for each predicted token the number of predicted tokens of its text, and its place among them."""
        raise NotImplementedError

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        width = batch.inputs.shape[1]
        text, position = batch.predicted // width, batch.predicted % width
        chosen = self.scored(batch.mask.sum(1)[text] - 1, position)
        return super().log_likelihood(replace(batch, predicted=batch.predicted[chosen]), path)


class NoLongEnds(ChosenTokens):
    """EOS is not scored in texts of more than 8 tokens."""

    def scored(self, length: Tensor, position: Tensor) -> Tensor:
        return (length <= 8) | (position < length - 1)

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        ends = batch.ids.gather(1, batch.mask.sum(1, keepdim=True) - 1) == self.tokenizer.eos
        without, right = super().log_likelihood(batch, path), Sound.log_likelihood(self, batch, path)
        return torch.where(ends, without, right)


class FirstThirty(ChosenTokens):
    """Only the first 30 tokens are scored."""

    def scored(self, length: Tensor, position: Tensor) -> Tensor:
        return position < 30


# Mistakes in training mode only.


class KLAveragedInTraining(Sound):
    """In training mode the KL is averaged over dimensions."""

    def encode(self, batch: Batch) -> Posterior:
        size = self.config.latent_size if self.training else 1
        return Changed(super().encode(batch), lambda path: replace(path, kl=path.kl / size))


class EndsTwiceInTraining(Sound):
    """In training mode EOS is weighted twice."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        right = super().log_likelihood(batch, path)
        if not self.training:
            return right
        width = batch.inputs.shape[1]
        last = torch.arange(len(batch)) * width + batch.mask.sum(1) - 2
        return right + super().log_likelihood(replace(batch, predicted=last), path)


class OtherWithGradients(Sound):
    """Where gradients are computed, z is scaled."""

    def inject(self, path: LatentPath) -> Injection:
        return super().inject(path.mapped(lambda term: 0.9 * term) if torch.is_grad_enabled() else path)


class Stateful(Sound):
    """The MLPs' inputs are scaled by an attribute, which differs between encoder and decoder pass."""

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.scale = 1.0
        for block in backbone.blocks():
            block.mlp.register_forward_pre_hook(lambda mlp, arguments: (self.scale * arguments[0],))

    def encode(self, batch: Batch) -> Posterior:
        self.scale = 1.0
        return super().encode(batch)

    def inject(self, path: LatentPath) -> Injection:
        self.scale = 0.5
        return super().inject(path)


# Latents that do not learn.


class DetachedFromLikelihood(Sound):
    """Only the KL trains the encoder."""

    def inject(self, path: LatentPath) -> Injection:
        return super().inject(path.detach())


class DetachedSample(Sound):
    """The sample is detached from the encoder."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(super().encode(batch), lambda path: replace(path, z=tuple(z.detach() for z in path.z)))


class DetachedMean(Sound):
    """The mean is detached from the sample, the variance is not."""

    def encode(self, batch: Batch) -> Posterior:
        return Changed(
            super().encode(batch), lambda path: replace(path, z=(path.z[0] - path.mean[0] + path.mean[0].detach(),))
        )


class FrozenLatents(Sound):
    """Posterior and projection are frozen."""

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.posterior.requires_grad_(False)
        self.projection.requires_grad_(False)


class Adapter(Sound):
    """Keeps the contract: the backbone is frozen, the latents are trained."""

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.backbone.requires_grad_(False)


# Priors whose density is not the one they are sampled from.


def other_prior(log_variance: float) -> type[Sound]:
    """Returns a system whose KL and log p are those of N(0, e^log_variance), samples of the prior those of N(0, 1)."""

    class OtherPrior(Sound):
        def encode(self, batch: Batch) -> Posterior:
            right = super().encode(batch)
            assert isinstance(right, GaussianPosterior)
            other = torch.full_like(right.q.mean, log_variance)
            return GaussianPosterior(right.q, Gaussian(torch.zeros_like(other), other))

    return OtherPrior


WidePrior, WiderPrior, NarrowPrior = (other_prior(log_variance) for log_variance in (0.1, 1.5, -1.5))


class WideSamples(Sound):
    """Samples of the prior are wider than their density, log p."""

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        path = super().sample_prior(n, condition, generator)
        return replace(path, z=(1.05 * path.z[0],))


# Causes of many failures.


class RaisingConstructor(Sound):
    """Cannot be built."""

    def __init__(self, backbone: Backbone, config: TransformerVAEConfig, conditional: bool = False) -> None:
        raise ValueError("a mistake\nin the constructor")


class SinglePrecisionInside(Sound):
    """Converts z to single precision, which the projection refuses."""

    def inject(self, path: LatentPath) -> Injection:
        return Injection(embedding=self.projection(path.z[0].flatten(0, 1).float()))


class RoundedInside(Sound):
    """Rounds the likelihood to single precision."""

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        return super().log_likelihood(batch, path).float().double()
