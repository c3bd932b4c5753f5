"""Line charts as SVG, panel beside panel: the same numbers give the same bytes, and no plotting library is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Literal

Mark = Literal["line", "dashed", "points"]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
"""Told apart by readers with any colour vision (Okabe & Ito 2008)."""

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 14, 34, 52
_LINE = 16


@dataclass(frozen=True)
class Axis:
    """An axis: its label, whether it is logarithmic, and its ends where the data should not decide them."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        label: in the legend.
        x: abscissas, ascending.
        y: ordinates; what is not positive is left out where the axis is logarithmic.
        spread: half the length of the error bars, or none.
        mark: solid line with points, dashed line without, or points alone.
        colour: index into ``COLOURS``.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()
    mark: Mark = "line"
    colour: int = 0


@dataclass(frozen=True)
class Panel:
    """One chart of a figure."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]


@dataclass(frozen=True)
class _Scale:
    """From the values of an axis to places between two ends of the drawing."""

    low: float
    high: float
    log: bool
    start: float
    stop: float

    @classmethod
    def of(cls, axis: Axis, values: Sequence[float], start: float, stop: float) -> _Scale:
        shown = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)] or [1.0]
        low = min(shown) if axis.low is None else axis.low
        high = max(shown) if axis.high is None else axis.high
        if axis.log:
            return cls(low / 1.15, high * 1.15, True, start, stop)
        margin = 0.05 * (high - low) or 1.0
        return cls(low - margin * (axis.low is None), high + margin * (axis.high is None), False, start, stop)

    def __call__(self, value: float) -> float:
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def shows(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high

    def ticks(self) -> list[float]:
        """Returns powers of ten on a logarithmic scale, else some five multiples of 1, 2 or 5 of a power of ten."""
        if self.log:
            return [10.0**e for e in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def draw_svg(panels: Sequence[Panel], columns: int = 2) -> str:
    """Returns an SVG document with the panels in rows of ``columns``, each with its legend below it."""
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    body: list[str] = []
    top = 0
    for row in rows:
        for column, panel in enumerate(row):
            body += [f'<g transform="translate({column * _WIDTH} {top})">', *_panel(panel), "</g>"]
        top += _HEIGHT + _LINE * max(len(panel.series) for panel in row) + 12
    width = _WIDTH * min(columns, len(panels))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}" viewBox="0 0 {width} {top}"'
        ' font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{width}" height="{top}" fill="white"/>', *body, "</svg>", ""])


def _panel(panel: Panel) -> Iterator[str]:
    across = _Scale.of(panel.x, [x for one in panel.series for x in one.x], _LEFT, _WIDTH - _RIGHT)
    up = _Scale.of(panel.y, [y for one in panel.series for y in one.y], _HEIGHT - _BOTTOM, _TOP)
    yield _text(_LEFT, 20, panel.title, weight="bold")
    for x in across.ticks():
        yield _line(across(x), up.start, across(x), up.stop, "#E5E5E5")
        yield _text(across(x), up.start + 16, f"{x:g}", anchor="middle")
    for y in up.ticks():
        yield _line(across.start, up(y), across.stop, up(y), "#E5E5E5")
        yield _text(across.start - 6, up(y) + 4, f"{y:.6g}", anchor="end")
    yield _line(across.start, up.start, across.stop, up.start, "#444444")
    yield _line(across.start, up.start, across.start, up.stop, "#444444")
    yield _text((across.start + across.stop) / 2, up.start + 34, panel.x.label, anchor="middle")
    yield (
        f'<text transform="translate(14 {(up.start + up.stop) / 2:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y.label)}</text>"
    )
    for number, one in enumerate(panel.series):
        yield from _series(one, across, up)
        yield from _legend(one, _HEIGHT + _LINE * number)


def _series(one: Series, across: _Scale, up: _Scale) -> Iterator[str]:
    colour = COLOURS[one.colour % len(COLOURS)]
    points = [(x, y) for x, y in zip(one.x, one.y, strict=True)]
    for shown, run in groupby(points, lambda point: across.shows(point[0]) and up.shows(point[1])):
        if shown and one.mark != "points":
            path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in run)
            dashes = ' stroke-dasharray="5 4"' if one.mark == "dashed" else ""
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dashes}/>'
    spreads = one.spread or [0.0] * len(points)
    for (x, y), spread in zip(points, spreads, strict=True):
        if one.mark == "dashed" or not (across.shows(x) and up.shows(y)):
            continue
        if spread:
            ends = (up(min(max(end, up.low), up.high)) for end in (y - spread, y + spread))
            yield _line(across(x), next(ends), across(x), next(ends), colour)
        yield f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.6" fill="{colour}"/>'


def _legend(one: Series, top: float) -> Iterator[str]:
    colour = COLOURS[one.colour % len(COLOURS)]
    if one.mark != "points":
        yield _line(_LEFT, top, _LEFT + 22, top, colour, ' stroke-dasharray="5 4"' if one.mark == "dashed" else "")
    if one.mark != "dashed":
        yield f'<circle cx="{_LEFT + 11}" cy="{top}" r="2.6" fill="{colour}"/>'
    yield _text(_LEFT + 30, top + 4, one.label)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
