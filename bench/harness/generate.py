"""Texts from samples of the prior, the same whatever batch they are decoded in."""

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

AT_ONCE = 100
"""Texts decoded side by side; changes speed and memory only."""


@torch.no_grad()
def generate_texts(
    system: System,
    n: int,
    texts: TokenizedTexts,
    decoding: DecodingSpec,
    seed: int,
    on_phase: OnPhase = lambda phase, fraction: None,
) -> list[str]:
    """Returns decoded texts; empty ones are kept.

    Without sources, ``n`` texts from ``n`` samples of the prior. With sources, ``decoding.samples_per_source`` texts
    for each of the first ``n`` (or all) sources, the texts of a source side by side.

    Latent samples and random choices of a text come from streams of its own, so it does not depend on its batch.

    Args:
        system: put in evaluation mode.
        n: number of samples, or of sources.
        texts: of the split whose sources are used.
        decoding: how.
        seed: of all draws.
        on_phase: told of progress.
    """
    system.eval()
    tokenizer = system.tokenizer
    device = next(system.parameters()).device
    n = min(n, len(texts)) if texts.sources else n
    per_row = decoding.samples_per_source if texts.sources else 1
    rows_at_once = max(1, AT_ONCE // per_row)
    # Sources of similar length side by side: less padding to read.
    order = np.argsort(texts.sources.lengths[:n], kind="stable") if texts.sources else np.arange(n)
    decoded: dict[int, list[str]] = {}
    for start in range(0, n, rows_at_once):
        rows = order[start : start + rows_at_once].tolist()
        condition = texts.conditions(rows)
        ids = decode_rows(system, rows, per_row, condition and condition.to(device), decoding, seed)
        of_all = tokenizer.decode(ids)
        decoded |= {row: of_all[place * per_row : (place + 1) * per_row] for place, row in enumerate(rows)}
        on_phase("generate", len(decoded) / n)
    return [text for row in range(n) for text in decoded[row]]


def decode_rows(
    system: System, rows: Sequence[int], per_row: int, condition: Batch | None, decoding: DecodingSpec, seed: int
) -> list[list[int]]:
    """Returns the ids decoded for some rows (sources, or single samples), each row with its own random streams.

    Without condition every row is one sample of the prior, and ``per_row`` is 1.
    """
    streams = [torch.Generator().manual_seed(derive_seed(seed, "prior", row)) for row in rows]
    if condition is None:
        # One text without condition has n samples; here they are n rows of one sample each.
        paths = [system.sample_prior(1, None, [stream]) for stream in streams]
        path = LatentPath.concatenate(paths)
    else:
        path = system.sample_prior(per_row, condition, streams)
    choices = [derive_seed(seed, "decode", row, k) for row in rows for k in range(per_row)]
    return system.generate(path, condition, decoding, choices)
