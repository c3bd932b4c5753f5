"""The conformance suite as tests; the only module that imports pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from bench.interface import System
from bench.testing.check import Check
from bench.testing.checks import CHECKS
from bench.testing.expect import NotChecked
from bench.testing.subject import SETTINGS, Subject
from bench.testing.suite import find_system


class SystemConformance:
    """A test for every check in every setting that a system supports.

    Subclass it under a name that begins with ``Test``, with ``system = "..."`` as its body.

    Class attributes:
        system: registered name, ``module:Class``, or the class itself.
        options: options that differ from the defaults.
    """

    system: ClassVar[str | type[System]]
    options: ClassVar[Mapping[str, Any]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Makes one test of each case."""
        if metafunc.function.__name__ == "test_conformance":
            metafunc.parametrize(("check", "subject"), conformance_cases(self.system, **self.options))

    def test_conformance(self, check: Check, subject: Subject) -> None:
        """The system keeps a promise of the contract."""
        run_case(check, subject)


def conformance_cases(system: str | type[System], **options: Any) -> list[Any]:
    """Returns every check with every setting, as parameters ``check, subject`` of a test that calls ``run_case``."""
    cls, named = find_system(system) if isinstance(system, str) else (system, {})
    name = system if isinstance(system, str) else system.__name__
    cases: list[Any] = []
    for setting in SETTINGS:
        subject = Subject(cls, {**named, **options}, setting)
        reason = subject.unsupported()
        if reason is not None:
            skip = pytest.mark.skip(reason=reason)
            cases.append(pytest.param(None, subject, marks=skip, id=f"{name}-{setting.name}"))
            continue
        cases += [
            pytest.param(check, subject, id=f"{name}-{setting.name}-{check.name}")
            for check in CHECKS
            if check.applies(subject)
        ]
    return cases


def run_case(check: Check, subject: Subject) -> None:
    """Runs a check, and skips the test if it could not be told."""
    try:
        check.run(subject)
    except NotChecked as reason:
        pytest.skip(str(reason))
