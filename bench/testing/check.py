"""What a check is: a function that looks at a subject, with a title and a hint where to look when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.testing.expect import ConformanceError
from bench.testing.subject import Subject


@dataclass(frozen=True)
class Check:
    """One promise of the contract.

    Attributes:
        examine: raises ``ConformanceError`` if a subject does not keep it.
        look: where an author should look then.
        conditional: whether it is about conditions, and asks nothing of a system without.
    """

    examine: Callable[[Subject], None]
    look: str
    conditional: bool = False

    @property
    def name(self) -> str:
        """The name of the function, with dashes."""
        return self.examine.__name__.replace("_", "-")

    @property
    def title(self) -> str:
        """The promise: the first line of the function's docstring."""
        return (self.examine.__doc__ or "").partition("\n")[0]

    def run(self, subject: Subject) -> None:
        """Examines a subject; the global random state is kept, and the number of threads.

        Raises:
            ConformanceError: it breaks the promise; says what was expected and seen, and where to look.
            NotChecked: it could not be told.
        """
        with torch.random.fork_rng(devices=[]), _one_thread():
            torch.manual_seed(0)
            try:
                self.examine(subject)
            except ConformanceError as error:
                raise ConformanceError(f"{error} {self.look}") from None

    def applies(self, subject: Subject) -> bool:
        """Returns whether the promise is one of this subject's."""
        return subject.setting.conditional or not self.conditional


def check(look: str, conditional: bool = False) -> Callable[[Callable[[Subject], None]], Check]:
    """Makes a check of a function; see ``Check``."""
    return lambda examine: Check(examine, look, conditional)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tiny models are slowed down, not sped up, by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
