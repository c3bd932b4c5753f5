r"""Text of unknown origin as a part of an output: one function for each format.

Labels, reasons, names of files and generated texts come from files, so anything may stand in them. Whatever prints or
writes them uses these functions. Each first writes characters that control a terminal or reorder a line as escapes,
such as ``\x1b``: no format needs them, and each of its outputs may be shown in a terminal.
"""

from __future__ import annotations

import html as _html
import json
import re
import unicodedata
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Controls of a terminal (C0, C1) except tab and line feed, marks of direction, and what XML cannot hold."""

_LINE_END = re.compile("[\t\n\u2028\u2029]")

_FORMULA = re.compile(r"[=+\-@\t\r]")
"""Begins of a cell that a spreadsheet computes."""

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")

_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar\allowbreak{}",
        "[": "{[}",  # a "[" after a line break would begin its optional argument
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "—": "---",
        "\N{MINUS SIGN}": "$-$",
        "×": r"$\times$",
    }
)


LONGEST_NAME = 100
"""Bytes of a text in the name of a file, which has at most 255."""


def terminal(text: str) -> str:
    """Returns text that a terminal prints and does not obey; tabs and line ends stay."""
    return text if text.isprintable() else _CONTROL.sub(_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in "\t\n":
        return "\\t" if match[0] == "\t" else "\\n"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def line(text: str) -> str:
    """Returns text for one line of a terminal: tabs and line ends are escapes too."""
    return terminal(text) if text.isprintable() else _LINE_END.sub(_spelled, terminal(text))


def one_line(text: str) -> str:
    """Returns text for one line of a page: every run of white space is a blank."""
    return terminal(" ".join(text.split()))


def html(text: str) -> str:
    """Returns text for an element or a quoted attribute of HTML."""
    return _html.escape(terminal(text))


def latex(text: str) -> str:
    """Returns the LaTeX code that prints ``text``."""
    return "".join(map(_greek, one_line(text).translate(_LATEX)))


def _greek(character: str) -> str:
    name = unicodedata.name(character, "")
    if not re.fullmatch("GREEK SMALL LETTER [A-Z]+", name):
        return character
    letter = name.split()[-1].lower()
    return {"omicron": "o"}.get(letter, rf"$\{letter.replace('lamda', 'lambda')}$")  # as Unicode spells it


def markdown(text: str) -> str:
    """Returns text for a line or a cell of a table of GitHub Markdown, without markup in it."""
    shown = one_line(text).replace("\\", "\\\\").replace("|", r"\|")
    return shown.replace("<!", "&lt;!").replace("<", r"\<")  # comments mark the parts of a page


def markdown_code(text: str) -> str:
    """Returns text as a code span for a line, not for a cell; its quotes are one more than those in the text."""
    shown = one_line(text)
    quotes = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    return f"{quotes} {shown} {quotes}" if "`" in shown else f"`{shown}`"


def file_name(text: str) -> str:
    """Returns a part of the name of a file or folder: letters, digits and ``_.+-``, at most ``LONGEST_NAME`` bytes.

    It may contain dots alone, so it must not be the whole name.
    """
    return re.sub(r"[^\w.+-]", "_", text).encode()[:LONGEST_NAME].decode(errors="ignore")


def csv_cell(value: Any) -> Any:
    """Returns a value for a cell of a CSV: of a text that a spreadsheet would compute, with an apostrophe before it."""
    if not isinstance(value, str):
        return value
    text = terminal(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns a value as JSON, with characters that control a terminal as escapes of JSON."""
    return re.sub(
        _CONTROL, lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, indent=indent, ensure_ascii=False)
    )


def json_in_html(value: Any) -> str:
    """Returns a value as compact ASCII JSON for a script element of HTML, which nothing in it can end."""
    text = json.dumps(_printable(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return terminal(value)
    if isinstance(value, dict):
        return {terminal(str(key)): _printable(of) for key, of in value.items()}
    return [_printable(of) for of in value] if isinstance(value, list | tuple) else value
