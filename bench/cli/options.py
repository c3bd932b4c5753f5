"""Options of every verb: version, what is printed on standard error, tracebacks."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import typer
from typing_extensions import override

import bench
from bench.cli.output import say
from bench.errors import BenchError

DEBUG = "--debug"
ANYWHERE = ("-v", "--verbose", "-q", "--quiet", DEBUG)
"""Options that a user may write before or after the verb."""


def move_to_front(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with those that may stand anywhere before the verb, where typer expects them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    moved = [argument for argument in arguments[:end] if argument in ANYWHERE]
    return [*moved, *(argument for argument in arguments[:end] if argument not in ANYWHERE), *arguments[end:]]


def apply(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, on standard error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Print the traceback of an unexpected error.")] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions that can change a number.",
            is_eager=True,
            callback=lambda wanted: _print_versions(wanted),
        ),
    ] = False,
) -> None:
    """Compare text VAEs so that the numbers can be believed.

    -v, -q and --debug may also stand after the verb.
    """
    if verbose and quiet:
        raise BenchError("--verbose and --quiet exclude each other.")
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    context.obj = quiet
    context.with_resource(_log_on_terminal(level, debug))


def is_quiet(context: typer.Context) -> bool:
    """Says whether the user wants results and errors only."""
    return context.find_root().obj is True


def _print_versions(wanted: bool) -> None:
    """Prints the versions that can change a number, without importing what takes long, and ends the command."""
    if wanted:
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
        say(f"della-bench {bench.__version__} ({packages}, Python {platform.python_version()})")
        raise typer.Exit


class _Terminal(logging.Handler):
    """Prints the line of each log record on standard error."""

    def __init__(self, level: int, tracebacks: bool) -> None:
        super().__init__(level)
        self.tracebacks = tracebacks

    @override
    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record) if self.tracebacks else record.getMessage(), err=True)


@contextmanager
def _log_on_terminal(level: int, tracebacks: bool) -> Iterator[None]:
    root = logging.getLogger()
    handler, before = _Terminal(level, tracebacks), root.level
    root.addHandler(handler)
    root.setLevel(min(before, level))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
