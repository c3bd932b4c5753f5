"""The commands and the Python of each page do what they say, one after another, in a folder with what they name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation.blocks import PAGES, ROOT, blocks, exit_code, reason_not_to_run, smaller
from tests.documentation.place import furnish


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, tmp_path: Path) -> None:
    furnish(tmp_path, [command for block in blocks(page) for command in block.commands()])
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        # Packages that a page installs, then the checkout with `tests`, then modules of the page.
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path / "site", ROOT, tmp_path))),
        "INSTALLED": str(tmp_path / "site"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    for block in blocks(page):
        steps = [(f"{block.page}:{block.line}", [sys.executable, "-c", block.text], 0)]
        if block.language != "python":
            run = [command for command in block.commands() if reason_not_to_run(command) is None]
            steps = [(command, ["bash", "-c", smaller(command)], exit_code(command)) for command in run]
        for name, arguments, code in steps:
            done = subprocess.run(  # noqa: S603
                arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == code, f"{name}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
