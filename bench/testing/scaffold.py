"""``della-bench new system``: writes a package with a small VAE that passes every check."""

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
"""The name of the system in the template."""


def new_system(name: str, where: Path) -> list[Path]:
    """Writes a package for a new system into the new folder ``where / name``.

    Args:
        name: the name of the system.
        where: an existing folder.

    Returns:
        The files: the system, its test, and the project file with the entry point.

    Raises:
        BenchError: an invalid or existing name, one that hides a module, or a folder that exists or cannot be created.
    """
    _check_name(name)
    folder = where / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise BenchError(f"{folder} exists already; nothing was written.") from None
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
            f"{name!r} is not a valid name of a system.{hint} Expected lower-case words joined by dashes, of letters"
            " and digits, a letter first."
        )
    if name in (entries := SYSTEMS.entries()):
        raise BenchError(f"a system {name!r} exists already: {entries[name].value}.")
    module = _names(name)[1]
    if keyword.iskeyword(module) or find_spec(module) is not None:
        what = "a Python keyword" if keyword.iskeyword(module) else f"the module {module!r}"
        raise BenchError(f"{name!r} is not a valid name of a system: its file would hide {what}.")


def _names(name: str) -> tuple[str, str, str]:
    """Returns the names of the system, its module and its class."""
    words = name.split("-")
    return name, "_".join(words), "".join("VAE" if word == "vae" else word.capitalize() for word in words)
