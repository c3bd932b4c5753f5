"""Figures for papers, drawn by matplotlib from records alone: vector formats with embedded fonts, and PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown_name
from bench.report.grids import GridRow
from bench.storage import atomic_write

FIGURES = ("curves", "rate-distortion", "kl-per-layer", "fig2")
"""Learning curves, rate-distortion plane, KL and active units per layer, and Figure 2 of the DELLA paper."""

FORMATS = ("pdf", "svg", "png")


def check_figure(name: str, out: Path) -> None:
    """Checks that a figure can be drawn.

    Raises:
        BenchError: no such figure or format, or matplotlib is not installed.
    """
    if name not in FIGURES:
        raise unknown_name("figure", name, FIGURES)
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
    from bench.figures.style import house_style

    with house_style():
        figure = DRAWINGS[name](rows)
        buffer = io.BytesIO()
        kind = _format(out)
        dates: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
        figure.savefig(buffer, format=kind, metadata=dates[kind])
    atomic_write(out, buffer.getvalue())


def _format(out: Path) -> str:
    return out.suffix.removeprefix(".").lower()
