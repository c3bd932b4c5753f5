"""Copies modules and metadata of a package to where Python finds them, ``$INSTALLED``, as pip would.

python -m tests.documentation.installed FOLDER
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path


def install(package: Path, site: Path) -> None:
    """Copies the modules of a package, and writes its entry points."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (metadata / "entry_points.txt").write_text("".join(groups))
    for module in package.glob("*.py"):
        shutil.copy(module, site)


if __name__ == "__main__":
    install(Path(sys.argv[1]), Path(os.environ["INSTALLED"]))
