"""Runs every check in every setting that a system supports."""

from __future__ import annotations

import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.errors import BenchError, error_line, unknown_name
from bench.interface import System
from bench.labels import configure, parse_call
from bench.registry import load
from bench.systems import SYSTEMS
from bench.testing.check import Check
from bench.testing.checks import CHECKS
from bench.testing.expect import ConformanceError, Inconclusive
from bench.testing.system_under_test import SETTINGS, Setting, SystemUnderTest

Status = Literal["ok", "FAILED", "skipped"]
Named = TypeVar("Named", Check, Setting)


@dataclass(frozen=True)
class CheckResult:
    """The result of a check, or of a whole setting that is not supported or where the system cannot be built.

    Attributes:
        setting: the setting.
        check: the check; None for a whole setting.
        status: ``ok``, ``FAILED`` or ``skipped``.
        message: why it failed or was skipped, or a note.
        repeated: whether an earlier result failed for the same cause.
    """

    setting: Setting
    check: Check | None
    status: Status
    message: str = ""
    repeated: bool = False

    def __str__(self) -> str:
        whole = "every check", "Cannot be built." if self.status == "FAILED" else "Not supported."
        name, title = (self.check.name, self.check.title) if self.check else whole
        line = f"{self.status:<8}{self.setting.name:<16}{name:<28}{title}"
        return f"{line}\n{textwrap.indent(textwrap.fill(self.message, 100), ' ' * 24)}" if self.message else line


def find_system(label: str) -> tuple[type[System], dict[str, Any]]:
    """Returns the class and the options of ``system[:option=value,...]``.

    Args:
        label: starts with a registered name, or with ``module:Class`` for a system that is not registered.

    Raises:
        BenchError: an unknown system or option, or a class that is not a system.
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
) -> Iterator[CheckResult]:
    """Runs the checks; yields each result as soon as it is known. A cause of several failures is described once.

    Args:
        cls: the system class.
        options: options that differ from the defaults.
        checks: names of the checks to run, by default all.
        settings: names of the settings to run in, by default all.

    Raises:
        BenchError: an unknown check, setting or option.
    """
    causes: dict[str, CheckResult] = {}
    for result in _results(cls, options, checks, settings):
        first = causes.setdefault(result.message, result) if result.status == "FAILED" else result
        if first is result:
            yield result
        else:
            place = f"{first.setting.name} {first.check.name if first.check else 'every check'}"
            yield replace(result, message=f"The same cause as in {place}.", repeated=True)


def _results(
    cls: type[System], options: Mapping[str, Any], checks: Sequence[str], settings: Sequence[str]
) -> Iterator[CheckResult]:
    chosen = _select("check", CHECKS, checks)
    for setting in _select("setting", SETTINGS, settings):
        tested = SystemUnderTest(cls, options, setting)
        if (reason := tested.unsupported()) is not None:
            yield CheckResult(setting, None, "skipped", reason)
            continue
        try:
            tested.system()
        except Exception as error:  # noqa: BLE001  # third-party code may raise anything
            yield CheckResult(setting, None, "FAILED", _describe(error, cls))
            continue
        for check in chosen:
            if check.applies(tested):
                yield _run(check, tested)


def _select(kind: str, options: Sequence[Named], names: Sequence[str]) -> Sequence[Named]:
    by_name = {option.name: option for option in options}
    for name in names:
        if name not in by_name:
            raise unknown_name(kind, name, by_name)
    return [by_name[name] for name in names] or options


def _run(check: Check, tested: SystemUnderTest) -> CheckResult:
    try:
        note = check.run(tested)
    except Inconclusive as reason:
        return CheckResult(tested.setting, check, "skipped", str(reason))
    except ConformanceError as error:
        return CheckResult(tested.setting, check, "FAILED", str(error))
    except Exception as error:  # noqa: BLE001  # third-party code may raise anything
        return CheckResult(tested.setting, check, "FAILED", _describe(error, tested.cls))
    return CheckResult(tested.setting, check, "ok", note or "")


def _describe(error: Exception, cls: type[System]) -> str:
    """Describes an exception in one line, with the last line of the system's own file in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    own = [frame for frame in frames if frame.filename == file]
    frame = (own or frames)[-1]
    what = error_line(error)
    raised = f"Raised {what} ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})."
    return " ".join([raised, *getattr(error, "__notes__", ())])
