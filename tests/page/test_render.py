"""The page as text: what stands in it, what cannot stand in it, and its size."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.audit import audit, rows_of_runs
from bench.bootstrap import Interval
from bench.page import render_page
from bench.page.content import CHARACTERS
from bench.page.render import count, duration, size
from bench.page.summary import summary_lines
from bench.records.published import PublishedFigures
from bench.records.store import CURVE, GENERATIONS, load_runs
from bench.report import build_table, complete_layout
from bench.report.grids import GridRow, grids_of, rows_of
from tests.page.conftest import REFERENCE, copy_run, some_run

TABLE8 = REFERENCE / "table8-small"


class _Page(HTMLParser):
    """Elements, attributes and texts of a page, as a parser of HTML sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self._tag = ""
        self._is_in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._tag = tag
        if tag == "script":
            self.scripts.append("")
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self._is_in_cell = True

    def handle_data(self, data: str) -> None:
        if self._tag == "script":
            self.scripts[-1] += data
        elif self._is_in_cell:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""
        self._is_in_cell &= tag not in ("td", "th")

    @property
    def data(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.scripts[0])
        return loaded


def page_of(*folders: Path) -> _Page:
    return _Page(render_page(load_runs(folders)))


def page_rows(*folders: Path) -> list[GridRow]:
    return [row for grid in grids_of(load_runs(folders)) for row in rows_of(grid)]


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = page_of(TABLE8)
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert addresses
    assert all(str(address).startswith(("#", "data:")) for address in addresses)


def test_the_policy_allows_the_scripts_of_the_page_and_no_others() -> None:
    page = page_of(TABLE8)
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]}
    assert policy is not None
    assert set(re.findall("'sha256-(.+?)'", policy)) == digests
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert "default-src 'none'" in policy


def test_scores_are_those_of_the_table_and_its_data() -> None:
    records = [run.record for run in load_runs([TABLE8])]
    table = build_table(records, complete_layout(records), allow_mixed=True)
    page = page_of(TABLE8)
    texts = {tuple(row) for row in page.rows}
    rows = {(row["label"], page.data["panels"][row["panel"]]["task"]): row for row in page.data["rows"]}
    places = {column["text"]: str(place) for place, column in enumerate(page.data["columns"])}
    compared = 0
    for row in table.rows:
        for (group, header), cell in zip(table.columns, row.cells, strict=True):
            if cell.value is not None:
                shown = rows[row.label, group.title]["cells"][places[header.text]]
                assert shown[0] == pytest.approx(cell.value, rel=1e-5)
                if cell.interval:
                    assert shown[1:3] == pytest.approx([cell.interval.low, cell.interval.high], rel=1e-5)
                printed = {cell.text, f"{cell.text}*"}
                assert any(row.title == line[0] and printed & {*line} for line in texts)
                compared += 1
    assert compared > 300


def test_published_figures_stand_in_columns_of_their_own() -> None:
    page = page_of(TABLE8)
    found = PublishedFigures.load()
    variant = "GPT-2 base, cyclical annealing"
    for task in ("PTB", "SNLI"):
        figure = found.find("della-2022", "Table 8", task, "Embed", variant, "PPL")
        assert figure is not None
        row = next(
            row
            for row in page.data["rows"]
            if row["label"] == "embed" and page.data["panels"][row["panel"]]["task"] == task
        )
        assert row["printed"]["PPL"][:2] == [figure.value, figure.printed]
        line = next(line for line in page.rows if line[0] == "Embed" and line[2].startswith(task))
        columns = len(page.data["columns"])
        assert figure.printed not in line[: 3 + columns]
        assert figure.printed in line[3 + columns :]


def test_every_task_of_every_folder_and_scale_has_its_rows() -> None:
    rows = page_rows(TABLE8, REFERENCE / "table9-small")
    assert {(row.grid.name, row.task[0]) for row in rows} == {
        ("table8-small (small, files)", "ptb"),
        ("table8-small (small, files)", "snli"),
        ("table9-small (small, files)", "quora"),
    }
    assert len(rows) == 18


def test_a_row_knows_its_system_and_objective() -> None:
    rows = {row.label: row for row in page_rows(REFERENCE / "collapse-study")}
    assert (rows["embed+constant+bow"].system, rows["embed+constant+bow"].objective) == ("embed", "constant+bow")
    assert (rows["lm"].system, rows["lm"].objective) == ("lm", "default")
    assert len(rows["embed+constant+bow"].runs) == 3


def test_runs_that_did_not_finish_are_listed_with_their_reasons(tmp_path: Path) -> None:
    for status in ("failed", "diverged", "skipped"):

        def change(content: dict[str, Any], status: str = status) -> None:
            content["spec"]["system"]["label"] = f"embed+{status}"
            content.update(status=status, reason=f"reason of {status}", metrics=[], skipped=[])

        copy_run(some_run("table8-small/ptb.embed."), tmp_path, change)
    page = page_of(tmp_path)
    for status in ("failed", "diverged", "skipped"):
        assert [status, f"ptb: embed+{status}, seed 0", f"reason of {status}", "1"] in page.rows


