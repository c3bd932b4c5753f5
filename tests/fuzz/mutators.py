"""Damages inputs: at the level of bytes, of lines, of values, and of the containers around them."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import yaml

Mutator = Callable[[bytes, random.Random], bytes]

VALUES = (
    *("NaN", "-Infinity", "1e400", "-0", "-0.0", "1e-400", "1e308", "-1e308", "0", "-1", "1.5", "null", "true", '""'),
    *(str(2**31), str(2**63), str(-(2**63)), "9" * 400, "9" * 5000, "999999999", "0x10", "1_000", ".nan", ".inf"),
    *("[]", "{}", "[[]]", "[" * 2000 + "]" * 2000, "[" * 200_000, '{"a":' * 500 + "1" + "}" * 500, '{"a": 1, "a": 2}'),
    *('"\\ud83d"', '"\\ud83d\\ude42"', '"\\u0000"', '"\\u001b]0;title\\u0007"', '"\\u009b31m"', '"\\u2028"', '"\\n"'),
    *('"../../pwn"', '"/etc/passwd"', '"a/b"', '".."', '"<script>alert(1)</script>"', '"[/bold]"', '"a | b"', '"`a`"'),
    *(
        '"-->"',
        '"<!-- /audit -->"',
        '"=cmd|x!A1"',
        '"@SUM(1)"',
        '"\\\\input{x}"',
        '"%s {} {0}"',
        '"' + "x" * 5000 + '"',
    ),
    *('"PPL|K:nan|v:1"', '"PPL|K:99|v:\\u00b2"', '"2026-02-30"', "2026-02-30", "1:2:3", "!!python/object:os.system x"),
    *(
        "&a [*a]",
        "*nothing",
        "<<",
        "? [a]",
        "!!binary x",
        "[1, 1, 1, 1, 1, 1, 1, 1]",
        '"1e400"',
        '"1,234"',
        '"\\u00b2"',
    ),
)
"""Values as they stand in JSON or YAML."""

BYTES = (
    *(
        b"\xff",
        b"\x00",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\r",
        b"\r\n",
        b"\n",
        b"\n\n",
        b"\t",
        b"\x1b[31m",
        b"\x1b]0;x\x07",
    ),
    *(b"\xc2\x9b31m", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1a", b"\xed\xa0\xbd", b"\xf0\x9f\x99\x82"),
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"|",
        b"<",
        b"&",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"#",
        b"*",
        b"%",
        b"=",
        b"@",
        b"-",
    ),
    *(
        b"1e400",
        b"-1e400",
        b"NaN",
        b"inf",
        b"1e99999999",
        b"9" * 400,
        b"\xe2\x88\x921",
        b"12,345.6",
        b"1_0",
        b"\xc2\xb2",
    ),
    *(
        b"a" * 5000,
        b"<script>",
        b"<!-- /audit -->",
        b"\xe2\x80\xae",
        b"\xe1\x85\x9f",
        b"../../pwn",
        b"cos\nsystem\n(S'x'\ntR.",
    ),
)

_PLACE = "\ufdd0"
"""Stands for a value that JSON cannot write."""


def flip_bit(data: bytes, draw: random.Random) -> bytes:
    """Flips one bit."""
    changed = bytearray(data or b" ")
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def change_bytes(data: bytes, draw: random.Random) -> bytes:
    """Replaces up to eight bytes."""
    changed = bytearray(data or b" ")
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def truncate(data: bytes, draw: random.Random) -> bytes:
    """Keeps the beginning, perhaps nothing."""
    return data[: draw.choice((0, 1, len(data) // 2, draw.randint(0, len(data))))]


def drop(data: bytes, draw: random.Random) -> bytes:
    """Leaves out a part."""
    start, end = sorted((draw.randint(0, len(data)), draw.randint(0, len(data))))
    return data[:start] + data[end:]


def duplicate(data: bytes, draw: random.Random) -> bytes:
    """Repeats a part, up to a hundred times."""
    start, end = sorted((draw.randint(0, len(data)), draw.randint(0, len(data))))
    return data[:end] + data[start:end] * draw.choice((1, 1, 2, 100)) + data[end:]


def splice(data: bytes, draw: random.Random) -> bytes:
    """Puts a part into another place."""
    start, end, place = (draw.randint(0, len(data)) for _ in range(3))
    start, end = sorted((start, end))
    return data[:place] + data[start:end] + data[place:]


def insert(data: bytes, draw: random.Random) -> bytes:
    """Inserts special bytes at one place, or at the start."""
    place = draw.choice((0, draw.randint(0, len(data))))
    return data[:place] + draw.choice(BYTES) + data[place:]


def replace_word(data: bytes, draw: random.Random) -> bytes:
    """Replaces what stands between two separators by a value or special bytes."""
    ends = [place for place, byte in enumerate(data[:100_000]) if byte in b' \n\t,:"|;=<>{}[]']
    place = draw.randrange(len(ends) - 1) if len(ends) > 1 else 0
    start, end = (ends[place] + 1, ends[place + 1]) if ends else (0, len(data))
    return data[:start] + draw.choice((*BYTES, *(value.encode() for value in VALUES))) + data[end:]


def long_line(data: bytes, draw: random.Random) -> bytes:
    """Makes a line of three million letters, or a word of a hundred thousand."""
    place = draw.randint(0, len(data))
    return data[:place] + b"a" * draw.choice((100_000, 3_000_000)) + data[place:]


def swap_lines(data: bytes, draw: random.Random) -> bytes:
    """Swaps, repeats or drops lines."""
    lines = data.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(3):
        case 0:
            lines[first], lines[second] = lines[second], lines[first]
        case 1:
            lines.insert(first, lines[second])
        case _:
            del lines[first]
    return b"\n".join(lines)


OF_BYTES: tuple[Mutator, ...] = (flip_bit, change_bytes, truncate, drop, duplicate, splice, insert)
OF_TEXT: tuple[Mutator, ...] = (*OF_BYTES, replace_word, replace_word, swap_lines, long_line)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields container and key of every value inside a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


def change_value(content: Any, draw: random.Random) -> str:
    """Returns JSON in which one value or key of ``content`` is replaced, removed or repeated."""
    places = list(_places(content))
    if not places:
        return draw.choice(VALUES)
    container, key = draw.choice(places)
    odd = draw.choice(VALUES)
    match draw.randrange(8):
        case 0 if isinstance(container, dict):
            del container[key]
        case 1 if isinstance(container, dict):
            container[draw.choice(("", "\u001b[31m", "x", "../..", "__class__", "\u2028", "0"))] = container[key]
        case 2 if isinstance(container, list):
            container.append(container[key])
        case 3:
            other, other_key = draw.choice(places)
            container[key] = json.loads(json.dumps(other[other_key]))
        case _:
            container[key] = _PLACE
    text = json.dumps(content, ensure_ascii=draw.random() < 0.5)
    return text.replace(json.dumps(_PLACE), odd).replace(f'"{_PLACE}"', odd)


def mutate_json(data: bytes, draw: random.Random) -> bytes:
    """Changes a value of a JSON document."""
    return change_value(json.loads(data), draw).encode("utf-8", "surrogatepass")


def mutate_json_line(data: bytes, draw: random.Random) -> bytes:
    """Changes a value in a line of JSON."""
    lines = data.split(b"\n")
    place = draw.choice([place for place, line in enumerate(lines) if line])
    lines[place] = mutate_json(lines[place], draw)
    return b"\n".join(lines)


def mutate_yaml(data: bytes, draw: random.Random) -> bytes:
    """Changes a value of a YAML document, which becomes flow style."""
    return change_value(yaml.safe_load(data), draw).encode("utf-8", "surrogatepass")


def laugh(data: bytes, draw: random.Random) -> bytes:
    """Makes anchors that contain each other ten times, thirty deep."""
    bomb = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" if n else "a0: &a0 [x]" for n in range(30)]
    return draw.choice(("\n".join(bomb).encode() + b"\n" + data, data + b"\nx: &b {y: *b}\n", b"&c [*c, *c]"))


def mutate_cell(data: bytes, draw: random.Random) -> bytes:
    """Replaces a cell of a CSV."""
    lines = [line.split(b",") for line in data.split(b"\n")]
    cells = draw.choice(lines)
    cells[draw.randrange(len(cells))] = draw.choice((*BYTES, *(value.encode() for value in VALUES)))
    return b"\n".join(map(b",".join, lines))


def mutate_header(data: bytes, draw: random.Random) -> bytes:
    """Changes the header of a safetensors file, or its length."""
    size = int.from_bytes(data[:8], "little")
    if draw.random() < 0.2:
        return draw.choice((0, 1, size + 1, 2**40, 2**63)).to_bytes(8, "little") + data[8:]
    header = json.loads(data[8 : 8 + size])
    if draw.random() < 0.2:
        names = [name for name in header if name != "__metadata__"]
        name = draw.choice(names)
        header[draw.choice((name.replace("0", "999999999"), name + "x", "\u001b[31m", ""))] = header.pop(name)
        new = json.dumps(header)
    else:
        new = change_value(header, draw)
    coded = new.encode("utf-8", "surrogatepass")
    return len(coded).to_bytes(8, "little") + coded + data[8 + size :]


def mutate_member(inner: Mapping[str, tuple[Mutator, ...]]) -> Mutator:
    """Returns a mutator of archives: damages, renames, repeats, removes or compresses a member."""

    def mutate(data: bytes, draw: random.Random) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
        place = draw.randrange(len(members))
        name, content = members[place]
        compression = zipfile.ZIP_STORED
        match draw.randrange(8):
            case 0:
                members[place] = (draw.choice(("/etc/passwd", "../../pwn", "x" * 300, "\u001b[31m", " ")), content)
            case 1:
                del members[place]
            case 2:
                members.append((name + "2", content))
            case 3:
                compression = zipfile.ZIP_DEFLATED
                members[place] = (name, content + bytes(draw.choice((0, 50_000_000))))
            case _:
                suffix = name.rpartition(".")[2]
                members[place] = (name, draw.choice(inner.get(suffix, OF_BYTES))(content, draw))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return packed.getvalue()

    return mutate


def mutate_npy_header(data: bytes, draw: random.Random) -> bytes:
    """Changes shape or type of an array in numpy's format."""
    size = int.from_bytes(data[8:10], "little")
    header = data[10 : 10 + size].decode("latin-1")
    types = ("|O", "<f4", "<U9", "<c16", "<i8", "|S0", "|V8", "[('a', '<f8')]", "<M8[s]", "|b1", ">f8")
    shapes = (
        "()",
        "(0,)",
        "(1,)",
        "(-1, 2)",
        "(2, 2, 2)",
        "(999999999999, 9)",
        "(True, 1)",
        "(2, 0)",
        "(9" + "9" * 400 + ",)",
    )
    start = header.index("'shape': ") + len("'shape': ")
    match draw.randrange(3):
        case 0:
            kind = draw.choice(types)
            header = header.replace("'<f8'", kind if kind.startswith("[") else repr(kind))
        case 1:
            header = header[:start] + draw.choice(shapes) + header[header.index(")", start) + 1 :]
        case _:
            header = draw.choice(("{}", "(" * 300, "x", header.replace("False", "True"), "{'descr': 1}"))
    coded = header.encode("latin-1")
    return data[:8] + len(coded).to_bytes(2, "little") + coded + data[10 + size :]


