"""What cannot be: figures that contradict each other, in our records or in anybody's table.

``load_rows`` reads records and published figures into the same `Row`; ``audit`` applies ``RULES`` to them and returns
`Finding`s. Nothing here knows how a figure was made: what a rule needs to know beside the figures (number of texts,
latent size) is in the row, and a rule that does not know it stays silent.
"""

from bench.audit.findings import Finding, Place, Severity
from bench.audit.load import load_rows, rows_of_figures, rows_of_runs
from bench.audit.render import FORMATS, put_into, render, summary
from bench.audit.rows import Figure, Row
from bench.audit.rules import RULES, Rule, audit

__all__ = [
    "FORMATS",
    "RULES",
    "Figure",
    "Finding",
    "Place",
    "Row",
    "Rule",
    "Severity",
    "audit",
    "load_rows",
    "put_into",
    "render",
    "rows_of_figures",
    "rows_of_runs",
    "summary",
]
