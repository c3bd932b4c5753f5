"""Verbs that read results: records, benchmarks and published figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from bench.cli.output import say
from bench.cli.runs import DataOption, parse_seeds
from bench.errors import BenchError, unknown_name

if TYPE_CHECKING:
    from bench.records.comparison import Comparison
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
) -> None:
    """Print a table from records alone."""
    from bench.labels import split_labels, split_list
    from bench.report import FORMATS, build_table, choose_from_layout, default_layout, render_table, without_published

    if format not in FORMATS.names():
        raise unknown_name("format", format, FORMATS.names())
    wanted_seeds = parse_seeds(seeds)
    runs = [run.record for run in _load_runs(records)]
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
    typer.echo(render_table(build_table(runs, picture, allow_mixed), format), nl=False)


def _load_runs(paths: Sequence[Path]) -> list[StoredRun]:
    """Returns the runs recorded at the paths; at least one is required."""
    from bench.records.store import load_runs

    if not (runs := load_runs(paths)):
        raise BenchError(f"no records in {', '.join(map(str, paths))}.")
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


def compare(
    first: Annotated[Path, typer.Argument(help="To compare with: records, a file or folder; or BENCHMARKS.json.")],
    second: Annotated[Path, typer.Argument(help="Of the same kind, under test.")],
    verbose: Annotated[bool, typer.Option("--all", help="Also print what did not change.")] = False,
) -> int:
    """Compare two sets of records, or two files of benchmarks; exit 1 if anything got worse.

    Of records: metrics and status; different specs and versions are named. Of benchmarks: ratios to the reference
    measured beside them, never seconds.
    """
    from bench.records.benchmarks import is_benchmark_file
    from bench.records.comparison import Verdict, exit_code

    compare_paths = _compare_benchmarks if is_benchmark_file(first) or is_benchmark_file(second) else _compare_runs
    comparisons = compare_paths(first, second)
    for comparison in comparisons:
        if verbose or comparison.verdict != "ok":
            say(str(comparison))
    counts = Counter(comparison.verdict for comparison in comparisons)
    say(", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict)))
    return exit_code(comparisons)


def _compare_runs(first: Path, second: Path) -> Sequence[Comparison]:
    from bench.metric import PerTextMetric
    from bench.metrics.model import model_metrics
    from bench.records.compare import compare_runs
    from bench.records.store import load_runs

    metrics = {metric.name: metric for metric in model_metrics() if isinstance(metric, PerTextMetric)}
    return compare_runs(load_runs([first]), load_runs([second]), metrics)


def _compare_benchmarks(first: Path, second: Path) -> Sequence[Comparison]:
    from bench.records.benchmarks import compare_benchmarks, read_benchmark_file

    return compare_benchmarks(read_benchmark_file(first), read_benchmark_file(second))


def audit(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Records, CSVs of published figures, or folders of either.")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules and why they hold.")] = False,
    format: Annotated[str, typer.Option("--format", help="term, md or json.")] = "term",
    into: Annotated[Path | None, typer.Option(help="Page whose part between the audit marks is replaced.")] = None,
) -> int:
    """Search records or published tables for impossible figures; exit 1 if there are any."""
    from bench.audit import RULES, read_rows, render_findings, replace_block
    from bench.audit import audit as audit_rows

    if rules:
        say("\n\n".join(f"{rule.name}\n    {rule.explanation}" for rule in RULES))
        return 0
    if not paths:
        raise BenchError("nothing to audit: name records, CSVs of published figures, or folders of either.")
    rows = read_rows(paths)
    findings = audit_rows(rows)
    text = render_findings(findings, format, rows)
    if into is not None:
        replace_block(into, text)
    else:
        say(text, nl=False)
    return int(any(finding.severity == "impossible" for finding in findings))


def rescore(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    data_dir: DataOption = None,
) -> None:
    """Compute the scores of recorded runs again, from their texts and the weights that were kept."""
    from bench.harness.rescore import rescore as rescore_runs

    for record in rescore_runs(_load_runs(records), data_dir):
        say(f"{record.task} {record.label} seed {record.seed}: rescored")
