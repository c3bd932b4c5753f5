"""Imports and names in the source, against docs/architecture.md, whose table of layers is read here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from bench.systems import SYSTEMS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("bench", "della", "baselines")
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in PACKAGES
    for file in (ROOT / package).rglob("*.py")
    if "template" not in file.parts  # a package of its own, copied by `della-bench new system`
}

COMMON_WORDS = {"memory", "della"}  # also a part of an injection, and a package of this distribution


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def room(module: str) -> str:
    """The module or package directly below ``bench``, or the package beside it."""
    package, _, inner = module.partition(".")
    return inner.partition(".")[0] if package == "bench" and inner else package


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names of the modules that import statements name; ``from package import module`` names the module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else str(node.module)


@cache
def imports(module: str) -> frozenset[str]:
    """All imports of a module among ours: at its top, in functions and under TYPE_CHECKING."""
    return frozenset(imported(ast.walk(tree(module)))) & FILES.keys() - {module}


def executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If) and ast.unparse(statement.test) != "TYPE_CHECKING":
            yield from executed(statement.body)
        if isinstance(statement, ast.If):
            yield from executed(statement.orelse)
        elif isinstance(statement, ast.Try | ast.With | ast.ClassDef):
            yield from executed(statement.body)


def loaded(module: str) -> set[str]:
    """All modules, ours and others, that importing a module imports as well."""
    seen: set[str] = set()
    rest = [module]
    while rest:
        name = rest.pop()
        if name in seen:
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        rest += [parent] if parent else []
        rest += imported(executed(tree(name).body)) if name in FILES else []
    return seen


def table() -> dict[str, set[str]]:
    """The rooms and what their row says that they may import."""
    section = PAGE.partition("## Layering")[2]
    rows = (re.fullmatch(r"\|(.*)\|(.*)\|", line) for line in section.splitlines())
    cells = [(re.findall(r"`(\w+)`", row[1]), set(re.findall(r"`(\w+)`", row[2]))) for row in rows if row]
    return {name: targets for names, targets in cells for name in names}


def allowed(name: str, rows: dict[str, set[str]]) -> set[str]:
    """The rooms that a room may import: those in its row and all that these may import."""
    return rows[name].union(*(allowed(target, rows) for target in rows[name]))


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: imports(module) for module in FILES}).prepare()  # raises CycleError with the circle


def test_the_table_names_every_room_and_no_other() -> None:
    rooms = {room(module) for module in FILES} - {"bench"}
    assert table().keys() == rooms
    TopologicalSorter(table()).prepare()


def test_every_import_is_one_that_the_table_allows() -> None:
    rows = table()
    wrong = [
        f"{module} imports {target}"
        for module in FILES
        if module != "bench"
        for target in sorted(imports(module))
        if room(target) not in {room(module), "bench"} | allowed(room(module), rows)
    ]
    assert not wrong


def test_a_forbidden_import_would_be_noticed() -> None:
    rows = table()
    assert "della" not in set().union(*(allowed(name, rows) for name in rows))
    assert "harness" not in allowed("della", rows) | allowed("objectives", rows) | allowed("report", rows)
    assert "torch" in loaded("bench.interface")
    assert "torch.nn" in set(imported(ast.walk(ast.parse("def f():\n    import torch.nn"))))


def test_rooms_that_the_page_calls_free_of_torch_are() -> None:
    (sentence,) = re.findall(r"^(`records`.*?) import no torch", PAGE, flags=re.MULTILINE)
    rooms = set(re.findall(r"`(\w+)`", sentence))
    assert len(rooms) > 5
    heavy = [
        module for module in FILES if room(module) in rooms and loaded(module) & {"torch", "transformers", "pandas"}
    ]
    assert not heavy


def strings(module: str) -> Iterator[str]:
    """String constants of a module, without docstrings."""
    nodes = list(ast.walk(tree(module)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_bench_names_no_system() -> None:
    systems = set(SYSTEMS.names()) - COMMON_WORDS
    assert {"della-2022", "optimus"} <= systems
    named = {module: set(strings(module)) & systems for module in FILES if module.startswith("bench.")}
    assert not {module: names for module, names in named.items() if names}
