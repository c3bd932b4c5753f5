"""Charts as SVG: well-formed, to scale, and without what an axis cannot show."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bench.testing.chart import Axis, Panel, Series, draw_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series: Series, x: Axis | None = None, y: Axis | None = None, title: str = "t") -> ElementTree.Element:
    return ElementTree.fromstring(draw_svg([Panel(title, x or Axis("x"), y or Axis("y"), series)]))  # noqa: S314


def dots(root: ElementTree.Element) -> list[tuple[float, float]]:
    """The centres of the points, the one of each legend left out."""
    found = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    return [place for place in found if place[1] < 280]


def test_linear_axes_are_to_scale() -> None:
    (x0, y0), (x1, y1), (x2, y2) = dots(drawn(Series("a", [0.0, 1.0, 4.0], [2.0, 3.0, 6.0])))
    assert (x2 - x0) / (x1 - x0) == pytest.approx(4.0, rel=0.01)  # places are rounded to a tenth of a pixel
    assert (y2 - y0) / (y1 - y0) == pytest.approx(4.0, rel=0.01)
    assert y2 < y1 < y0  # upwards


def test_logarithmic_axes_are_to_scale_and_show_nothing_that_is_not_positive() -> None:
    series = Series("a", [1.0, 10.0, 100.0, 1000.0], [1.0, 0.1, -1.0, 0.001])
    root = drawn(series, x=Axis("x", log=True), y=Axis("y", log=True))
    (x0, y0), (x1, y1), (x3, y3) = dots(root)
    assert x3 - x0 == pytest.approx(3 * (x1 - x0), rel=0.01)
    assert y3 - y0 == pytest.approx(3 * (y1 - y0), rel=0.01)
    lines = [line.attrib["points"].split() for line in root.iter(f"{SVG}polyline")]
    assert [len(line) for line in lines] == [2, 1]  # broken where a point is missing
    ticks = {text.text for text in root.iter(f"{SVG}text")}
    assert {"1", "10", "100", "1000", "0.1", "0.01", "0.001"} <= ticks


def test_ends_of_an_axis_hide_what_is_beyond() -> None:
    series = Series("a", [1.0, 2.0, 3.0], [1.0, 5.0, 9.0])
    assert len(dots(drawn(series, y=Axis("y", low=0.0, high=6.0)))) == 2


def test_error_bars_reach_as_far_as_the_spread_and_no_further_than_the_panel() -> None:
    root = drawn(Series("a", [1.0, 2.0, 3.0], [1.0, 5.0, 9.0], [0.0, 2.0, 50.0]))
    (_, y0), (x1, y1), (x2, _) = dots(root)
    bars = {
        x: sorted((float(b.attrib["y1"]), float(b.attrib["y2"])))
        for b in root.iter(f"{SVG}line")
        if (x := float(b.attrib["x1"])) == float(b.attrib["x2"]) and x in (x1, x2) and b.attrib["stroke"] == "#0072B2"
    }
    per_unit = (y0 - y1) / 4
    assert bars[x1] == pytest.approx([y1 - 2 * per_unit, y1 + 2 * per_unit], abs=0.2)
    assert bars[x2][0] >= 34
    assert bars[x2][1] <= 280


@pytest.mark.parametrize(("mark", "lines", "points"), [("line", 1, 3), ("dashed", 1, 0), ("points", 0, 3)])
def test_marks(mark: str, lines: int, points: int) -> None:
    root = drawn(Series("a", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], mark=mark))  # type: ignore[arg-type]
    found = list(root.iter(f"{SVG}polyline"))
    assert (len(found), len(dots(root))) == (lines, points)
    assert all(("stroke-dasharray" in line.attrib) == (mark == "dashed") for line in found)


def test_labels_are_text_whatever_they_contain() -> None:
    root = drawn(Series("a < b & c", [1.0], [1.0]), x=Axis("<x>"), y=Axis("&"), title='"T"')
    assert {"a < b & c", "<x>", "&", '"T"'} <= {text.text for text in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
def test_a_single_value_has_a_place(value: float) -> None:
    assert len(dots(drawn(Series("a", [value], [value])))) == 1


def test_panels_stand_in_rows() -> None:
    panel = Panel("t", Axis("x"), Axis("y"), [Series("a", [1.0], [1.0])])
    sizes = {}
    for count in (1, 2, 3, 4):
        root = ElementTree.fromstring(draw_svg([panel] * count))  # noqa: S314
        sizes[count] = (int(root.attrib["width"]), int(root.attrib["height"]))
        assert len(list(root.iter(f"{SVG}g"))) == count
    assert sizes[2] == (2 * sizes[1][0], sizes[1][1])
    assert sizes[3] == sizes[4] == (sizes[2][0], 2 * sizes[1][1])


def test_the_same_numbers_give_the_same_bytes() -> None:
    panel = Panel("t", Axis("x"), Axis("y"), [Series("a", [1.0, 2.0], [0.1, 1 / 3], [0.1, 0.2])])
    assert draw_svg([panel]) == draw_svg([panel])
