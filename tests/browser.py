"""Pages in a real Chromium; tests that need one are skipped without it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"
)


def start_chromium(downloads: Path | None = None) -> Any:
    """Starts Chromium without a window; what pages offer to download goes into the folder."""
    webdriver: Any = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


class Browser:
    """A page in Chromium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path) -> None:
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"const all = (s) => [...document.querySelectorAll(s)]; {script}", *arguments)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        actions = ActionChains(self.driver, duration=0)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def wait(self, condition: str | Callable[[], bool]) -> None:
        """Waits until an expression of the page, or a function, is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        is_met = condition if callable(condition) else lambda: self.run(f"return {condition}")
        WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda _: is_met())

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
