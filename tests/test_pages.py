"""Commands write their part of a page and leave the others."""

from __future__ import annotations

import pytest

from tests.pages import with_part, with_rows

PAGE = "A\n<!-- table: first -->\nold\n<!-- end -->\nB\n<!-- table: second -->\nold\n<!-- end -->\nC\n"


def test_a_part_is_written_and_the_others_stay() -> None:
    written = with_part(PAGE, "second", "new\n")
    assert written == "A\n<!-- table: first -->\nold\n<!-- end -->\nB\n<!-- table: second -->\nnew\n<!-- end -->\nC\n"
    with pytest.raises(ValueError, match="no part third"):
        with_part(PAGE, "third", "")


def test_rows_that_were_not_made_again_stay_in_their_order() -> None:
    head = "| a |\n| - |\n"
    rows = {name: f"| {name} | 1 |\n" for name in ("x", "y", "z")}
    once = with_rows(PAGE, "first", head, rows, "xyz")
    again = with_rows(once, "first", head, {"z": "| z | 3 |\n", "y": "| y | 2 |\n"}, "yxz")
    assert f"{head}| y | 2 |\n| x | 1 |\n| z | 3 |\n<!-- end -->\nB\n" in again
    assert "| x |" not in with_rows(again, "first", head, {}, "yz")
