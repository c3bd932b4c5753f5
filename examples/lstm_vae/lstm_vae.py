"""The LSTM-VAE of He et al. (ICLR 2019), a text VAE without a Transformer, as a package of its own.

Encoder: an LSTM; mean and log-variance of q(z | x) are a linear map of its state after the last token; p(z) = N(0, I).
Decoder: an LSTM whose first cell state is a linear map of z, whose first hidden state is the tanh of that, and which
reads z beside every token. The linear maps have no bias, as in the authors' code; weights begin as torch draws them,
which at the authors' size is much the same.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.backbones import Foundation, decode_stepwise, text_log_likelihood
from bench.interface import Batch, Generators, LatentPath, Posterior, Seeds, System
from bench.latents import Gaussian, GaussianPosterior, sample_gaussian_prior, standard_gaussian
from bench.spec import DecodingSpec, RunSpec, SystemConfig

# The network.


class Encoder(nn.Module):
    """Texts to [mean, log-variance]."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 2 * latent, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        """Returns the statistics of each text (B x 2D)."""
        states, _ = self.lstm(self.embedding(batch.ids))
        last = batch.mask.sum(1) - 1  # from left to right: padding behind it has not been read yet
        return self.linear(states[torch.arange(len(batch), device=last.device), last])


class Decoder(nn.Module):
    """Tokens and z to hidden states; ``output`` makes scores of them."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, latent: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.dropout = nn.Dropout(dropout)
        self.initial = nn.Linear(latent, hidden, bias=False)
        self.lstm = nn.LSTM(embedding + latent, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary, bias=False)

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the state before the first token, for each sample (N x D)."""
        cell = self.initial(z)[None]
        return cell.tanh(), cell

    def forward(self, ids: Tensor, z: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns the hidden state after each of the tokens (N x T x width), and the state to go on from."""
        beside = z[:, None].expand(-1, ids.shape[1], -1)
        states, state = self.lstm(torch.cat([self.dropout(self.embedding(ids)), beside], dim=-1), state)
        return self.dropout(states), state


# The system: what the network means to the suite.


class LSTMVAEConfig(SystemConfig):
    """Options of the LSTM-VAE; He et al. have a latent size of 32, embeddings of 512 and 1024 hidden units.

    Attributes:
        latent_size: dimensions of z.
        embedding_size: of tokens, in encoder and decoder; None for the width of the scale's Transformers.
        hidden_size: of both LSTMs; None for the same.
        dropout: of the decoder's token embeddings and hidden states.
    """

    latent_size: int = Field(32, ge=1)
    embedding_size: int | None = Field(None, ge=1)
    hidden_size: int | None = Field(None, ge=1)
    dropout: float = Field(0.5, ge=0, lt=1)


class LSTMVAE(System):
    """LSTM encoder and decoder with one latent variable (He et al. 2019)."""

    Config = LSTMVAEConfig
    config: LSTMVAEConfig
    default_objective = "linear"
    uses_transformer = False

    def __init__(self, backbone: Foundation, config: LSTMVAEConfig, conditional: bool = False) -> None:
        super().__init__(backbone, config, conditional)
        self.groups = (config.latent_size,)
        embedding, hidden = (size or backbone.width for size in (config.embedding_size, config.hidden_size))
        self.encoder = Encoder(backbone.vocabulary_size, embedding, hidden, config.latent_size)
        self.decoder = Decoder(backbone.vocabulary_size, embedding, hidden, config.latent_size, config.dropout)

    @classmethod
    def supports(cls, spec: RunSpec) -> str | None:
        """Reads no sources, and keeps no beams."""
        if spec.task.conditional:
            return "the LSTM-VAE reads no sources"
        return "the LSTM-VAE has no beam search" if spec.decoding.strategy == "beam" else None

    @property
    def output_layer(self) -> nn.Linear:
        """The decoder's."""
        return self.decoder.output

    def encode(self, batch: Batch) -> Posterior:
        """Returns q(z | x)."""
        return GaussianPosterior(Gaussian.split(self.encoder(batch), through=self.posterior_mean))

    def sample_prior(self, n: int, condition: Batch | None, generator: Generators) -> LatentPath:
        """Draws z from N(0, I)."""
        like = self.decoder.initial.weight.new_zeros(1, self.config.latent_size)
        return sample_gaussian_prior(standard_gaussian(like), n, generator)

    def log_likelihood(self, batch: Batch, path: LatentPath) -> Tensor:
        """Returns log p(x | z) for each sample (B x n)."""
        z = path.z[0].flatten(0, 1)
        states, _ = self.decoder(batch.inputs.repeat_interleave(path.n, dim=0), z, self.decoder.begin(z))
        return text_log_likelihood(batch, states, self.output_layer, self.backbone.vocabulary_size, path.n)

    def generate(
        self, path: LatentPath, condition: Batch | None, decoding: DecodingSpec, seed: Seeds
    ) -> list[list[int]]:
        """Decodes one text per sample."""
        z = path.z[0].flatten(0, 1)
        state = self.decoder.begin(z)

        def step(newest: Tensor) -> Tensor:
            nonlocal state
            states, state = self.decoder(newest[:, None], z, state)
            return self.output_layer(states[:, 0])

        return decode_stepwise(step, len(z), self.backbone.tokenizer, decoding, seed, z.device)
