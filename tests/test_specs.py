"""Specs: one canonical text, one identity, and errors that name the key."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from bench.errors import BenchError
from bench.identity import canonical_json, digest
from bench.labels import configure, parse_call, parse_label
from bench.reading import parse_as
from bench.specs import (
    EncoderSpec,
    ObjectiveSpec,
    PartSpec,
    RunSpec,
    ScoringSpec,
    Spec,
    SystemSpec,
    TaskSpec,
)

RUN = RunSpec(
    system=SystemSpec(name="embed", options={"latent_size": 32, "representation": "first_token"}, label="embed"),
    objective=ObjectiveSpec(parts=(PartSpec(name="cyclical", options={"cycles": 4, "ratio": 0.5}),)),
    task=TaskSpec(name="snli", limits={"train": 2000, "valid": 100}),
    scale="smoke",
)
COMPONENTS = {"system embed": 1, "train": 1, "tokenizer": "5eb63bbb"}
DATA = "ab" * 32
SAME = RUN.run_id(COMPONENTS, DATA)

# Every field of a run with another value than RUN's. A field that is missing here fails the test below it.
OTHERS: dict[str, Any] = {
    "system.name": "memory",
    "system.options.latent_size": 64,
    "system.options.representation": "attention_pool",
    "system.label": "embed:latent_size=32",
    "objective.parts": [],
    "task.name": "ptb",
    "task.source": "files",
    "task.limits.train": 2001,
    "task.limits.valid": 101,
    "task.max_tokens": 128,
    "task.max_source_tokens": 128,
    "task.conditional": True,
    "scale": "small",
    "tokenizer.kind": "folder",
    "tokenizer.vocabulary_size": 4096,
    "tokenizer.path": "/elsewhere/tokenizer",
    "backbone.kind": "encoder-decoder",
    "backbone.source": "folder",
    "backbone.layers": 3,
    "backbone.width": 32,
    "backbone.heads": 4,
    "backbone.positions": 512,
    "backbone.dropout": 0.0,
    "backbone.path": "/elsewhere/model",
    "backbone.name": "gpt2",
    "backbone.revision": "607a30d",
    "training.epochs": 5,
    "training.batch_tokens": 2048,
    "training.learning_rate": 2e-3,
    "training.weight_decay": 0.0,
    "training.warmup": 0.0,
    "training.clip_norm": 0.5,
    "training.precision": "fp32",
    "training.activation_checkpointing": True,
    "training.checkpoint_seconds": 1.0,
    "scoring.n_importance_samples": 31,
    "scoring.batch_tokens": 4096,
    "scoring.bootstrap_samples": 0,
    "scoring.n_generations": 0,
    "decoding.strategy": "greedy",
    "decoding.temperature": 0.9,
    "decoding.top_k": 50,
    "decoding.top_p": 0.9,
    "decoding.beams": 5,
    "decoding.samples_per_source": 2,
    "decoding.max_tokens": 64,
    "decoding.min_tokens": 1,
    "decoding.repetition_penalty": 1.2,
    "seed": 1,
}
NO_IDENTITY = {
    "tokenizer.path",
    "backbone.path",
    "training.activation_checkpointing",
    "training.checkpoint_seconds",
    "scoring.batch_tokens",
}

# A run of a system with an encoder of its own.
ENCODING = RUN.model_copy(update={"encoder": EncoderSpec()})
OTHER_ENCODERS: dict[str, Any] = {
    "encoder.source": "folder",
    "encoder.layers": 3,
    "encoder.width": 32,
    "encoder.heads": 4,
    "encoder.positions": 512,
    "encoder.dropout": 0.0,
    "encoder.path": "/elsewhere/encoder",
    "encoder.name": "bert-base-cased",
    "encoder.revision": "cd5ef92",
    "encoder.vocabulary_size": 4096,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def leaves(value: Mapping[str, Any], prefix: str = "") -> set[str]:
    """Dotted paths of everything in a dumped spec that is not itself a mapping."""
    return {
        path
        for key, inner in value.items()
        for path in (leaves(inner, f"{prefix}{key}.") if isinstance(inner, dict) and inner else [f"{prefix}{key}"])
    }


def changed(path: str, value: Any, run: RunSpec = RUN) -> RunSpec:
    data = run.model_dump(mode="json")
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    assert place.get(last) != value
    place[last] = value
    return parse_as(RunSpec, data, "test")


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in random.Random(0).sample(list(value), len(value))}
    return [shuffled(one) for one in value] if isinstance(value, list) else value


@given(json_values)
def test_canonical_json_reads_back_and_forgets_the_order_of_keys(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(shuffled(value)) == text
    assert digest(shuffled(value)) == digest(value)


def test_canonical_json_is_compact_sorted_and_unescaped() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"z": "é", "y": True}}) == (
        '{"a":{"y":true,"z":"é"},"b":[1,2.5,null]}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_canonical_json_has_no_word_for_nan(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_run_id_holds_on_every_machine() -> None:
    """Moves only when the spec gains or loses a field; then no record that exists is found again."""
    assert SAME == "acb31ad2985d"


def test_run_id_forgets_the_order_of_keys() -> None:
    again = parse_as(RunSpec, shuffled(RUN.model_dump(mode="json")), "test")
    assert again.run_id(dict(reversed(COMPONENTS.items())), DATA) == SAME


def test_run_id_of_a_stored_spec_is_that_of_the_spec() -> None:
    assert RunSpec.model_validate_json(RUN.model_dump_json()).run_id(COMPONENTS, DATA) == SAME


def test_every_field_of_a_run_is_tried() -> None:
    assert leaves(RUN.model_dump(mode="json")) == set(OTHERS)


@pytest.mark.parametrize("path", sorted(OTHERS.keys() - NO_IDENTITY))
def test_every_other_value_is_another_run(path: str) -> None:
    assert changed(path, OTHERS[path]).run_id(COMPONENTS, DATA) != SAME


@pytest.mark.parametrize("path", sorted(NO_IDENTITY))
def test_places_pauses_and_portions_are_no_part_of_a_run(path: str) -> None:
    assert changed(path, OTHERS[path]).run_id(COMPONENTS, DATA) == SAME


@pytest.mark.parametrize(("path", "value"), [("training.micro_batch_tokens", 512), ("training.compile", True)])
def test_what_training_is_rarely_told_is_part_of_a_run_that_is_told(path: str, value: Any) -> None:
    """Others say nothing of it: their specs and identities are what they were before."""
    assert path not in leaves(RUN.model_dump(mode="json"))
    told = changed(path, value)
    assert path in leaves(told.model_dump(mode="json"))
    assert told.run_id(COMPONENTS, DATA) != SAME
    assert RunSpec.model_validate_json(told.model_dump_json()) == told


def test_an_encoder_is_part_of_a_run_that_has_one() -> None:
    """Others say nothing of it: their specs and identities are what they were before there were encoders."""
    assert "encoder" not in RUN.model_dump(mode="json")
    assert RunSpec.model_validate_json(ENCODING.model_dump_json()) == ENCODING
    every = leaves(ENCODING.model_dump(mode="json")) - leaves(RUN.model_dump(mode="json"))
    assert every == {*OTHER_ENCODERS, "encoder.kind"}  # there is one kind
    same = ENCODING.run_id(COMPONENTS, DATA)
    assert same != SAME
    for path, value in OTHER_ENCODERS.items():
        other = changed(path, value, ENCODING).run_id(COMPONENTS, DATA)
        assert (other == same) == (path == "encoder.path"), path


@pytest.mark.parametrize(
    "components",
    [{**COMPONENTS, "train": 2}, {**COMPONENTS, "tokenizer": "5eb63bbc"}, {**COMPONENTS, "new": 1}, {}],
)
def test_other_components_are_another_run(components: dict[str, int | str]) -> None:
    assert RUN.run_id(components, DATA) != SAME


def test_other_texts_are_another_run() -> None:
    assert RUN.run_id(COMPONENTS, "ba" * 32) != SAME


def test_options_are_part_of_a_run_at_any_depth() -> None:
    part = RUN.objective.parts[0]
    other = RUN.model_copy(
        update={"objective": ObjectiveSpec(parts=(part.model_copy(update={"options": {"cycles": 4, "ratio": 0.25}}),))}
    )
    assert other.run_id(COMPONENTS, DATA) != SAME


@pytest.mark.parametrize("part", ["system", "objective", "task", "tokenizer", "backbone", "training", "scoring"])
def test_specs_are_frozen(part: str) -> None:
    spec = getattr(RUN, part)
    name = next(iter(type(spec).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec, name, getattr(spec, name))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(RUN, part, spec)


def test_defaults_are_not_shared() -> None:
    first, second = (SystemSpec(name="lm", label="lm") for _ in range(2))
    first.options["latent_size"] = 1
    assert second.options == {}


def test_the_scoring_of_a_trained_model_is_another_run_than_its_training() -> None:
    scored = RUN.model_copy(update={"training": None})
    assert scored.run_id(COMPONENTS, DATA) != SAME
    assert RunSpec.model_validate_json(scored.model_dump_json()) == scored


def test_title() -> None:
    assert RUN.title == "snli embed seed 0"


class Inner(Spec):
    size: int = Field(1, ge=1)


class Outer(Spec):
    inner: Inner = Inner()
    kind: str = "a"
    share: float = Field(0.5, gt=0, le=1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kinds": 1}, "here: unknown key 'kinds'. Did you mean 'kind'? Allowed: inner, kind, share."),
        ({"zzz": 1}, "here: unknown key 'zzz'. Allowed: inner, kind, share."),
        ({"inner": {"sise": 1}}, "here: unknown key 'inner.sise'. Did you mean 'size'? Allowed: size."),
        ({"inner": {"size": 0}}, "here: inner.size: Input should be greater than or equal to 1 (got 0)."),
        ({"share": "much"}, "here: share: Input should be a valid number"),
        ({"inner": 3}, "here: inner: Input should be a valid dictionary or instance of Inner (got 3)."),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(data: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)) as caught:
        parse_as(Outer, data, "here")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_run_names_its_own_nested_keys() -> None:
    data = {**RUN.model_dump(mode="json"), "scoring": {"n_importance_sample": 30}}
    with pytest.raises(
        BenchError, match=re.escape("'scoring.n_importance_sample'. Did you mean 'n_importance_samples'")
    ):
        parse_as(RunSpec, data, "run")


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
    with pytest.raises(BenchError, match="nothing behind @"):
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
