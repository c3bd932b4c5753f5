"""The command `della-bench`: verbs only. What a verb needs is imported when it is called."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from bench import resources
from bench.errors import BenchError, unknown_name

if TYPE_CHECKING:
    from bench.records.comparison import Comparison
    from bench.report import Layout
    from bench.specs import Source

app = typer.Typer(
    help="Compare text VAEs so that the numbers can be believed.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# typer does not export the class its own mistakes of usage share.
UsageError: type[Any] = typer.BadParameter.__bases__[0]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it; typer turns the interrupt into it."""

SystemsOption = Annotated[str, typer.Option(help="Labels, comma-separated: system[:option][+objective][@backbone].")]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder of real texts, one folder per task; without it the embedded grammars are used."),
]


def main() -> None:
    """Runs the command; a user's mistake is one line on standard error and exit code 2."""
    try:
        code: object = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except BenchError as error:
        _fail(str(error), 2)
    except UsageError as error:
        _fail(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        _fail("interrupted; what is recorded stays, and the same command goes on from here.", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"della-bench: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or a YAML file.")],
    scale: Annotated[str, typer.Option(help="smoke, study, small, base, or a YAML file.")] = "smoke",
    systems: SystemsOption = "",
    tasks: Annotated[str, typer.Option(help="Tasks, comma-separated.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "",
    data_dir: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the records [default: runs/SUITE-SCALE].")] = None,
    decoding: Annotated[str, typer.Option(help="sample, greedy, beam, each with :key=value,...; or paper.")] = "",
    jobs: Annotated[int, typer.Option(min=0, help="Runs side by side; 0 decides by itself.")] = 0,
) -> int:
    """Train and score every system on every task, print the table, and audit it.

    A run that is already recorded is not run again; one that was interrupted goes on from its checkpoint.
    """
    from bench.harness.plan import plan
    from bench.suites import load_suite

    chosen = load_suite(suite)
    layout = _layout(suite) if chosen.layout else None
    specs = plan(
        chosen,
        scale,
        systems=split_labels(systems),
        tasks=_split(tasks),
        seeds=_seeds(seeds),
        source="files" if data_dir else "grammar",
        decoding=decoding,
    )
    from bench.harness.grid import default_jobs, run_grid
    from bench.harness.preflight import check_folder, check_inputs
    from bench.harness.progress import GridProgress

    check_inputs(specs, data_dir)
    folder = out or Path("runs") / f"{chosen.name}-{Path(scale).stem}"
    check_folder(folder)
    with GridProgress(len(specs)) as progress:
        outcomes = run_grid(
            specs, folder, data_dir, jobs or default_jobs(len(specs)), progress.on_progress, progress.on_end
        )
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if records:
        _write_tables(records, layout.narrowed(records) if layout else None, folder)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        typer.echo(f"della-bench: {outcome.spec.title}: {outcome.error}", err=True)
    return 1 if _contradict(records, folder) or failed else 0


def _contradict(records: list[Any], folder: Path) -> bool:
    """Returns whether what was just recorded cannot be, and says why."""
    from bench.audit import audit, render_findings, rows_of_runs
    from bench.records.store import RecordStore

    store = RecordStore(folder)
    findings = audit(rows_of_runs(filter(None, (store.find(record.run_id) for record in records))))
    if findings:
        typer.echo(
            f"della-bench: the audit of these records found:\n{render_findings(findings, 'term')}", err=True, nl=False
        )
    return any(finding.severity == "impossible" for finding in findings)


def _write_tables(records: list[Any], layout: Layout | None, folder: Path) -> None:
    from bench.report import build_table, render_table
    from bench.storage import atomic_write

    table = build_table(records, layout)
    typer.echo(render_table(table, "term"))
    for suffix in ("md", "csv"):
        atomic_write(folder / f"table.{suffix}", render_table(table, suffix).encode())
    typer.echo(f"The table lies in {folder / 'table.md'} and {folder / 'table.csv'}, the records beside it.")


@app.command()
def table(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    layout: Annotated[str, typer.Option(help="Name of a suite, or a YAML file, whose layout is used.")] = "",
    format: Annotated[str, typer.Option("--format", help="md, csv, term, latex or html.")] = "term",
    allow_mixed: Annotated[bool, typer.Option(help="One column per signature where signatures differ.")] = False,
    scale: Annotated[str | None, typer.Option(help="Take the runs of this scale only.")] = None,
) -> None:
    """Print a table from records alone."""
    from bench.records.store import load_records
    from bench.report import FORMATS, build_table, render_table

    if format not in FORMATS.names():
        raise unknown_name("format", format, FORMATS.names())
    found = load_records(records)
    _require_some(found, records)
    typer.echo(
        render_table(build_table(found, _layout(layout) if layout else None, allow_mixed, scale=scale), format),
        nl=False,
    )


def _require_some(found: Sequence[object], paths: Sequence[Path]) -> None:
    if not found:
        raise BenchError(f"no records in {', '.join(map(str, paths))}.")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="To compare with: records, a file or folder; or BENCHMARKS.json.")],
    second: Annotated[Path, typer.Argument(help="Of the same kind, under test.")],
    verbose: Annotated[bool, typer.Option("--all", help="Also print what did not move.")] = False,
) -> int:
    """Compare two sets of records, or two files of benchmarks; exit 1 if anything got worse.

    Of records: metrics, status and speed. Of benchmarks: ratios to what was measured beside them, never seconds.
    """
    from bench.records.benchmarks import is_benchmark_file
    from bench.records.comparison import Verdict, exit_code

    both = _compare_benchmarks if is_benchmark_file(first) or is_benchmark_file(second) else _compare_runs
    comparisons = both(first, second)
    for comparison in comparisons:
        if verbose or comparison.verdict != "ok":
            typer.echo(str(comparison))
    counts = Counter(comparison.verdict for comparison in comparisons)
    typer.echo(", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict)))
    return exit_code(comparisons)


def _compare_runs(first: Path, second: Path) -> Sequence[Comparison]:
    from bench.metric import PerTextMetric
    from bench.metrics.model import model_metrics
    from bench.records.compare import compare_runs
    from bench.records.store import load_runs

    metrics = {metric.name: metric for metric in model_metrics(()) if isinstance(metric, PerTextMetric)}
    return compare_runs(load_runs([first]), load_runs([second]), metrics)


def _compare_benchmarks(first: Path, second: Path) -> Sequence[Comparison]:
    from bench.records.benchmarks import compare_benchmarks, read_benchmark_file

    return compare_benchmarks(read_benchmark_file(first), read_benchmark_file(second))


@app.command()
def audit(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Records, CSVs of published figures, or folders of either.")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules and why they hold.")] = False,
    format: Annotated[str, typer.Option("--format", help="term, md or json.")] = "term",
    into: Annotated[Path | None, typer.Option(help="Page whose part between the audit marks is replaced.")] = None,
) -> int:
    """Look for figures that cannot be, in records or in published tables; exit 1 if there are any."""
    from bench.audit import RULES, read_rows, render_findings, replace_block
    from bench.audit import audit as audit_rows

    if rules:
        typer.echo("\n\n".join(f"{rule.name}\n    {rule.explanation}" for rule in RULES))
        return 0
    if not paths:
        raise BenchError("nothing to audit: name records, CSVs of published figures, or folders of either.")
    findings = audit_rows(read_rows(paths))
    text = render_findings(findings, format)
    if into is not None:
        replace_block(into, text)
    else:
        typer.echo(text, nl=False)
    return int(any(finding.severity == "impossible" for finding in findings))


