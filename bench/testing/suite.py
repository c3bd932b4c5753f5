"""The conformance suite: every check, in every setting that a system supports."""

from __future__ import annotations

import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.errors import BenchError, unknown_name
from bench.interface import System
from bench.labels import configure, parse_call
from bench.registry import load
from bench.systems import SYSTEMS
from bench.testing.check import Check
from bench.testing.checks import CHECKS
from bench.testing.expect import ConformanceError, NotChecked
from bench.testing.subject import SETTINGS, Setting, Subject

Status = Literal["ok", "FAILED", "skipped"]
Named = TypeVar("Named", Check, Setting)


@dataclass(frozen=True)
class Outcome:
    """What became of a check, or of a whole setting that the system does not support.

    Attributes:
        setting: in which the system was looked at.
        check: what was checked; None for a setting that is not supported.
        status: of the check.
        message: why it failed or was skipped.
    """

    setting: Setting
    check: Check | None
    status: Status
    message: str = ""

    def __str__(self) -> str:
        name, title = (self.check.name, self.check.title) if self.check else ("every check", "Not supported.")
        line = f"{self.status:<8}{self.setting.name:<16}{name:<28}{title}"
        return f"{line}\n{textwrap.indent(textwrap.fill(self.message, 100), ' ' * 24)}" if self.message else line


def find_system(label: str) -> tuple[type[System], dict[str, Any]]:
    """Returns the class and the options of ``system[:option=value,...]``.

    Args:
        label: begins with a registered name, or with ``module:Class`` for a system that is not registered.

    Raises:
        BenchError: no such system or option, or a class that is no system.
    """
    name, arguments = parse_call(label)
    if name in SYSTEMS.names() or ":" not in label:
        cls: object = SYSTEMS.get(name)
    else:
        module, attribute, *options = label.split(":", 2)
        name = f"{module}:{attribute}"
        cls = load("system", name, name)
        arguments = parse_call(":".join(["", *options]))[1]
    if not (isinstance(cls, type) and issubclass(cls, System)):
        raise BenchError(f"{name} is no system: expected a subclass of bench.interface.System.")
    return cls, configure(cls.Config, label, arguments).model_dump(mode="json")


def check_system(
    cls: type[System], options: Mapping[str, Any], checks: Sequence[str] = (), settings: Sequence[str] = ()
) -> Iterator[Outcome]:
    """Yields the outcome of every check in every setting, each as soon as it is known.

    Args:
        cls: the class of systems.
        options: those that differ from its defaults.
        checks: names of the only checks.
        settings: names of the only settings.

    Raises:
        BenchError: an unknown check or setting, or options that the system does not have.
    """
    chosen = _named("check", CHECKS, checks)
    for setting in _named("setting", SETTINGS, settings):
        subject = Subject(cls, options, setting)
        if (reason := subject.unsupported()) is not None:
            yield Outcome(setting, None, "skipped", reason)
            continue
        for check in chosen:
            if check.applies(subject):
                yield _outcome(check, subject)


def _named(kind: str, of: Sequence[Named], names: Sequence[str]) -> Sequence[Named]:
    found = {one.name: one for one in of}
    for name in names:
        if name not in found:
            raise unknown_name(kind, name, found)
    return [found[name] for name in names] or of


def _outcome(check: Check, subject: Subject) -> Outcome:
    try:
        check.run(subject)
    except NotChecked as reason:
        return Outcome(subject.setting, check, "skipped", str(reason))
    except ConformanceError as error:
        return Outcome(subject.setting, check, "FAILED", str(error))
    except Exception as error:  # noqa: BLE001  # a system is anybody's code; its mistakes are what is looked for
        return Outcome(subject.setting, check, "FAILED", _described(error, subject.cls))
    return Outcome(subject.setting, check, "ok")


def _described(error: Exception, cls: type[System]) -> str:
    """Returns an exception in one line, with the last place in the system's own file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    own = [frame for frame in frames if frame.filename == file]
    frame = (own or frames)[-1]
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"Raised {what} ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})."
