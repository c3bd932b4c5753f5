"""The label language: ``system[:option,...][+part...][@key=value,...]``, the name of a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from bench.errors import BenchError, did_you_mean
from bench.reading import ModelT, NotYAMLError, parse_as, parse_yaml

POWER_OF_TEN = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


def parse_call(text: str) -> tuple[str, dict[str | int, Any]]:
    """Reads ``name[:argument,...]``, an argument being ``key=value`` or a value by position.

    Values are YAML scalars such as ``0.5``, ``true`` or ``null``; ``1e-5`` is a number too.

    Raises:
        BenchError: an argument is empty, given twice or not YAML.
    """
    name, _, rest = text.partition(":")
    arguments: dict[str | int, Any] = {}
    for position, part in enumerate(rest.split(",") if rest else []):
        key, equals, value = part.partition("=")
        if not part.strip() or (equals and not (key.strip() and value.strip())):
            raise BenchError(f"{text!r}: empty argument; write name:key=value,key=value.")
        key_or_position = key.strip() if equals else position
        if key_or_position in arguments:
            raise BenchError(f"{text!r}: {key_or_position!r} is given twice.")
        scalar = (value if equals else part).strip()
        try:
            # YAML reads 1.0e-5 as a number, but not 1e-5.
            arguments[key_or_position] = float(scalar) if POWER_OF_TEN.fullmatch(scalar) else parse_yaml(scalar)
        except NotYAMLError:
            raise BenchError(f"{text!r}: not a value: {scalar}") from None
    return name.strip(), arguments


def parse_label(text: str) -> tuple[str, tuple[str, ...], str]:
    """Splits ``system[:option,...][+part...][@key=value,...]``, the label of a row.

    Returns:
        The call of the system, the calls of the objective's parts (none for the default objective), and the changes
        to the scale.

    Raises:
        BenchError: a name is empty, or nothing follows the @.
    """
    run, at, changes = text.partition("@")
    if at and not changes.strip():
        raise BenchError(f"{text!r}: nothing after @; write system@layers=24 or system@layers=2x.")
    system, *parts = run.split("+")
    if not all(map(str.strip, (system, *parts))):
        raise BenchError(f"{text!r}: an empty name; write system, system+part or system+part+part.")
    return system, tuple(parts), changes


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Reads ``key=value[,key=value...]`` texts, as of ``--set``, into one mapping.

    Raises:
        BenchError: a value has no key, or is not YAML, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        for key, value in parse_call(f"--set:{text}")[1].items():
            if isinstance(key, int):
                raise BenchError(f"--set {text!r}: write key=value, for example training.epochs=2.")
            if key in settings:
                raise BenchError(f"--set {text!r}: {key!r} is given twice.")
            settings[key] = value
    return settings


def split_list(text: str) -> list[str]:
    """Splits names at commas; empty ones are left out."""
    return [name.strip() for name in text.split(",") if name.strip()]


def split_labels(text: str, systems: Collection[str]) -> list[str]:
    """Splits labels at commas.

    A piece belongs to the label before it if it is ``key=value``, or if that label has options and the piece does not
    begin with the name of one of the ``systems``.
    """
    labels: list[str] = []
    for piece in split_list(text):
        head = re.split("[:+@]", piece)[0]
        if labels and ("=" in head or (re.search("[:@]", labels[-1]) and head not in systems)):
            labels[-1] += f",{piece}"
        else:
            labels.append(piece)
    return labels


def configure(model: type[ModelT], text: str, arguments: Mapping[str | int, Any]) -> ModelT:
    """Builds options from the arguments of a call.

    A word that is a value of exactly one field sets that field without its key. Other values without a key set the
    fields in their order.

    Raises:
        BenchError: too many arguments, one given twice, an unknown key or word, or a value out of range.
    """
    fields, words = list(model.model_fields), _words(model)
    named: dict[str, Any] = {}
    position = 0
    for key, value in arguments.items():
        owners = words.get(value, []) if isinstance(key, int) and isinstance(value, str) else []
        if isinstance(key, str):
            field = key
        elif len(owners) == 1:
            field = owners[0]
        elif owners:
            raise BenchError(f"{text!r}: write {' or '.join(f'{owner}={value}' for owner in owners)}.")
        elif position >= len(fields):
            raise BenchError(f"{text!r}: takes at most {len(fields)} arguments ({', '.join(fields) or 'none'}).")
        else:
            field = fields[position]
            position += 1
            if words and isinstance(value, str) and model.model_fields[field].annotation is not str:
                raise BenchError(
                    f"{text!r}: unknown option {value!r}.{did_you_mean(value, words)} Allowed: {', '.join(words)}."
                )
        if field in named:
            raise BenchError(f"{text!r}: {field!r} is given twice.")
        named[field] = value
    return parse_as(model, named, repr(text))


def _words(model: type[BaseModel]) -> dict[str, list[str]]:
    """Returns the words that fields take as values, each with the names of these fields."""
    words: dict[str, list[str]] = {}
    for name, field in model.model_fields.items():
        for word in get_args(field.annotation) if get_origin(field.annotation) is Literal else ():
            words.setdefault(word, []).append(name)
    return words
