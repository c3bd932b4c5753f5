"""Claims of a paper as sentences that records can test.

``read_claims`` reads the claims of a paper, ``judge`` tests them on sets of records, and ``render_claims`` writes what
was found. A claim says that a metric of one row is above or below that of other rows, or a number. It holds on a task
if every such difference has the claimed sign, at a family-wise error of 5 % over all differences that were tested (Holm
1979); it does not hold if one of them has the opposite sign at that level; else it is undecided.
"""

from bench.claims.claim import Claim, read_claims
from bench.claims.contrast import Contrast, contrast
from bench.claims.judge import Finding, Verdict, judge
from bench.claims.render import render_claims

__all__ = ["Claim", "Contrast", "Finding", "Verdict", "contrast", "judge", "read_claims", "render_claims"]
