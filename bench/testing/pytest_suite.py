"""The conformance suite as pytest tests; the only module that imports pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from bench.interface import System
from bench.testing.check import Check
from bench.testing.checks import CHECKS
from bench.testing.expect import Inconclusive
from bench.testing.suite import find_system
from bench.testing.system_under_test import SETTINGS, SystemUnderTest


class SystemConformance:
    """One test for every check in every setting that a system supports.

    Subclass it as ``class TestMine(SystemConformance): system = "..."``.

    Class attributes:
        system: registered name, ``module:Class``, or the class itself.
        options: options that differ from the defaults.
    """

    system: ClassVar[str | type[System]]
    options: ClassVar[Mapping[str, Any]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrizes ``test_conformance``."""
        if metafunc.function.__name__ == "test_conformance":
            metafunc.parametrize(("check", "tested"), conformance_cases(self.system, **self.options))

    def test_conformance(self, check: Check, tested: SystemUnderTest) -> None:
        """Runs one check."""
        run_case(check, tested)


def conformance_cases(system: str | type[System], **options: Any) -> list[Any]:
    """Returns parameters ``check, tested`` for a test that calls ``run_case``: every check in every setting."""
    cls, named = find_system(system) if isinstance(system, str) else (system, {})
    name = system if isinstance(system, str) else system.__name__
    cases: list[Any] = []
    for setting in SETTINGS:
        tested = SystemUnderTest(cls, {**named, **options}, setting)
        reason = tested.unsupported()
        if reason is not None:
            skip = pytest.mark.skip(reason=reason)
            cases.append(pytest.param(None, tested, marks=skip, id=f"{name}-{setting.name}"))
            continue
        cases += [
            pytest.param(check, tested, id=f"{name}-{setting.name}-{check.name}")
            for check in CHECKS
            if check.applies(tested)
        ]
    return cases


def run_case(check: Check, tested: SystemUnderTest) -> None:
    """Runs a check; skips the test if the check is inconclusive."""
    try:
        check.run(tested)
    except Inconclusive as reason:
        pytest.skip(str(reason))
