"""Tables from records: without a model, without torch.

``build_table`` makes a `Table` from runs; ``render_table`` renders it as Markdown, CSV, LaTeX, HTML or terminal text.
"""

from bench.report.build import build_table
from bench.report.layout import (
    MAIN_METRICS,
    choose_from_layout,
    complete_layout,
    default_layout,
    narrow_layout,
    without_published,
)
from bench.report.render import FORMATS, render_table
from bench.report.table import Table

__all__ = [
    "FORMATS",
    "MAIN_METRICS",
    "Table",
    "build_table",
    "choose_from_layout",
    "complete_layout",
    "default_layout",
    "narrow_layout",
    "render_table",
    "without_published",
]
