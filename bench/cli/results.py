"""Verbs that read results: records and published figures."""

from __future__ import annotations

import gc
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.output import say
from bench.cli.runs import DataOption, parse_seeds
from bench.errors import BenchError, unknown_name

if TYPE_CHECKING:
    from bench.records.schema import Record
    from bench.records.store import StoredRun
    from bench.suites import Layout


def table(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    layout: Annotated[str, typer.Option(help="Name of a suite, or a YAML file, whose layout is used.")] = "",
    format: Annotated[str, typer.Option("--format", help="md, csv, term, latex or html.")] = "term",
    allow_mixed: Annotated[
        bool, typer.Option(help="Columns for different signatures, footnotes for different training.")
    ] = False,
    scale: Annotated[str | None, typer.Option(help="Use only the runs of this scale.")] = None,
    systems: Annotated[str, typer.Option(help="The only rows: labels, comma-separated.")] = "",
    tasks: Annotated[str, typer.Option(help="The only tasks, comma-separated.")] = "",
    metrics: Annotated[str, typer.Option(help="The only columns: metrics, comma-separated.")] = "",
    seeds: Annotated[str, typer.Option(help="Use only the runs of these seeds, comma-separated.")] = "",
    others: Annotated[bool, typer.Option(help="Rows for systems of the records that the layout lacks.")] = False,
    published: Annotated[bool, typer.Option(help="Lines with the figures of papers that the layout names.")] = True,
    transpose: Annotated[bool, typer.Option("--transpose", help="A line per metric and a column per system.")] = False,
) -> None:
    """Print a table from records alone."""
    from bench.labels import split_labels, split_list
    from bench.records.doubts import training_ends
    from bench.report import FORMATS, build_table, choose_from_layout, default_layout, render_table, without_published

    if format not in FORMATS.names():
        raise unknown_name("format", format, FORMATS.names())
    wanted_seeds = parse_seeds(seeds)
    stored = runs_at(records)
    runs = [run.record for run in stored]
    runs = [run for run in runs if scale in (None, run.scale) and (not wanted_seeds or run.seed in wanted_seeds)]
    if not runs:
        conditions = {"scale": scale, "seeds": seeds}
        named = " and ".join(f"{name} {value}" for name, value in conditions.items() if value)
        raise BenchError(f"no record to tabulate with {named}.")
    names = {re.split("[:+@]", run.label)[0] for run in runs}
    chosen = {
        "systems": split_labels(systems, names),
        "tasks": split_list(tasks),
        "metrics": split_list(metrics),
    }
    picture = _layout_of(layout, runs, others) if layout else None
    if any(chosen.values()):
        picture = choose_from_layout(picture or default_layout(runs), runs, **chosen)
    if picture and not published:
        picture = without_published(picture)
    table = replace(build_table(runs, picture, allow_mixed, ends=training_ends(stored)), is_transposed=transpose)
    typer.echo(render_table(table, format), nl=False)


def runs_at(paths: Sequence[Path]) -> list[StoredRun]:
    """Returns the runs recorded at the paths; at least one is required."""
    from bench.records.store import load_runs

    if not (runs := load_runs(paths)):
        raise BenchError(f"no records in {', '.join(map(str, paths))}.")
    gc.freeze()  # the records stay to the end: searching them for reference cycles again and again takes seconds
    return runs


def _layout_of(suite: str, runs: Sequence[Record], others: bool) -> Layout:
    """Returns the layout of a suite without rows and tasks that nobody ran.

    Raises:
        BenchError: the suite has no layout, or no run fits it.
    """
    from bench.report import narrow_layout
    from bench.suites import load_suite

    if (layout := load_suite(suite).layout) is None:
        raise BenchError(f"suite {suite!r}: has no layout.")
    layout = layout.model_copy(update={"others": others or layout.others})
    return narrow_layout(layout, runs) or layout


def audit(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Records, CSVs of published figures, or folders of either.")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules and why they hold.")] = False,
    format: Annotated[str, typer.Option("--format", help="term, md or json.")] = "term",
    into: Annotated[Path | None, typer.Option(help="Page whose part between the audit marks is replaced.")] = None,
) -> int:
    """Search records or published tables for impossible figures; exit 1 if there are any."""
    from bench.audit import RULES, read_rows, render_findings
    from bench.audit import audit as audit_rows

    if rules:
        say("\n\n".join(f"{rule.name}\n    {rule.explanation}" for rule in RULES))
        return 0
    if not paths:
        raise BenchError("nothing to audit: name records, CSVs of published figures, or folders of either.")
    rows = read_rows(paths)
    findings = audit_rows(rows)
    text = render_findings(findings, format, rows)
    _print_or_replace(text, "audit", into)
    return int(any(finding.severity == "impossible" for finding in findings))


def _print_or_replace(text: str, name: str, page: Path | None) -> None:
    """Prints a text; with a page, it replaces the part of the page between the marks of that name instead."""
    from bench.storage import replace_block

    if page is not None:
        replace_block(page, name, text)
    else:
        say(text, nl=False)


