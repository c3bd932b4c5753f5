"""Components without a version, because the record of a run holds what they make: decodings and imported weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.harness.plan import DECODINGS, resolve_decoding
from bench.specs import DecodingSpec
from bench.systems import IMPORTERS, SYSTEMS
from tests.goldens.golden import Golden, Kind, own_names
from tests.goldens.plain import in_double
from tests.released_della import ReleasedDella
from tests.released_optimus import ReleasedOptimus


def measure_decoding(name: str) -> Golden:
    changes = {system: resolve_decoding(name, system, DecodingSpec()) for system in own_names(SYSTEMS)}
    values = {system: spec.model_dump(exclude_defaults=True) for system, spec in changes.items()}
    return Golden(None, DECODINGS.entries()[name].value, values)


CHECKPOINTS: Mapping[str, Callable[[], tuple[object, dict[str, Any], int]]] = {
    "della-2022": lambda: (ReleasedDella(conditional=True, bow=True).state_dict(), {}, 2),
    "optimus": lambda: (ReleasedOptimus().checkpoint(), {"encoder_heads": 3}, 2),
}
"""A checkpoint for each importer, with options and heads."""


def measure_importer(name: str) -> Golden:
    with in_double(), TemporaryDirectory() as folder:
        checkpoint, options, heads = CHECKPOINTS[name]()
        file = Path(folder) / "checkpoint.pt"
        torch.save(checkpoint, file)
        model = IMPORTERS.get(name)(file, options, heads)
    weights = {
        parameter: [*weight.shape, float(weight.double().norm()), float(weight.double().flatten()[-1])]
        for parameter, weight in sorted(model.weights.items())
    }
    about = {"tokens": list(model.tokens), "vocabulary": model.vocabulary_size, "lossless": model.lossless}
    values = {"options": model.spec.system.options, "heads": model.spec.backbone.heads, **about, **weights}
    return Golden(None, IMPORTERS.entries()[name].value, values)


DECODING = Kind("decoding", lambda: own_names(DECODINGS), measure_decoding)
IMPORTER = Kind("importer", lambda: own_names(IMPORTERS), measure_importer)
