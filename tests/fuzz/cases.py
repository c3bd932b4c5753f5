"""Reads damaged inputs in a process of its own, whose time and memory are bounded."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bench.errors import BenchError
from tests.cli.cli_process import forking
from tests.fuzz.mutators import mutators_of
from tests.fuzz.readers import READERS, Reader, one_line

SECONDS = 10
"""Processor time of one case; a kernel that does not return to Python is stopped after twice as much."""

MEMORY = 2**30
"""Bytes that a case may take beyond what the process has before it: transformers keeps half a megabyte of each load."""

PATIENCE = 300
"""Seconds after which a case that uses no processor time counts as waiting for ever."""


@dataclass(frozen=True)
class Finding:
    """A case that did not end well.

    Attributes:
        reader: name of the reader.
        number: of the case, which with reader and seed draws the same input.
        how: file and mutator.
        what: how it ended.
        place: the innermost line of ours that it passed.
    """

    reader: str
    number: int
    how: str
    what: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.reader}, case {self.number} ({self.how}): {self.what}{f' at {self.place}' if self.place else ''}"


class TooSlow(BaseException):
    """The processor time of a case is used up; no handler of errors may take it for one."""


class Case:
    """A valid input with one damaged file."""

    def __init__(self, reader: Reader, valid: Path, seed: int, number: int) -> None:
        self.draw = random.Random(f"{reader.name} {seed} {number}")
        found = {path for pattern in reader.mutated for path in valid.glob(pattern) if path.is_file()}
        self.path = self.draw.choice(sorted(found)).relative_to(valid)
        self.mutator = self.draw.choice(mutators_of(self.path.name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of zipfile about two members of one name
            self.content = self.mutator((valid / self.path).read_bytes(), self.draw)
        self.how = f"{self.path}, {self.mutator.__qualname__.partition('.')[0]}"

    def write(self, valid: Path, folder: Path) -> None:
        """Writes the whole input into a new folder."""
        shutil.copytree(valid, folder)
        (folder / self.path).write_bytes(self.content)


def damaged_file(reader: str, number: int, seed: int = 0) -> tuple[Path, bytes]:
    """Returns the damaged file of a case."""
    with _valid_input(READERS[reader]) as valid:
        case = Case(READERS[reader], valid, seed, number)
        return case.path, case.content


@contextmanager
def _valid_input(reader: Reader) -> Iterator[Path]:
    """Makes a folder with the valid input of a reader."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DELLA_BENCH_FUZZ"] = scratch
        valid = Path(scratch, "valid")
        valid.mkdir()
        reader.make(valid)
        yield valid


def check(reader: str, numbers: Sequence[int], seed: int = 0) -> Iterator[Finding]:
    """Reads the cases of these numbers and yields what did not end well.

    A valid input that is refused is a finding without a number, and ends the search.
    """
    left = list(numbers)
    while left:
        ours, theirs = forking().Pipe()
        process = forking().Process(target=_read_cases, args=(reader, left, seed, theirs))
        process.start()
        theirs.close()
        current: tuple[int, str] = (-1, "valid input")
        try:
            while ours.poll(PATIENCE):
                number, said = ours.recv()
                if isinstance(said, Finding):
                    yield said
                    if number < 0:
                        return
                else:
                    current = (number, said)
            yield Finding(reader, *current, "waits for ever")
            process.kill()
        except EOFError:
            process.join()
            if process.exitcode == 0:
                return
            name = signal.Signals(-process.exitcode).name if (process.exitcode or 0) < 0 else str(process.exitcode)
            yield Finding(reader, *current, f"the process ends with {name}")
        process.join()
        if current[0] < 0:
            return
        left = left[left.index(current[0]) + 1 :]


def _read_cases(name: str, numbers: Sequence[int], seed: int, connection: Connection) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["DELLA_BENCH_CACHE"] = ""
    warnings.simplefilter("error")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    reader = READERS[name]
    signal.signal(signal.SIGPROF, _stop)
    with _valid_input(reader) as valid:
        folder = valid.with_name("case")
        shutil.copytree(valid, folder)
        if finding := _read(reader, folder, -1, "valid input"):
            connection.send((-1, finding))
            return
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
        for number in numbers:
            shutil.rmtree(folder)
            case = Case(reader, valid, seed, number)
            case.write(valid, folder)
            connection.send((number, case.how))
            _bound_memory()
            if finding := _read(reader, folder, number, case.how):
                connection.send((number, finding))
    connection.close()


def _stop(*_: object) -> None:
    raise TooSlow


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _read(reader: Reader, folder: Path, number: int, how: str) -> Finding | None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 3 * SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader.read(folder)
    except BenchError as error:
        try:
            one_line(error)
        except AssertionError as wrong:
            return Finding(reader.name, number, how, f"{wrong}: {str(error)[:200]!r}", _place(error))
        return Finding(reader.name, number, how, f"refused: {error}") if number < 0 else None
    except BaseException as error:  # noqa: BLE001
        return Finding(reader.name, number, how, f"{type(error).__name__}: {str(error)[:200]}", _place(error))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _place(error: BaseException) -> str:
    """Returns the innermost line of the suite in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        frame
        for frame in frames
        if "/tests/fuzz/cases.py" not in frame.filename and "site-packages" not in frame.filename
    ]
    ours = [frame for frame in ours if "/bench/" in frame.filename or "/della/" in frame.filename] or ours
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