def claims(
    records: Annotated[list[Path], typer.Argument(help="Sets of records, a folder each: they are not mixed.")],
    paper: Annotated[str, typer.Option(help="Key of a paper, or a YAML file of claims; by default all papers.")] = "",
    format: Annotated[str, typer.Option("--format", help="summary or md.")] = "summary",
    into: Annotated[Path | None, typer.Option(help="Page whose part between the marks is replaced.")] = None,
) -> None:
    """Test the claims of papers on records, and say which hold, which do not, and which are undecided."""
    from bench.claims import judge, read_claims, render_claims
    from bench.labels import parse_call, parse_label
    from bench.metric import PerTextMetric
    from bench.metrics.model import MODEL_METRICS, model_metrics
    from bench.metrics.text import TEXT_METRICS
    from bench.systems import SYSTEMS

    of_paper = read_claims(paper)
    per_text = {metric.name: metric for metric in model_metrics() if isinstance(metric, PerTextMetric)}
    sets = {path.resolve().name: runs_at([path]) for path in records}
    measured = {score.name for runs in sets.values() for run in runs for score in run.record.metrics}
    metrics = measured | set(MODEL_METRICS.names()) | set(TEXT_METRICS.names())
    for claim in of_paper:
        for label in (claim.row, *(claim.than if isinstance(claim.than, tuple) else ())):
            SYSTEMS.get(parse_call(parse_label(label)[0])[0])
        for metric in claim.metrics:
            if metric.partition("@")[0] not in metrics:
                raise unknown_name("metric of a claim", metric, metrics)
    findings = judge(of_paper, sets, per_text)
    text = render_claims(of_paper, findings, format)
    _print_or_replace(text, "claims", into)


def leaderboard(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records, of one scale.")],
    layout: Annotated[str, typer.Option(help="Suite whose rows, tasks and metrics are used.")] = "leaderboard",
    into: Annotated[Path | None, typer.Option(help="Page whose part between the marks is replaced.")] = None,
) -> None:
    """Print a table per task, best row first, as Markdown, and the rows that no other row beats."""
    from bench.records.doubts import training_ends
    from bench.report.leaderboard import render_leaderboard

    stored = runs_at(records)
    runs = [run.record for run in stored]
    text = render_leaderboard(runs, _layout_of(layout, runs, others=False), training_ends(stored))
    _print_or_replace(text, "leaderboard", into)


def submit(
    records: Annotated[Path, typer.Argument(help="Folder of records, for example runs/leaderboard-study.")],
    suite: Annotated[str, typer.Option(help="Suite that they are runs of.")] = "leaderboard",
    scale: Annotated[str, typer.Option(help="Its scale.")] = "study",
    reference: Annotated[Path, typer.Option(help="Folder of the reference records.")] = Path("results/reference"),
    only_check: Annotated[bool, typer.Option("--check", help="Copy nothing.")] = False,
) -> int:
    """Check whether records can stand beside the reference records, and copy them there; exit 1 if they cannot."""
    from bench.records.store import load_runs
    from bench.scales import load_scale, scale_title
    from bench.submission import copy_runs, problems
    from bench.suites import load_suite

    load_scale(scale)  # whose mistakes concern no single record
    runs, chosen = runs_at([records]), load_suite(suite)
    folder = reference / f"{chosen.name}-{scale_title(scale)}"
    found = problems(runs, load_runs([folder]) if folder.is_dir() else [], chosen, scale)
    for problem in found:
        say(problem)
    if found or only_check:
        say(f"{len(runs)} records, {len(found)} problems")
        return int(bool(found))
    say(f"{folder}: {copy_runs(runs, folder)} of {len(runs)} records are new")
    return 0


def rescore(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    data_dir: DataOption = None,
) -> None:
    """Compute the scores of recorded runs again, from their texts and the weights that were kept."""
    from bench.harness.rescore import rescore as rescore_runs

    for record in rescore_runs(runs_at(records), data_dir):
        say(f"{record.task} {record.label} seed {record.seed}: rescored")


def report(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
) -> None:
    """Write a page to look at: tables, charts, generations, gaps, audit and provenance, in one file."""
    from bench.page import render_page
    from bench.storage import atomic_write

    atomic_write(out, render_page(runs_at(records), title).encode())
    say(f"{out}: open it in a browser; it needs no network.")


def figure(
    name: Annotated[str, typer.Argument(help="curves, rate-distortion, kl-per-layer, fig2 or latent-map.")],
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    out: Annotated[Path, typer.Option(help="File to write: .pdf, .svg or .png.")],
    systems: Annotated[str, typer.Option(help="The only systems: labels, comma-separated.")] = "",
    tasks: Annotated[str, typer.Option(help="The only tasks, comma-separated.")] = "",
    factor: Annotated[
        str, typer.Option(help="Of latent-map: factor of the embedded grammar that colours the texts.")
    ] = "",
    layer: Annotated[int | None, typer.Option(help="Of latent-map: the only latent group; the lowest is 1.")] = None,
) -> None:
    """Draw a figure for a paper: from records alone, or for latent-map from folders of runs with their models."""
    from bench.figures import LATENT_MAP, check_figure, save_figure, save_latent_map
    from bench.labels import split_labels, split_list
    from bench.report.grids import grids_of, rows_of

    check_figure(name, out)
    if name == LATENT_MAP:
        if systems or tasks:
            raise BenchError(f"{LATENT_MAP} takes the folders of single runs, and no --systems or --tasks.")
        from bench.api.latent_map import latent_map

        save_latent_map([latent_map(folder, factor, layer) for folder in records], out)
        say(f"{out}: {name}")
        return
    if factor or layer is not None:
        raise BenchError(f"--factor and --layer belong to {LATENT_MAP}.")
    rows = [row for grid in grids_of(runs_at(records)) for row in rows_of(grid) if row.runs]
    labels = split_labels(systems, {row.system for row in rows})
    for kind, chosen, allowed in (
        ("system in these records", labels, {row.label for row in rows}),
        ("task in these records", split_list(tasks), {row.task[0] for row in rows}),
    ):
        for wanted in chosen:
            if wanted not in allowed:
                raise unknown_name(kind, wanted, allowed)
    rows = [
        row for row in rows if (not labels or row.label in labels) and (not tasks or row.task[0] in split_list(tasks))
    ]
    save_figure(name, rows, out)
    say(f"{out}: {name}")
