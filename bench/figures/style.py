"""The style of the figures: small serif type, colours that the colour-blind tell apart, a mark for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The palette of Okabe and Ito (2008) without yellow, which white paper swallows."""

MARKERS = ("o", "s", "^", "D", "P", "v", "X", "<", "*", "h", ">")
LINES = ("-", "--", "-.", ":")
"""Their numbers have no common divisor with that of the colours, so that 7, 77 and 28 combinations differ."""

COLUMN, PAGE = 3.3, 6.9
"""Width of a column and of a page of a paper in two columns, in inches."""


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of one row."""

    color: str
    marker: str
    linestyle: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Returns a look for each name; up to 77 differ by colour or marker."""
    different = dict.fromkeys(names)
    return {
        name: Look(
            COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], LINES[place // len(COLOURS) % len(LINES)]
        )
        for place, name in enumerate(different)
    }


@contextmanager
def house_style() -> Iterator[None]:
    """Sets matplotlib's defaults for the figures drawn within."""
    changes: dict[Any, Any] = {
        "font.family": "STIXGeneral",  # a Times that matplotlib brings along
        "mathtext.fontset": "stix",
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "legend.fontsize": 7,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.0,
        "lines.markersize": 3.5,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
        "savefig.bbox": "tight",
        "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
        "svg.hashsalt": "della-bench",
        "text.parse_math": False,  # a label may hold a dollar
    }
    with mpl.rc_context(changes):
        yield
