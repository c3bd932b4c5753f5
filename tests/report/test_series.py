"""What figures draw, read from records."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.metric import Score
from bench.records.schema import ModelFacts, Record
from bench.records.store import CURVE, StoredRun
from bench.report.series import LatentGroup, known_entropy, latent_groups, latent_layers, learning_curve

MakeRun = Callable[..., Record]
MakeScore = Callable[..., Score]


def with_curve(record: Record, folder: Path, rows: list[Any]) -> StoredRun:
    (folder / CURVE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return StoredRun(record.model_copy(update={"files": {}}), folder / "record.json")


def model(groups: int, dimensions: int) -> ModelFacts:
    return ModelFacts(parameters=1, details={"latent_groups": groups, "latent_dimensions": dimensions})


def test_a_curve_has_validated_values_and_gaps_where_there_are_none(make_run: MakeRun, tmp_path: Path) -> None:
    rows = [
        {"step": 10, "beta": 0.5, "train rec": 9.0, "valid Rec": 8.0, "train kl": 1.0},
        {"step": 20, "beta": 1.0, "train rec": 7.0, "train kl": 2.0},
        "no row",
        {"beta": 1.0},
    ]
    curve = learning_curve(with_curve(make_run("della"), tmp_path, rows))
    assert curve is not None
    assert curve.steps == (10.0, 20.0)
    assert curve.values["Rec"][0] == 8.0
    assert math.isnan(curve.values["Rec"][1])
    assert curve.values["KL"] == (1.0, 2.0)
    assert curve.values["β"] == (0.5, 1.0)


@pytest.mark.parametrize(("n", "most"), [(100, 7), (100, 100), (101, 100), (5, 80)])
def test_a_thinned_curve_keeps_its_last_point(make_run: MakeRun, tmp_path: Path, n: int, most: int) -> None:
    run = with_curve(make_run("della"), tmp_path, [{"step": step, "beta": 1.0} for step in range(1, n + 1)])
    curve = learning_curve(run, most)
    assert curve is not None
    assert curve.steps[-1] == n
    assert len(curve.steps) <= most
    assert len(curve.steps) == n or n > most


def test_groups_are_those_of_the_scores(make_run: MakeRun, make_score: MakeScore) -> None:
    scores = [make_score(name, value) for name, value in (("KL[1]", 2.0), ("KL[10]", 3.0), ("AU[1]", 4.0), ("KL", 5.0))]
    run = make_run("della", scores=scores, model=model(2, 64))
    assert latent_groups(run) == [LatentGroup(1, 2.0, 4.0, 32.0), LatentGroup(10, 3.0, None, 32.0)]


def test_a_single_group_has_the_total(make_run: MakeRun, make_score: MakeScore) -> None:
    scores = [make_score("KL", 5.0), make_score("AU", 6.0)]
    assert latent_groups(make_run("embed", scores=scores, model=model(1, 32))) == [LatentGroup(1, 5.0, 6.0, 32.0)]
    assert latent_groups(make_run("lm", model=model(0, 0))) == []


@pytest.mark.parametrize(
    ("layers", "count", "series"),
    [
        ("all", 4, "all layers"),
        ("4-12/12", 3, "start at a layer"),
        ("1-6/12", 2, "end at a layer"),
        ("1-12/12", 4, "all layers"),
        ("2-3", 2, "both"),
        ("2-4", 3, "start at a layer"),
    ],
)
def test_latent_layers_of_an_option(make_run: MakeRun, layers: str, count: int, series: str) -> None:
    run = make_run("della", model=model(count, 32 * count))
    system: dict[str, Any] = {"label": "della", "options": {"layers": layers}}
    spec: dict[str, Any] = {**run.spec, "system": system, "backbone": {"layers": 4}}
    found = latent_layers(run.model_copy(update={"spec": spec}))
    assert found is not None
    assert (found.count, found.series) == (count, series)


def test_systems_without_the_option_have_no_latent_layers(make_run: MakeRun) -> None:
    assert latent_layers(make_run("embed", model=model(1, 32))) is None


def test_the_entropy_is_that_of_the_first_run_that_has_it(make_run: MakeRun, make_score: MakeScore) -> None:
    runs = [make_run("lm"), make_run("della", scores=[make_score("ELBO floor", 17.0)])]
    score = known_entropy(runs)
    assert score is not None
    assert score.value == 17.0
    assert known_entropy(runs[:1]) is None
