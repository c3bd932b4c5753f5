"""Findings about claims, as a summary of what is decided and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from bench.claims.claim import Claim
from bench.claims.judge import Finding, Verdict
from bench.errors import unknown_name
from bench.escape import markdown, markdown_code

ORDER: Final[Sequence[Verdict]] = ("holds", "does not hold", "undecided")

EXACT, OTHER = "exact", "as released"
"""Which arithmetic the metrics of a finding have."""


def _arithmetic(finding: Finding) -> str:
    return OTHER if "@" in finding.metric else EXACT


def _verdicts(findings: Sequence[Finding]) -> dict[str, dict[Verdict, list[str]]]:
    """Returns arithmetic to verdict to the sets and tasks with it, for the findings on one claim.

    On a task a claim holds if each of its contrasts does, and does not hold if one of them does not.
    """
    by_place: dict[tuple[str, str], set[Verdict]] = {}
    for finding in findings:
        place = f"{finding.name}, {finding.task}"
        by_place.setdefault((_arithmetic(finding), place), set()).add(finding.verdict)
    found: dict[str, dict[Verdict, list[str]]] = {}
    for (arithmetic, place), each in by_place.items():
        verdict: Verdict = "holds" if each == {"holds"} else "undecided"
        if "does not hold" in each:
            verdict = "does not hold"
        found.setdefault(arithmetic, {}).setdefault(verdict, []).append(place)
    return found


def _summary_lines(claims: Sequence[Claim], findings: Sequence[Finding]) -> Iterator[str]:
    """Yields a line for each claim with a verdict, and how many have none."""
    decided = {claim: places for claim in claims if (places := _places(claim, findings, ORDER[:2]))}
    for claim, places in decided.items():
        yield f"- {markdown(claim.sentence)} {markdown(places)}"
    untested = len(set(claims) - {finding.claim for finding in findings})
    undecided = len(claims) - len(decided) - untested
    yield f"- Undecided: {undecided} more claims; without records: {untested}."


def _places(claim: Claim, findings: Sequence[Finding], shown: Sequence[Verdict] = ORDER) -> str:
    """Returns the verdicts on a claim, each with its sets and tasks; empty without one of those to be shown."""
    found = _verdicts([finding for finding in findings if finding.claim == claim])
    texts = [
        f"{verdict} ({'; '.join(places)}{'' if arithmetic == EXACT else f'; {OTHER}'})"
        for arithmetic in (EXACT, OTHER)
        for verdict in shown
        if (places := found.get(arithmetic, {}).get(verdict))
    ]
    return _sentence("; ".join(texts)) if texts else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _page_lines(claims: Sequence[Claim], findings: Sequence[Finding]) -> Iterator[str]:
    for claim in claims:
        yield f"- {markdown(claim.sentence)} {markdown(_places(claim, findings) or 'Not tested: no records.')}"
    for number, claim in enumerate(claims, start=1):
        of_claim = [finding for finding in findings if finding.claim == claim]
        yield from ("", f"### {number}. {markdown(claim.sentence)}", "")
        compared = f"{markdown_code(claim.row)} {claim.relation} {_than(claim)}"
        yield f"{markdown(claim.source)}. {compared} in {markdown(', '.join(claim.metrics))}."
        if not of_claim:
            yield from ("", "No records.")
            continue
        yield from (
            "",
            "| records | task | metric | row | compared with | difference [95 %, not adjusted] | p, adjusted | seeds"
            " | verdict |",
        )
        yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
        for finding in of_claim:
            yield f"| {' | '.join(map(markdown, _cells(finding)))} |"


def _than(claim: Claim) -> str:
    others = f"{claim.than:g}" if isinstance(claim.than, float) else ", ".join(map(markdown_code, claim.than))
    return others + (
        f" (row on {markdown(claim.tasks[0])}, others on {markdown(claim.tasks[1])})" if claim.tasks else ""
    )


def _other(finding: Finding) -> str:
    number = isinstance(finding.claim.than, float)
    return finding.other if number else f"{finding.other}: {finding.contrast.second:.3g}"


def _cells(finding: Finding) -> Iterator[str]:
    found = finding.contrast
    yield from (
        finding.name,
        finding.task,
        finding.metric,
        f"{found.first:.3g}",
        _other(finding),
    )
    yield f"{found.difference:+.3g} [{found.interval.low:+.3g}, {found.interval.high:+.3g}]"
    yield from ("< 0.0001" if finding.p_value < 1e-4 else f"{finding.p_value:.2g}", str(found.n_seeds))
    yield finding.verdict + (f" ({finding.doubt})" if finding.doubt else "")


FORMATS: Final[Mapping[str, Callable[[Sequence[Claim], Sequence[Finding]], Iterator[str]]]] = {
    "summary": _summary_lines,
    "md": _page_lines,
}


def render_claims(claims: Sequence[Claim], findings: Sequence[Finding], form: str) -> str:
    """Returns Markdown in one of ``FORMATS``: a line per claim that is decided, or all claims and their contrasts.

    Raises:
        BenchError: unknown format.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    return "\n".join(FORMATS[form](claims, findings)) + "\n"
