"""The released LSTM-VAE of He et al. by its layout of parameters, one text at a time; it shares no code with ours."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

WORDS = ("<pad>", "<s>", "</s>", "<unk>", "the", "cat", "sat", "on", "a", "mat", ".", "dog", "réveillé", "_UNK")
PAD, BOS, EOS = 0, 1, 2
EMBEDDING, ENCODER, DECODER, LATENT = 6, 5, 7, 3


def save_words(folder: Path) -> Path:
    """Writes the vocabulary as a tokenizer, in the way of the README."""
    folder.mkdir()
    numbers = {word: place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


class LSTMEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, ENCODER, batch_first=True)
        self.linear = nn.Linear(ENCODER, 2 * LATENT, bias=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance."""
        _, (last_state, _) = self.lstm(self.embed(ids)[None])
        mean, log_variance = self.linear(last_state[0, 0]).chunk(2)
        return mean, log_variance


class LSTMDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), EMBEDDING, padding_idx=-1)
        self.trans_linear = nn.Linear(LATENT, DECODER, bias=False)
        self.lstm = nn.LSTM(EMBEDDING + LATENT, DECODER, batch_first=True)
        self.pred_linear = nn.Linear(DECODER, len(WORDS), bias=False)
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(len(WORDS)), reduction="none")

    def logits(self, ids: Tensor, z: Tensor) -> Tensor:
        """Scores of the next token after every prefix (T x V)."""
        c_init = self.trans_linear(z)[None, None]
        inputs = torch.cat([self.embed(ids), z.expand(len(ids), LATENT)], dim=-1)
        output, _ = self.lstm(inputs[None], (torch.tanh(c_init), c_init))
        return self.pred_linear(output[0])

    def log_probability(self, ids: Tensor, z: Tensor) -> Tensor:
        return -self.loss(self.logits(ids[:-1], z), ids[1:]).sum()


class ReleasedLstmVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = LSTMEncoder(), LSTMDecoder()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.7)
