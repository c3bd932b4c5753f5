"""Tables from records alone: no model, no torch.

``build_table`` makes one `Table` of runs, ``render`` writes it as Markdown, CSV, LaTeX, HTML or for the terminal.
"""

from bench.report.build import build_table
from bench.report.layout import Layout, load_layout
from bench.report.render import FORMATS, render
from bench.report.table import Table

__all__ = ["FORMATS", "Layout", "Table", "build_table", "load_layout", "render"]
