"""What each figure shows. A drawing takes rows and returns a figure with a column of panels per task of each grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.errors import BenchError
from bench.escape import one_line
from bench.figures.plane import Plane
from bench.figures.style import COLUMN, PAGE, Look, looks
from bench.report.grids import GridRow
from bench.report.series import CURVES, known_entropy, latent_groups, latent_layers, learning_curve

NATS = "nats per text"
_UNITS = {"Rec": f"Rec ({NATS})", "KL": f"KL ({NATS})", "β": "β"}
_LONGEST_TITLE = 40
_MOST_IN_COLUMN = 10


Panels = Mapping[str, Sequence[GridRow]]


def curves(rows: Sequence[GridRow]) -> Figure:
    """Draws Rec, KL and β against steps: the mean over seeds as a line, the seeds between as a band."""
    panels = _panels(rows, lambda row: any(learning_curve(run) for run in row.runs), "a learning curve")
    styles = _styles(rows, panels)
    figure, axes = _grid_of_axes(len(CURVES), len(panels), 1.25, styles, sharex="col")
    for column, (title, of_panel) in enumerate(panels.items()):
        axes[0][column].set_title(title)
        for row in of_panel:
            found = [curve for run in row.runs if (curve := learning_curve(run))]
            for line, quantity in enumerate(CURVES):
                _curve(axes[line][column], styles[_title(row)], [(c.steps, c.values.get(quantity)) for c in found])
        axes[-1][column].set_xlabel("step")
    for line, quantity in enumerate(CURVES):
        axes[line][0].set_ylabel(_UNITS[quantity])
    _legend(figure, styles, lines=True)
    return figure


def _curve(axes: Any, look: Look, seeds: Sequence[tuple[Sequence[float], Sequence[float] | None]]) -> None:
    at: dict[float, list[float]] = {}
    for steps, values in seeds:
        for step, value in zip(steps, values or (), strict=False):
            if math.isfinite(value):
                at.setdefault(step, []).append(value)
    steps = sorted(at)
    if not steps:
        return
    axes.plot(steps, [fmean(at[step]) for step in steps], color=look.color, linestyle=look.linestyle)
    if any(len(values) > 1 for values in at.values()):
        bounds = ([min(at[step]) for step in steps], [max(at[step]) for step in steps])
        axes.fill_between(steps, *bounds, color=look.color, alpha=0.15, linewidth=0)


def rate_distortion(rows: Sequence[GridRow]) -> Figure:
    """Draws KL against Rec with standard deviations over seeds; below the known entropy nothing is possible."""
    panels = _panels(rows, lambda row: bool(row.values("KL") and row.values("Rec")), "KL and Rec")
    styles = _styles(rows, panels)
    figure, axes = _grid_of_axes(1, len(panels), 2.4, styles)
    for axis, (title, of_panel) in zip(axes[0], panels.items(), strict=True):
        axis.set_title(title)
        for row in of_panel:
            look, kl, rec = styles[_title(row)], row.values("KL"), row.values("Rec")
            axis.errorbar(fmean(kl), fmean(rec), _sd(rec), _sd(kl), color=look.color, marker=look.marker, linewidth=0.6)
        axis.set_xlabel(_UNITS["KL"])
        _entropy_line(axis, of_panel)
    axes[0][0].set_ylabel(_UNITS["Rec"])
    _legend(figure, styles, lines=False)
    return figure


def _entropy_line(axis: Any, rows: Sequence[GridRow]) -> None:
    entropy = known_entropy([run.record for row in rows for run in row.runs])
    if entropy is None:
        return
    right = axis.get_xlim()[1]
    low, high = min(axis.get_ylim()[0], entropy.value), axis.get_ylim()[1]
    low -= 0.2 * (high - low)
    line = ([0.0, right], [entropy.value, entropy.value - right])
    axis.plot(*line, color="black", linewidth=0.8)
    axis.fill_between(*line, low, color="black", alpha=0.08, linewidth=0)
    axis.annotate("entropy", (0.0, entropy.value), (3, -9), textcoords="offset points", fontsize=7)
    axis.set_xlim(0.0, right)
    axis.set_ylim(low, high)


def kl_per_layer(rows: Sequence[GridRow]) -> Figure:
    """Draws KL and active units of each latent group as heat maps, means over seeds."""
    panels = _panels(rows, lambda row: any(latent_groups(run.record) for run in row.runs), "latent variables")
    height = 0.5 + 0.17 * max(len(of) for of in panels.values())
    figure, axes = _grid_of_axes(len(panels), 2, height)
    for line, (title, of_panel) in enumerate(panels.items()):
        for axis, (quantity, attribute) in zip(
            axes[line], ((_UNITS["KL"], "kl"), ("active units", "active_units")), strict=True
        ):
            _heat_map(figure, axis, of_panel, attribute)
            axis.set_title(f"{title}: {quantity}")
        axes[line][1].set_yticklabels([])
    for axis in axes[-1]:
        axis.set_xlabel("layer with a latent variable, the lowest first")
    return figure


def _heat_map(figure: Figure, axis: Any, rows: Sequence[GridRow], attribute: str) -> None:
    values = [_by_group(row, attribute) for row in rows]
    numbers = sorted({number for of_row in values for number in of_row})
    matrix = [[of_row.get(number, math.nan) for number in numbers] for of_row in values]
    top = max((value for line in matrix for value in line if math.isfinite(value)), default=1.0) or 1.0
    image = axis.imshow(matrix, cmap="cividis", vmin=0.0, vmax=top, aspect="auto")
    for y, line in enumerate(matrix):
        for x, value in enumerate(line):
            if math.isfinite(value):
                text = f"{value:.0f}" if value.is_integer() or value >= 100 else f"{value:.2g}"
                axis.text(x, y, text, ha="center", va="center", fontsize=6, color="k" if value > 0.47 * top else "w")
    axis.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    axis.set_yticks(range(len(rows)), [_title(row) for row in rows])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axis, pad=0.02, fraction=0.05).outline.set_linewidth(0)


def _by_group(row: GridRow, attribute: str) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for run in row.runs:
        for group in latent_groups(run.record):
            if (value := getattr(group, attribute)) is not None:
                found.setdefault(group.number, []).append(value)
    return {number: fmean(values) for number, values in found.items()}


def figure_2(rows: Sequence[GridRow]) -> Figure:
    """Draws PPL and KL against the number of latent layers, by where the layers with latent variables begin or end."""
    varied = _with_varied_layers([row for row in rows if _has_layers(row)])
    panels = _panels(varied, _has_layers, "latent variables in some of its layers, as those of the suite figure2 have")
    series = ("start at a layer", "end at a layer")
    styles = looks(series)
    figure, axes = _grid_of_axes(2, len(panels), 1.5, styles, sharex="col")
    for column, (title, of_panel) in enumerate(panels.items()):
        axes[0][column].set_title(title)
        for line, metric in enumerate(("PPL", "KL")):
            for name in series:
                points = sorted(
                    (_layers(row)[0], row.values(metric)) for row in of_panel if _layers(row)[1] in (name, "all layers")
                )
                if not points:
                    continue
                x, means, sds = zip(*((n, fmean(of), _sd(of)) for n, of in points), strict=True)
                look = styles[name]
                axes[line][column].errorbar(
                    x, means, sds, color=look.color, marker=look.marker, linestyle=look.linestyle, label=name
                )
        axes[1][column].set_xlabel("layers with a latent variable")
        axes[1][column].xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].set_ylabel("PPL")
    axes[1][0].set_ylabel(_UNITS["KL"])
    _legend(figure, styles, lines=True, markers=True)
    return figure


def latent_map(planes: Sequence[Plane]) -> Figure:
    """Draws posterior means in the plane of their first two principal components, coloured by a factor of the texts."""
    styles = looks(sorted({one_line(value) for plane in planes for value in plane.values}))
    figure, axes = _grid_of_axes(1, len(planes), 2.4, styles)
    for axis, plane in zip(axes[0], planes, strict=True):
        axis.set_title(_shortened(plane.title))
        shown = np.array([one_line(value) for value in plane.values])
        for value, look in styles.items():
            of_value = plane.points[shown == value]
            axis.plot(*of_value.T, color=look.color, marker=look.marker, linestyle="", markersize=2)
        for number, (name, share) in enumerate(zip("xy", plane.shares, strict=True), start=1):
            getattr(axis, f"set_{name}label")(f"component {number} ({share:.0%} of the variance)")
    _legend(figure, styles, lines=False)
    return figure


def _has_layers(row: GridRow) -> bool:
    has_scores = bool(row.values("PPL") and row.values("KL"))
    return has_scores and any(latent_layers(run.record) for run in row.runs)


def _with_varied_layers(rows: Sequence[GridRow]) -> list[GridRow]:
    """Returns the rows of systems of which some runs have latent variables in a part of the layers."""
    systems = {row.system for row in rows if _layers(row)[1] != "all layers"}
    return [row for row in rows if row.system in systems]


def _layers(row: GridRow) -> tuple[int, str]:
    layers = next(found for run in row.runs if (found := latent_layers(run.record)))
    return layers.count, layers.series


def _panels(rows: Sequence[GridRow], has: Callable[[GridRow], bool], what: str) -> Panels:
    """Returns title to rows of each task of each grid, of the rows that have what the figure shows.

    With several grids, each title names folder, scale and source of texts.

    Raises:
        BenchError: no row has.
    """
    with_it = [row for row in rows if has(row)]
    if not with_it:
        raise BenchError(f"no run to draw: none has {what}.")
    several = len({row.grid.name for row in with_it}) > 1
    panels: dict[str, list[GridRow]] = {}
    for row in with_it:
        title = row.task[1] + (f", {row.grid.name}" if several else "")
        panels.setdefault(one_line(title), []).append(row)
    return panels


def _styles(rows: Sequence[GridRow], panels: Panels) -> dict[str, Look]:
    """Returns the looks of the rows in the panels; they depend on all rows, so that figures of the same rows agree."""
    shown = {_title(row) for of in panels.values() for row in of}
    return {title: look for title, look in looks([_title(row) for row in rows]).items() if title in shown}


def _grid_of_axes(
    lines: int, columns: int, height: float, styles: Mapping[str, Look] | None = None, **options: Any
) -> tuple[Figure, Any]:
    """Returns a figure and its axes, with room for the legend of the styles below them.

    Args:
        lines: of panels.
        columns: of panels.
        height: inches of a line.
        styles: what the legend lists.
        options: of matplotlib's ``subplots``.
    """
    styles = styles or {}
    width = COLUMN if columns == 1 and len(styles) <= _MOST_IN_COLUMN else max(PAGE, 2.2 * columns)
    in_legend = -(-len(styles) // _legend_columns(styles, width)) if styles else 0
    figure = Figure(figsize=(width, height * lines + 0.15 * in_legend))
    return figure, figure.subplots(lines, columns, squeeze=False, **options)


def _legend_columns(styles: Mapping[str, Look], width: float) -> int:
    """Returns how many entries of a legend fit into a line, by the mean width of a letter and the space of a mark."""
    return max(1, min(len(styles), int(width / (0.055 * max(map(len, styles)) + 0.45))))


def _title(row: GridRow) -> str:
    return _shortened(row.title)


def _shortened(text: str) -> str:
    title = one_line(text)
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _legend(figure: Figure, styles: Mapping[str, Look], *, lines: bool, markers: bool = False) -> None:
    """Draws a legend of all rows below the panels."""
    handles = []
    for name, look in styles.items():
        marks: dict[str, Any] = {
            "linestyle": look.linestyle if lines else "",
            "marker": look.marker if markers or not lines else "",
        }
        handles.append(Line2D([], [], color=look.color, label=name, **marks))
    figure.legend(handles=handles, loc="outside lower center", ncols=_legend_columns(styles, figure.get_figwidth()))


DRAWINGS: Final[Mapping[str, Callable[[Sequence[GridRow]], Figure]]] = {
    "curves": curves,
    "rate-distortion": rate_distortion,
    "kl-per-layer": kl_per_layer,
    "fig2": figure_2,
}
