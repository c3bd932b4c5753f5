"""No value moves without its version, no component is without a golden value, and the command lets no move pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.harness.components import components
from bench.harness.plan import DECODINGS, run_spec
from bench.metrics.model import MODEL_METRICS
from bench.metrics.text import TEXT_METRICS
from bench.objectives import OBJECTIVES
from bench.registry import Registry
from bench.scales import Scale
from bench.systems import IMPORTERS, SYSTEMS
from bench.tasks import TASKS, load_texts
from tests.goldens.__main__ import main
from tests.goldens.golden import Golden, Kind, own_names
from tests.goldens.kinds import KINDS
from tests.goldens.plain import WORDS, tokenizer_of

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [pytest.param(kind, name, id=f"{kind.name}-{name}") for kind in KINDS for name in kind.required()],
)
def test_no_value_moves_without_its_version(kind: Kind, name: str) -> None:
    if kind.incomparable:
        pytest.skip(kind.incomparable)
    problem = kind.problem(name, kind.stored().get(name), kind.measure(name))
    assert problem is None, problem


@each_kind
def test_every_golden_value_has_its_component(kind: Kind) -> None:
    gone = kind.stored().keys() - set(kind.required())
    assert not gone, f"{kind.name}: no such components: {sorted(gone)}. Run: python -m tests.goldens"


def test_every_registry_has_its_kind() -> None:
    registries: list[Registry[Any]] = [
        *(SYSTEMS, OBJECTIVES, TASKS),
        *(MODEL_METRICS, TEXT_METRICS, DECODINGS, IMPORTERS),
    ]
    names = {kind.name: sorted(kind.names()) for kind in KINDS}
    assert {registry.kind: own_names(registry) for registry in registries}.items() <= names.items()


def test_every_version_of_a_run_has_a_golden_value() -> None:
    """Whatever the record calls them."""
    spec = run_spec("embed+bow", "snli", 0, "micro", Scale(limits={"train": 1, "valid": 1, "test": 1}), "grammar")
    versions = components(spec, load_texts(spec.task), tokenizer_of(WORDS), None)
    golden = {
        re.sub("^(model|text|step) ", "", f"{kind.name} {name}")
        for kind in KINDS
        for name in (*kind.stored(), *kind.exempt)
    }
    assert {name for name, version in versions.items() if isinstance(version, int)} <= golden


BEFORE = Golden(2, "version of Thing in things", {"kl": [1.0, 2.0], "text": "a"})
Measure = Callable[..., Kind]


@pytest.fixture
def kind_of() -> Measure:
    """Makes a kind whose only component is measured as ``golden``."""
    return lambda golden, *names: Kind("thing", lambda: names or ("x",), lambda name: golden)


def with_values(golden: Golden = BEFORE, **values: Any) -> Golden:
    return replace(golden, values={**golden.values, **values})


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            with_values(kl=[1.0, 2.0 + 1e-8]),
            r"moved at version 2: kl\[1\] was 2\.0 and is 2\.00000001; 1 of 3 values\.",
        ),
        (with_values(kl=[1.0]), r"kl\[1\] was 2\.0 and is 'gone'"),
        (with_values(kl=[1.0, 2.0, 3.0]), r"kl\[2\] was 'absent' and is 3\.0"),
        (with_values(kl=None), r"kl\[0\] was 1\.0 and is 'gone'"),
        (with_values(kl=[1.0, float("nan")]), r"kl\[1\] was 2\.0 and is nan"),
        (with_values(text="b"), r"text was 'a' and is 'b'.* Raise version of Thing in things, or change back"),
        (Golden(2, "", {"kl": [1.0, 2.0]}), r"text was 'a' and is 'gone'"),
        (replace(BEFORE, version=1), r"the version was 2 and is 1"),
        (replace(BEFORE, version=None), r"the version was 2 and is None"),
    ],
)
def test_a_move_is_told_and_written_only_with_a_reason(
    kind_of: Measure, tmp_path: Path, after: Golden, told: str
) -> None:
    kind_of(BEFORE).write(folder=tmp_path)
    kind, before = kind_of(after), (tmp_path / "thing.json").read_text()
    problem = kind.problem("x", kind.stored(tmp_path)["x"], after)
    assert problem is not None
    assert re.search(told, problem)
    assert main([], [kind], tmp_path) == problem
    assert (tmp_path / "thing.json").read_text() == before
    assert main(["--reason", "another input"], [kind], tmp_path) is None
    assert kind.stored(tmp_path)["x"].reason == "another input"


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (replace(with_values(text="b"), version=3), r"stored with version 2\. Run: python -m tests\.goldens"),
        (with_values(more=1), r"stored with fewer values\. Run: python -m tests\.goldens"),
    ],
)
def test_what_may_move_is_told_until_it_is_written(kind_of: Measure, tmp_path: Path, after: Golden, told: str) -> None:
    kind_of(BEFORE).write(folder=tmp_path)
    kind = kind_of(after)
    assert re.search(told, str(kind.problem("x", kind.stored(tmp_path)["x"], after)))
    assert kind.write(folder=tmp_path) == []
    assert kind.problem("x", kind.stored(tmp_path)["x"], after) is None


def test_rounding_is_no_move_and_leaves_the_file_as_it_is(kind_of: Measure, tmp_path: Path) -> None:
    kind_of(BEFORE).write(folder=tmp_path)
    before = (tmp_path / "thing.json").read_text()
    kind = kind_of(with_values(kl=[1.0 + 1e-13, 2.0]))
    assert kind.problem("x", kind.stored(tmp_path)["x"], kind.measure("x")) is None
    assert kind.write(folder=tmp_path) == []
    assert (tmp_path / "thing.json").read_text() == before


def test_a_new_component_needs_a_golden_value_and_one_that_is_gone_loses_its_own(
    kind_of: Measure, tmp_path: Path
) -> None:
    kind = kind_of(BEFORE, "x", "y")
    assert kind.problem("y", kind.stored(tmp_path).get("y"), BEFORE) == (
        "thing: 'y' has no golden value. Run: python -m tests.goldens"
    )
    kind.write(folder=tmp_path)
    assert kind.stored(tmp_path).keys() == {"x", "y"}
    kind_of(BEFORE, "y").write(folder=tmp_path)
    assert kind.stored(tmp_path).keys() == {"y"}


def test_a_reason_goes_with_the_next_version(kind_of: Measure, tmp_path: Path) -> None:
    kind_of(BEFORE).write(folder=tmp_path)
    kind_of(with_values(text="b")).write("another input", tmp_path)
    kind_of(with_values(text="b")).write(folder=tmp_path)
    assert kind_of(BEFORE).stored(tmp_path)["x"].reason == "another input"
    kind_of(replace(BEFORE, version=3)).write(folder=tmp_path)
    assert kind_of(BEFORE).stored(tmp_path)["x"].reason is None


def test_a_component_of_another_package_needs_no_golden_value_here(install: Callable[..., Path]) -> None:
    before = own_names(SYSTEMS)
    install("acme_vae", {"acme": "acme_vae.system:Acme"})
    assert "acme" in SYSTEMS.names()
    assert own_names(SYSTEMS) == before


def test_values_that_cannot_be_compared_here_are_not_written(kind_of: Measure, tmp_path: Path) -> None:
    kind = replace(kind_of(BEFORE), incomparable="there is no MKL")
    assert main([], [kind], tmp_path) == "thing: not written, because there is no MKL"
    assert not list(tmp_path.iterdir())
