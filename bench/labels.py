"""The label language: ``system[:option,...][+part...][@key=value,...]``, the name of a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel

from bench.errors import BenchError, did_you_mean
from bench.reading import ModelT, parse_as

POWER_OF_TEN = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


def parse_call(text: str) -> tuple[str, dict[str | int, Any]]:
    """Reads ``name[:argument,...]``, an argument being ``key=value`` or a value by position.

    Values are YAML scalars, so ``0.5``, ``1e-5``, ``true`` and ``null`` are what they look like.

    Raises:
        BenchError: an argument is empty, given twice or no YAML.
    """
    name, _, rest = text.partition(":")
    arguments: dict[str | int, Any] = {}
    for position, part in enumerate(rest.split(",") if rest else []):
        key, equals, value = part.partition("=")
        if not part.strip() or (equals and not (key.strip() and value.strip())):
            raise BenchError(f"{text!r}: empty argument; write name:key=value,key=value")
        place = key.strip() if equals else position
        if place in arguments:
            raise BenchError(f"{text!r}: {place!r} is given twice.")
        written = (value if equals else part).strip()
        try:
            # YAML wants a point and a sign in 1.0e-5; nobody else does.
            arguments[place] = float(written) if POWER_OF_TEN.fullmatch(written) else yaml.safe_load(written)
        except (yaml.YAMLError, ValueError):  # the latter for a date that is none
            raise BenchError(f"{text!r}: not a value: {written}") from None
    return name.strip(), arguments


def parse_label(text: str) -> tuple[str, tuple[str, ...], str]:
    """Splits ``system[:option,...][+part...][@key=value,...]``, the label of a row.

    Returns:
        The call of the system, the calls of the objective's parts (none for the system's own objective), and what
        differs in the backbone.

    Raises:
        BenchError: a name is empty, or there is nothing behind the @.
    """
    run, at, backbone = text.partition("@")
    if at and not backbone.strip():
        raise BenchError(f"{text!r}: nothing behind @; write system@layers=24 or system@layers=2x.")
    system, *parts = run.split("+")
    if not all(map(str.strip, (system, *parts))):
        raise BenchError(f"{text!r}: an empty name; write system, system+part or system+part+part.")
    return system, tuple(parts), backbone


def configure(model: type[ModelT], text: str, arguments: Mapping[str | int, Any]) -> ModelT:
    """Builds options from the arguments of a call.

    A word that one field alone may have as its value sets that field; another value without a key sets the field in
    its place, such words not counted.

    Raises:
        BenchError: too many arguments, one given twice, an unknown key or word, or a value out of range.
    """
    fields, words = list(model.model_fields), _words(model)
    named: dict[str, Any] = {}
    place = 0
    for key, value in arguments.items():
        owners = words.get(value, []) if isinstance(key, int) and isinstance(value, str) else []
        if isinstance(key, str):
            field = key
        elif len(owners) == 1:
            field = owners[0]
        elif owners:
            raise BenchError(f"{text!r}: write {' or '.join(f'{owner}={value}' for owner in owners)}.")
        elif place >= len(fields):
            raise BenchError(f"{text!r}: takes at most {len(fields)} arguments ({', '.join(fields) or 'none'}).")
        else:
            field = fields[place]
            place += 1
            if words and isinstance(value, str) and model.model_fields[field].annotation is not str:
                raise BenchError(
                    f"{text!r}: unknown option {value!r}.{did_you_mean(value, words)} Allowed: {', '.join(words)}."
                )
        if field in named:
            raise BenchError(f"{text!r}: {field!r} is given twice.")
        named[field] = value
    return parse_as(model, named, repr(text))


def _words(model: type[BaseModel]) -> dict[str, list[str]]:
    """Returns the words that may be values of fields, each with the fields."""
    words: dict[str, list[str]] = {}
    for name, field in model.model_fields.items():
        for word in get_args(field.annotation) if get_origin(field.annotation) is Literal else ():
            words.setdefault(word, []).append(name)
    return words
