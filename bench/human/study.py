"""A study: texts drawn from records, in another order for each rater, and the key that tells whose they are."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.errors import BenchError, unknown_name
from bench.reading import parse_as, read_json, text_of
from bench.records.differences import distinct_runs, same_key_error
from bench.records.store import GENERATIONS, StoredRun
from bench.seeds import derive_seed

CRITERIA: Mapping[str, str] = MappingProxyType(
    {
        "Fluency": "Is the text grammatical, and does it read like one that a person wrote?",
        "Coherence": "Do its parts fit together, and do they fit the source if there is one?",
        "Novelty": "Does it say something of its own, and not what anybody would say?",
        "Informativeness": "Does it tell what is important in the source?",
    }
)
"""Criteria of the human evaluation of Hu et al. (2022, Table 3), and what a rater is asked."""

MOST_GENERATIONS = 100_000
KEY_VERSION: Final = 1

T = TypeVar("T")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Part):
    """A text to rate, and where it is from.

    Attributes:
        name: what the sheets call it.
        task: registered name of the task.
        label: label of the system.
        run_id: the run.
        position: its place in the file of generations, from 0.
    """

    name: str
    task: str
    label: str
    run_id: str
    position: int = Field(ge=0)


class Key(_Part):
    """What the sheets hide.

    Attributes:
        version: of the form of this file.
        criteria: names of the criteria.
        points: highest rating; the lowest is 1.
        raters: their names.
        titles: name of each task in tables.
        items: the texts; those of each task are grouped by system, all for the same places in the same order.
    """

    version: int = KEY_VERSION
    criteria: tuple[str, ...] = Field(min_length=1)
    points: int = Field(ge=2)
    raters: tuple[str, ...] = Field(min_length=1)
    titles: dict[str, str]
    items: tuple[Item, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = {"criterion": self.criteria, "rater": self.raters, "text": [item.name for item in self.items]}
        for what, given in names.items():
            if twice := [name for name, count in Counter(given).items() if count > 1]:
                raise ValueError(f"the {what} {twice[0]!r} is given twice.")
        counts: dict[str, Counter[str]] = {task: Counter() for task in self.titles}
        for item in self.items:
            if item.task not in counts:
                raise ValueError(f"the text {item.name!r} is of {item.task!r}, a task without a title.")
            counts[item.task][item.label] += 1
        for task, of_task in counts.items():
            if len(set(of_task.values())) != 1:
                raise ValueError(f"the systems do not have equally many texts on {task!r}.")
        return self

    @classmethod
    def read(cls, path: Path) -> Key:
        """Reads the file ``key.json`` of a study.

        Raises:
            BenchError: it cannot be read, or is no key.
        """
        key = parse_as(cls, read_json(path), f"{path}: not the key of a study")
        if key.version != KEY_VERSION:
            raise BenchError(f"{path}: a key of version {key.version}; this program reads version {KEY_VERSION}.")
        return key


@dataclass(frozen=True)
class Shown:
    """A text as a rater sees it; ``source`` is empty where the task has none."""

    name: str
    text: str
    source: str


@dataclass(frozen=True)
class Study:
    """A key, and what each rater sees, in the order of the sheet."""

    key: Key
    sheets: Mapping[str, tuple[Shown, ...]]


def draw_study(
    runs: Sequence[StoredRun], texts: int, criteria: Sequence[str], raters: int = 3, points: int = 5, seed: int = 0
) -> Study:
    """Draws the same number of generations of each system on each task.

    All systems of a task are represented at the same positions: on conditional tasks they have the same sources. Of a
    system with several seeds, the run of the lowest one is used; of several samples per source, the first.

    Args:
        runs: with generations.
        texts: of each system on each task.
        criteria: names from ``CRITERIA``, in any case.
        raters: number of sheets.
        points: highest rating.
        seed: of the choice and of the order.

    Raises:
        BenchError: an unknown criterion; a run without enough generations; two runs for one place; or different sources
            at one position.
    """
    chosen = _criteria(criteria)
    drawn = [item for task, of_task in _by_task(runs).items() for item in _draw(task, of_task, texts, seed)]
    key_of_names = hashlib.sha256(f"{seed} {[run.record.run_id for run, *_ in drawn]}".encode()).hexdigest()[:4]
    numbers = _shuffled(range(1, len(drawn) + 1), seed, "names")
    shown = [
        Shown(f"t{key_of_names}-{number:0{len(str(len(drawn)))}}", text, source)
        for number, (_, _, text, source) in zip(numbers, drawn, strict=True)
    ]
    items = tuple(
        Item(name=item.name, task=run.record.task, label=run.record.label, run_id=run.record.run_id, position=position)
        for item, (run, position, *_) in zip(shown, drawn, strict=True)
    )
    names = tuple(f"rater-{number}" for number in range(1, raters + 1))
    titles = {run.record.task: run.record.data.title for run, *_ in drawn}
    key = Key(criteria=chosen, points=points, raters=names, titles=titles, items=items)
    return Study(key, {name: tuple(_shuffled(shown, seed, name)) for name in names})


def _shuffled(values: Iterable[T], seed: int, name: str) -> list[T]:
    shuffled = list(values)
    random.Random(derive_seed(seed, "human", name)).shuffle(shuffled)
    return shuffled


def _criteria(names: Sequence[str]) -> tuple[str, ...]:
    found = {name.lower(): name for name in CRITERIA}
    for name in names:
        if name.lower() not in found:
            raise unknown_name("criterion", name, CRITERIA)
    if not names:
        raise BenchError(f"no criterion; allowed: {', '.join(CRITERIA)}.")
    return tuple(dict.fromkeys(found[name.lower()] for name in names))


def _by_task(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """Returns a run for each system of each task, that of the lowest seed."""
    found: dict[tuple[str, str], StoredRun] = {}
    for run in distinct_runs(runs, lambda run: run.record):
        record = run.record
        other = found.setdefault((record.task, record.label), run).record
        if other is not record and other.seed == record.seed:
            raise same_key_error(f"{record.task} {record.label} seed {record.seed}", other, record)
        if record.seed < other.seed:
            found[record.task, record.label] = run
    tasks: dict[str, list[StoredRun]] = {}
    for (task, _), run in sorted(found.items()):
        tasks.setdefault(task, []).append(run)
    return tasks


def _draw(task: str, runs: Sequence[StoredRun], texts: int, seed: int) -> list[tuple[StoredRun, int, str, str]]:
    """Returns run, position, text and source of each text of a task, system by system."""
    generations = [(run, run.generations(MOST_GENERATIONS), _samples_per_source(run)) for run in runs]
    places = min(len(rows) // step for _, rows, step in generations)
    if places < texts:
        run, rows, _ = min(generations, key=lambda one: len(one[1]) // one[2])
        if not rows:
            raise BenchError(f"{task}: {run.record.label} has no generations: no {run.path.with_name(GENERATIONS)}.")
        raise BenchError(f"{task}: {run.record.label} has texts for {places} places, and {texts} are wanted.")
    chosen = sorted(random.Random(derive_seed(seed, "texts", task)).sample(range(places), texts))
    drawn = []
    sources: dict[int, str] = {}
    for run, rows, step in generations:
        for place in chosen:
            where = f"{run.path.with_name(GENERATIONS)}, line {place * step + 1}"
            text, source = _text(rows[place * step], "text", where), _text(rows[place * step], "source", where)
            if sources.setdefault(place, source) != source:
                raise BenchError(f"{where}: the source is not that of the other systems on {task}.")
            drawn.append((run, place * step, text, source))
    return drawn


def _samples_per_source(run: StoredRun) -> int:
    """Returns how many consecutive generations have one source."""
    decoding = run.record.spec.get("decoding") if run.record.data.kind == "conditional" else None
    number = decoding.get("samples_per_source") if isinstance(decoding, dict) else None
    return number if isinstance(number, int) and number > 0 else 1


def _text(row: Any, field: str, where: str) -> str:
    if not isinstance(row, dict):
        raise BenchError(f"{where}: expected an object with a field 'text'.")
    return text_of(row.get(field, "" if field == "source" else None), f"{where}: field {field!r}")
