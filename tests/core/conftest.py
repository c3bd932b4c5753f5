from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a package as pip leaves it: modules, and a dist-info folder with entry points."""

    def install(package: str, entries: dict[str, str], group: str = "della_bench.systems", **modules: str) -> Path:
        folder = tmp_path / f"site-{package}"
        (folder / package).mkdir(parents=True)
        for module, source in {"__init__": "", **modules}.items():
            (folder / package / f"{module}.py").write_text(source, encoding="utf-8")
        metadata = folder / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    yield install
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]
