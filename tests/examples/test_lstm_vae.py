"""The LSTM-VAE example: the equations of He et al. (2019), the contract, and a row of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lstm_vae import LstmVAE, LstmVAEConfig
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from bench.backbones import EncoderOnly
from bench.backbones.injection import ATTENTION
from bench.batch import Batch
from bench.harness.build import build_system
from bench.harness.plan import run_spec
from bench.harness.run import run
from bench.interface import Posterior
from bench.latents import Gaussian, GaussianPosterior
from bench.objectives.gradient_flow import GradientFlow
from bench.scales import Scale
from bench.specs import BackboneSpec, EncoderSpec, ModelSpec, SystemSpec
from bench.systems import SYSTEMS
from bench.testing import SystemConformance
from bench.tokenizers import EncoderTokens, Tokenizer

WIDTH, EMBEDDING, HIDDEN, LATENT = 10, 6, 8, 3


class TestContract(SystemConformance):
    system = LstmVAE


class BertLstmVAE(LstmVAE):
    """BERT reads, an LSTM writes: a separate encoder, and no Transformer stack."""

    encoder_kind = "bert"

    def __init__(
        self, tokenizer: Tokenizer, width: int, config: LstmVAEConfig, conditional: bool, bert: EncoderOnly
    ) -> None:
        super().__init__(tokenizer, width, config, conditional)
        self.encoder = bert
        self.parameters_of_q = nn.Linear(bert.width, 2 * config.latent_size)

    def encode(self, batch: Batch) -> Posterior:
        parameters = self.parameters_of_q(self.encoder.encode(batch).first_token_state)
        return GaussianPosterior(Gaussian.from_parameters(parameters, mean_transform=self.posterior_mean))


class TestContractWithSeparateEncoder(SystemConformance):
    system = BertLstmVAE


def test_a_separate_encoder_needs_no_backbone_built_before(
    tokenizer: Tokenizer, encoder_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for registered in (AttentionInterface, AttentionMaskInterface):
        if ATTENTION in registered._global_mapping:
            monkeypatch.delitem(registered._global_mapping, ATTENTION)
    encoder = EncoderSpec(layers=1, width=WIDTH, vocabulary_size=len(encoder_tokenizer))
    own = tokenizer.with_encoder(EncoderTokens(encoder_tokenizer, encoder.positions))
    spec = ModelSpec(system=SystemSpec(name="bert-lstm", label="bert-lstm"), backbone=BackboneSpec(), encoder=encoder)
    system = build_system(BertLstmVAE, spec, own).eval()
    batch = Batch.collate(own.encode(["a cat"]), own.pad, encoder=Batch.collate([[2, 5, 3]], 0))
    assert system.encode(batch).sample(1, torch.Generator().manual_seed(0)).z[0].isfinite().all()


@pytest.fixture
def system(tokenizer: Tokenizer) -> LstmVAE:
    torch.manual_seed(0)
    config = LstmVAEConfig(latent_size=LATENT, embedding_size=EMBEDDING, hidden_size=HIDDEN)
    return LstmVAE(tokenizer, WIDTH, config).double().eval()


def lstm(network: nn.LSTM, inputs: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
    """Runs an LSTM over the inputs of one text (T x size), gate by gate; returns its hidden states (T x hidden)."""
    states = []
    for x in inputs:
        gates = network.weight_ih_l0 @ x + network.bias_ih_l0 + network.weight_hh_l0 @ hidden + network.bias_hh_l0
        let_in, forget, new, let_out = gates.chunk(4)
        cell = forget.sigmoid() * cell + let_in.sigmoid() * new.tanh()
        hidden = let_out.sigmoid() * cell.tanh()
        states.append(hidden)
    return torch.stack(states)


@torch.no_grad()
def test_posterior(system: LstmVAE, batch: Batch) -> None:
    path = system.encode(batch).sample(2, torch.Generator().manual_seed(0))
    encoder = system.encoder
    for row, (ids, mask) in enumerate(zip(batch.ids, batch.mask, strict=True)):
        nothing = torch.zeros(HIDDEN, dtype=torch.float64)
        states = lstm(encoder.lstm, encoder.embedding.weight[ids[mask]], nothing, nothing)
        mean, log_variance = (encoder.linear.weight @ states[-1]).chunk(2)
        kl = 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum()
        torch.testing.assert_close(path.mean[0][row, 0], mean, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(path.kl[row, 0, 0], kl, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_log_likelihood(system: LstmVAE, batch: Batch) -> None:
    path = system.encode(batch).sample(2, torch.Generator().manual_seed(0))
    found, decoder = system.log_likelihood(batch, path), system.decoder
    for row, (ids, mask) in enumerate(zip(batch.ids, batch.mask, strict=True)):
        text = ids[mask]
        for sample, z in enumerate(path.z[0][row]):
            cell = decoder.initial.weight @ z
            inputs = torch.cat([decoder.embedding.weight[text[:-1]], z.expand(len(text) - 1, -1)], dim=1)
            states = lstm(decoder.lstm, inputs, cell.tanh(), cell)
            log_p = (states @ decoder.output.weight.T).log_softmax(-1)
            expected = log_p[torch.arange(len(text) - 1), text[1:]].sum()
            torch.testing.assert_close(found[row, sample], expected, rtol=1e-10, atol=1e-10)


def test_default_sizes_are_those_of_the_scale(tokenizer: Tokenizer) -> None:
    made = LstmVAE(tokenizer, WIDTH, LstmVAEConfig(latent_size=LATENT))
    words = len(tokenizer)
    of_lstms = sum(4 * WIDTH * (inputs + WIDTH + 2) for inputs in (WIDTH, WIDTH + LATENT))
    maps = 2 * LATENT * WIDTH + LATENT * WIDTH + WIDTH * words
    assert sum(parameter.numel() for parameter in made.parameters()) == of_lstms + maps + 2 * words * WIDTH


def test_encoder_and_decoder_share_no_parameters(system: LstmVAE, batch: Batch) -> None:
    """Aggressive updates train the whole encoder; stages may reset the whole decoder."""
    found = GradientFlow.of(system, batch)
    names = {side: {name for name, _ in system.named_parameters() if name.startswith(side)} for side in ("enc", "dec")}
    assert found.encoder_only() == names["enc"]
    assert found.decoder_only() == names["dec"]


def test_encoder_and_decoder_may_have_different_sizes(tokenizer: Tokenizer) -> None:
    made = LstmVAE(tokenizer, WIDTH, LstmVAEConfig(hidden_size=HIDDEN, decoder_size=5))
    assert (made.encoder.lstm.hidden_size, made.decoder.lstm.hidden_size) == (HIDDEN, 5)
    made = LstmVAE(tokenizer, WIDTH, LstmVAEConfig(encoder_size=5))
    assert (made.encoder.lstm.hidden_size, made.decoder.lstm.hidden_size) == (5, WIDTH)


@pytest.mark.usefixtures("installed")
def test_installed_it_has_a_row_in_tables(tmp_path: Path) -> None:
    """No Transformer is built, trained or stored; unsupported tasks are skipped with a reason."""
    assert SYSTEMS.get("lstm-vae") is LstmVAE
    assert SYSTEMS.summaries()["lstm-vae"].startswith("LSTM encoder and decoder with one latent variable")
    scale = Scale.model_validate(
        {
            "limits": {"train": 24, "valid": 8, "test": 12},
            "tokenizer": {"vocabulary_size": 280},
            "backbone": {"layers": 2, "width": 16},
            "training": {"epochs": 2, "batch_tokens": 256},
            "scoring": {"n_importance_samples": 4, "bootstrap_samples": 0, "n_generations": 3},
            "decoding": {"max_tokens": 8},
        }
    )
    record = run(run_spec("lstm-vae+free-bits+bow", "ptb", 0, "micro", scale, "grammar"), tmp_path / "out")
    assert record.status == "finished"
    assert np.isfinite([score.value for score in record.metrics]).all()
    words, latent, width = 280, 32, 16
    expected = 2 * 4 * width * (width + width + 2) + 4 * width * latent + 3 * latent * width + 3 * words * width
    assert record.model is not None
    assert record.model.parameters == expected
    skipped = run(run_spec("lstm-vae", "quora", 0, "micro", scale, "grammar"), tmp_path / "out")
    assert (skipped.status, skipped.reason) == ("skipped", "the LSTM-VAE reads no sources")
