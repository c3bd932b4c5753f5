"""A new system to begin from: a package of one file, its test and its entry point, which passes every check."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from bench.errors import BenchError
from bench.systems import SYSTEMS

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATE = "my-vae"
"""The system that the template is, a working one; its names are replaced."""


def new_system(name: str, where: Path) -> list[Path]:
    """Writes a package for a new system into a new folder, ``where / name``.

    Args:
        name: what the system will be called.
        where: an existing folder.

    Returns:
        The files written: the system, its test, and the project file that names its entry point.

    Raises:
        BenchError: a name that is none, is taken or hides another module; or a folder that is there or cannot be made.
    """
    _check_name(name)
    folder = where / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise BenchError(f"{folder} is there already; nothing was written.") from None
    except OSError as error:
        raise BenchError(f"cannot make {folder}: {error.strerror}.") from error
    template, new = _names(TEMPLATE), _names(name)
    written = []
    for file in (f"{template[1]}.py", f"test_{template[1]}.py", "pyproject.toml"):
        content = (files("bench.testing") / "template" / file).read_text(encoding="utf-8")
        path = folder / file.replace(template[1], new[1])
        for old, replacement in zip(template, new, strict=True):
            content = content.replace(old, replacement)
        path.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        meant = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        hint = f" Did you mean {meant!r}?" if NAME.fullmatch(meant) else ""
        raise BenchError(
            f"{name!r} cannot name a system.{hint} Allowed are lower-case letters and digits, words joined by a dash, a"
            " letter first."
        )
    if name in (entries := SYSTEMS.entries()):
        raise BenchError(f"a system {name!r} exists already: {entries[name].value}.")
    module = _names(name)[1]
    if keyword.iskeyword(module) or find_spec(module) is not None:
        what = "a word of Python's" if keyword.iskeyword(module) else f"the module {module!r}"
        raise BenchError(f"a system cannot be called {name!r}: its file would hide {what}.")


def _names(name: str) -> tuple[str, str, str]:
    """Returns a system's own name, its module's and its class's."""
    words = name.split("-")
    return name, "_".join(words), "".join("VAE" if word == "vae" else word.capitalize() for word in words)
