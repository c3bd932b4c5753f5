"""Verbs of a human evaluation: sheets for raters, and the table of their ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.output import say
from bench.cli.results import runs_at
from bench.errors import unknown_name


def sheet(
    records: Annotated[list[Path], typer.Argument(help="Record files, or folders of records.")],
    out: Annotated[Path, typer.Option(help="New folder: sheets to send, and the key to keep.")],
    texts: Annotated[int, typer.Option(min=1, help="Texts of each system on each task.")] = 30,
    raters: Annotated[int, typer.Option(min=1, help="Number of sheets, each in an order of its own.")] = 3,
    criteria: Annotated[
        str, typer.Option(help="Of Fluency, Coherence, Novelty and Informativeness, comma-separated.")
    ] = "Fluency,Coherence,Novelty",
    points: Annotated[int, typer.Option(min=2, max=10, help="The highest rating; the lowest is 1.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of texts and of their order.")] = 0,
) -> None:
    """Write blinded, shuffled rating sheets: a CSV and an HTML form for each rater, and the key."""
    from bench.human import draw_study
    from bench.human.sheets import write_study
    from bench.labels import split_list

    study = draw_study(runs_at(records), texts, split_list(criteria), raters, points, seed)
    key, *sheets = write_study(study, out)
    say(f"{len(study.key.items)} texts for each of {raters} raters. Send one of the two files of each:")
    for path in sheets:
        say(f"  {path}")
    say(f"Keep the key, which tells whose the texts are: {key}")


def score(
    sheets: Annotated[list[Path], typer.Argument(help="Filled-in CSVs, one of each rater.")],
    key: Annotated[Path, typer.Option(help="The key of the study.")],
    format: Annotated[str, typer.Option("--format", help="term, md, csv, latex or html.")] = "term",
) -> None:
    """Print the table of the ratings: means with intervals, paired tests, and the agreement of the raters."""
    from bench.human import score_sheets
    from bench.report import FORMATS, render_table

    if format not in FORMATS.names():
        raise unknown_name("format", format, FORMATS.names())
    typer.echo(render_table(score_sheets(sheets, key).table(), format), nl=False)
