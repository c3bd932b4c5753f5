from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.records.allowances import ANY, read_allowances
from bench.records.compare import RunComparison
from bench.records.comparison import OBSTACLES, ComparedSets, Comparison, Obstacle

KEY = ("ptb", "della", "smoke", 0)
OK = RunComparison(*KEY, "Rec", verdict="ok", first=1.0, second=1.0)
NAMES = {"PPL", "AU", "PPL word", "run", "tests/test_x.py::test_y"}


def incomparable(obstacle: Obstacle, metric: str = "PPL") -> Comparison:
    return RunComparison(*KEY, metric, verdict="incomparable", obstacle=obstacle)


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_an_obstacle_is_allowed_by_its_kind_and_by_no_other(obstacle: Obstacle) -> None:
    compared = ComparedSets((OK, incomparable(obstacle)), ("a remark",))
    assert compared.exit_code == 3
    for kind in (*OBSTACLES, ANY):
        for text in (kind, f"{kind}:PPL", f"{kind}:AU"):
            allowed = read_allowances([text], NAMES).apply(compared)
            covers = kind in (obstacle, ANY) and not text.endswith("AU")
            assert [c.verdict for c in allowed.comparisons] == ["ok", "allowed" if covers else "incomparable"]
            assert (allowed.exit_code, allowed.remarks) == (0 if covers else 3, ("a remark",))


def test_only_what_is_incomparable_can_be_allowed() -> None:
    worse = RunComparison(*KEY, "PPL", verdict="regression", first=1.0, second=2.0)
    assert read_allowances([ANY], NAMES).apply(ComparedSets((worse,))).exit_code == 1


def test_what_is_allowed_is_no_value_that_was_compared() -> None:
    compared = read_allowances([ANY], NAMES).apply(ComparedSets((incomparable("missing"),)))
    assert (compared.counts["allowed"], compared.nothing_judged, compared.exit_code) == (1, True, 3)


def test_several_at_commas_and_names_with_spaces_and_colons() -> None:
    allowances = read_allowances(["missing, signature:PPL word", "sizes:tests/test_x.py::test_y"], NAMES)
    assert [(item.kind, item.name) for item in allowances.items] == [
        ("missing", None),
        ("signature", "PPL word"),
        ("sizes", "tests/test_x.py::test_y"),
    ]


@pytest.mark.parametrize(
    ("texts", "missing"),
    [
        (["missing"], True),
        ([ANY], True),
        (["missing:run"], True),
        (["missing:PPL"], False),
        (["spec"], False),
        ([], False),
    ],
)
def test_missing_runs(texts: list[str], missing: bool) -> None:
    assert read_allowances(texts, NAMES).missing_runs == missing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "misssing",
            "unknown kind of --allow 'misssing'. Did you mean 'missing'? Allowed: data, incomparable, missing,",
        ),
        ("missing:PLP", "unknown name of --allow missing 'PLP'. Did you mean 'PPL'? Allowed: AU, PPL, PPL word, run,"),
        ("", "unknown kind of --allow ''."),
        ("missing,", "unknown kind of --allow ''."),
        ("missing:", "unknown name of --allow missing ''."),
    ],
)
def test_what_is_not_known_is_one_line_with_the_nearest_match(text: str, message: str) -> None:
    with pytest.raises(BenchError) as caught:
        read_allowances([text], NAMES)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
