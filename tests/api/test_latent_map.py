"""The map of a latent space shows the posterior means of the scored texts and their true factors."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import bench
from bench.api.latent_map import latent_map
from bench.errors import BenchError
from bench.figures.plane import Plane
from bench.records.store import load_runs
from bench.specs import TaskSpec
from bench.tasks import load_texts
from tests.api.test_commands import folder_of
from tests.fuzz.readers import command


def test_a_plane_has_the_largest_variances_of_all() -> None:
    means = np.random.default_rng(0).normal(size=(200, 5)) * [1.0, 4.0, 0.5, 2.0, 0.1]
    plane = Plane.of("", means, "topic", ["a"] * 200)
    variances = np.sort(np.linalg.eigvalsh(np.cov(means.T)))[::-1]
    np.testing.assert_allclose(np.cov(plane.points.T), np.diag(variances[:2]), atol=1e-9)
    np.testing.assert_allclose(plane.shares, variances[:2] / variances.sum())


def test_a_plane_of_one_dimension_is_a_line() -> None:
    plane = Plane.of("", np.array([[1.0], [2.0], [6.0]]), "topic", "abc")
    np.testing.assert_allclose(np.abs(plane.points), [[2, 0], [1, 0], [3, 0]], atol=1e-12)
    np.testing.assert_allclose(plane.shares, [1, 0], atol=1e-12)


def test_the_map_of_a_group(runs: Path) -> None:
    folder = folder_of(runs, "della")
    (run,) = load_runs([folder])
    texts = load_texts(TaskSpec.model_validate(run.record.spec["task"]))
    means = bench.load(folder).encode([each.target for each in texts.splits["test"]]).of_group(2).mean
    plane = latent_map(folder, "scene", layer=2)
    assert plane.title == "SNLI: della, z2"
    assert plane.values == texts.factors["test"]["scene"]
    distances = np.linalg.norm(means - means.mean(axis=0), axis=1)
    assert plane.points.shape == (len(means), 2)
    assert (np.linalg.norm(plane.points, axis=1) <= distances + 1e-6).all()


def test_the_figure_names_each_value(runs: Path, tmp_path: Path) -> None:
    folders, out = [folder_of(runs, "embed"), folder_of(runs, "della")], tmp_path / "map.svg"
    command("figure", "latent-map", *folders, "--factor", "form", "--out", out)
    content = out.read_text()
    ET.fromstring(content)  # noqa: S314  # of our own
    for value in latent_map(folders[0], "form").values:
        assert f"<!-- {value} -->" in content
    assert re.search("<!-- SNLI: embed -->", content)
    for suffix in ("png", "pdf"):
        command("figure", "latent-map", folders[0], "--factor", "form", "--out", tmp_path / f"map.{suffix}")
        assert (tmp_path / f"map.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("embed", ["--factor", "scenes"], "unknown factor of snli 'scenes'. Did you mean 'scene'"),
        ("della", ["--factor", "scene", "--layer", "9"], "the model has groups 1 to 3."),
        ("lm", ["--factor", "scene"], "lm has no latent variables."),
        ("embed", ["--factor", "scene", "--tasks", "snli"], "no --systems or --tasks."),
    ],
)
def test_mistakes(runs: Path, tmp_path: Path, label: str, options: list[str], message: str) -> None:
    with pytest.raises(BenchError) as error:
        command("figure", "latent-map", folder_of(runs, label), *options, "--out", tmp_path / "map.svg")
    assert message in str(error.value)


def test_what_has_no_map_is_named(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no record\.json in it; name the folder of one run\."):
        command("figure", "latent-map", tmp_path, "--factor", "scene", "--out", tmp_path / "map.svg")
    with pytest.raises(BenchError, match="--factor and --layer belong to latent-map"):
        command("figure", "curves", runs, "--factor", "scene", "--out", tmp_path / "map.svg")
