"""Verbs for authors of a system."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.output import say
from bench.errors import unknown_name


def check(
    system: Annotated[str, typer.Argument(help="System with its options, or module:Class of one in this folder.")],
    checks: Annotated[str, typer.Option(help="The only checks, comma-separated.")] = "",
    settings: Annotated[str, typer.Option(help="Of unconditional, conditional, encoder-decoder, llama.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Print failures only.")] = False,
) -> int:
    """Check that a system keeps its contract, on tiny models; exit 1 if it does not."""
    sys.path.insert(0, "")  # the folder the author works in, which a console script does not search by itself
    from bench.labels import split_list
    from bench.testing import check_system, find_system

    statuses: Counter[str] = Counter()
    repeated = 0
    for outcome in check_system(*find_system(system), split_list(checks), split_list(settings)):
        if not failed or outcome.status == "FAILED":
            say(str(outcome))
        statuses[outcome.status] += 1
        repeated += outcome.repeated
    totals = [f"{count} {status}" for status, count in statuses.items()]
    say(", ".join(totals) + (f"; failures of the same cause: {repeated}" if repeated else ""))
    return 0 if statuses["ok"] and not statuses["FAILED"] else 1


def new(
    kind: Annotated[str, typer.Argument(help="system.")],
    name: Annotated[str, typer.Argument(help="Name of the system.")],
) -> None:
    """Write a package for a new system into a folder of its name: a working VAE, its test, its entry point."""
    from bench.testing.scaffold import new_system

    if kind != "system":
        raise unknown_name("thing to make", kind, ["system"])
    for path in new_system(name, Path()):
        say(path)
    say(f"Next: pip install -e {name}, and della-bench check {name}.")
