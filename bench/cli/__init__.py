"""The command `della-bench`. Each module holds a group of verbs; a verb imports what it needs when it is called."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import typer

from bench.cli.names import list_names, show
from bench.cli.results import audit, compare, rescore, table
from bench.cli.runs import evaluate, import_released, run, score
from bench.cli.systems import check, new
from bench.errors import BenchError

app = typer.Typer(
    help="Compare text VAEs so that the numbers can be believed.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (run, table, compare, audit, score, import_released, evaluate, rescore, check, new):
    app.command()(verb)
app.command(name="list")(list_names)
app.command()(show)

# typer does not export the base class of its usage errors.
UsageError: type[Any] = typer.BadParameter.__bases__[0]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells; typer returns it after an interrupt."""


def main() -> None:
    """Runs the command; a user's mistake is one line on standard error and exit code 2."""
    try:
        code: object = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except BenchError as error:
        _exit_with(str(error), 2)
    except UsageError as error:
        _exit_with(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        _exit_with("interrupted; records are kept, and the same command continues from here.", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _exit_with(message: str, code: int) -> NoReturn:
    print(f"della-bench: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
