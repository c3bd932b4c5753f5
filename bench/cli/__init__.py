"""The command `della-bench`. Each module holds a group of verbs; a verb imports what it needs when it is called."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import typer

from bench.cli import data, human, options
from bench.cli.compare import compare
from bench.cli.models import analogy, interpolate, neighbours, reconstruct, sample, swap
from bench.cli.names import list_names, show
from bench.cli.results import audit, claims, figure, leaderboard, report, rescore, submit, table
from bench.cli.runs import evaluate, import_released, run, score, status
from bench.cli.systems import check, new
from bench.errors import BenchError, error_line
from bench.escape import line
from bench.harness.stopping import Stopped, heeding_signals


class UnexpectedError(Exception):
    """Carries an unforeseen exception past typer, which takes an EOFError or a broken pipe for an interrupt."""


def _with_last_resort(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the verb with every exception that is neither a mistake of the user nor typer's as `UnexpectedError`."""

    @functools.wraps(verb)
    def guarded(*arguments: Any, **options: Any) -> Any:
        try:
            return verb(*arguments, **options)
        except (BenchError, ClickException, typer.Exit, typer.Abort):
            raise
        except BrokenPipeError as error:
            sys.stdout.flush()  # raises again if the reader of the output went away, as with ``| head``
            raise UnexpectedError from error
        except Exception as error:
            raise UnexpectedError from error

    return guarded


# typer does not export the base class of its usage errors, nor of all errors that it prints.
UsageError: type[Any] = typer.BadParameter.__bases__[0]
ClickException: type[Any] = UsageError.__bases__[0]

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.callback()(options.apply)
OF_RECORDS = (
    run,
    status,
    table,
    report,
    figure,
    compare,
    audit,
    claims,
    leaderboard,
    score,
    import_released,
    evaluate,
    rescore,
    submit,
)
OF_MODELS = (reconstruct, sample, interpolate, swap, analogy, neighbours)
for verb in (*OF_RECORDS, *OF_MODELS, check, new):
    app.command()(_with_last_resort(verb))
app.command(name="list")(_with_last_resort(list_names))
app.command()(_with_last_resort(show))
people = typer.Typer(help="Ask people: blinded rating sheets of generations, and the table of the ratings.")
people.command()(_with_last_resort(human.sheet))
people.command()(_with_last_resort(human.score))
app.add_typer(people, name="human")
texts = typer.Typer(help="Real texts: where they come from; download and sample them for --data-dir.")
texts.command()(_with_last_resort(data.show))
texts.command()(_with_last_resort(data.build))
texts.command()(_with_last_resort(data.verify))
app.add_typer(texts, name="data")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells; typer returns it after a KeyboardInterrupt."""

GOES_ON = "records are kept, and the same command continues from here."


LONGEST_MESSAGE = 500


def main() -> None:
    """Runs the command.

    A mistake of the user is one line on standard error and exit code 2, an unexpected error one line and exit code 1.
    A signal that stops it is one line, and the exit code 128 and its number.
    Characters that the encoding of an output lacks are replaced.
    """
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")
    if sys.platform == "win32":
        _exit_with("Windows is not supported; use Linux, macOS or the Windows Subsystem for Linux.", 2)
    arguments = options.move_to_front(sys.argv[1:])
    try:
        with heeding_signals():
            code: object = app(args=arguments or ["--help"], standalone_mode=False)
            sys.stdout.flush()
    except BenchError as error:
        _exit_with(str(error), 2)
    except UsageError as error:
        _exit_with(error.format_message(), 2)
    except Stopped as stopped:
        how = "interrupted" if stopped.exit_code == INTERRUPTED else f"stopped by {stopped.signal.name}"
        _exit_with(f"{how}; {GOES_ON}", stopped.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001
        _exit_unexpectedly(error.__cause__ or error, debug=options.DEBUG in sys.argv)
    if code == INTERRUPTED:
        _exit_with(f"interrupted; {GOES_ON}", INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _exit_unexpectedly(error: BaseException, debug: bool) -> NoReturn:
    """Says in one line what happened, after the traceback if asked; output that could not be written is given up."""
    if debug:
        traceback.print_exception(error)
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _exit_with(f"{error_line(error)[:LONGEST_MESSAGE]} (unexpected; {options.DEBUG} prints the traceback)", 1)


def _exit_with(message: str, code: int) -> NoReturn:
    with suppress(OSError):
        print(line(f"della-bench: {message}"), file=sys.stderr)  # noqa: T201
    sys.exit(code)
