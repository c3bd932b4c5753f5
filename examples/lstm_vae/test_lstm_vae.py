"""The LSTM-VAE keeps the contract."""

from bench.testing import SystemConformance


class TestLstmVAE(SystemConformance):
    system = "lstm-vae"
