"""The label language: what a user types is read as meant, or refused in one line."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from bench.errors import BenchError
from bench.labels import configure, parse_call, parse_label, split_labels
from bench.specs import ScoringSpec, Spec

SYSTEMS = ("lm", "embed", "della")


class Inner(Spec):
    size: int = Field(1, ge=1)


class Outer(Spec):
    inner: Inner = Inner()
    kind: str = "a"
    share: float = Field(0.5, gt=0, le=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lm", ("lm", {})),
        ("lm:", ("lm", {})),
        ("embed:latent_size=64", ("embed", {"latent_size": 64})),
        ("della:rank=4,affine=true,clamp=null", ("della", {"rank": 4, "affine": True, "clamp": None})),
        ("cyclical:4,0.5", ("cyclical", {0: 4, 1: 0.5})),
        ("cyclical:4,ratio=0.5", ("cyclical", {0: 4, "ratio": 0.5})),
        ("linear:1e3,start=1e-5,at_most=2.5E-1", ("linear", {0: 1e3, "start": 1e-5, "at_most": 0.25})),
        ('a:"1e5",e5', ("a", {0: "1e5", 1: "e5"})),
        (" a : b = c ", ("a", {"b": "c"})),
        ("a:path=b:c=d", ("a", {"path": "b:c=d"})),
    ],
)
def test_calls(text: str, expected: tuple[str, dict[str | int, Any]]) -> None:
    assert parse_call(text) == expected


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]+", fullmatch=True),
        st.integers() | st.booleans() | st.none() | st.floats(0.01, 1e6).map(lambda x: round(x, 3)),
        max_size=4,
    )
)
def test_calls_read_back(arguments: dict[str, Any]) -> None:
    text = ",".join(f"{key}={json.dumps(value)}" for key, value in arguments.items())
    assert parse_call(f"part:{text}") == ("part", arguments)


@pytest.mark.parametrize("text", ["a:,", "a:1,", "a:=1", "a:k=", "a: ", "a:k=1,,l=2"])
def test_an_empty_argument_is_an_error(text: str) -> None:
    with pytest.raises(BenchError, match=re.escape(f"{text!r}: empty argument; write name:key=value,key=value")):
        parse_call(text)


@pytest.mark.parametrize("text", ["a:[", "a:k={", "a:k=*b", "a:k=!!python/name:os.system", 'a:k="', "a:k=2024-13-45"])
def test_a_value_that_is_not_yaml_is_one_line(text: str) -> None:
    with pytest.raises(BenchError, match=re.escape(f"{text!r}: not a value: ")) as caught:
        parse_call(text)
    assert "\n" not in str(caught.value)


def test_an_argument_given_twice_is_an_error() -> None:
    with pytest.raises(BenchError, match=re.escape("'a:k=1,k=2': 'k' is given twice.")):
        parse_call("a:k=1,k=2")
    with pytest.raises(
        BenchError, match=re.escape("'a:30,n_importance_samples=2': 'n_importance_samples' is given twice.")
    ):
        configure(ScoringSpec, *called("a:30,n_importance_samples=2"))


def called(text: str) -> tuple[str, dict[str | int, Any]]:
    return text, parse_call(text)[1]


def test_arguments_go_to_fields_by_place_and_by_name() -> None:
    made = configure(ScoringSpec, *called("a:5,1024,n_generations=3"))
    assert made == ScoringSpec(n_importance_samples=5, batch_tokens=1024, n_generations=3)


class Worded(Spec):
    size: int = 1
    sort: Literal["thick", "thin", "none"] = "thick"
    kind: Literal["thick", "wide"] = "wide"
    note: str = ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:thin", {"sort": "thin"}),
        ("a:wide,none", {"kind": "wide", "sort": "none"}),
        ("a:thin,7", {"sort": "thin", "size": 7}),  # a word takes nobody's place
        ("a:7,thin,note=thin", {"size": 7, "sort": "thin", "note": "thin"}),
        ("a:1,sort=thin,kind=wide", {"size": 1, "sort": "thin", "kind": "wide"}),
        ("a:kind=thick", {"kind": "thick"}),
    ],
)
def test_a_word_that_one_field_alone_may_have_sets_it(text: str, expected: dict[str, Any]) -> None:
    assert configure(Worded, *called(text)).model_dump(exclude_unset=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:thick", "'a:thick': write sort=thick or kind=thick."),
        ("a:tin", "'a:tin': unknown option 'tin'. Did you mean 'thin'? Allowed: thick, thin, none, wide."),
        ("a:thin,none", "'a:thin,none': 'sort' is given twice."),
        ("a:thin,sort=none", "'a:thin,sort=none': 'sort' is given twice."),
        ("a:1,2,3,4,5", "'a:1,2,3,4,5': takes at most 4 arguments (size, sort, kind, note)."),
    ],
)
def test_words_that_say_nothing_or_too_much(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
        configure(Worded, *called(text))


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("lm", ("lm", (), "")),
        ("della:rank=4,independent", ("della:rank=4,independent", (), "")),
        ("embed+cyclical:ratio=0.5+bow", ("embed", ("cyclical:ratio=0.5", "bow"), "")),
        ("embed:8+cyclical@layers=2x,heads=4", ("embed:8", ("cyclical",), "layers=2x,heads=4")),
        ("della@layers=24", ("della", (), "layers=24")),
    ],
)
def test_a_label_is_a_system_an_objective_and_a_backbone(label: str, parts: tuple[str, tuple[str, ...], str]) -> None:
    assert parse_label(label) == parts


def test_a_label_ends_in_no_empty_backbone() -> None:
    with pytest.raises(BenchError, match="nothing after @"):
        parse_label("della@")


@pytest.mark.parametrize("label", ["", "embed+", "embed++bow", "+bow", "embed+ +bow", "@layers=2x"])
def test_a_label_has_no_empty_names(label: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(repr(label))}: an empty name; write system, system\\+part or"):
        parse_label(label)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:1,2,3,4", "'a:1,2,3,4': takes at most 3 arguments (inner, kind, share)."),
        ("a:shar=1", "'a:shar=1': unknown key 'shar'. Did you mean 'share'? Allowed: inner, kind, share."),
        ("a:share=2", "'a:share=2': share: Input should be less than or equal to 1 (got 2)."),
    ],
)
def test_configure_errors_quote_what_was_typed(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
        configure(Outer, *called(text))


def test_a_component_without_options_takes_none() -> None:
    with pytest.raises(BenchError, match=re.escape("takes at most 0 arguments (none).")):
        configure(Spec, *called("lm:1"))


def test_labels_are_split_at_commas_that_do_not_belong_to_one() -> None:
    assert split_labels(" lm , embed:latent_size=8,representation=first_token+cyclical:4,ratio=0.5,della", SYSTEMS) == [
        "lm",
        "embed:latent_size=8,representation=first_token+cyclical:4,ratio=0.5",
        "della",
    ]
    assert split_labels("della:rank=4,independent,layers=2,della@layers=2x,heads=4,lm,embd,lm+bow:1", SYSTEMS) == [
        "della:rank=4,independent,layers=2",
        "della@layers=2x,heads=4",
        "lm",
        "embd",
        "lm+bow:1",
    ]
    assert split_labels("", SYSTEMS) == []
