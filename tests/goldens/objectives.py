"""The losses and gradients of each part of an objective over the steps of a small training."""

from __future__ import annotations

from typing import Any

import torch

from bench.objectives import OBJECTIVES, apply_adaptations, build_stages, resolve_objective
from bench.objectives.part import StageEnd
from tests.goldens.golden import DROPOUT, Golden, Kind, own_names, place_of
from tests.goldens.options import other_options
from tests.goldens.plain import in_double, plain_system, tokenized

EPOCHS, STEPS_PER_EPOCH = 6, 3

MORE = {"free-bits": [f"2,{unit},{form}" for unit in ("dimension", "group", "text") for form in ("mask", "max")]}
"""Further options of a part, where some terms are on either side of a bound."""


def measure(name: str) -> Golden:
    part = OBJECTIVES.get(name)
    values: dict[str, Any] = {}
    others = [f"{option}={str(value).lower()}" for option, value in other_options(part)]
    for arguments in ("", *others, *MORE.get(name, ())):
        call = f"{name}:{arguments}" if arguments else name
        label = ("linear", call, "constant") if issubclass(part, StageEnd) else (call,)
        values |= {f"{arguments or 'default'}, {what}": value for what, value in values_of(label).items()}
    return Golden(part.version, place_of(part), values)


def values_of(label: tuple[str, ...]) -> dict[str, Any]:
    spec = resolve_objective(label)
    stages = build_stages(spec, EPOCHS)
    with in_double():
        system, texts = plain_system(), tokenized(stop=6)
        apply_adaptations(system, spec)
        batch = texts.batch(range(6))
        path = system.train().encode(batch).sample(2, torch.Generator().manual_seed(0))
        log_likelihood = system.log_likelihood(batch, path)
        losses = []
        for stage in stages:
            parts = stage.objective.auxiliary
            auxiliary = [part.terms(part.network(system), system, batch, path) for part in parts]
            for number in range(stage.epochs.start * STEPS_PER_EPOCH, stage.epochs.stop * STEPS_PER_EPOCH):
                step = stage.step(number, STEPS_PER_EPOCH)
                losses.append(stage.objective.loss(log_likelihood, path, step, auxiliary).mean())
        weights = torch.tensor([1.0, 2.0, 3.0]).repeat(EPOCHS)
        gradient = torch.autograd.grad((weights * torch.stack(losses)).sum(), system.first.weight)[0]
        values = {"losses": [loss.item() for loss in losses], "gradient": gradient.norm().item()}
    loops = [stage.objective.inner_loop for stage in stages]
    if any(loops):
        values["inner loops"] = [loop and [loop.look, loop.at_most] for loop in loops]
    if any(stage.reset for stage in stages):
        values["resets"] = [stage.reset for stage in stages]
    return values


OBJECTIVE = Kind("objective", lambda: own_names(OBJECTIVES), measure, incomparable=DROPOUT)
