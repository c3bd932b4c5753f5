"""Reading files and their content: every mistake in them is one line that names the file and the place."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from bench.errors import BenchError, did_you_mean

ModelT = TypeVar("ModelT", bound=BaseModel)
INPUT_WIDTH = 80
"""Longest wrong input that an error message quotes."""

LONGEST_LINE = 2**24
"""Bytes of the longest line that is read; its tokens need about 50 times as much memory."""

COMPRESSION = 200
"""Largest ratio of an unpacked file to its gzip file; that of texts is below 20, that of a gzip bomb near 1000."""

_HALF_SURROGATE = re.compile("[\ud800-\udfff]")


def read_bytes(path: Traversable) -> bytes:
    """Returns the content of a file.

    Raises:
        BenchError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def read_text(path: Traversable) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
        BenchError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: not UTF-8 (byte {error.start + 1}).") from error
    except OSError as error:
        raise unreadable(path, error) from error


def read_lines(path: Path) -> Generator[tuple[int, str]]:
    r"""Yields the lines of a text file, gzipped if its name ends with .gz, and their numbers from 1.

    A line ends with ``\n`` or ``\r\n``, which is removed; no other character breaks a line. A byte-order mark is
    skipped.

    Raises:
        BenchError: the file cannot be read, unpacks to much more than texts do, or a line is not UTF-8 or too long.
    """
    number = unpacked = 0
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
                if len(line) > LONGEST_LINE:
                    raise BenchError(f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB.")
                unpacked += len(line)
                if packed and unpacked > max(LONGEST_LINE, COMPRESSION * path.stat().st_size):
                    raise BenchError(f"{path}: more than {COMPRESSION} times as large unpacked; texts are not.")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}, line {number}: not UTF-8 (byte {error.start + 1} of the line).") from error
    except (EOFError, zlib.error, OSError) as error:
        raise unreadable(f"{path} after line {number}" if number else path, error) from error


def unreadable(path: object, error: Exception) -> BenchError:
    """Returns the error for a file that the operating system or gzip cannot read."""
    return BenchError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.")


def parse_json(text: str | bytes, where: str) -> Any:
    """Returns the value that a JSON text holds.

    Raises:
        BenchError: it is not JSON, an object has a field twice, or it is nested too deeply; ``where`` is named.
    """
    try:
        return json.loads(text, object_pairs_hook=_fields_once)
    except BenchError as error:
        raise BenchError(f"{where}: {error}") from None
    except RecursionError:
        raise BenchError(f"{where}: nested too deeply.") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BenchError(f"{where}: not JSON: {error.msg} at {line}column {error.colno}.") from error
    except ValueError as error:  # not UTF-8, or a number of too many digits
        raise BenchError(f"{where}: not JSON: {error}.") from error


def _fields_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        _check_unique(key for key, _ in pairs)
    return fields


def _check_unique(keys: Iterable[Hashable]) -> None:
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise BenchError(f"{str(twice[0])!r} is given twice.")


def text_of(value: object, where: str) -> str:
    r"""Returns a value of a JSON file that must be a text.

    Raises:
        BenchError: it is something else, or holds half a surrogate pair (``"\\ud83d"``), which is not a character.
    """
    if not isinstance(value, str):
        raise BenchError(f"{where}: expected text, got {type(value).__name__}.")
    if not value.isascii() and _HALF_SURROGATE.search(value):
        raise BenchError(f"{where}: half a surrogate pair, which is not a character.")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object that a JSON file holds.

    Raises:
        BenchError: the file cannot be read, is not JSON, or holds something else.
    """
    return _mapping(parse_json(read_bytes(path), str(path)), path)


def read_yaml(path: Traversable) -> dict[str, Any]:
    """Returns the mapping that a YAML file holds.

    Raises:
        BenchError: the file cannot be read, is not YAML, has a key twice, is nested too deeply, or holds something
            else.
    """
    text = read_text(path)
    try:
        content = yaml.load(text, _YamlLoader)  # noqa: S506  # a safe loader
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None
    except RecursionError:
        raise BenchError(f"{path}: nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter for a date that does not exist
        raise BenchError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return _mapping(content, path)


class _YamlLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; YAML's own loader takes the last."""

    @override
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        _check_unique(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        return node


def _mapping(content: object, path: Traversable) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise BenchError(f"{path}: expected keys and values, got {type(content).__name__}.")
    return content


def parse_as(model: type[ModelT], content: Mapping[str, Any], where: str) -> ModelT:
    """Returns ``content`` as an instance of ``model``.

    Raises:
        BenchError: names the first wrong key and, if it is unknown, the allowed keys and the nearest match.
    """
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        *parents, key = first["loc"]
        allowed = sorted(_fields_at(model, parents))
        nearest = did_you_mean(str(key), allowed)
        raise BenchError(f"{where}: unknown key {path!r}.{nearest} Allowed: {', '.join(allowed) or '(none)'}.")
    if first["type"] == "value_error":  # raised by a validator of ours, whose message is complete
        raise BenchError(": ".join(filter(None, (where, path, str(first["ctx"]["error"])))))
    value = repr(first["input"])
    value = value if len(value) <= INPUT_WIDTH else f"{value[:INPUT_WIDTH]}…"
    got = "" if first["type"] == "missing" else f" (got {value})"
    raise BenchError(f"{where}: {path or 'value'}: {first['msg']}{got}.")


def _fields_at(model: type[BaseModel], path: list[int | str]) -> set[str]:
    """Returns the names of the fields of the models that may stand at ``path`` inside ``model``."""
    models = {model}
    for key in path:
        if isinstance(key, str):
            fields = [each.model_fields[key] for each in models if key in each.model_fields]
            models = {found for field in fields for found in _models_in(field.annotation)}
    return {name for each in models for name in each.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yields the models in a type such as ``tuple[Model, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
