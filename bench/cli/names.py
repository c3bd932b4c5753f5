"""Verbs that explain names: which names there are, and the specification that a name stands for."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from bench.cli.output import say
from bench.cli.runs import SetOption
from bench.errors import BenchError, unknown_name
from bench.escape import json_text


def list_names(
    kind: Annotated[str, typer.Argument(help="systems, tasks, objectives, metrics, suites, scales or checks.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the names of one kind."""
    kinds = _summaries()
    if not kind:
        raise BenchError(f"nothing to list: name one of {', '.join(kinds)}.")
    if kind not in kinds:
        raise unknown_name("list", kind, kinds)
    summaries = kinds[kind]()
    if as_json:
        entries = [{"name": name, "summary": summary} for name, summary in summaries.items()]
        say(json_text(entries))
        return
    width = max(map(len, summaries), default=0)
    for name, summary in summaries.items():
        say(f"{name:<{width}}  {summary}".rstrip())


def show(
    spec: Annotated[str, typer.Argument(help="Label of a system, parts of an objective, suite, scale, or YAML file.")],
    task: Annotated[str | None, typer.Option(help="Task of a system's run [default: ptb].")] = None,
    scale: Annotated[str | None, typer.Option(help="Its scale, by name or as a YAML file [default: smoke].")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Its seed [default: 0].")] = None,
    settings: SetOption = None,
) -> None:
    """Print a specification with all defaults, as YAML; for an objective also what its options mean."""
    import yaml

    from bench.harness.plan import run_spec
    from bench.labels import parse_call, parse_label, parse_settings
    from bench.objectives import OBJECTIVES, resolve_objective
    from bench.resources import SUFFIXES, names
    from bench.scales import is_scale, load_scale
    from bench.suites import load_suite
    from bench.systems import SYSTEMS

    systems, suites, objectives = SYSTEMS.names(), names("suites"), OBJECTIVES.names()
    scales = names("scales")
    run_options = {"--task": task, "--scale": scale, "--seed": seed}
    replaced = parse_settings(settings or ())
    if spec in scales or is_scale(spec):
        _reject(run_options, "a scale")
        content = load_scale(spec, replaced).model_dump(mode="json")
    elif spec in suites or spec.endswith(SUFFIXES):
        _reject({**run_options, "--set": settings}, "a suite")
        content = load_suite(spec).model_dump(mode="json")
    elif (name := parse_call(parse_label(spec)[0])[0]) in objectives:
        _reject({**run_options, "--set": settings}, "an objective")
        content = resolve_objective(parts := spec.split("+")).model_dump(mode="json")
        for part in dict.fromkeys(parse_call(part)[0] for part in parts):
            text = f"{part}: {inspect.getdoc(OBJECTIVES.get(part))}"
            say(textwrap.indent(text, "# ", lambda line: True))
    elif name not in systems:
        raise unknown_name("system, objective, suite or scale", name, (*systems, *objectives, *suites, *scales))
    else:
        task, scale = task or "ptb", scale or "smoke"
        sizes = load_scale(scale, replaced).for_task(task)
        content = run_spec(spec, task, seed or 0, scale, sizes, "grammar").model_dump(mode="json")
    say(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), nl=False)


def _reject(run_options: Mapping[str, object], kind: str) -> None:
    """Raises if an option is given that only the run of a system has."""
    if given := [option for option, value in run_options.items() if value is not None]:
        raise BenchError(f"{', '.join(given)}: only for the run of a system, not for {kind}.")


def _summaries() -> dict[str, Callable[[], Mapping[str, str]]]:
    """Returns for each kind of names the function that returns these names with a line about each."""
    from bench.metrics.model import MODEL_METRICS
    from bench.metrics.text import TEXT_METRICS
    from bench.objectives import OBJECTIVES
    from bench.resources import names, read
    from bench.systems import SYSTEMS
    from bench.tasks import TASKS

    return {
        "systems": SYSTEMS.summaries,
        "tasks": lambda: {name: TASKS.get(name).summary for name in TASKS.names()},
        "objectives": OBJECTIVES.summaries,
        "metrics": lambda: {**MODEL_METRICS.summaries(), **TEXT_METRICS.summaries()},
        "suites": lambda: {name: read("suites", name).get("title", "") for name in names("suites")},
        "scales": lambda: {name: read("scales", name).get("description", "") for name in names("scales")},
        "checks": _checks,
    }


def _checks() -> Mapping[str, str]:
    from bench.testing.checks import CHECKS

    return {check.name: check.title for check in CHECKS}
