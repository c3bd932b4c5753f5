"""From the names that a user types (suite, scale, systems, tasks, seeds) to the resolved specs of all runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench import resources
from bench.errors import BenchError, unknown_name
from bench.labels import configure, parse_call, parse_label
from bench.objectives import resolve_objective, stage_epochs
from bench.reading import parse_as
from bench.registry import Registry
from bench.scales import Scale, load_scale, scale_title
from bench.specs import (
    BackboneSpec,
    DataSource,
    DecodingSpec,
    RunSpec,
    SystemSpec,
    TaskSpec,
    TokenizerSpec,
    TrainingSpec,
)
from bench.suites import Suite
from bench.systems import SYSTEMS
from bench.tasks import TASKS, Task

if TYPE_CHECKING:
    from bench.harness.model_folder import ModelFolder
    from bench.records.store import StoredRun


DECODINGS: Registry[Callable[[str], str]] = Registry("decoding", {}, "della_bench.decodings")
"""Named decodings: functions from the name of a system to the text of its decoding, see ``resolve_decoding``."""

SIZES = ("layers", "width", "heads", "positions")
"""Sizes of a backbone from scratch; those of a pretrained backbone are fixed."""


def plan(
    suite: Suite,
    scale_name: str,
    *,
    systems: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
    source: DataSource = "grammar",
    decoding: str = "",
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> list[RunSpec]:
    """Returns the resolved specs, task by task, system by system, seed by seed.

    Args:
        suite: gives systems, tasks and seeds that are not named.
        scale_name: name or file of the scale.
        systems: labels that replace the suite's.
        tasks: names that replace the suite's.
        seeds: seeds that replace the suite's.
        source: of the texts, unless the scale needs real ones.
        decoding: replaces the scale's; see ``resolve_decoding``.
        settings: entries that replace the scale's; see ``load_scale``.

    Raises:
        BenchError: an unknown name or option.
    """
    scale = load_scale(scale_name, settings)
    source = "files" if scale.real_texts else source
    return [
        run_spec(label, task, seed, scale_name, scale.for_task(task), source, decoding)
        for task in dict.fromkeys(tasks or suite.tasks)
        for label in dict.fromkeys(systems or suite.systems)
        for seed in dict.fromkeys(seeds or suite.seeds)
    ]


def resolve_decoding(text: str, system: str, default: DecodingSpec) -> DecodingSpec:
    """Reads how texts are decoded.

    Args:
        text: ``strategy[:key=value,...]``; or a name in ``DECODINGS``, such as ``paper``; or nothing, for the default.
        system: name of the system.
        default: gives the keys that the text leaves out.

    Raises:
        BenchError: an unknown strategy or key.
    """
    if not text:
        return default
    name, arguments = parse_call(text)
    if name in DECODINGS.names():
        name, arguments = parse_call(DECODINGS.get(name)(system))
    changes = {"strategy": name, **{str(key): value for key, value in arguments.items()}}
    return parse_as(DecodingSpec, {**default.model_dump(), **changes}, f"decoding {text!r}")


def resolve_changes(
    text: str,
    backbone: BackboneSpec,
    training: TrainingSpec,
    named: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[BackboneSpec, TrainingSpec]:
    """Returns backbone and training of a row.

    Args:
        text: changes as ``key=value,...``; a number followed by x is a multiple of the default (``layers=2x``). A
            ``path`` alone is of a folder, a ``name`` alone of the hub.
        backbone: of the scale, of the task's kind.
        training: of the scale.
        named: changes, or words in their place, that stand for entries of the backbone in this scale.

    Raises:
        BenchError: an unknown key, a multiple of a value that is not a number, or a size of a pretrained backbone.
    """
    of_backbone, of_training = BackboneSpec.model_fields.keys() - {"kind"}, TrainingSpec.model_fields.keys()
    default = {**training.model_dump(), **backbone.model_dump()}
    changes: dict[str, Any] = {}
    for key, value in parse_call(f"row:{text}")[1].items():
        if (change := str(value) if isinstance(key, int) else f"{key}={value}") in named:
            changes.update(named[change])
            continue
        if isinstance(key, int):
            raise BenchError(f"'@{text}': write key=value, for example layers={value}.")
        if key not in of_backbone | of_training:
            raise unknown_name(f"key in '@{text}'", key, of_backbone | of_training)
        if key in SIZES and backbone.source != "scratch":
            raise BenchError(
                f"'@{text}': the {key} of a pretrained backbone cannot be changed; name another one, as @path=FOLDER."
            )
        changes[key] = value
        if isinstance(value, str) and (multiple := re.fullmatch(r"(\d+(?:\.\d+)?)x", value)):
            if not isinstance(size := default.get(key), int | float):
                raise BenchError(f"'@{text}': {key} is not a number.")
            changes[key] = float(multiple[1]) * size
    if "source" not in changes and ("path" in changes) != ("name" in changes):
        changes["source"] = "folder" if "path" in changes else "hub"

    def changed(spec: BackboneSpec | TrainingSpec) -> dict[str, Any]:
        return {**spec.model_dump(), **{key: value for key, value in changes.items() if key in type(spec).model_fields}}

    where = f"'@{text}'"
    return parse_as(BackboneSpec, changed(backbone), where), parse_as(TrainingSpec, changed(training), where)


def run_spec(
    label: str, task: str, seed: int, scale_name: str, scale: Scale, source: DataSource, decoding: str = ""
) -> RunSpec:
    """Returns the spec of one run with all defaults.

    Raises:
        BenchError: an unknown name or option.
    """
    call, parts, changes = parse_label(label)
    name, arguments = parse_call(call)
    system, definition = SYSTEMS.get(name), TASKS.get(task)
    options = configure(system.Config, call, arguments).model_dump(mode="json")
    objective = resolve_objective(parts or system.default_objective.split("+"))
    default = scale.backbone.model_copy(update={"kind": definition.backbone})
    backbone, training = resolve_changes(changes, default, scale.training, scale.backbones)
    stage_epochs(objective, training.epochs)
    return RunSpec(
        system=SystemSpec(name=name, options=options, label=label),
        objective=objective,
        task=_task_spec(definition, scale, source),
        scale=scale_title(scale_name),
        tokenizer=scale.tokenizer,
        backbone=backbone,
        encoder=scale.encoder_for(system.encoder_kind, backbone),
        training=training,
        scoring=scale.scoring,
        decoding=_decoding(decoding, name, scale),
        seed=seed,
    )


def scale_of_run(run: StoredRun) -> str:
    """Returns the name of the scale of a run.

    Raises:
        BenchError: it is that of a file, or its entries were replaced, so that the name does not tell the sizes.
    """
    name = run.record.scale
    if name not in resources.names("scales"):
        raise BenchError(f"{run.path}: the scale {name!r} is that of a file; name it with --scale.")
    spec, scale = parse_as(RunSpec, run.record.spec, str(run.path)), load_scale(name).for_task(run.record.task)
    if (_task_spec(TASKS.get(spec.task.name), scale, spec.task.source), scale.scoring) != (spec.task, spec.scoring):
        raise BenchError(f"{run.path}: not the sizes of the scale {name!r}; name a scale with --scale.")
    return name


def evaluation_spec(
    model: ModelFolder, task: str, seed: int, scale_name: str, scale: Scale, source: DataSource, decoding: str = ""
) -> RunSpec:
    """Returns the spec for scoring a trained model with the sizes of a scale.

    Its label is that of its run, or the name of its folder if it was imported.

    Raises:
        BenchError: an unknown name or option, or a conditional task for an unconditional model or vice versa.
    """
    definition, spec = TASKS.get(task), model.spec
    kind = "conditional" if spec.conditional else "unconditional"
    if definition.kind != kind:
        raise BenchError(f"the model in {model.path} is {kind}; task {task!r} is {definition.kind}.")
    return RunSpec(
        system=spec.system.model_copy(update={"label": model.path.resolve().name}) if spec.origin else spec.system,
        objective=spec.objective,
        task=_task_spec(definition, scale, source),
        scale=scale_title(scale_name),
        tokenizer=TokenizerSpec(kind="folder", path=model.path),
        backbone=spec.backbone,
        encoder=spec.encoder,
        training=None,
        scoring=scale.scoring,
        decoding=_decoding(decoding, spec.system.name, scale),
        seed=seed,
    )


def _decoding(text: str, system: str, scale: Scale) -> DecodingSpec:
    """Returns how texts are decoded: by ``text``, or by the scale."""
    default = DecodingSpec(**scale.decoding.model_dump(exclude={"name"}))
    return resolve_decoding(text or scale.decoding.name, system, default)


def _task_spec(task: Task, scale: Scale, source: DataSource) -> TaskSpec:
    return TaskSpec(
        name=task.name,
        source=source,
        limits=scale.limits,
        max_tokens=scale.max_tokens,
        max_source_tokens=scale.max_source_tokens,
        conditional=task.kind == "conditional",
    )
