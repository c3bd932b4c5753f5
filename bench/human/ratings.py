"""Reading the sheets that raters filled in."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import BenchError, unknown_name
from bench.human.study import Key
from bench.reading import read_text

Ratings = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Rater to text to its ratings, in the order of the criteria."""

RATER, ITEM = "rater", "item"
MOST_NAMED = 5


def read_ratings(sheets: Sequence[Path], key: Key) -> Ratings:
    """Reads sheets, each with all texts of a study and the ratings of one rater.

    The columns are found by their names; source and text, and whatever a rater added, are ignored. Cells are separated
    by commas, or by semicolons as some spreadsheets write them.

    Raises:
        BenchError: a sheet cannot be read; it lacks a column, a text or a rating; a text or rater is unknown or occurs
            twice; or a rating is not on the scale.
    """
    found: dict[str, tuple[Path, dict[str, tuple[int, ...]]]] = {}
    for path in sheets:
        rater, ratings = _read_sheet(path, key)
        if rater in found:
            raise BenchError(f"{path}: the ratings of {rater} are also in {found[rater][0]}.")
        found[rater] = path, ratings
    return {rater: found[rater][1] for rater in key.raters if rater in found}


def _read_sheet(path: Path, key: Key) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Returns the rater of a sheet, and the ratings of each text."""
    names = [item.name for item in key.items]
    known = set(names)
    rater = ""
    ratings: dict[str, tuple[int, ...]] = {}
    for line, row in _rows(path, (RATER, ITEM, *key.criteria)):
        where = f"{path}, line {line}"
        if row[RATER] not in key.raters:
            raise BenchError(f"{where}: {unknown_name('rater', row[RATER], key.raters)}")
        if (rater := rater or row[RATER]) != row[RATER]:
            raise BenchError(f"{where}: a rating of {row[RATER]} in the sheet of {rater}.")
        if row[ITEM] not in known:
            raise BenchError(f"{where}: {row[ITEM]!r} is not a text of this study.")
        if row[ITEM] in ratings:
            raise BenchError(f"{where}: {row[ITEM]} is rated twice.")
        ratings[row[ITEM]] = tuple(
            _rating(row[criterion], key.points, f"{where}: {criterion} of {row[ITEM]}") for criterion in key.criteria
        )
    if missing := [name for name in names if name not in ratings]:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise BenchError(f"{path}: no rating of {', '.join(missing[:MOST_NAMED])}{more}.")
    return rater, ratings


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Returns the lines that are not empty, with their numbers, as the cells of the named columns."""
    text = read_text(path)
    separator = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, line = [], 1
    try:
        header = [name.strip() for name in next(reader, [])]
        for column in columns:
            if column not in header:
                raise BenchError(f"{path}: no column {column!r}; it has: {', '.join(header) or '(none)'}.")
            if header.count(column) > 1:
                raise BenchError(f"{path}: two columns {column!r}.")
        places = {column: header.index(column) for column in columns}
        for cells in reader:
            line, start = reader.line_num, line + 1
            if any(map(str.strip, cells)):
                given = {name: cells[place].strip() if place < len(cells) else "" for name, place in places.items()}
                rows.append((start, given))
    except csv.Error as error:
        raise BenchError(f"{path}, line {line + 1}: {error}.") from error
    return rows


def _rating(cell: str, points: int, where: str) -> int:
    if not cell:
        raise BenchError(f"{where}: no rating.")
    if not (cell.isascii() and cell.isdecimal() and len(cell) <= len(str(points)) and 1 <= int(cell) <= points):
        raise BenchError(f"{where}: {cell[:20]!r} is not a whole number from 1 to {points}.")
    return int(cell)
