"""A benchmark of text VAEs: trained models, runs, scores and results in Python.

The names below load what they need at their first use, so that ``import bench`` is fast and needs no torch. Their types
are in ``__init__.pyi``, their documentation in docs/python.md. Nothing in this package knows any particular system.
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = ["Latents", "Results", "TextVAE", "load", "results", "run", "score"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("bench.api"), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
