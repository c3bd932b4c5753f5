"""The registries of systems and importers. Neither imports torch before a component is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.registry import Registry

if TYPE_CHECKING:
    from bench.interface import Importer, System

SYSTEMS: Registry[type[System]] = Registry("system", {}, "della_bench.systems")
"""All systems; those of this package are entry points, as those of other packages are."""

IMPORTERS: Registry[Importer] = Registry("importer", {}, "della_bench.importers")
"""Readers of checkpoints of other code, by the name of the system that a checkpoint becomes."""
