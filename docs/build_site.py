"""Builds the documentation as a site: ``python docs/build_site.py OUT`` writes it to ``OUT/site`` (``tox -e site``).

The site has README, CONTRIBUTING, the pages of this folder, the page of results, and the report of the reference
records if ``della-bench`` is installed. Every link inside the site is followed, with its anchor; a broken one is an
error.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "results/README.md", "docs", "results/published")
RECORDS = ROOT / "results" / "reference"
REPORT = "report.html"


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects what a tag links to and its anchor."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            if name == "id" and value:
                self.anchors.add(value)


def build(out: Path) -> Path:
    """Builds the site in an empty folder and returns its folder."""
    source = out / "source"
    for name in PAGES:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    tables = sorted(RECORDS.glob("*/table.md"))
    for table in tables:
        (source / table.relative_to(ROOT)).parent.mkdir(parents=True)
        shutil.copy(table, source / table.relative_to(ROOT))
    shutil.copy(ROOT / "README.md", source / "index.md")
    for page in source.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("](../README.md", "](../index.md"), encoding="utf-8")
    settings = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    if program := shutil.which("della-bench"):
        folders = [table.parent for table in tables]
        subprocess.run([program, "report", *folders, "--out", source / REPORT], check=True)  # noqa: S603
    else:
        settings = "".join(line for line in settings.splitlines(keepends=True) if REPORT not in line)
    (out / "zensical.toml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(out / "zensical.toml")]
    subprocess.run(command, check=True)  # noqa: S603
    return out / "site"


def broken_links(site: Path) -> Iterator[str]:
    """Yields the links of each page, except of the report, whose file or anchor is not in the site."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html") if file.name != REPORT}
    for file, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            start = site if parts.path.startswith("/") else file.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.exists():
                yield f"{file.relative_to(site)}: {link}: no such file"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{file.relative_to(site)}: {link}: no such anchor"


def main(out: Path) -> int:
    """Builds the site; returns 1 if a link is broken."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    site = build(out.resolve())
    lines = list(broken_links(site))
    sys.stdout.write("\n".join([*lines, f"{site}: {len(lines)} broken links"]) + "\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
