"""Verbs that make scores: of systems to train, of trained models and of files of texts."""

from __future__ import annotations

import logging
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import bench
from bench.cli.options import is_quiet
from bench.cli.output import say
from bench.errors import BenchError, unknown_name
from bench.escape import json_text

if TYPE_CHECKING:
    from bench.harness.grid import Outcome
    from bench.harness.slurm import SlurmOptions
    from bench.records.schema import Record, Status
    from bench.records.store import StoredRun
    from bench.specs import RunSpec
    from bench.suites import Layout, Suite

logger = logging.getLogger(__name__)

ScaleOption = Annotated[str, typer.Option(help="smoke, study, small, base, paper, or a YAML file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Entries to replace in the scale, as training.epochs=2; may be given several times."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder of real texts, one folder per task; without it the embedded grammars are used."),
]
ReuseOption = Annotated[
    bool | None,
    typer.Option(
        "--reuse/--no-reuse",
        help="Use records and checkpoints of any code, unverified, or none; by default, those of other code and damaged"
        " ones are an error.",
    ),
]
SEED_DIGITS = 18
"""Digits of the longest seed."""

DecodingOption = Annotated[str, typer.Option(help="sample, greedy or beam, each with :key=value,...; or paper.")]


def run(
    context: typer.Context,
    suite: Annotated[str, typer.Argument(help="Name of a suite, or a YAML file.")],
    scale: ScaleOption = "smoke",
    settings: SetOption = None,
    systems: Annotated[
        str, typer.Option(help="Labels, comma-separated: system[:option][+objective][@key=value].")
    ] = "",
    tasks: Annotated[str, typer.Option(help="Tasks, comma-separated.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "",
    data_dir: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the records [default: runs/SUITE-SCALE].")] = None,
    decoding: DecodingOption = "",
    jobs: Annotated[int, typer.Option(min=0, help="Parallel runs; 0: as many as the machine, or Slurm, allows.")] = 0,
    reuse: ReuseOption = None,
    retry: Annotated[
        str, typer.Option(help="Run again what is recorded as failed, diverged or both, comma-separated.")
    ] = "",
    launcher: Annotated[str, typer.Option(help="Where the runs take place: local (this machine) or slurm.")] = "local",
    slurm: Annotated[str, typer.Option(help="What each Slurm task gets, as partition=gpu,gpus=1,time=8:00:00.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="With slurm: wait for the end, and print the table.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the runs will take, and train nothing; needs no network.")
    ] = False,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Of a dry run: throughput of training of its first run, for the hours."),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Of a dry run: time ten steps of each system and task on this machine.")
    ] = False,
) -> int:
    """Train and score every system on every task, print the table, and audit it.

    If the suite has a sweep, its runs come first and choose the learning rate of each row.

    A run that is already recorded is not repeated; one that was interrupted continues from its checkpoint. Several
    commands, also of several machines, can share a folder of records: each run is done once. With Slurm, the command
    submits the runs and ends. The exit code is 1 if a run failed, if no run finished and one diverged, or if the audit
    found a figure that is impossible.
    """
    from bench.harness.plan import plan
    from bench.harness.sweep import plan_sweep, tuned
    from bench.labels import parse_settings, split_labels, split_list
    from bench.scales import scale_title
    from bench.suites import load_suite
    from bench.systems import SYSTEMS

    slurm_options = _slurm_options(launcher, slurm, wait, reuse)
    chosen = load_suite(suite)
    again = _statuses(split_list(retry))
    planned = partial(
        plan,
        chosen,
        scale,
        source="files" if data_dir else "grammar",
        decoding=decoding,
        settings=parse_settings(settings or ()),
    )
    specs = planned(systems=split_labels(systems, SYSTEMS.names()), tasks=split_list(tasks), seeds=parse_seeds(seeds))
    trials = plan_sweep(chosen.sweep, specs, planned)
    if dry_run:
        return _dry_run([*trials, *specs], data_dir, tokens_per_second, calibrate)
    if calibrate or tokens_per_second is not None:
        raise BenchError(f"{'--calibrate' if calibrate else '--tokens-per-second'}: only with --dry-run.")
    from bench.harness.grid import default_jobs, run_grid
    from bench.harness.log import NAME, log_file
    from bench.harness.preflight import check_folder, check_inputs
    from bench.harness.process_group import process_group
    from bench.harness.progress import GridProgress
    from bench.harness.run import assist
    from bench.harness.slurm import submit_grid
    from bench.report import MAIN_METRICS

    check_inputs([*trials, *specs], data_dir)
    folder = out or Path("runs") / f"{chosen.name}-{scale_title(scale)}"
    check_folder(folder)
    processes = process_group()
    if not processes.leads:
        assist(processes)
        return 0
    layout = chosen.layout and chosen.layout.model_copy(update={"others": True})
    metrics = [metric.name for metric in layout.metrics] if layout else MAIN_METRICS
    tables = _TablesOfGrid(layout, folder, chosen, specs)

    def launch(specs: Sequence[RunSpec], on_end: Callable[[Outcome], None]) -> Sequence[Outcome] | None:
        """Runs the specs; returns None if Slurm goes on with them alone."""
        with GridProgress(len(specs), quiet=is_quiet(context), metrics=metrics) as progress:

            def both(number: int, outcome: Outcome) -> None:
                progress.on_end(number, outcome)
                on_end(outcome)

            if slurm_options is not None:
                grid = submit_grid(specs, folder, data_dir, slurm_options, jobs, reuse)
                say(grid.instructions(), err=True)
                return None if grid.job is not None and not wait else grid.wait(both)
            n_jobs, on_progress = jobs or default_jobs(len(specs)), progress.on_progress
            return run_grid(
                specs, folder, data_dir, n_jobs, on_progress, both, reuse, processes, again, progress.on_wait
            )

    with log_file(folder), processes.leading():
        logger.info("della-bench %s: %s", bench.__version__, shlex.join(["della-bench", *sys.argv[1:]]))
        if chosen.sweep is not None:
            if (tried := launch(trials, lambda outcome: None)) is None:
                say(
                    "della-bench: these runs choose the learning rates; when they are done, give the command again.",
                    err=True,
                )
                return 0
            specs = tuned(specs, chosen.sweep, _stored([o.record for o in tried if o.record is not None], folder))
        if (outcomes := launch(specs, tables.on_end)) is None:
            return 0
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if records:
        text = tables.write(records)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        say(f"della-bench: {outcome.spec.title}: {outcome.error} (see {outcome.log or folder / NAME})", err=True)
    statuses = {record.status for record in records}
    nothing_learnt = "diverged" in statuses and "finished" not in statuses
    code = 1 if _print_audit(records, folder) or failed or nothing_learnt else 0
    if records:
        typer.echo(text)
    return code


def _dry_run(specs: Sequence[RunSpec], data_dir: Path | None, tokens_per_second: float | None, calibrate: bool) -> int:
    """Prints what the runs will take."""
    from bench.harness.dry_run import forecast, lines

    if calibrate and tokens_per_second is not None:
        raise BenchError("--calibrate and --tokens-per-second exclude each other.")
    for text in lines(forecast(specs, data_dir, tokens_per_second, calibrate)):
        say(text)
    return 0


def _statuses(names: Sequence[str]) -> tuple[Status, ...]:
    """Returns the statuses of records whose runs are run again.

    Raises:
        BenchError: a name is not such a status.
    """
    allowed: dict[str, Status] = {"failed": "failed", "diverged": "diverged"}
    for name in names:
        if name not in allowed:
            raise unknown_name("status to --retry", name, allowed)
    return tuple(allowed[name] for name in names)


def _slurm_options(launcher: str, slurm: str, wait: bool, reuse: bool | None) -> SlurmOptions | None:
    """Returns what each task gets of Slurm; None for runs on this machine.

    Raises:
        BenchError: an unknown launcher or option, an option that would do nothing, or no Slurm.
    """
    from bench.harness.slurm import SlurmOptions, check_slurm

    if launcher == "slurm":
        options = SlurmOptions.parse(slurm)
        if reuse is False:
            raise BenchError(
                "--no-reuse: not with --launcher slurm, where a task that is queued again continues from its"
                " checkpoint; name a new folder with --out."
            )
        check_slurm()
        return options
    if launcher != "local":
        raise unknown_name("launcher", launcher, ("local", "slurm"))
    if slurm or wait:
        raise BenchError(f"{'--slurm' if slurm else '--wait'}: only with --launcher slurm.")
    return None


def parse_seeds(text: str) -> list[int]:
    """Returns comma-separated seeds.

    Raises:
        BenchError: a seed is not a whole number from 0.
    """
    from bench.labels import split_list

    for seed in split_list(text):
        if not (seed.isascii() and seed.isdecimal() and len(seed) <= SEED_DIGITS):
            raise BenchError(f"--seeds: {seed!r} is not a seed; allowed are whole numbers from 0, for example 0,1,2.")
    return [int(seed) for seed in split_list(text)]


class _TablesOfGrid:
    """The tables of a suite in a folder, from the first run of a grid that ended on.

    They hold the runs of the grid, and those that other commands have recorded there of the same scale, of the tasks
    and systems of the suite or of this command.

    Args:
        layout: of the suite, or None.
        folder: of the records.
        suite: gives the name of the tables.
        specs: of the grid.
    """

    SECONDS = 10.0
    """Between two tables of a grid that goes on."""

    def __init__(self, layout: Layout | None, folder: Path, suite: Suite, specs: Sequence[RunSpec]) -> None:
        self.layout, self.folder, self.name = layout, folder, suite.name
        self.scales = {spec.scale for spec in specs}
        self.tasks = {*suite.tasks, *(spec.task.name for spec in specs)}
        self.labels = {*suite.systems, *(spec.system.label for spec in specs)}
        self.own_folders = {self._folder(spec.model_dump(mode="json")) for spec in specs}
        self.records: list[Record] = []
        self.written_at = -self.SECONDS

    def on_end(self, outcome: Outcome) -> None:
        """Adds a run that ended; a table that cannot be written now fails at the end of the grid."""
        if outcome.record is None:
            return
        self.records.append(outcome.record)
        if time.monotonic() - self.written_at >= self.SECONDS:
            with suppress(BenchError):
                self.write(self.records)
            self.written_at = time.monotonic()

    def write(self, records: Sequence[Record]) -> str:
        """Writes the tables and returns one for the terminal.

        Args:
            records: of the grid, as far as it is done; if the others do not share a table with them, of these alone.
        """
        try:
            return self._write([*records, *self._others()])
        except BenchError as error:
            return f"{self._write(records)} It holds the runs of this command alone: {error}"

    def _write(self, records: Sequence[Record]) -> str:
        from bench.report import narrow_layout

        return _write_tables(records, self.layout and narrow_layout(self.layout, records), self.folder, self.name)

    def _others(self) -> list[Record]:
        from bench.records.store import RECORD, load_runs

        paths = sorted(self.folder.glob(f"*/{RECORD}"))
        others = [p for p in paths if p.parent.name.rpartition(".")[0] not in self.own_folders]
        records = (stored.record for stored in load_runs(others))
        return [r for r in records if r.scale in self.scales and r.task in self.tasks and r.label in self.labels]

    def _folder(self, spec: Mapping[str, Any]) -> str:
        """Returns the name of the folder of a run, without its identity."""
        from bench.records.store import RecordStore

        return RecordStore(self.folder).path(spec, "").name.removesuffix(".")


def _write_tables(records: Sequence[Record], layout: Layout | None, folder: Path, name: str) -> str:
    """Writes the table of the records into their folder, and returns it for the terminal."""
    from bench.records.doubts import training_ends
    from bench.report import build_table, render_table
    from bench.storage import atomic_write

    table = build_table(records, layout, ends=training_ends(_stored(records, folder)))
    paths = [folder / f"table-{name}.{suffix}" for suffix in ("md", "csv")]
    for path in paths:
        atomic_write(path, render_table(table, path.suffix.removeprefix(".")).encode())
    return f"{render_table(table, 'term')}\nThe table lies in {' and '.join(map(str, paths))}, the records beside it."


def _stored(records: Sequence[Record], folder: Path) -> Iterator[StoredRun]:
    """Yields the runs of a folder that belong to records."""
    from bench.records.store import RecordStore, StoredRun

    store = RecordStore(folder)
    for record in records:
        if (path := store.locate(record.run_id, store.path(record.spec, record.run_id))) is not None:
            yield StoredRun(record, path)


def _print_audit(records: Sequence[Record], folder: Path) -> bool:
    """Prints what the audit finds in the records and returns whether any finding is impossible.

    What the table marks on its cells is not printed again.
    """
    from bench.audit import MARKED_IN_TABLES, audit, render_findings, rows_of_runs

    rows = rows_of_runs(_stored(records, folder))
    findings = [finding for finding in audit(rows) if finding.rule not in MARKED_IN_TABLES]
    if findings:
        say(
            f"della-bench: the audit of these records found:\n{render_findings(findings, 'term', rows)}",
            err=True,
            nl=False,
        )
    return any(finding.severity == "impossible" for finding in findings)


def evaluate(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="Model: folder of a run or of an imported checkpoint; NAME@COMMIT of the hub.")
    ],
    task: Annotated[str, typer.Option(help="Task whose test texts are scored.")],
    scale: Annotated[
        str,
        typer.Option(
            help="How many texts and samples: a scale, or a YAML file [default: that of the run; smoke for an imported"
            " checkpoint]."
        ),
    ] = "",
    settings: SetOption = None,
    data_dir: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the record [default: runs/MODEL-SCALE].")] = None,
    decoding: DecodingOption = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of every sample.")] = 0,
    reuse: ReuseOption = None,
) -> int:
    """Score a trained model, print its row, and audit it."""
    from bench.harness.hub import find_model
    from bench.harness.plan import evaluation_spec, scale_of_run
    from bench.labels import parse_settings
    from bench.records.store import RECORD, load_runs
    from bench.scales import load_scale

    where = find_model(model)
    if not scale:
        scale = scale_of_run(load_runs([where / RECORD])[0]) if (where / RECORD).is_file() else "smoke"
    sizes = load_scale(scale, parse_settings(settings or ()))
    from bench.harness.grid import POLL, Outcome
    from bench.harness.lock import LockedError
    from bench.harness.model_folder import ModelFolder
    from bench.harness.phases import PHASES_OF_SCORING, progress_of_phases
    from bench.harness.preflight import check_folder
    from bench.harness.progress import GridProgress
    from bench.harness.run import score_model

    trained = ModelFolder.read(where)
    spec = evaluation_spec(
        trained, task, seed, scale, sizes.for_task(task), "files" if data_dir else "grammar", decoding
    )
    folder = out or Path("runs") / f"{trained.path.resolve().name}-{spec.scale}"
    check_folder(folder)
    with GridProgress(1, quiet=is_quiet(context)) as progress:
        on_phase = progress_of_phases(partial(progress.on_progress, 0), PHASES_OF_SCORING)
        while True:
            try:
                record = score_model(trained, spec, folder, data_dir, on_phase, reuse=reuse)
                break
            except LockedError as error:
                progress.on_wait([error.owner])
                time.sleep(POLL)
        progress.on_end(0, Outcome(spec, record))
    text = _write_tables([record], None, folder, re.sub(r"[^\w.+-]", "_", f"{record.label}-{record.task}"))
    code = int(_print_audit([record], folder))
    typer.echo(text)
    return code


