"""Layers that carry latent variables: ranges, their scaling to a depth, and ranges that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.harness.plan import run_spec
from bench.interface import System
from bench.labels import configure
from bench.scales import load_scale
from della.model import Della, DellaConfig


@pytest.mark.parametrize(
    ("layers", "depth", "expected"),
    [
        ("all", 3, (0, 1, 2)),
        ("1-3", 3, (0, 1, 2)),
        ("2", 3, (1,)),
        (3, 3, (2,)),
        ("4-9", 12, (3, 4, 5, 6, 7, 8)),
        ("4-9/12", 12, (3, 4, 5, 6, 7, 8)),
        ("4-9/12", 24, tuple(range(6, 18))),
        ("4-9/12", 4, (1, 2)),
        ("7-12/12", 2, (1,)),
    ],
)
def test_ranges(layers: str | int, depth: int, expected: tuple[int, ...]) -> None:
    assert DellaConfig(layers=layers).latent_layers(depth) == expected


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 3, 4, 6, 12, 24]))
def test_a_scaled_range_covers_the_same_fraction_of_any_depth(first: int, last: int, depth: int) -> None:
    """Layer i of twelve covers the interval from (i - 1) / 12 to i / 12; ranges that cut a layer in two are errors."""
    assume(first <= last)
    config = DellaConfig(layers=f"{first}-{last}/12")
    bounds = [(first - 1) * depth / 12, last * depth / 12]
    if any(bound % 1 for bound in bounds):
        with pytest.raises(BenchError):
            config.latent_layers(depth)
    else:
        found = config.latent_layers(depth)
        assert [found[0], found[-1] + 1] == bounds
        assert len(found) == bounds[1] - bounds[0]


@pytest.mark.parametrize("layers", ["", "4-", "-9", "a", "4-9/", "0.5-1", "4--9"])
def test_error_for_no_range(layers: str) -> None:
    with pytest.raises(BenchError, match="write all, 4, 4-9 or 4-9/12"):
        configure(DellaConfig, "della", {"layers": layers})


@pytest.mark.parametrize("layers", [0, "0-1", "9-4", "4-13/12"])
def test_error_for_impossible_layers(layers: str | int) -> None:
    with pytest.raises(BenchError, match="no backbone has such layers"):
        configure(DellaConfig, "della", {"layers": layers})


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ("4-9", "there are no latent layers 4-9 in 2 layers."),
        ("4-9/12", "latent layers 4-9/12 are no whole layers of a backbone of 2."),
    ],
)
def test_layers_that_do_not_fit_are_a_footnote(layers: str, reason: str, make_system: Callable[..., System]) -> None:
    spec = run_spec(f"della:layers={layers}", "snli", 0, "smoke", load_scale("smoke"), "grammar")
    assert Della.supports(spec) == reason
    pretrained = spec.model_copy(update={"backbone": spec.backbone.model_copy(update={"source": "folder"})})
    assert Della.supports(pretrained) is None
    with pytest.raises(BenchError, match=reason):
        make_system("della", depth=2, layers=layers)


def test_layers_that_fit_are_supported() -> None:
    for label in ("della", "della-2022", "della:layers=1-6/12", "della-lw:layers=2"):
        spec = run_spec(label, "snli", 0, "smoke", load_scale("smoke"), "grammar")
        assert Della.supports(spec) is None
