"""Drawing texts and writing sheets: balanced, blinded, shuffled, reproducible."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.human import Key, Study, draw_study
from bench.human.sheets import write_study
from bench.records.store import GENERATIONS, StoredRun, load_runs
from tests.human.conftest import CRITERIA, LABELS
from tests.page.conftest import copy_run, some_run


def test_each_system_has_equally_many_texts_at_the_same_places(study: Study) -> None:
    places: dict[tuple[str, str], list[int]] = {}
    for item in study.key.items:
        places.setdefault((item.task, item.label), []).append(item.position)
    assert len(places) == 6
    for task in ("ptb", "quora"):
        (same,) = {tuple(places[task, label]) for label in LABELS}
        assert len(set(same)) == 4


def test_the_key_tells_whose_a_text_is(study: Study) -> None:
    for shown in study.sheets.values():
        texts = {one.name: (one.text, one.source) for one in shown}
        assert len(texts) == len(study.key.items)
        for item in study.key.items:
            source = f"=source {item.position}" if item.task == "quora" else ""
            assert texts[item.name] == (f"<b>{item.label}</b> {item.position}", source)


def test_orders_and_names_tell_nothing(study: Study) -> None:
    """The order differs between raters; neither it nor the names follow the systems."""
    orders = {rater: [one.name for one in shown] for rater, shown in study.sheets.items()}
    assert orders["rater-1"] != orders["rater-2"]
    assert sorted(orders["rater-1"]) == sorted(orders["rater-2"])
    label = {item.name: item.label for item in study.key.items}
    for order in (*orders.values(), sorted(label)):
        changes = sum(label[a] != label[b] for a, b in pairwise(order))
        assert changes > 8  # of 23; 2 to 5 if grouped by system


def test_sheets_do_not_name_systems(runs: Sequence[StoredRun], tmp_path: Path) -> None:
    for run in runs:
        path = run.path.with_name(GENERATIONS)
        path.write_text("".join(f'{{"text": "text {place}"}}\n' for place in range(20)))
    write_study(draw_study(load_runs([tmp_path / "runs"]), 4, CRITERIA), tmp_path / "study")
    for sheet in (tmp_path / "study" / "sheets").iterdir():
        words = set(re.findall(r"\w+", sheet.read_text().lower()))
        assert not words & {"quora", *LABELS, *(run.record.run_id for run in runs)}


def test_the_seed_decides(runs: Sequence[StoredRun], study: Study) -> None:
    assert draw_study(list(reversed(runs)), 4, ["novelty", "Fluency"], 2, seed=7).sheets == study.sheets
    assert draw_study(runs, 4, CRITERIA, 2, seed=8).key.items != study.key.items


def test_the_csv_escapes_what_a_spreadsheet_computes(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((folder / "sheets" / "rater-1.csv").read_text())))
    assert Counter(row["source"][:8] for row in rows) == {"'=source": 12, "": 12}
    assert {row[criterion] for row in rows for criterion in CRITERIA} == {""}


def test_the_key_is_read_back_and_not_overwritten(folder: Path, study: Study) -> None:
    assert Key.read(folder / "key.json") == study.key
    with pytest.raises(BenchError, match=r"key\.json: a study is there already"):
        write_study(study, folder)
    content = json.loads((folder / "key.json").read_text())
    (folder / "key.json").write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(BenchError, match="a key of version 2"):
        Key.read(folder / "key.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda key: key["titles"].pop("ptb"), r"the text 't\w{4}-\d\d' is of 'ptb', a task without a title\.$"),
        (lambda key: key["titles"].update(snli="SNLI"), r"the systems do not have equally many texts on 'snli'\.$"),
        (lambda key: key["items"].pop(), r"the systems do not have equally many texts on 'quora'\.$"),
        (lambda key: key["items"].append(key["items"][0]), r"the text 't\w{4}-\d\d' is given twice\.$"),
        (lambda key: key["raters"].append("rater-1"), r"the rater 'rater-1' is given twice\.$"),
        (lambda key: key["criteria"].append("Novelty"), r"the criterion 'Novelty' is given twice\.$"),
    ],
)
def test_a_key_whose_parts_do_not_fit_is_one_line(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = json.loads((folder / "key.json").read_text())
    change(content)
    (folder / "key.json").write_text(json.dumps(content))
    with pytest.raises(BenchError, match=rf"key\.json: not the key of a study: {message}"):
        Key.read(folder / "key.json")


def test_what_cannot_be_drawn_is_named(runs: Sequence[StoredRun], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"ptb: \w+ has texts for 20 places, and 21 are wanted\."):
        draw_study(runs, 21, CRITERIA)
    with pytest.raises(BenchError, match=r"unknown criterion 'fluencey'\. Did you mean 'Fluency'"):
        draw_study(runs, 4, ["fluencey"])
    with pytest.raises(BenchError, match="no criterion"):
        draw_study(runs, 4, [])
    other = next(run for run in runs if run.record.task == "quora").path.with_name(GENERATIONS)
    other.write_text(other.read_text().replace("=source", "another"))
    with pytest.raises(BenchError, match=r"the source is not that of the other systems on quora\."):
        draw_study(load_runs([tmp_path / "runs"]), 20, CRITERIA)
    runs[0].path.with_name(GENERATIONS).unlink()
    task, label = runs[0].record.task, runs[0].record.label
    with pytest.raises(BenchError, match=rf"{task}: {label} has no generations: no .*generations\.jsonl"):
        draw_study(runs, 4, CRITERIA)


def test_of_several_seeds_the_lowest_is_used(runs: Sequence[StoredRun], tmp_path: Path) -> None:
    copy_run(some_run("regress/ptb.lm."), tmp_path / "more", lambda content: content["spec"].update(seed=5))
    more = load_runs([tmp_path / "more"])
    assert draw_study([*more, *runs], 4, CRITERIA, 2, seed=7).key == draw_study(runs, 4, CRITERIA, 2, seed=7).key
