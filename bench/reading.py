"""Reading files and their content: every mistake in them is one line that names the file and the place."""

from __future__ import annotations

import gzip
import json
import math
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

LONGEST_LINE = 2**20
"""Bytes of the longest line that is read.

It holds a novel of 180,000 words, of which a model reads the first thousand. To encode it takes a second and 300 MB.
"""

LARGEST_FILE = 2**28
"""Bytes of the largest file that is read at once; a device or a pipe could go on for ever."""

LARGEST_YAML = 2**20
"""Bytes of the largest YAML file; a person wrote it, and reading it takes a second."""

MOST_YAML_NODES = 100_000
"""Most values in a YAML file, those that an alias repeats included: aliases of aliases multiply them."""

MOST_DIGITS = 300
"""Digits of the longest whole number: it can still become a floating-point number."""

UNPACKED = 2**20
"""Bytes that any gzip file may have unpacked, whatever their ratio."""

COMPRESSION = 100
"""Largest ratio of an unpacked file to its gzip file; that of texts is below 20, that of a gzip bomb near 1000."""

_PART = 2**16
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: Traversable, most: int | None = LARGEST_FILE) -> bytes:
    """Returns the content of a file.

    Raises:
        BenchError: it cannot be read, or has more than ``most`` bytes.
    """
    try:
        if most is None:
            return path.read_bytes()
        content = bytearray()
        with path.open("rb") as file:
            while len(content) <= most and (part := file.read(_PART)):
                content += part
    except (OSError, ValueError) as error:  # the latter for a name with a zero byte
        raise unreadable(path, error) from error
    if len(content) > most:
        raise BenchError(f"{path}: larger than {most >> 20} MiB.")
    return bytes(content)


def read_text(path: Traversable, most: int = LARGEST_FILE) -> str:
    r"""Returns the text of a file in UTF-8; of line ends, ``\r\n`` and ``\r`` become ``\n``.

    Raises:
        BenchError: it cannot be read, is not UTF-8, or has more than ``most`` bytes.
    """
    try:
        text = read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: not UTF-8 (byte {error.start + 1}).") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


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
        most = max(UNPACKED, COMPRESSION * path.stat().st_size) if packed else math.inf
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
                if len(line) > LONGEST_LINE:
                    raise BenchError(f"{path}, line {number}: longer than {LONGEST_LINE >> 20} MiB; split the text.")
                unpacked += len(line)
                if unpacked > most:
                    raise BenchError(f"{path}: more than {COMPRESSION} times as large unpacked; texts are not.")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}, line {number}: not UTF-8 (byte {error.start + 1} of the line).") from error
    except (EOFError, zlib.error, OSError, ValueError) as error:  # the last for a name with a zero byte
        if isinstance(error, BenchError):
            raise
        raise unreadable(f"{path} after line {number}" if number else path, error) from error


def unreadable(path: object, error: Exception) -> BenchError:
    """Returns the error for a file that the operating system or gzip cannot read."""
    return BenchError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.")


def parse_json(text: str | bytes, where: str) -> Any:
    """Returns the value that a JSON text holds.

    Raises:
        BenchError: it is not JSON, an object has a field twice, a number is not finite or has more than ``MOST_DIGITS``
            digits, half a surrogate pair stands for a character, or it is nested too deeply; ``where`` is named.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(
            text, object_pairs_hook=_fields_once, parse_constant=_finite, parse_float=_finite, parse_int=_whole
        )
        if _ESCAPED_SURROGATE.search(text):
            _check_characters(value)
        return value
    except BenchError as error:
        raise BenchError(f"{where}: {error}") from None
    except RecursionError:
        raise BenchError(f"{where}: nested too deeply.") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BenchError(f"{where}: not JSON: {error.msg} at {line}column {error.colno}.") from error
    except ValueError as error:  # not UTF-8, or a number of too many digits
        raise BenchError(f"{where}: not JSON: {error}.") from error


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise BenchError(f"{number[:20]} is not a finite number.")
    return value


def _whole(number: str) -> int:
    if len(number) > MOST_DIGITS:
        raise BenchError(f"a number of {len(number)} digits.")
    return int(number)


def _check_characters(value: object) -> None:
    """Refuses half surrogate pairs in a value of JSON, which is not nested deeper than its parser allows."""
    if isinstance(value, str):
        if _HALF_SURROGATE.search(value):
            raise BenchError("half a surrogate pair, which is not a character.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_characters(key)
            _check_characters(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_characters(inner)


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
        BenchError: the file cannot be read or is larger than ``LARGEST_YAML``, ``parse_yaml`` refuses it, or it holds
            something else.
    """
    try:
        content = parse_yaml(read_text(path, LARGEST_YAML))
    except NotYAMLError as error:
        raise BenchError(f"{path}: {error}") from error
    return _mapping(content, path)


class NotYAMLError(BenchError):
    """The reason why a text is refused as YAML."""


def parse_yaml(text: str) -> Any:
    """Returns the value that a YAML text holds.

    Raises:
        NotYAMLError: it is not YAML, a mapping has a key twice, it is nested too deeply or has too many values, aliases
            included, a number has too many digits, or half a surrogate pair stands for a character.
    """
    loader = None
    try:
        loader = _YamlLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded_size(node, {})
        return loader.construct_document(node)
    except BenchError as error:
        raise NotYAMLError(error) from None
    except RecursionError:
        raise NotYAMLError("nested too deeply.") from None
    except yaml.YAMLError as error:
        raise NotYAMLError(f"not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:  # "!!bool x", 2026-02-30
        raise NotYAMLError(f"not YAML: a value that its type does not have ({error}).") from error
    finally:
        if loader is not None:
            loader.dispose()


class _YamlLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML's own loader takes the last, and odd scalars."""

    @override
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        _check_unique(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        return node

    @override
    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if len(node.value) > MOST_DIGITS and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
            raise BenchError(f"a number of {len(node.value)} digits.")
        _check_characters(node.value)
        return node


def _expanded_size(node: yaml.Node, sizes: dict[yaml.Node, int]) -> int:
    """Returns the number of values in a node, those of an alias each time that it stands there.

    Args:
        node: the node.
        sizes: of the nodes that are counted already; 0 of those that contain this one.

    Raises:
        BenchError: there are too many, or a node contains itself.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if node not in sizes:
        sizes[node] = 0
        inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        size = 1 + sum(_expanded_size(part, sizes) for part in inner)
        if size > MOST_YAML_NODES:
            raise BenchError(f"more than {MOST_YAML_NODES:,} values.")
        sizes[node] = size
    if sizes[node] == 0:
        raise BenchError("a value contains itself.")
    return sizes[node]


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
