"""The formats of a table by name; another package may offer one through the entry-point group."""

from __future__ import annotations

from collections.abc import Callable

from bench.registry import Registry
from bench.report.table import Table

FORMATS: Registry[Callable[[Table], str]] = Registry(
    kind="table format",
    builtin={
        "md": "bench.report.render_markdown:render",
        "csv": "bench.report.render_csv:render",
        "term": "bench.report.render_terminal:render",
        "latex": "bench.report.render_latex:render",
        "html": "bench.report.render_html:render",
    },
    group="della_bench.table_formats",
)


def render(table: Table, table_format: str) -> str:
    """Returns the table as text in one of ``FORMATS``.

    Raises:
        BenchError: no such format.
    """
    return FORMATS.get(table_format)(table)
