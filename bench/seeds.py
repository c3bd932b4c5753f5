"""Named seeds: each source of randomness has its own stream, so changing one never moves another."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

SeedName = Literal["init", "data", "dropout", "latent", "sampling", "bootstrap"]
SEED_NAMES: tuple[SeedName, ...] = get_args(SeedName)


def derive_seed(base: int, *path: str | int) -> int:
    """Returns a 63-bit seed that depends on ``base`` and every element of ``path``, and on nothing else.

    The derivation is a hash, so neighbouring bases or steps give unrelated streams, on every machine alike.
    """
    text = "/".join(str(part) for part in (base, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def named_seeds(base: int) -> dict[SeedName, int]:
    """Returns the seed of every named stream for one repetition; the record stores them."""
    return {name: derive_seed(base, name) for name in SEED_NAMES}
