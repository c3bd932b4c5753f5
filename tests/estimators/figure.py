"""The figure of docs/estimators.md, by matplotlib: the same estimates give the same bytes of SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.estimators.study import NARROW, NATS, WRONG, Estimate

# Distinct for readers with any colour vision (Okabe & Ito 2008).
BLUE, ORANGE, GREEN, PINK, YELLOW, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#444444"
SETTINGS = {
    "svg.hashsalt": "estimators",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
}


@dataclass(frozen=True)
class Panel:
    """One chart, into which estimators are drawn by name."""

    axes: Axes
    estimates: Sequence[Estimate]

    def titles(self, title: str, x: str, y: str) -> None:
        self.axes.set_title(title, loc="left", fontweight="bold")
        self.axes.set(xscale="log", xlabel=x, ylabel=y)
        self.axes.minorticks_off()
        self.axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.18), frameon=False)

    def values(self, estimator: str, label: str, colour: str, style: str = "o-", sign: int = 1) -> None:
        """Draws mean and standard deviation over repetitions."""
        x, y, sd = self._columns(estimator, "x", "mean", "sd")
        self.axes.errorbar(x, sign * y, sd, fmt=style, color=colour, markersize=3, linewidth=1.2, label=label)

    def dashed(self, estimator: str, label: str, colour: str, column: str = "truth", sign: int = 1) -> None:
        x, y = self._columns(estimator, "x", column)
        self.axes.plot(x, sign * y, "--", color=colour, linewidth=1.2, label=label)

    def _columns(self, estimator: str, *names: str) -> np.ndarray:
        rows = [estimate for estimate in self.estimates if estimate.estimator == estimator]
        return np.array([[getattr(row, name) for row in rows] for name in names])


def draw(estimates: Sequence[Estimate]) -> bytes:
    """Returns the figure of all studies but the exact terms, as SVG."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(10, 9.5), layout="constrained")
        bound, missing, information, units = (Panel(axes, estimates) for axes in figure.subplots(2, 2).flat)
        _bound(bound)
        _missing(missing)
        _information(information)
        _units(units)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _bound(panel: Panel) -> None:
    panel.dashed(f"log p_K, {WRONG}", "log p(x)", GREY)
    panel.values(f"log p_K, {WRONG}", f"log p_K, {WRONG}", BLUE)
    panel.values(f"log p_K, {NARROW}", f"log p_K, {NARROW}", ORANGE)
    panel.values(f"della-2022, {WRONG}", f"weights of della-2022, {WRONG}", PINK)
    panel.titles(
        "log p_K(x) rises to log p(x); tempered weights pass it",
        "importance samples K",
        "above log p(x), nats per text",
    )


def _missing(panel: Panel) -> None:
    panel.axes.set_yscale("log", nonpositive="clip")
    panel.values(f"log p_K, {WRONG}", WRONG, BLUE, sign=-1)
    panel.dashed(f"-χ²/2K, {WRONG}", "first order: χ²/2K", BLUE, "mean", sign=-1)
    panel.values(f"log p_K, {NARROW}", f"{NARROW} (χ² is infinite)", ORANGE, sign=-1)
    panel.axes.set_ylim(1e-4, 2)
    panel.titles("What log p_K(x) misses", "importance samples K", "log p(x) - log p_K(x), nats per text")


def _information(panel: Panel) -> None:
    n_texts = sorted({estimate.x for estimate in panel.estimates if estimate.study == "information"})
    panel.axes.plot(n_texts, np.log(n_texts), "--", color=GREY, linewidth=1.2, label="ln n")
    for nats, colour in zip(NATS, (BLUE, ORANGE, GREEN, PINK, YELLOW), strict=True):
        panel.values(f"MI, {nats:g} nats", f"{nats:g} nats in truth", colour)
    panel.titles("Mutual information cannot exceed ln n", "texts scored n", "MI, nats")


def _units(panel: Panel) -> None:
    panel.values("AU, K = 30, collapsed", "AU (K = 30), collapsed posterior", BLUE)
    panel.values("one sample of ancestors, collapsed", "one sample of ancestors, collapsed posterior", PINK)
    panel.dashed("AU, K = 30, six units see the text", "truth, six units see the text", GREEN)
    panel.values("AU, K = 30, six units see the text", "AU (K = 30), six units see the text", GREEN, "o")
    seeing = "one sample of ancestors, six units see the text"
    panel.values(seeing, seeing, ORANGE)
    panel.titles("Active units of 16, by threshold", "threshold on the variance of means", "active units")