def status(
    folder: Annotated[Path, typer.Argument(help="Folder of records, of which some may be still to come.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs of a folder: running with progress and process, waiting, failed or damaged with reason, done."""
    from collections import Counter

    from bench.harness.status import states

    runs = states(folder)
    counts = Counter(run.state for run in runs)
    if as_json:
        say(json_text({"counts": counts, "runs": [run.as_dict() for run in runs]}))
        return
    for run in runs:
        say(str(run))
    say(", ".join(f"{count} {state}" for state, count in counts.items()) or "no runs")


def import_released(
    checkpoint: Annotated[Path, typer.Argument(help="State dict saved by the authors' code.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    tokenizer: Annotated[
        Path, typer.Option(help="Folder of the tokenizer it was trained with, GPT-2's vocab.json and merges.txt.")
    ],
    system: Annotated[
        str, typer.Option(help="System it becomes, for example della-2022 or optimus: name[:option=value,...].")
    ],
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads, which the file does not tell.")] = None,
    encoder_tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the tokenizer of a separate encoder, BERT's vocab.txt.")
    ] = None,
) -> None:
    """Turn a checkpoint of other code into a model of this suite; nothing in the file is executed."""
    from bench.harness.model_folder import import_model
    from bench.labels import parse_call
    from bench.systems import IMPORTERS

    names = IMPORTERS.names()
    name, options = parse_call(system)
    if name not in names:
        raise unknown_name("importer", name, names)
    named = {str(key): value for key, value in options.items()}
    spec = import_model(name, named, checkpoint, out, tokenizer, heads, encoder_tokenizer)
    stack, kind = spec.backbone, "conditional" if spec.conditional else "unconditional"
    say(f"{out}: {name}, {kind}, {stack.layers} layers x {stack.width}, from {spec.origin}")


def score(
    generations: Annotated[Path, typer.Argument(help="Generated texts: .txt or .jsonl, also .gz.")],
    references: Annotated[Path | None, typer.Option(help="Texts to compare them with.")] = None,
    train: Annotated[Path | None, typer.Option(help="The training texts.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Text metrics, comma-separated: name[:option=value,...]; by default all that apply.")
    ] = "",
    pairs: Annotated[
        bool | None, typer.Option(help="Whether line i of the references belongs to line i of the generated texts.")
    ] = None,
    per_source: Annotated[int | None, typer.Option(min=1, help="Number of consecutive lines per source.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer of n-grams, for metrics that have a choice.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder of MAUVE and BERTScore: a name or a folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a file of texts, made by this program or another."""
    from bench.bootstrap import Bootstrap
    from bench.labels import split_labels
    from bench.metrics.score_files import score_files
    from bench.metrics.text import TEXT_METRICS

    names = TEXT_METRICS.names()
    result = score_files(
        generations,
        references,
        train,
        split_labels(metrics, [*names, *map(str.lower, names)]) or None,
        pairs=pairs,
        per_source=per_source,
        tokenizer=tokenizer,
        encoder=encoder,
        bootstrap=Bootstrap(),
    )
    if as_json:
        scores = [score.as_dict() for score in result.scores]
        say(json_text({"scores": scores, "skipped": dict(result.skipped)}))
        return
    for score in result.scores:
        interval = f"[{score.interval.low:.4g}, {score.interval.high:.4g}]" if score.interval else ""
        say(f"{score.name:<18} {score.value:>9.4g} {score.unit:<6} {interval:<18} {score.signature}")
    for name, reason in result.skipped.items():
        say(f"{name:<18} {'—':>9} {'':<6} {reason}")
