"""Figures for papers: what they show is what the records hold; their files are what a journal accepts."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from matplotlib.colors import to_rgb

from bench.errors import BenchError
from bench.figures import FIGURES, check_figure, save_figure
from bench.figures.drawings import curves, figure_2, kl_per_layer, rate_distortion
from bench.figures.style import COLOURS, house_style, looks
from bench.records.store import load_runs
from bench.report.grids import GridRow, grids_of, rows_of
from tests.page.conftest import REFERENCE, copy_run, some_run

DRAWN = [name for name in FIGURES if name != "fig2"]


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with house_style():
        yield


def rows_at(*folders: Path) -> list[GridRow]:
    return [row for grid in grids_of(load_runs(folders)) for row in rows_of(grid) if row.runs]


@pytest.fixture(scope="module")
def study() -> list[GridRow]:
    return rows_at(REFERENCE / "collapse-study")


@pytest.fixture(scope="module")
def small() -> list[GridRow]:
    return rows_at(REFERENCE / "table8-small")


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> list[GridRow]:
    """Rows of DELLA with latent variables in some of four layers; the PPL of n layers is 10 n."""
    folder = tmp_path_factory.mktemp("layers")
    for layers, count in (("1-12/12", 4), ("4-12/12", 3), ("10-12/12", 1), ("1-9/12", 3)):

        def change(content: dict[str, Any], layers: str = layers, count: int = count) -> None:
            content["spec"]["system"]["label"] = f"della:layers={layers}"
            content["spec"]["system"]["options"]["layers"] = layers
            content["model"]["details"]["latent_groups"] = count
            next(score for score in content["metrics"] if score["name"] == "PPL")["value"] = 10.0 * count

        copy_run(some_run("table8-small/ptb.della.s"), folder, change)
    return rows_at(folder)


def test_a_curve_is_the_mean_over_the_seeds(study: list[GridRow]) -> None:
    row = next(row for row in study if row.label == "embed+cyclical")
    axes = curves([row]).axes
    assert [axis.get_ylabel() for axis in axes] == ["Rec (nats per text)", "KL (nats per text)", "β"]
    stored = [run.curve() or [] for run in row.runs]
    for axis, column in zip(axes, ("valid Rec", "valid KL", "beta"), strict=True):
        (line,) = axis.lines
        expected = [fmean(points) for points in zip(*([p[column] for p in of] for of in stored), strict=True)]
        assert line.get_ydata() == pytest.approx(expected)
        assert list(line.get_xdata()) == [point["step"] for point in stored[0]]


def test_points_of_the_plane_are_means_and_the_line_is_the_entropy(study: list[GridRow]) -> None:
    axis: Any = rate_distortion(study).axes[0]
    points = [tuple(container.lines[0].get_xydata()[0]) for container in axis.containers]
    with_kl = [row for row in study if row.values("KL")]
    assert points == [pytest.approx((fmean(row.values("KL")), fmean(row.values("Rec")))) for row in with_kl]
    (entropy,) = {value for row in study for value in row.values("ELBO floor")}
    line = next(line for line in axis.lines if line.get_color() == "black" and len(line.get_xdata()) == 2)
    assert sum(line.get_xydata()[0]) == pytest.approx(entropy)
    assert sum(line.get_xydata()[1]) == pytest.approx(entropy)


def test_real_text_has_no_entropy_line(small: list[GridRow]) -> None:
    assert not any(line.get_color() == "black" for axis in rate_distortion(small).axes for line in axis.lines)


def test_heat_maps_hold_the_scores_of_the_groups(small: list[GridRow]) -> None:
    rows = [row for row in small if row.task[0] == "ptb"]
    maps = [axis for axis in kl_per_layer(rows).axes if axis.images and axis.get_title()]
    assert [axis.get_title() for axis in maps] == ["PTB: KL (nats per text)", "PTB: active units"]
    names = [label.get_text() for label in maps[0].get_yticklabels()]
    della = next(row for row in rows if row.label == "della")
    for axis, metric in zip(maps, ("KL", "AU"), strict=True):
        shown = axis.images[0].get_array()[names.index("DELLA")]
        assert list(shown) == pytest.approx([della.values(f"{metric}[{group}]")[0] for group in range(1, 5)])


def test_figure_2_orders_runs_by_their_latent_layers(layered: list[GridRow]) -> None:
    ppl: Any = figure_2(layered).axes[0]
    lines = {container.get_label(): container.lines[0].get_xydata().tolist() for container in ppl.containers}
    assert lines == {
        "start at a layer": [[1, 10], [3, 30], [4, 40]],
        "end at a layer": [[3, 30], [4, 40]],
    }


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_files_are_vectors_with_fonts_and_the_same_each_time(
    small: list[GridRow], tmp_path: Path, name: str, suffix: str
) -> None:
    first, again = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save_figure(name, small, first)
    save_figure(name, small, again)
    content = first.read_bytes()
    assert content == again.read_bytes()
    if suffix == "pdf":
        assert content.startswith(b"%PDF")
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
    elif suffix == "svg":
        assert ET.fromstring(content).tag.endswith("svg")  # noqa: S314
    else:
        assert content.startswith(b"\x89PNG")


def test_titles_are_texts(tmp_path: Path) -> None:
    title = r"$\frac{1}{0}$ <b> & \x"

    def change(content: dict[str, Any]) -> None:
        content["spec"]["system"]["label"] = title

    copy_run(some_run("table8-small/ptb.della.s"), tmp_path, change)
    for name in DRAWN:
        save_figure(name, rows_at(tmp_path), tmp_path / "figure.svg")


def test_looks_differ_by_colour_or_mark_and_colours_by_lightness() -> None:
    names = [str(number) for number in range(77)]
    assert len({(look.color, look.marker) for look in looks(names).values()}) == 77
    assert len({(look.color, look.linestyle) for look in looks(names[:28]).values()}) == 28

    def confused(colour: str) -> tuple[float, float]:
        """What somebody without red cones sees, roughly: a mixture of red and green, and blue."""
        red, green, blue = to_rgb(colour)
        return 0.11 * red + 0.89 * green, blue

    for one, other in combinations(COLOURS, 2):
        assert max(abs(a - b) for a, b in zip(confused(one), confused(other), strict=True)) > 0.1, (one, other)


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("curve", "f.pdf", r"unknown figure 'curve'\. Did you mean 'curves'"),
        ("curves", "f.gif", r"--out f\.gif: the name of a figure ends in \.pdf, \.svg, \.png"),
        ("curves", "f", "ends in"),
    ],
)
def test_mistakes_are_named(name: str, out: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        check_figure(name, Path(out))


def test_rows_without_what_a_figure_shows_are_an_error(small: list[GridRow], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no run to draw: none has latent variables in some of its layers"):
        save_figure("fig2", small, tmp_path / "f.pdf")
    only_lm = [row for row in small if row.label == "lm"]
    with pytest.raises(BenchError, match=r"no run to draw: none has latent variables\."):
        save_figure("kl-per-layer", only_lm, tmp_path / "f.pdf")
    assert not re.search("f.pdf", str(list(tmp_path.iterdir())))