@cache
def _bomb(word: bytes, times: int) -> bytes:
    """Returns a word many times, as a member of a gzip file."""
    return gzip.compress(word * times)


def zipped(inner: tuple[Mutator, ...]) -> Mutator:
    """Returns a mutator of gzip files: damages the text inside, repeats it, or makes a bomb of it."""

    def mutate(data: bytes, draw: random.Random) -> bytes:
        text = gzip.decompress(data)
        match draw.randrange(8):
            case 0:
                return gzip.compress(text, 1) + _bomb(*draw.choice(((b"a", 60_000_000), (b"a\n", 20_000_000))))
            case 1:
                return data + draw.choice((data, b"x", bytes(9)))
            case 2:
                return zlib.compress(text)
            case _:
                return gzip.compress(draw.choice(inner)(text, draw), 1)

    return mutate


OF_JSON: tuple[Mutator, ...] = (*OF_TEXT, *[mutate_json] * 12)
OF_NPY: tuple[Mutator, ...] = (*OF_BYTES, *[mutate_npy_header] * 7)

BY_SUFFIX: Mapping[str, tuple[Mutator, ...]] = {
    "txt": OF_TEXT,
    "md": OF_TEXT,
    "py": OF_TEXT,
    "METADATA": OF_TEXT,
    "json": OF_JSON,
    "lock": OF_JSON,
    "jsonl": (*OF_TEXT, *[mutate_json_line] * 12),
    "yaml": (*OF_TEXT, *[mutate_yaml] * 12, laugh),
    "csv": (*OF_TEXT, *[mutate_cell] * 8),
    "safetensors": (*OF_BYTES, *[mutate_header] * 10),
    "npz": (*OF_BYTES, *[mutate_member({"npy": OF_NPY})] * 12),
    "zip.pt": (*OF_BYTES, *[mutate_member({})] * 10),
    "pt": OF_BYTES,
}
"""Mutators of files by the end of their names; one that stands there more often is drawn more often."""


def mutators_of(name: str) -> tuple[Mutator, ...]:
    """Returns the mutators of a file."""
    if name.endswith(".gz"):
        return (*OF_BYTES, *[zipped(mutators_of(name.removesuffix(".gz")))] * 12)
    return next(mutators for suffix, mutators in BY_SUFFIX.items() if name.endswith(suffix))