def test_findings_of_the_audit_are_listed(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        next(score for score in content["metrics"] if score["name"] == "MI")["value"] = 99.0

    copy_run(some_run("table8-small/ptb.della."), tmp_path, change)
    runs = load_runs([tmp_path])
    findings = audit(rows_of_runs(runs))
    assert findings
    rows = _Page(render_page(runs)).rows
    for finding in findings:
        assert [finding.severity, str(finding.location), finding.figures, finding.reason, finding.rule] in rows


def test_generations_are_the_first_ones_and_fit_their_budget(many_runs: Path) -> None:
    run = some_run("table8-small/ptb.della.s")
    lines = [json.loads(line)["text"] for line in (run / GENERATIONS).read_text(encoding="utf-8").splitlines()]
    shown = next(row["texts"]["shown"] for row in page_of(run).data["rows"] if row["label"] == "della")
    assert [text["text"] for text in shown] == lines[: len(shown)]
    assert len(shown) == 50
    of_many = [row["texts"]["shown"] for row in page_of(many_runs).data["rows"] if row["texts"]]
    assert len(of_many) == 300
    assert sum(len(text["text"]) for texts in of_many for text in texts) < CHARACTERS


def test_300_runs_make_a_page_below_3_mb(many_runs: Path) -> None:
    assert len(render_page(load_runs([many_runs])).encode()) < 3e6


HOSTILE = (
    "</script><script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit = 1">',
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "javascript:window.hit=1",
    "\u202ereversed\x1b[31m",
)


def hostile_runs(folder: Path, texts: Sequence[str] = HOSTILE) -> Path:
    """Writes a run per text that has it wherever a record holds a text; returns their folder."""
    for text in texts:

        def change(content: dict[str, Any], text: str = text) -> None:
            content["spec"]["system"]["label"] = content["spec"]["task"]["name"] = text
            content["data"].update(task=text, title=text, notes=[text])
            content["skipped"] = [{"metric": text, "reason": text}]
            content["environment"].update(device=text, processor=text)
            content["commit"] = text
            score = content["metrics"][0]
            content["metrics"].append({**score, "name": text, "signature": f"{text.replace('|', '')}|v:1"})

        run = copy_run(some_run("regress/ptb.embed."), folder, change)
        (run / GENERATIONS).write_text(json.dumps({"text": text}) + "\n", encoding="utf-8")
    return folder


def test_texts_of_records_are_texts_of_the_page(tmp_path: Path) -> None:
    plain, hostile = tmp_path / "plain", tmp_path / "hostile"
    hostile_runs(plain, [f"text {number}" for number in range(len(HOSTILE))])
    pages = (page_of(plain), page_of(hostile_runs(hostile)))
    elements = [Counter((tag, *sorted(attributes)) for tag, attributes in page.tags) for page in pages]
    assert elements[0] == elements[1]
    page = render_page(load_runs([hostile]))
    assert not re.search("[\x00-\x08\x1b\u202e]", page)
    assert "49" not in {cell for row in _Page(page).rows for cell in row}


def test_a_leader_is_separated_only_by_intervals_over_texts(tmp_path: Path) -> None:
    values = {"a": (10.0, 9.5, 10.5), "b": (11.0, 10.6, 11.4), "c": (12.0, 11.3, 12.5)}

    def leader(method: str, *, curves: bool = False, **changed: tuple[float, float, float]) -> Any:
        folder = tmp_path / f"{method}{len(list(tmp_path.iterdir()))}"
        for label, (value, low, high) in {**values, **changed}.items():

            def change(content: dict[str, Any], of: Any = (label, value, low, high)) -> None:
                content["spec"]["system"]["label"] = f"embed:latent_size={ord(of[0])}"
                score = next(score for score in content["metrics"] if score["name"] == "PPL")
                score["value"] = of[1]
                score["interval"] = vars(Interval(of[2], of[3], 0.95, method))

            run = copy_run(some_run("regress/ptb.embed."), folder, change)
            if not curves:  # which say that training had not ended
                (run / CURVE).unlink()
        (line,) = summary_lines(page_rows(folder))
        return line.leaders[0]

    clear = leader("bootstrap")
    assert (clear.title, clear.is_separated) == ("embed:latent_size=97", True)
    close = leader("bootstrap", b=(11.0, 10.4, 11.4))
    assert not close.is_separated
    assert close.remark == "not separated from embed:latent_size=98"
    assert leader("sd:5").remark == "no interval over texts"
    falling = leader("bootstrap", curves=True)
    assert not falling.is_separated
    assert falling.remark.startswith("still falling ")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (duration(5.04), "5.0 s"),
        (duration(119), "119 s"),
        (duration(7200), "2.0 h"),
        (duration(None), ""),
        (size(963_000_000), "963 MB"),
        (size(1_050_000_000), "1.1 GB"),
        (count(2_634_752), "2.63 M"),
        (count(999), "999"),
    ],
)
def test_costs_are_short(made: str, expected: str) -> None:
    assert made == expected
