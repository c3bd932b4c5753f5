"""Every command of the pages is one that exists, with the options that it has; nothing is run."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import typer

from bench import cli
from tests.documentation.blocks import LANGUAGES, NOT_RUN, PAGES, ROOT, SMALLER, Block, blocks

BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [
    pytest.param(command, id=f"{block.page}:{block.line}:{number}")
    for block in BLOCKS
    for number, command in enumerate(block.commands(), start=1)
]
OPERATOR = re.compile(r"[();<>|&]+")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini")


def parts(command: str) -> Iterator[list[str]]:
    """Yields the words of each command in a line of a shell; what it is redirected to is not a word of it."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in lexer:
        if OPERATOR.fullmatch(word):
            redirected = ">" in word or "<" in word
            if not redirected:
                yield words
                words = []
        elif not redirected:
            words.append(word)
    yield words


def parse_della_bench(arguments: Sequence[str]) -> None:
    """Parses the arguments with the parser of the command line, which also converts their values."""
    command: Any = typer.main.get_command(cli.app)
    name, rest, context = "della-bench", cli.options.move_to_front(arguments), None
    while True:
        try:
            context = command.make_context(name, rest, parent=context)
        except typer.Exit:  # of an option that prints and ends
            return
        if not hasattr(command, "resolve_command"):
            return
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


def parse_python(arguments: Sequence[str]) -> None:
    assert arguments[0] == "-m"
    if arguments[1] == "tox":
        parse_tox(arguments[2:])
    elif arguments[1] == "pip":
        parse_pip(arguments[2:])
    else:
        assert importlib.util.find_spec(arguments[1])


def parse_tox(arguments: Sequence[str]) -> None:
    """Checks the names of environments, and the files that they are given."""
    options, _, given = " ".join(arguments).partition(" -- ")
    chosen = re.fullmatch(r"(?:-e (\S+))?", options)
    assert chosen, f"unknown options of tox: {options}"
    assert all(f"testenv:{name}" in TOX for name in (chosen[1] or "tests").split(","))
    assert all((ROOT / word).exists() for word in given.split() if word.startswith(("tests/", "docs/")))


def parse_pip(arguments: Sequence[str]) -> None:
    """Checks that what is installed is a package of ours with extras that it has, a folder, or tox."""
    assert arguments[0] == "install"
    for name in arguments[1:]:
        package, _, extras = name.rstrip("]").partition("[")
        assert package in {PROJECT["name"], "tox", ".", "-e"} or arguments[1] == "-e"
        assert set(filter(None, extras.split(","))) <= PROJECT["optional-dependencies"].keys()


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "della-bench": parse_della_bench,
    "python": parse_python,
    "pip": parse_pip,
    "git": lambda arguments: None,
    "cd": lambda arguments: None,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_exists_with_its_options(command: str) -> None:
    for program, *arguments in filter(None, parts(command)):
        PROGRAMS[program](arguments)


def test_every_block_has_a_language_of_which_the_tests_know_what_to_do() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    programs = tuple(f"{program} " for program in PROGRAMS)
    bare = [block for block in BLOCKS if block.language not in ("console", "yaml")]
    assert [block for block in bare for line in block.text.splitlines() if line.startswith(programs)] == []


@pytest.mark.parametrize("pattern", [*NOT_RUN, *SMALLER])
def test_every_exception_is_one_of_a_command_of_the_pages(pattern: str) -> None:
    assert any(re.search(pattern, command.values[0]) for command in COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        "della-bench tabel runs",
        "della-bench table runs --formt md",
        "della-bench run",
        "della-bench run table8 --jobs many",
        "python -m tox -e nothing",
        "python -m tox -e tests -- tests/nothing",
        "python -m tests.nothing",
        "pip install 'della-bench[nothing]'",
        "echo text && della-bench list systems",
    ],
)
def test_a_wrong_command_is_noticed(command: str) -> None:
    with pytest.raises((AssertionError, KeyError, ModuleNotFoundError, cli.ClickException)):
        test_the_command_exists_with_its_options(command)


def test_lines_that_go_on_comments_and_quotes() -> None:
    text = "one two \\\n    three  # comment\n\n# comment\nfour '# five' # six\n"
    assert list(Block("page", 1, "console", text).commands()) == ["one two      three", "four '# five'"]
