"""Checks the files of a release: ``python tests/distribution.py dist [TAG]``. Needs only Python."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

LARGEST = 2**21
"""Bytes of the largest file that is published; the records alone are 10 MB."""


def problems(folder: Path, tag: str | None = None) -> list[str]:
    """Returns what is wrong with the sdist and the wheel in ``folder``, and with the tag of the release."""
    files = sorted(folder.iterdir())
    if [file.suffix for file in files] != [".whl", ".gz"]:
        return [f"{folder} contains {[file.name for file in files]}, not one wheel and one sdist"]
    wheel, sdist = files
    found = [f"{file.name} has {size} bytes" for file in files if (size := file.stat().st_size) > LARGEST]
    in_wheel = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    version = wheel.name.split("-")[1]
    for name in ("bench/py.typed", "bench/records/published/della-2022.csv", "della/model.py", "baselines/optimus.py"):
        found += [f"{wheel.name} lacks {name}"] * (name not in in_wheel)
    for name in ("pyproject.toml", "tox.ini", "tests/conftest.py", "results/published/della-2022.csv", "CHANGELOG.md"):
        found += [f"{sdist.name} lacks {name}"] * (name not in in_sdist)
    rooms = {name.split("/")[0] for name in in_wheel}
    if odd := sorted(rooms - {"bench", "della", "baselines", f"della_bench-{version}.dist-info"}):
        found.append(f"{wheel.name} contains {odd}")
    found += [f"{sdist.name} contains {name}" for name in in_sdist if name.startswith(("results/reference", "runs/"))]
    if tag is not None and tag != f"v{version}":
        found.append(f"the tag is {tag}, the version {version}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]), *sys.argv[2:3])) or None)  # an empty text would be a failure
