"""What verbs print: text that a terminal shows and does not obey, whatever file it comes from."""

from __future__ import annotations

import typer

from bench.escape import terminal


def say(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Prints text on standard output, or on standard error.

    Only tables, whose formats escape their cells, are printed without this function: they use bold.
    """
    typer.echo(terminal(str(text)), err=err, nl=nl)
