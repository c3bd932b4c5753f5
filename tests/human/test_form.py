"""The form in a real Chromium: filled in with the keyboard, closed and opened again, downloaded, read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.escape import json_text
from bench.human import Study, score_sheets
from bench.human.sheets import write_study
from tests.browser import Browser, needs_browser, start_chromium
from tests.human.conftest import CRITERIA

pytestmark = needs_browser


@pytest.fixture
def browser(tmp_path: Path, folder: Path) -> Iterator[Browser]:
    (tmp_path / "downloads").mkdir()
    driver = start_chromium(tmp_path / "downloads")
    opened = Browser(driver)
    opened.open(folder / "sheets" / "rater-2.html")
    yield opened
    driver.quit()


CHECKED = "return all('input:checked').map((e) => [e.name, e.value])"


def test_a_rater_fills_it_in_with_the_keyboard_in_two_sessions(browser: Browser, folder: Path, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    sheet = folder / "sheets" / "rater-2.html"
    names = browser.run("return [...new Set(all('input').map((e) => e.name))]")
    assert len(names) == 24 * 3
    expected = [[name, str(1 + place % 5)] for place, name in enumerate(names)]

    def rate(values: list[list[str]]) -> None:
        """In a group of radio buttons, blank chooses the first and the arrow the next; tab goes to the next group."""
        for _, value in values:
            browser.press(Keys.SPACE, *[Keys.ARROW_RIGHT] * (int(value) - 1), Keys.TAB)

    browser.press(Keys.TAB)
    rate(expected[:40])
    assert browser.run(CHECKED) == expected[:40]
    assert browser.run("return document.getElementById('progress').value") == "40 of 72 ratings"
    browser.open(folder / "sheets" / "rater-1.html")
    assert browser.run(CHECKED) == []  # another rater in the same browser
    browser.open(sheet)
    assert browser.run(CHECKED) == expected[:40]
    browser.run("document.getElementById('next').focus()")
    browser.press(Keys.ENTER)
    rate(expected[40:])
    assert browser.run("return document.getElementById('progress').value") == "72 of 72 ratings"
    browser.run("document.getElementById('download').focus()")
    browser.press(Keys.ENTER)
    downloaded = tmp_path / "downloads" / "rater-2.csv"
    browser.wait(downloaded.exists)
    ratings = score_sheets([downloaded], folder / "key.json").ratings["rater-2"]
    read = {f"{name} {c}": str(r) for name, of in ratings.items() for c, r in zip(CRITERIA, of, strict=True)}
    assert read == dict(expected)
    assert browser.errors() == []


def test_the_texts_are_text(browser: Browser, study: Study) -> None:
    shown = browser.run("return all('.text').map((e) => e.innerText)")
    assert shown == [one.text for one in study.sheets["rater-2"]]
    assert browser.run("return all('.source').map((e) => e.innerText)") == [
        one.source for one in study.sheets["rater-2"] if one.source
    ]
    assert browser.run("return all('blockquote *').length") == 0


def test_damaged_answers_of_the_browser_are_ignored(browser: Browser, folder: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.press(Keys.TAB, Keys.SPACE)
    (answer,) = browser.run(CHECKED)
    for kept in ("{", "null", "[[1]]", json_text([answer, ["nothing", "3"], [answer[0], "9"]])):
        browser.run("localStorage.setItem(localStorage.key(0), arguments[0])", kept)
        browser.open(folder / "sheets" / "rater-2.html")
        assert browser.run(CHECKED) == ([answer] if answer[0] in kept else [])
        assert browser.errors() == []


def test_it_fits_a_phone(browser: Browser) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.driver.refresh()
    assert browser.run("return document.documentElement.scrollWidth") == 360


def test_an_empty_text_is_shown_as_one(study: Study, browser: Browser, tmp_path: Path) -> None:
    empty = {rater: tuple(replace(one, text="") for one in shown) for rater, shown in study.sheets.items()}
    write_study(Study(study.key, empty), tmp_path / "empty")
    browser.open(tmp_path / "empty" / "sheets" / "rater-1.html")
    assert set(browser.run("return all('.text').map((e) => e.innerText)")) == {"(an empty text)"}
