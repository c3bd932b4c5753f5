"""Generation of texts from samples of the prior, independent of the batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from bench.batch import Batch
from bench.harness.phases import OnPhase
from bench.harness.tokenized_texts import TokenizedTexts
from bench.interface import LatentPath, System
from bench.seeds import derive_seed
from bench.specs import DecodingSpec

GENERATIONS_PER_BATCH = 100
"""Changes only speed and memory."""


@torch.no_grad()
def generate_texts(
    system: System,
    n: int,
    texts: TokenizedTexts,
    decoding: DecodingSpec,
    seed: int,
    on_phase: OnPhase = lambda phase, fraction: None,
) -> list[str]:
    """Returns generated texts; empty ones are kept.

    Unconditional: ``n`` texts from ``n`` samples of the prior. Conditional: ``decoding.samples_per_source`` texts in a
    row for each of the first ``n`` sources, or of all if there are fewer.

    Each text has its own streams of latent noise and random choices, so it does not depend on its batch.

    Args:
        system: is set to evaluation mode.
        n: number of samples, or of sources.
        texts: of the split whose sources are used.
        decoding: the decoding settings.
        seed: of all draws.
        on_phase: receives the progress.
    """
    system.eval()
    tokenizer = system.tokenizer
    device = next(system.parameters()).device
    n = min(n, len(texts)) if texts.sources else n
    per_row = decoding.samples_per_source if texts.sources else 1
    rows_at_once = max(1, GENERATIONS_PER_BATCH // per_row)
    # Sources of similar length in one batch need less padding.
    order = np.argsort(texts.sources.lengths[:n], kind="stable") if texts.sources else np.arange(n)
    decoded: dict[int, list[str]] = {}
    for start in range(0, n, rows_at_once):
        rows = order[start : start + rows_at_once].tolist()
        condition = texts.conditions(rows)
        ids = decode_rows(system, rows, per_row, condition and condition.to(device), decoding, seed)
        generations = tokenizer.decode(ids)
        decoded |= {row: generations[k * per_row : (k + 1) * per_row] for k, row in enumerate(rows)}
        on_phase("generate", len(decoded) / n)
    return [text for row in range(n) for text in decoded[row]]


def decode_rows(
    system: System, rows: Sequence[int], per_row: int, condition: Batch | None, decoding: DecodingSpec, seed: int
) -> list[list[int]]:
    """Returns the generated ids of some rows (sources, or single samples); each row has its own random streams.

    Without condition, every row is one sample of the prior, and ``per_row`` is 1.
    """
    streams = [torch.Generator().manual_seed(derive_seed(seed, "prior", row)) for row in rows]
    if condition is None:
        # The contract has n samples of one text without condition; these are n rows of one sample each.
        paths = [system.sample_prior(1, None, [stream]) for stream in streams]
        path = LatentPath.concatenate(paths)
    else:
        path = system.sample_prior(per_row, condition, streams)
    choices = [derive_seed(seed, "decode", row, k) for row in rows for k in range(per_row)]
    return system.generate(path, condition, decoding, choices)
