"""Digests of the code that a run executes, so that a record of other code is never taken for one of this code.

A digest ignores comments, docstrings and layout. Versions of components say that a change was meant; digests notice the
changes that nobody declared.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError
from bench.metrics.model import MODEL_METRICS
from bench.metrics.text import TEXT_METRICS
from bench.objectives import OBJECTIVES
from bench.registry import source_file
from bench.specs import RunSpec
from bench.systems import SYSTEMS

OURS = frozenset({"bench", "della", "baselines"})
"""Packages of this distribution, whose imports are followed module by module."""

CHOICE = "Choose: --reuse accepts it, --no-reuse ignores it and runs anew."

TRAINING = ("bench.harness.prepare", "bench.harness.train")
"""The modules that every training executes; their imports hold tasks, tokenizers, backbones, objectives."""

SCORING = ("bench.harness.scoring", "bench.harness.generate", "bench.harness.apply_metrics")
"""The modules that every scoring executes."""

WITHOUT_NUMBERS = (
    *("bench.errors", "bench.escape", "bench.reading", "bench.records", "bench.registry"),
    *("bench.resources", "bench.storage"),
    *("bench.harness.code", "bench.harness.components", "bench.harness.phases", "bench.harness.provenance"),
    "bench.harness.stopping",
)
"""Modules and packages that read, write and report, but compute no number of a record."""


class Code(NamedTuple):
    """Digest of each module that decides the result of a run, by the name of the module.

    Of this distribution, they are the modules that the harness, the system, the objective and the metrics import,
    directly or not. Of another distribution, they are all modules beside the component.

    Attributes:
        training: modules that decide the weights.
        scoring: further modules that decide the scores.
    """

    training: Mapping[str, str]
    scoring: Mapping[str, str]


def code_of_run(spec: RunSpec) -> Code:
    """Returns the present code of a run."""
    parts = [part for stage in spec.objective.earlier for part in stage.parts] + list(spec.objective.parts)
    objectives = OBJECTIVES.entries()
    components = [SYSTEMS.entries()[spec.system.name], *(objectives[part.name] for part in parts)]
    training = _digests({*TRAINING, *(entry.module for entry in components)})
    metrics = (entry.module for registry in (MODEL_METRICS, TEXT_METRICS) for entry in registry.entries().values())
    scoring = _digests({*SCORING, *metrics})
    return Code(training, {name: digest for name, digest in scoring.items() if name not in training})


def changed_code(recorded: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Returns the modules whose recorded code computes something else, as far as is known, than the present code.

    A module that only one side has counts as changed. Digests that stand together in ``equivalent_code.json`` beside
    this module compute the same: a release adds its digests there when it changes code but no number. There, null
    stands for code without the module.
    """
    equivalent: dict[str, list[list[str | None]]] = json.loads(
        files("bench.harness").joinpath("equivalent_code.json").read_bytes()
    )

    def same(module: str) -> bool:
        digests = {recorded.get(module), present.get(module)}
        return len(digests) == 1 or any(digests <= set(group) for group in equivalent.get(module, ()))

    return sorted(module for module in recorded.keys() | present.keys() if not same(module))


def check_code(what: str, recorded: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Checks that ``what`` was made by the present code.

    Raises:
        BenchError: it was not; the message names the modules that differ.
    """
    if not recorded:
        raise BenchError(f"{what} without digests of its code. {CHOICE}")
    if changed := changed_code(recorded, present):
        others = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise BenchError(f"{what} by other code: {', '.join(changed[:3])}{others}. {CHOICE}")


def _digests(modules: Iterable[str]) -> Mapping[str, str]:
    return _digests_below(frozenset(modules), tuple(sys.path))


@lru_cache(maxsize=1024)
def _digests_below(modules: frozenset[str], search_path: tuple[str, ...]) -> Mapping[str, str]:
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in digests or module.startswith(WITHOUT_NUMBERS) or (file := source_file(module)) is None:
            continue
        if module.partition(".")[0] in OURS:
            digests[module], imported = _read(file)
            waiting += imported
        else:
            for name, neighbour in _neighbours(module, file):
                digests[name], imported = _read(neighbour)
                waiting += imported
            digests[module], _ = _read(file)
    return dict(sorted(digests.items()))


def _neighbours(module: str, file: Path) -> Iterator[tuple[str, Path]]:
    """Yields path and file of all modules of the top-level package of ``module``; none for a module without one."""
    depth = module.count(".") + (file.name == "__init__.py")
    if depth:
        package = file.parents[depth - 1]
        for neighbour in sorted(package.rglob("*.py")):
            yield neighbour.relative_to(package.parent).as_posix(), neighbour


@cache
def _read(file: Path) -> tuple[str, tuple[str, ...]]:
    """Returns the digest of a module (12 hex digits), and the modules of this distribution that it imports."""
    tree = ast.parse(file.read_bytes())
    imported = tuple(name for node in ast.walk(tree) for name in _imports(node) if name.partition(".")[0] in OURS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], imported


def _is_text(node: ast.stmt) -> bool:
    """Returns whether a statement is a docstring, of a name or of its block."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(node: ast.AST) -> Iterator[str]:
    """Yields the modules that an import statement names; a name imported from a package may be a module too."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
