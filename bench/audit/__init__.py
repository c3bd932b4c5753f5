"""Audit: rules that find figures which contradict each other, in records or in published tables.

``read_rows`` reads records and published figures as `AuditRow`s; ``audit`` applies ``RULES`` to them and returns
`Finding`s. What a rule needs besides the figures (number of texts, latent size) is part of the row; without it the rule
reports nothing.
"""

from bench.audit.findings import Finding, Location
from bench.audit.render import render_findings
from bench.audit.rows import AuditFigure, AuditRow
from bench.audit.rules import MARKED_IN_TABLES, RULES, audit
from bench.audit.sources import read_rows, rows_of_runs

__all__ = [
    "MARKED_IN_TABLES",
    "RULES",
    "AuditFigure",
    "AuditRow",
    "Finding",
    "Location",
    "audit",
    "read_rows",
    "render_findings",
    "rows_of_runs",
]
