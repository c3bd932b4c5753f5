"""The formats of a table by name; another package can register one through the entry-point group."""

from __future__ import annotations

from collections.abc import Callable

from bench.registry import Registry
from bench.report.table import Table

FORMATS: Registry[Callable[[Table], str]] = Registry(
    kind="table format",
    builtin={
        "md": "bench.report.render_markdown:render_markdown",
        "csv": "bench.report.render_csv:render_csv",
        "term": "bench.report.render_terminal:render_terminal",
        "latex": "bench.report.render_latex:render_latex",
        "html": "bench.report.render_html:render_html",
    },
    group="della_bench.table_formats",
)


def render_table(table: Table, table_format: str) -> str:
    """Returns the table as text in one of ``FORMATS``.

    Raises:
        BenchError: unknown format.
    """
    return FORMATS.get(table_format)(table)
