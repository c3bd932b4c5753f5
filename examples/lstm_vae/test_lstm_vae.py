"""The LSTM-VAE keeps the contract."""

from bench.testing import SystemConformance


class TestLSTMVAE(SystemConformance):
    system = "lstm-vae"
