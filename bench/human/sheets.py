"""Writing a study: a CSV and a form for each rater, and the key in a file apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bench.errors import BenchError
from bench.escape import csv_cell, json_in_html
from bench.human.ratings import ITEM, RATER
from bench.human.study import CRITERIA, Key, Shown, Study
from bench.storage import atomic_write_all
from bench.templates import content_policy, environment

SHEETS, KEY = "sheets", "key.json"


def write_study(study: Study, folder: Path) -> list[Path]:
    """Writes the sheets into ``folder/sheets``, two files for each rater, and the key into ``folder/key.json``.

    Returns:
        The files, the key first.

    Raises:
        BenchError: the folder holds a study already, whose sheets may be at the raters, or cannot be written.
    """
    if (folder / KEY).exists():
        raise BenchError(f"{folder / KEY}: a study is there already; name another folder.")
    written = {folder / KEY: study.key.model_dump_json(indent=1).encode()}
    for rater, shown in study.sheets.items():
        written[folder / SHEETS / f"{rater}.csv"] = render_csv(study.key, rater, shown).encode()
        written[folder / SHEETS / f"{rater}.html"] = render_form(study.key, rater, shown).encode()
    atomic_write_all(written)
    return list(written)


def render_csv(key: Key, rater: str, shown: Sequence[Shown]) -> str:
    """Returns a sheet with empty cells for the ratings."""
    has_sources = any(item.source for item in shown)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([RATER, ITEM, *(["source"] if has_sources else []), "text", *key.criteria])
    for item in shown:
        cells = [rater, item.name, *([item.source] if has_sources else []), item.text, *("" for _ in key.criteria)]
        writer.writerow([csv_cell(cell) for cell in cells])
    return buffer.getvalue()


def render_form(key: Key, rater: str, shown: Sequence[Shown]) -> str:
    """Returns a page that needs no network, keeps the answers in the browser and offers them as a CSV."""
    script = (files("bench.human") / "form.js").read_text(encoding="utf-8").strip()
    content = {"rater": rater, "criteria": key.criteria, "points": key.points, "items": [item.name for item in shown]}
    return (
        environment("bench.human")
        .get_template("form.html")
        .render(
            policy=content_policy([script]),
            script=script,
            content=json_in_html(content),
            rater=rater,
            questions={criterion: CRITERIA[criterion] for criterion in key.criteria},
            points=range(1, key.points + 1),
            shown=shown,
        )
    )
