"""The contract between a text VAE and everything that trains, scores and prints it.

Shapes: B texts, T tokens, S condition tokens, n latent samples per text, G latent groups, D size of a group.

A system implements `encode`, `sample_prior`, `log_likelihood` and `generate`; it gets training with every objective,
exact and importance-weighted scoring, latent metrics, generation, records and tables with it. Nothing is averaged,
summed over groups, weighted or clamped for display inside a system: the harness alone reduces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn

from bench.batch import Batch, Generators, Seeds
from bench.errors import BenchError
from bench.specs import DecodingSpec, EncoderKind, ModelSpec, RunSpec, SystemConfig
from bench.tokenizers import Tokenizer


@dataclass(frozen=True)
class LatentPath:
    """Joint samples of all latent groups with their unreduced terms, in nats.

    Attributes:
        z: G tensors of samples (B x n x D).
        mean: G tensors of the sampled distribution's mean given the sampled ancestors (B x n x D).
        log_q: log q(z_g | z_<g, x) of each group (B x n x G).
        log_p: log p(z_g | z_<g, c) of each group (B x n x G).
        kl: analytic KL(q || p) of each group given the sampled ancestors (B x n x G).
        kl_dimensions: the same of every dimension (G tensors B x n x D), where the distributions factorise; None
            where they do not.
    """

    z: tuple[Tensor, ...]
    mean: tuple[Tensor, ...]
    log_q: Tensor
    log_p: Tensor
    kl: Tensor
    kl_dimensions: tuple[Tensor, ...] | None = None

    @property
    def n(self) -> int:
        """Number of samples per text."""
        return self.log_q.shape[1]

    def narrow(self, start: int, stop: int) -> LatentPath:
        """Returns samples ``start`` to ``stop`` of every text."""
        return self.mapped(lambda term: term[:, start:stop])

    def shared(self) -> LatentPath:
        """Returns all B x n samples as samples of one text (1 x B n), so that any posterior can score them all."""
        return self.mapped(lambda term: term.flatten(0, 1)[None])

    def detach(self) -> LatentPath:
        """Returns the path without its graph."""
        return self.mapped(Tensor.detach)

    @classmethod
    def concatenate(cls, paths: Sequence[LatentPath]) -> LatentPath:
        """Returns the samples of several paths as more samples of the same texts, along n."""

        def joined(groups: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
            return tuple(torch.cat(terms, dim=1) for terms in zip(*groups, strict=True))

        dimensions = [path.kl_dimensions for path in paths if path.kl_dimensions is not None]
        log_q, log_p, kl = joined((path.log_q, path.log_p, path.kl) for path in paths)
        return cls(
            joined(path.z for path in paths),
            joined(path.mean for path in paths),
            log_q,
            log_p,
            kl,
            joined(dimensions) if len(dimensions) == len(paths) else None,
        )

    def mapped(self, change: Callable[[Tensor], Tensor]) -> LatentPath:
        """Returns the path with every tensor changed alike."""
        return LatentPath(
            tuple(map(change, self.z)),
            tuple(map(change, self.mean)),
            change(self.log_q),
            change(self.log_p),
            change(self.kl),
            None if self.kl_dimensions is None else tuple(map(change, self.kl_dimensions)),
        )


class Posterior(ABC):
    """q(z | x) of a batch of texts after ONE encoder pass; sampling from it is cheap, however often."""

    @abstractmethod
    def sample(self, n: int, generator: Generators) -> LatentPath:
        """Draws n joint samples of every group by reparameterisation."""

    @abstractmethod
    def log_prob(self, path: LatentPath) -> Tensor:
        """Scores samples that may come from any posterior: log q per group (B x n x G).

        ``path.z`` may have a first axis of 1, which is broadcast over the texts of this posterior: so the aggregated
        posterior sees every sample under every text.
        """


class System(nn.Module, ABC):
    """A language model over texts, with or without latent variables, on a given backbone.

    Class attributes:
        Config: pydantic model of the options, with defaults.
        default_objective: objective used unless the run names one; by default the plain ELBO.
        encoder_kind: kind of a separate encoder, which reads ``Batch.encoder`` and is a further argument of
            ``__init__``; None if the backbone encodes.
        uses_transformer: whether the system uses the task's Transformer stack. If so, the stack is the first argument
            of ``__init__``; if not, tokenizer and width are.
        version: rises whenever the same spec computes something else.

    Attributes:
        tokenizer: of the texts.
        width: hidden size of the task's Transformer stack.
        backbone: the Transformer stack; None for a system that uses none.
        config: its options.
        conditional: whether texts come with conditions.
        groups: sizes of the latent groups; () for a plain language model.
        mean_norms: what the means of each group's posterior go through; empty unless the objective says so.
    """

    Config: ClassVar[type[SystemConfig]] = SystemConfig
    default_objective: ClassVar[str] = "constant"
    encoder_kind: ClassVar[EncoderKind | None] = None
    uses_transformer: ClassVar[bool] = True
    version: ClassVar[int] = 1
    groups: tuple[int, ...]

    def __init__(
        self,
        tokenizer: Tokenizer,
        width: int,
        config: SystemConfig,
        conditional: bool = False,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.width = width
        self.backbone = backbone
        self.config = config
        self.conditional = conditional
        self.mean_norms = nn.ModuleList()

    @property
    def output_layer(self) -> nn.Linear | None:
        """The map from the decoder's hidden states to the scores of all tokens, which auxiliary losses may share."""
        return None

    def posterior_mean(self, mean: Tensor, group: int = 0) -> Tensor:
        """Returns the mean that a group's posterior has (... x D) for the one that its network gives.

        A system that sends its means through here can be trained with batch-normalised posteriors.
        """
        return cast(Tensor, self.mean_norms[group](mean)) if self.mean_norms else mean

    @classmethod
    def supports(cls, spec: RunSpec) -> str | None:
        """Returns None if the system can do this run, else the reason, which becomes a footnote of its cells."""
        return None

    def idle_parameters(self) -> frozenset[str]:
        """Returns the names of parameters that the system's own equations keep from ever learning: none, by default.

        All others must get a gradient from likelihood and KL, which the conformance suite checks.
        """
        return frozenset()

    @abstractmethod
    def encode(self, batch: Batch) -> Posterior:
        """Runs the encoder once."""

    @abstractmethod
    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws n joint samples from p(z | c): B is the number of conditions, or 1 without condition."""

    def path_of(self, z: Sequence[Tensor], condition: Batch | None) -> LatentPath:
        """Returns the path of given latent values, with their terms under the prior.

        The terms are those that the values would have as samples of the prior: log_p along the groups, log_q equal to
        it, and a KL of zero. Tools that move latent values need this method; training and scoring do not.

        Args:
            z: values of each of the G groups (B x n x D).
            condition: B conditions; None without, then B is any number of rows.

        Raises:
            BenchError: the system does not offer it.
        """
        raise BenchError(f"{type(self).__name__} does not decode given latent values: it has no method path_of.")

    @abstractmethod
    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns log p(x | z, c) summed over the predicted tokens, in nats (B x n)."""

    @abstractmethod
    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        """Decodes each of the B x n samples; returns token ids without BOS and EOS, text by text."""


@dataclass(frozen=True)
class ImportedModel:
    """A model that was trained by other code, as a system of this suite.

    Attributes:
        spec: what it is.
        weights: its weights by the names of the system's parameters.
        tokens: special tokens that its code adds to the tokenizer, in this order, unless they are there.
        vocabulary_size: number of token ids, with which the tokenizer must agree.
        lossless: whether its tokenizer must give every text back; one of words gives back those whose words it knows.
    """

    spec: ModelSpec
    weights: Mapping[str, Tensor]
    tokens: tuple[str, ...]
    vocabulary_size: int
    lossless: bool = True


class Importer(Protocol):
    """Reads a checkpoint of other code."""

    def __call__(self, path: Path, options: Mapping[str, Any], heads: int | None = None) -> ImportedModel:
        """Returns the model.

        Args:
            path: the checkpoint.
            options: of the system that the checkpoint does not tell.
            heads: attention heads, where the checkpoint does not contain their number.

        Raises:
            BenchError: the file is no such checkpoint, or the options contradict it.
        """
