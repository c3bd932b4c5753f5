"""The conformance suite: checks of everything that the harness expects of a system, on tiny models.

``della-bench check SYSTEM`` runs it on the command line, ``SystemConformance`` as tests of a third-party package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.testing.pytest_suite import SystemConformance, conformance_cases, run_case
    from bench.testing.suite import CheckResult, check_system, find_system

_MODULES = {
    "CheckResult": "suite",
    "SystemConformance": "pytest_suite",
    "check_system": "suite",
    "conformance_cases": "pytest_suite",
    "find_system": "suite",
    "run_case": "pytest_suite",
}

__all__ = ["CheckResult", "SystemConformance", "check_system", "conformance_cases", "find_system", "run_case"]


def __getattr__(name: str) -> object:
    """Imports a name on first use: the command line runs without pytest."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
