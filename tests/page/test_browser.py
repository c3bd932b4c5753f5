"""The page in a real Chromium: errors, filters, sorting, the keyboard, texts that would like to be scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.page import render_page
from bench.records.store import load_runs
from tests.browser import Browser, needs_browser, start_chromium
from tests.page.conftest import REFERENCE
from tests.page.test_render import hostile_runs

pytestmark = needs_browser
CHARTS = ("costs", "chart-curves", "chart-plane", "chart-heat")


class ReportBrowser(Browser):
    """The report in Chromium."""

    def draw_all(self) -> None:
        """Draws the charts that have not come into view yet, as before printing."""
        self.run("window.dispatchEvent(new Event('beforeprint'))")
        for chart in CHARTS:
            self.wait(f"document.getElementById('{chart}').childElementCount > 0")

    def shown(self, column: int = 0) -> list[str]:
        """The texts of a column of the scores, in the rows that are shown."""
        return self.run(
            "return all('#table tbody tr').filter((r) => r.offsetParent).map((r) => r.cells[arguments[0]].innerText)",
            column,
        )

    def column(self, heading: str) -> int:
        return self.run(
            "return all('#table thead tr:last-child th').findIndex((h) => h.innerText.startsWith(arguments[0]))",
            heading,
        )


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    started = start_chromium()
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the reference runs at the scales small and regress."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    runs = load_runs([REFERENCE / "regress", REFERENCE / "table8-small", REFERENCE / "table9-small"])
    file.write_text(render_page(runs), encoding="utf-8")
    return file


@pytest.fixture
def browser(driver: Any, page: Path) -> ReportBrowser:
    opened = ReportBrowser(driver)
    opened.open(page)
    opened.errors()
    return opened


def test_no_error_with_all_charts_and_tasks(browser: ReportBrowser) -> None:
    browser.draw_all()
    tasks = browser.run("return document.querySelector('select.panel').length")
    assert tasks == 5
    for task in range(tasks):
        browser.run(
            "const s = document.querySelector('select.panel'); s.value = String(arguments[0]);"
            " s.dispatchEvent(new Event('change'))",
            task,
        )
        browser.draw_all()
        assert browser.run("return all('#texts section').length") == 3
    assert browser.run("return all('figure.chart svg, .multiples svg').length") > 10
    assert browser.errors() == []


def test_a_click_on_a_heading_sorts_the_better_values_first(browser: ReportBrowser) -> None:
    for heading, is_up in (("PPL", False), ("MI", True)):
        column = browser.column(heading)
        click = "all('#table thead tr:last-child th')[arguments[0]].querySelector('button').click()"
        browser.run(click, column)
        values = [float(text.rstrip("*")) for text in browser.shown(column) if text not in ("", "—")]
        assert len(values) > 20
        assert values == sorted(values, reverse=is_up)
        order = browser.run("return all('#table th[aria-sort]').map((h) => h.ariaSort)")
        assert order == ["descending" if is_up else "ascending"]
        browser.run(click, column)
        values = [float(text.rstrip("*")) for text in browser.shown(column) if text not in ("", "—")]
        assert values == sorted(values, reverse=not is_up)


def _choose(browser: ReportBrowser, of: str, *texts: str) -> None:
    """Leaves only some entries of a filter checked."""
    browser.run(
        """const of = arguments[0], texts = arguments[1];
        const details = document.querySelector(`[data-of=${of}]`); details.open = true;
        for (const label of details.querySelectorAll("label")) {
          const box = label.querySelector("input");
          if (box.checked !== texts.includes(label.innerText.trim())) box.click();
        }""",
        of,
        texts,
    )


def test_filters_choose_rows_and_columns(browser: ReportBrowser) -> None:
    everything = len(browser.shown())
    _choose(browser, "system", "della", "lm")
    assert set(browser.shown()) - {"true distribution"} == {"della", "lm", "DELLA", "GPT-2", "BART"}
    _choose(browser, "panel", "PTB, table8-small (small, files)")
    assert browser.shown() == ["GPT-2", "DELLA"]
    assert browser.run("return document.getElementById('shown').value").startswith("2 of ")
    _choose(browser, "metric", "PPL", "KL")
    visible = browser.run(
        "return all('#table thead tr:last-child th:not(.pub)').filter((h) => h.offsetParent).map((h) => h.innerText)"
    )
    assert [text.split()[0] for text in visible] == [
        "System",
        "Objective",
        "Task",
        "PPL",
        "KL",
        "Time",
        "Memory",
        "Parameters",
    ]
    browser.draw_all()
    assert browser.run("return all('#chart-curves .legend li').length") <= 2
    browser.run("document.querySelector('#filters button[type=reset]').click()")
    browser.wait(f"all('#table tbody tr').filter((r) => r.offsetParent).length === {everything}")
    assert browser.errors() == []


def test_the_search_finds_labels(browser: ReportBrowser) -> None:
    browser.run(
        "const s = document.getElementById('search'); s.value = 'della-lw'; s.dispatchEvent(new Event('input'))"
    )
    assert set(browser.shown()) - {"true distribution"} == {"della-lw"}


def test_published_figures_can_be_hidden(browser: ReportBrowser) -> None:
    count = "return all('#table .pub').filter((c) => c.offsetParent).length"
    assert browser.run(count) > 20
    browser.run("document.getElementById('published').click()")
    assert browser.run(count) == 0


def test_the_keyboard_reaches_every_control_and_every_value(browser: ReportBrowser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.draw_all()
    browser.run("document.documentElement.style.scrollBehavior = 'auto'; document.activeElement.blur()")
    wanted = browser.run(
        "return all('a[href], button, summary, input, select, [tabindex=\"0\"]')"
        ".filter((e) => e.checkVisibility({ visibilityProperty: true })).length"
    )
    browser.run("window.seen = new Set()")
    for _ in range(2 * wanted):
        browser.press(Keys.TAB)
        done = browser.run(
            "const e = document.activeElement; if (e === document.body) return true;"
            " const known = seen.has(e); seen.add(e); return known"
        )
        if done:
            break
    missed = browser.run(
        "return all('a[href], button, summary, input, select, [tabindex=\"0\"]')"
        ".filter((e) => e.checkVisibility({ visibilityProperty: true }) && !seen.has(e)).map((e) => e.outerHTML)"
    )
    assert missed == []

    browser.run("document.querySelector('#table td[tabindex=\"0\"]').focus()")
    column = browser.column("PPL")
    browser.press(Keys.HOME)
    browser.press(*[Keys.ARROW_RIGHT] * (column - 1), Keys.ARROW_DOWN)
    place = browser.run("const e = document.activeElement; return [e.cellIndex, e.parentElement.rowIndex - 2]")
    assert place == [column, 1]
    tip = browser.run("const t = document.getElementById('tip'); return t.hidden ? '' : t.innerText")
    assert "interval" in tip
    assert "PPL|est:" in tip
    assert browser.run("return document.activeElement.getAttribute('aria-describedby')") == "tip"
    browser.press(Keys.ESCAPE)
    assert browser.run("return document.getElementById('tip').hidden")


def test_enter_and_space_work_the_filters_and_the_headings(browser: ReportBrowser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.run("document.querySelector('[data-of=system] summary').focus()")
    browser.press(Keys.ENTER, Keys.TAB, Keys.TAB, Keys.ENTER)  # opens; "all", "none"
    assert set(browser.shown()) <= {"true distribution"}
    browser.press(Keys.TAB, Keys.SPACE)
    assert len(set(browser.shown()) - {"true distribution"}) > 0
    browser.press(Keys.ESCAPE)
    assert browser.run("return document.activeElement.tagName") == "SUMMARY"
    assert not browser.run("return document.querySelector('[data-of=system]').open")


def test_generations_can_be_searched(browser: ReportBrowser) -> None:
    browser.run("const w = document.getElementById('words'); w.value = 'THE of'; w.dispatchEvent(new Event('input'))")
    texts = browser.run("return all('#texts li').map((e) => e.innerText.toLowerCase())")
    assert texts
    assert all("the" in text and "of" in text for text in texts)
    marks = set(browser.run("return all('#texts mark').map((e) => e.innerText.toLowerCase())"))
    assert marks == {"the", "of"}
    matches = browser.run("return document.getElementById('matches').value")
    assert matches.startswith(f"{len(texts)} of ")


def test_the_layout_fits_a_phone_and_dark_is_dark(browser: ReportBrowser) -> None:
    commands = browser.driver.execute_cdp_cmd
    colours = "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    light = browser.run(colours)
    try:
        commands(
            "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        )
        commands("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
        browser.driver.refresh()
        browser.draw_all()
        assert browser.run("return document.documentElement.scrollWidth") == 390
        dark = browser.run(colours)
    finally:
        commands("Emulation.clearDeviceMetricsOverride", {})
        commands("Emulation.setEmulatedMedia", {"features": []})
    assert dark != light
    assert browser.errors() == []


def test_texts_of_records_do_nothing(driver: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_page(load_runs([hostile_runs(tmp_path / "runs")])), encoding="utf-8")
    browser = ReportBrowser(driver)
    browser.open(file)
    browser.draw_all()
    for place in range(browser.run("return document.querySelector('select.panel').length")):
        browser.run(
            "const s = document.querySelector('select.panel'); s.value = String(arguments[0]);"
            " s.dispatchEvent(new Event('change'))",
            place,
        )
        browser.draw_all()
        browser.run("all('details').forEach((d) => { d.open = true }); document.querySelector('#table td').focus()")
    assert browser.run("return window.hit === undefined")
    assert browser.run("return all('img, iframe, object, embed').length") == 0
    assert browser.run("return all('script').length") == 4
    assert "window.hit" in browser.run("return document.body.innerText")
    assert browser.errors() == []


def test_300_runs_are_shown(driver: Any, many_runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_page(load_runs([many_runs])), encoding="utf-8")
    browser = ReportBrowser(driver)
    browser.open(file)
    assert browser.run("return document.getElementById('shown').value") == "310 of 310 rows"
    browser.draw_all()
    assert browser.errors() == []
