"""The verb that compares two sets of records, or two files of benchmarks, and says what moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.output import say
from bench.cli.results import runs_at
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.records.comparison import ComparedSets


def compare(
    first: Annotated[Path, typer.Argument(help="To compare with: records, a file or folder; or BENCHMARKS.json.")],
    second: Annotated[Path, typer.Argument(help="Of the same kind, under test.")],
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="Accept what cannot be compared, comma-separated: incomparable (anything), or missing, skipped,"
            " signature, data, spec, status, same, sizes; KIND:METRIC for one metric or benchmark only."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Runs of one machine: any change above 1e-6 is worse. Else: the tolerances."),
    ] = False,
    format: Annotated[str, typer.Option("--format", help="term, md, json or junit.")] = "term",
    verbose: Annotated[bool, typer.Option("--all", help="Also print what did not change.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Replace the first records by the second; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, kept in the history of each record that is replaced.")] = "",
) -> int:
    """Compare two sets of records, or two files of benchmarks.

    Exit code 0: nothing got worse. 1: something got worse. 2: a mistake in the command. 3: something cannot be
    compared, and nothing got worse. With --update: 0 once the records are replaced.

    Of records: metrics and status. Of benchmarks: ratios to the reference measured beside them, never seconds.
    """
    from bench.records.benchmarks import is_benchmark_file
    from bench.records.render import check_format, render_comparison

    check_format(format)
    if update and not reason.strip():
        raise BenchError("--update: needs --reason, which says why the records are replaced.")
    if reason and not update:
        raise BenchError("--reason: only with --update.")
    if first.exists() and first.resolve() == second.resolve():
        raise BenchError(f"nothing to compare: {first} and {second} are one {'folder' if first.is_dir() else 'file'}.")
    if is_benchmark_file(first) or is_benchmark_file(second):
        if exact or update:
            raise BenchError(f"--{'exact' if exact else 'update'}: only for records, not for benchmarks.")
        compared = _compare_benchmarks(first, second, allow or ())
    else:
        compared = _compare_runs(first, second, allow or (), exact, reason)
    say(render_comparison(compared, format, verbose), nl=False)
    return 0 if update else compared.exit_code


def _compare_runs(first: Path, second: Path, allow: Sequence[str], exact: bool, reason: str) -> ComparedSets:
    """Returns the comparison of records; with a reason, those of the first set are then replaced."""
    from bench.metric import PerTextMetric
    from bench.metrics.model import model_metrics
    from bench.records.allowances import read_allowances
    from bench.records.compare import compare_runs, names_of
    from bench.records.update import Update

    old, new = runs_at([first]), runs_at([second])
    allowances = read_allowances(allow, names_of([*old, *new]))
    metrics = {metric.name: metric for metric in model_metrics() if isinstance(metric, PerTextMetric)}
    compared = allowances.apply(compare_runs(old, new, metrics, exact=exact))
    if not reason:
        return compared
    update = Update.plan(old, new, keep_missing=allowances.missing_runs)
    update.carry_out(first, reason)
    return replace(compared, remarks=(*compared.remarks, str(update)))


def _compare_benchmarks(first: Path, second: Path, allow: Sequence[str]) -> ComparedSets:
    from bench.records.allowances import read_allowances
    from bench.records.benchmarks import FILES, compare_benchmarks, read_benchmark_file

    files = read_benchmark_file(first), read_benchmark_file(second)
    names = {FILES, *(benchmark.name for file in files for benchmark in file.benchmarks)}
    return read_allowances(allow, names).apply(compare_benchmarks(*files))
