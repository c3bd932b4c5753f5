"""What a notebook needs: trained models, runs, scores and results; ``import bench`` offers these names."""

from __future__ import annotations

from bench.api.results import Results, results, run, score
from bench.api.text_vae import Latents, TextVAE, load

__all__ = ["Latents", "Results", "TextVAE", "load", "results", "run", "score"]
