"""The builder of the site finds links that lead nowhere; `tox -e lint` builds the site and follows all of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_site", Path(__file__).parents[2] / "docs" / "build_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_that_lead_nowhere_are_found(builder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "index.html").write_text(
        '<h2 id="here">a</h2><a href="../">up</a><a href="#here">ok</a><a href="/one/#here">ok</a>'
        '<a href="#gone">x</a><a href="../two/">x</a><img src="../a%20b.png"><a href="https://example.org/none">ok</a>'
    )
    (tmp_path / "index.html").write_text('<a href="one/#here">ok</a><a href="one/#gone">x</a>')
    (tmp_path / "a b.png").touch()
    assert sorted(builder.broken_links(tmp_path)) == [
        "index.html: one/#gone: no such anchor",
        "one/index.html: #gone: no such anchor",
        "one/index.html: ../two/: no such file",
    ]


def test_every_page_of_the_documentation_is_in_the_navigation(builder: ModuleType) -> None:
    settings = (builder.ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    for page in (builder.ROOT / "docs").glob("*.md"):
        assert f'"docs/{page.name}"' in settings, page.name
