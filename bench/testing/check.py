"""A check of the contract: a function, the promise that it checks, and a hint for its failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.testing.expect import ConformanceError
from bench.testing.system_under_test import SystemUnderTest


@dataclass(frozen=True)
class Check:
    """One promise of the contract.

    Attributes:
        function: raises ``ConformanceError`` if a system breaks the promise; may return a note for the author.
        hint: where to look for the mistake.
        conditional: whether the promise is about conditional tasks only.
    """

    function: Callable[[SystemUnderTest], str | None]
    hint: str
    conditional: bool = False

    @property
    def name(self) -> str:
        """The name of the function, with dashes."""
        return self.function.__name__.replace("_", "-")

    @property
    def title(self) -> str:
        """The promise: the first line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]

    def run(self, tested: SystemUnderTest) -> str | None:
        """Checks a system; restores the global random state and the number of threads.

        Returns:
            What the author should know although the system keeps the promise, or None.

        Raises:
            ConformanceError: the system breaks the promise; says what was expected and seen, and where to look.
            Inconclusive: the check gives no answer for this system.
        """
        with torch.random.fork_rng(devices=[]), _one_thread():
            torch.manual_seed(0)
            try:
                return self.function(tested)
            except ConformanceError as error:
                raise ConformanceError(f"{error} {self.hint}") from None

    def applies(self, tested: SystemUnderTest) -> bool:
        """Returns whether the promise applies in the system's setting."""
        return tested.setting.conditional or not self.conditional


def check(hint: str, conditional: bool = False) -> Callable[[Callable[[SystemUnderTest], str | None]], Check]:
    """Turns a function into a ``Check``."""
    return lambda function: Check(function, hint, conditional)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sets one thread, since tiny models run slower on several, unless ``OMP_NUM_THREADS`` chooses a number."""
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