@app.command()
def score(
    generations: Annotated[Path, typer.Argument(help="Generated texts: .txt or .jsonl, also .gz.")],
    references: Annotated[Path | None, typer.Option(help="Texts to compare them with.")] = None,
    train: Annotated[Path | None, typer.Option(help="The training texts.")] = None,
    metrics: Annotated[str, typer.Option(help="Text metrics, comma-separated; all that apply by default.")] = "",
    pairs: Annotated[bool | None, typer.Option(help="Whether line i of the references belongs to line i.")] = None,
    per_source: Annotated[
        int | None, typer.Option(min=1, help="How many lines in a row are generated from one source.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer of n-grams, for metrics that have the choice.")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder of MAUVE and BERTScore: a name or a folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score any file of texts, this program's or another's."""
    from bench.bootstrap import Bootstrap
    from bench.metrics.score_files import score_files

    found = score_files(
        generations,
        references,
        train,
        _split(metrics) or None,
        pairs=pairs,
        per_source=per_source,
        tokenizer=tokenizer,
        encoder=encoder,
        bootstrap=Bootstrap(),
    )
    if as_json:
        scores = [score.as_dict() for score in found.scores]
        typer.echo(json.dumps({"scores": scores, "skipped": dict(found.skipped)}, ensure_ascii=False))
        return
    for one in found.scores:
        interval = f"[{one.interval.low:.4g}, {one.interval.high:.4g}]" if one.interval else ""
        typer.echo(f"{one.name:<18} {one.value:>9.4g} {one.unit:<6} {interval:<18} {one.signature}")
    for name, reason in found.skipped.items():
        typer.echo(f"{name:<18} {'—':>9} {'':<6} {reason}")


@app.command()
def import_released(
    checkpoint: Annotated[Path, typer.Argument(help="State dict that the authors' code saved.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    tokenizer: Annotated[
        Path, typer.Option(help="Folder of the tokenizer it was trained with, GPT-2's vocab.json and merges.txt.")
    ],
    system: Annotated[str, typer.Option(help="System it becomes: name[:option=value,...].")] = "della-2022",
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads, if not one per 64 dimensions.")] = None,
) -> None:
    """Turn a checkpoint of other code into a model of this suite; nothing in the file is executed."""
    from bench.harness.model_folder import import_model
    from bench.labels import parse_call
    from bench.systems import IMPORTERS

    name, options = parse_call(system)
    if name not in IMPORTERS.names():
        raise unknown_name("importer", name, IMPORTERS.names())
    spec = import_model(name, {str(key): value for key, value in options.items()}, checkpoint, out, tokenizer, heads)
    stack, kind = spec.backbone, "conditional" if spec.conditional else "unconditional"
    typer.echo(f"{out}: {name}, {kind}, {stack.layers} layers x {stack.width}, from {spec.origin}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder: an imported checkpoint, or the folder of a run.")],
    task: Annotated[str, typer.Option(help="Task whose test texts are scored.")],
    scale: Annotated[str, typer.Option(help="How many texts and samples: a scale, or a YAML file.")] = "smoke",
    data_dir: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the record [default: runs/MODEL-SCALE].")] = None,
    decoding: Annotated[str, typer.Option(help="sample, greedy, beam, each with :key=value,...; or paper.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every sample.")] = 0,
) -> int:
    """Score a model that is trained already, print its row, and audit it."""
    from bench.harness.plan import evaluation_spec
    from bench.scales import load_scale

    sizes = load_scale(scale)
    from bench.harness.grid import Outcome
    from bench.harness.model_folder import ModelFolder
    from bench.harness.phases import PHASES_OF_SCORING, progress_of_phases
    from bench.harness.preflight import check_folder
    from bench.harness.progress import GridProgress
    from bench.harness.run import score_model

    found = ModelFolder.read(model)
    source: Source = "files" if data_dir else "grammar"
    spec = evaluation_spec(found, task, seed, scale, sizes.for_task(task), source, decoding)
    folder = out or Path("runs") / f"{spec.system.label}-{spec.scale}"
    check_folder(folder)
    with GridProgress(1) as progress:
        on_phase = progress_of_phases(partial(progress.on_progress, 0), PHASES_OF_SCORING)
        record = score_model(found, spec, folder, data_dir, on_phase)
        progress.on_end(0, Outcome(spec, record))
    _write_tables([record], None, folder)
    return int(_contradict([record], folder))


@app.command()
def rescore(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    data_dir: DataOption = None,
) -> None:
    """Compute the text metrics of recorded runs anew, from the texts they generated."""
    from bench.harness.rescore import rescore as rescore_runs
    from bench.records.store import load_runs

    found = load_runs(records)
    _require_some(found, records)
    for record in rescore_runs(found, data_dir):
        typer.echo(f"{record.task} {record.label} seed {record.seed}: rescored")


@app.command()
def check(
    system: Annotated[str, typer.Argument(help="System with its options, or module:Class of one in this folder.")],
    checks: Annotated[str, typer.Option(help="The only checks, comma-separated.")] = "",
    settings: Annotated[str, typer.Option(help="Of unconditional, conditional, encoder-decoder.")] = "",
) -> int:
    """Check that a system keeps its contract, on tiny models; exit 1 if it does not."""
    sys.path.insert(0, "")  # where an author works; a command does not look there by itself
    from bench.testing import check_system, find_system

    statuses: Counter[str] = Counter()
    for outcome in check_system(*find_system(system), _split(checks), _split(settings)):
        typer.echo(str(outcome))
        statuses[outcome.status] += 1
    typer.echo(", ".join(f"{count} {status}" for status, count in statuses.items()))
    return 0 if statuses["ok"] and not statuses["FAILED"] else 1


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="system.")],
    name: Annotated[str, typer.Argument(help="What it will be called.")],
) -> None:
    """Write a package for a new system into a folder of its name: a working VAE, its test, its entry point."""
    from bench.testing.scaffold import new_system

    if kind != "system":
        raise unknown_name("thing to make", kind, ["system"])
    for path in new_system(name, Path()):
        typer.echo(path)
    typer.echo(f"Next: pip install -e {name}, and della-bench check {name}.")


@app.command(name="list")
def list_(
    kind: Annotated[str, typer.Argument(help="systems, tasks, objectives, metrics, suites or scales.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what can be named."""
    if not kind:
        raise BenchError(f"nothing to list: name one of {', '.join(_LISTS)}.")
    if kind not in _LISTS:
        raise unknown_name("list", kind, _LISTS)
    found = _LISTS[kind]()
    if as_json:
        typer.echo(json.dumps([{"name": name, "summary": text} for name, text in found.items()], ensure_ascii=False))
        return
    width = max(map(len, found), default=0)
    for name, text in found.items():
        typer.echo(f"{name:<{width}}  {text}".rstrip())


@app.command()
def show(
    spec: Annotated[str, typer.Argument(help="Label of a system, parts of an objective, a suite, or its YAML file.")],
    task: Annotated[str | None, typer.Option(help="Task of a system's run [default: ptb].")] = None,
    scale: Annotated[str | None, typer.Option(help="Its scale, by name or as a YAML file [default: smoke].")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its seed [default: 0].")] = None,
) -> None:
    """Print a specification resolved to its last default, as YAML; of an objective, with what its options are."""
    import inspect
    import textwrap

    import yaml

    from bench.harness.plan import run_spec
    from bench.labels import parse_call, parse_label
    from bench.objectives import OBJECTIVES, resolve_objective
    from bench.scales import load_scale
    from bench.suites import load_suite
    from bench.systems import SYSTEMS

    systems, suites, objectives = SYSTEMS.names(), resources.names("suites"), OBJECTIVES.names()
    of_a_run = {"--task": task, "--scale": scale, "--seed": seed}
    given = [option for option, value in of_a_run.items() if value is not None]
    if spec in suites or spec.endswith(resources.SUFFIXES):
        _refuse(given, "a suite")
        shown = load_suite(spec).model_dump(mode="json")
    elif (name := parse_call(parse_label(spec)[0])[0]) in objectives:
        _refuse(given, "an objective")
        shown = resolve_objective(parts := spec.split("+")).model_dump(mode="json")
        for part in dict.fromkeys(parse_call(part)[0] for part in parts):
            text = f"{part}: {inspect.getdoc(OBJECTIVES.get(part))}"
            typer.echo(textwrap.indent(text, "# ", lambda line: True))
    elif name not in systems:
        raise unknown_name("system, objective or suite", name, (*systems, *objectives, *suites))
    else:
        task, scale = task or "ptb", scale or "smoke"
        sizes = load_scale(scale).for_task(task)
        shown = run_spec(spec, task, seed or 0, scale, sizes, "grammar").model_dump(mode="json")
    typer.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)


def _refuse(options: Sequence[str], kind: str) -> None:
    if options:
        raise BenchError(f"{', '.join(options)}: for the run of a system; {kind} is shown as it is.")


def split_labels(text: str) -> list[str]:
    """Splits labels at commas; a piece such as ``rank=4`` that begins no label belongs to the one before it."""
    from bench.systems import SYSTEMS

    labels: list[str] = []
    for piece in _split(text):
        head = re.split("[:+@]", piece)[0]
        if labels and ("=" in head or (re.search("[:@]", labels[-1]) and head not in SYSTEMS.names())):
            labels[-1] += f",{piece}"
        else:
            labels.append(piece)
    return labels


def _split(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def _seeds(text: str) -> list[int]:
    for piece in _split(text):
        if not piece.isdecimal():
            raise BenchError(f"--seeds: {piece!r} is not a seed; allowed are whole numbers from 0, for example 0,1,2.")
    return [int(piece) for piece in _split(text)]


def _layout(name: str) -> Layout:
    from bench.report import load_layout

    return load_layout(name)


def _systems() -> dict[str, str]:
    from bench.systems import SYSTEMS

    return SYSTEMS.summaries()


def _tasks() -> dict[str, str]:
    from bench.tasks import get_task, task_names

    return {name: get_task(name).summary for name in task_names()}


def _objectives() -> dict[str, str]:
    from bench.objectives import OBJECTIVES

    return OBJECTIVES.summaries()


def _metrics() -> dict[str, str]:
    from bench.metrics.model import model_metrics
    from bench.metrics.text import text_metrics

    of_models = {metric.name: (type(metric).__doc__ or "").partition("\n")[0] for metric in model_metrics((1,))}
    return {**of_models, **text_metrics.summaries()}


def _described(folder: resources.Folder, key: str) -> Callable[[], dict[str, str]]:
    return lambda: {name: resources.read(folder, name).get(key, "") for name in resources.names(folder)}


_LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "systems": _systems,
    "tasks": _tasks,
    "objectives": _objectives,
    "metrics": _metrics,
    "suites": _described("suites", "title"),
    "scales": _described("scales", "description"),
}
