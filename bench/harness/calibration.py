"""The speed of training on this machine, from ten steps."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bench.harness.batches import micro_batches_on_device
from bench.harness.build import build_system
from bench.harness.lengths import Lengths
from bench.harness.provenance import peak_memory
from bench.harness.tokenized_texts import TokenIds, TokenizedTexts
from bench.harness.train import Trainer, training_batches
from bench.objectives import build_stages
from bench.seeds import named_seeds
from bench.specs import RunSpec, TrainingSpec
from bench.systems import SYSTEMS
from bench.tokenizers import Tokenizer

WARM_UP, STEPS = 2, 10
"""Steps of a calibration that are not timed, and that are."""


def calibrate(
    spec: RunSpec, training: TrainingSpec, tokenizer: Tokenizer, lengths: Lengths
) -> tuple[float, int | None]:
    """Times ten steps of a run on this machine, with random weights and random tokens of the mean length.

    Returns:
        Predicted tokens per second, and the peak of the memory of a GPU in bytes; None without one.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seeds = named_seeds(spec.seed)
    system = build_system(SYSTEMS.get(spec.system.name), spec.model, tokenizer, seeds["init"]).to(device)
    per_step = training.batch_texts or max(1, int(training.batch_tokens / (lengths.target + 1 + lengths.source)))
    texts = _random_texts(per_step * (WARM_UP + STEPS), lengths, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            system,
            {"train": texts, "valid": texts},
            build_stages(spec.objective, training.epochs),
            training,
            seeds,
            Path(folder),
            lambda phase, fraction: None,
        )
        batches = training_batches(texts, training)
        steps = micro_batches_on_device(texts, batches, training.micro_batch_tokens, device)
        trainer.take_steps(islice(steps, WARM_UP))
        tokens, seconds = trainer.progress.tokens, trainer.progress.seconds
        trainer.take_steps(islice(steps, STEPS))
        speed = (trainer.progress.tokens - tokens) / (trainer.progress.seconds - seconds)
    return speed, peak_memory(device) if device.type == "cuda" else None


def _random_texts(n: int, lengths: Lengths, tokenizer: Tokenizer) -> TokenizedTexts:
    """Returns n texts of the mean length of a task."""
    rng = np.random.default_rng(0)

    def ids(length: int, tokenizer: Tokenizer) -> TokenIds:
        flat = rng.integers(0, len(tokenizer), n * length).astype(np.int32)
        offsets = np.arange(n + 1) * length
        encoder = ids(length, tokenizer.encoder.tokenizer) if tokenizer.encoder else None
        return TokenIds(flat, offsets, np.zeros(n, dtype=np.bool_), tokenizer.pad, encoder)

    ones = np.ones(n)
    sources = ids(round(lengths.source), tokenizer) if lengths.source else None
    return TokenizedTexts(ids(round(lengths.target) + 1, tokenizer), ones, ones, sources)
