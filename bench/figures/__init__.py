"""Figures for papers, drawn by matplotlib: vector formats with embedded fonts, and PNG.

All but the map of a latent space need records alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, unknown_name
from bench.report.grids import GridRow
from bench.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.figures.plane import Plane

FIGURES = ("curves", "rate-distortion", "kl-per-layer", "fig2")
"""Learning curves, rate-distortion plane, KL and active units per layer, and Figure 2 of the DELLA paper."""

LATENT_MAP = "latent-map"
"""The figure of `bench.figures.plane.Plane`, which needs models."""

FORMATS = ("pdf", "svg", "png")


def check_figure(name: str, out: Path) -> None:
    """Checks that a figure can be drawn.

    Raises:
        BenchError: no such figure or format, or matplotlib is not installed.
    """
    if name not in (*FIGURES, LATENT_MAP):
        raise unknown_name("figure", name, (*FIGURES, LATENT_MAP))
    if _format(out) not in FORMATS:
        raise BenchError(f"--out {out}: the name of a figure ends in .{', .'.join(FORMATS)}.")
    try:
        import_module("matplotlib")
    except ImportError:
        raise BenchError("figures need the package matplotlib: pip install 'della-bench[plots]'") from None


def save_figure(name: str, rows: Sequence[GridRow], out: Path) -> None:
    """Draws a figure with a panel per task of each grid, and writes it; the same rows give the same bytes.

    Raises:
        BenchError: as ``check_figure``; no row has what the figure shows; or the file cannot be written.
    """
    check_figure(name, out)
    from bench.figures.drawings import DRAWINGS

    _save(lambda: DRAWINGS[name](rows), out)


def save_latent_map(planes: Sequence[Plane], out: Path) -> None:
    """Draws maps of latent spaces beside each other, and writes them; the errors are those of ``save_figure``."""
    check_figure(LATENT_MAP, out)
    from bench.figures.drawings import latent_map

    _save(lambda: latent_map(planes), out)


def _save(draw: Callable[[], Figure], out: Path) -> None:
    from bench.figures.style import house_style

    with house_style():
        figure = draw()
        buffer = io.BytesIO()
        kind = _format(out)
        dates: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
        figure.savefig(buffer, format=kind, metadata=dates[kind])
    atomic_write(out, buffer.getvalue())


def _format(out: Path) -> str:
    return out.suffix.removeprefix(".").lower()
