"""The one error a user of the suite is meant to see, and the wording it shares."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(ValueError):
    """A mistake of the user's that one line explains: the thing, what is allowed, the nearest match.

    The command line prints the message and exits with code 2; a library caller gets the exception.
    """


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Returns ``" Did you mean 'x'?"`` for the nearest allowed name; nothing if none is near, or several equally."""
    by_lower_case = {one.lower(): one for one in allowed}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=2, cutoff=0.5)
    likeness = {difflib.SequenceMatcher(None, one, name.lower()).ratio() for one in close}
    return f" Did you mean {by_lower_case[close[0]]!r}?" if close and len(likeness) == len(close) else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> BenchError:
    """Returns the error for a name that is not registered, with the allowed names and the nearest one."""
    names = sorted(allowed)
    return BenchError(f"unknown {kind} {name!r}.{did_you_mean(name, names)} Allowed: {', '.join(names) or '(none)'}.")
