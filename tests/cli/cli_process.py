"""The command in a process of its own, either for real or forked from one that has torch in memory already."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

# Behind the installed packages: a forked command imports this module from here, and the command itself from there.
sys.path.append(str(Path(__file__).parents[2]))

SCRIPT = str(Path(sys.executable).with_name("della-bench"))
"""The installed command, of the interpreter that runs the tests."""


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run_script(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Runs the installed command in ``folder``."""
    done = subprocess.run(  # noqa: S603
        [SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def forking() -> ForkServerContext:
    """Returns the context of a fork server that imports what the command imports; nothing else happens in it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.cli", "bench.harness.grid", "baselines.transformer_vae", "della.model"])
    return context


@dataclass(frozen=True)
class Started:
    """A command that runs; its two streams go to files in a folder."""

    process: multiprocessing.process.BaseProcess
    logs: Path

    def finish(self) -> Finished:
        self.process.join()
        assert self.process.exitcode is not None
        return Finished(self.process.exitcode, (self.logs / "out").read_text(), (self.logs / "err").read_text())


def start_forked(arguments: Sequence[str], folder: Path, logs: Path, package: Path | None = None) -> Started:
    """Starts the command in ``folder``: the same as the script without seconds of imports.

    With ``package``, a folder of other versions of our packages, these are imported again from there.
    """
    for name in ("out", "err"):
        (logs / name).touch()
    process = forking().Process(target=_command, args=(list(arguments), folder, logs / "out", logs / "err", package))
    process.start()
    return Started(process, logs)


def run_forked(arguments: Sequence[str], folder: Path, logs: Path, package: Path | None = None) -> Finished:
    """Runs the command in ``folder`` to its end, as ``start_forked`` starts it."""
    return start_forked(arguments, folder, logs, package).finish()


def _command(arguments: list[str], folder: Path, out: Path, err: Path, package: Path | None) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.chdir(folder)
    sys.argv = [SCRIPT, *arguments]
    if package is not None:
        sys.path.insert(0, str(package))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("bench", "della", "baselines")]:
            del sys.modules[name]
    importlib.import_module("bench.cli").main()
