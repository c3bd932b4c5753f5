"""The error that users of the suite see, and its wording."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from bench.escape import line

LONGEST_MESSAGE = 2000


class BenchError(ValueError):
    """A mistake of the user, explained in one line: its name, the allowed values, the nearest match.

    The command line prints the message and exits with code 2; a library caller gets the exception. The message may
    quote what a file contains: the middle of a long one is left out, and line ends and whatever else controls a
    terminal are escapes.
    """

    def __init__(self, message: object) -> None:
        text = line(str(message))
        half = LONGEST_MESSAGE // 2
        super().__init__(text if len(text) <= LONGEST_MESSAGE else f"{text[:half]}…{text[-half:]}")


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its class if the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def reason_of(error: BaseException) -> str:
    """Returns an error of other code in one line, with its class unless that is one of a failed import."""
    message = " ".join(str(error).split())
    known = isinstance(error, ImportError | AttributeError | BenchError) and message
    return message if known else f"{type(error).__name__}: {message}".removesuffix(": ")


def error_line(error: BaseException) -> str:
    """Returns class and message of an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Returns ``" Did you mean 'x'?"`` for the nearest allowed name; nothing if none, or more than one, is nearest."""
    by_lower_case = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=2, cutoff=0.5)
    ratios = {difflib.SequenceMatcher(None, candidate, name.lower()).ratio() for candidate in close}
    return f" Did you mean {by_lower_case[close[0]]!r}?" if close and len(ratios) == len(close) else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> BenchError:
    """Returns the error for a name that is not registered, with the allowed names and the nearest match."""
    names = sorted(allowed)
    return BenchError(f"unknown {kind} {name!r}.{did_you_mean(name, names)} Allowed: {', '.join(names) or '(none)'}.")
