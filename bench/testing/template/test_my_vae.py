"""MyVAE keeps the contract of della-bench."""

from bench.testing import SystemConformance


class TestMyVAE(SystemConformance):
    """Every check of `della-bench check my-vae`, as a test."""

    system = "my-vae"
