"""Parts of the pages in docs that commands write: they stand between ``<!-- table: NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def with_part(page: str, name: str, text: str) -> str:
    """Returns the page with another text in a part.

    Raises:
        ValueError: the page lacks the part.
    """
    before, begin, rest = page.partition(f"<!-- table: {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not end:
        raise ValueError(f"the page has no part {name}")
    return f"{before}{begin}{text}{end}{after}"


def with_rows(page: str, name: str, head: str, rows: Mapping[str, str], order: Iterable[str]) -> str:
    """Returns the page with some rows of a table in another form; the others stay.

    Args:
        page: the page.
        name: of the part that is the table.
        head: the first two lines of the table.
        rows: first cell to row, each with its line end.
        order: the first cells of all rows; a row that is not among them is dropped.
    """
    stored = page.partition(f"<!-- table: {name} -->\n")[2].partition("<!-- end -->")[0]
    known = {line.split(" | ")[0].removeprefix("| "): line for line in stored.splitlines(keepends=True)} | dict(rows)
    return with_part(page, name, head + "".join(known[first] for first in order if first in known))
