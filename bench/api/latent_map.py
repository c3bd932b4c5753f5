"""A map of a latent space: where the posterior means of texts lie whose true factors are known."""

from __future__ import annotations

from pathlib import Path

from bench.api.text_vae import columns_of, load
from bench.errors import BenchError, unknown_name
from bench.figures.plane import Plane
from bench.harness.hub import find_model
from bench.reading import parse_as
from bench.records.store import RECORD, load_runs
from bench.specs import RunSpec
from bench.tasks import load_texts


def latent_map(where: Path, factor: str, layer: int | None = None, texts: int = 500) -> Plane:
    """Returns the map of the model of a run on an embedded corpus.

    Args:
        where: folder of the run with its record and its weights, or a name of the hub as for ``bench.load``.
        factor: factor of the grammar that colours the texts.
        layer: the latent group that is shown, counted from 1; None for all.
        texts: number of test texts, at most; those that were scored.

    Raises:
        BenchError: there is no record or model, its texts have no factors, or the factor or the layer is unknown.
    """
    folder = find_model(where)
    if not (folder / RECORD).is_file():
        raise BenchError(f"{where}: no {RECORD} in it; name the folder of one run.")
    (run,) = load_runs([folder / RECORD])
    record = run.record
    task = parse_as(RunSpec, record.spec, str(folder / RECORD)).task
    if task.source != "grammar":
        raise BenchError(f"{where}: texts from files have no known factors; a map needs those of an embedded grammar.")
    data = load_texts(task)
    if factor not in (factors := data.factors["test"]):
        raise unknown_name(f"factor of {task.name}", factor, factors)
    examples = data.splits["test"][:texts]
    sources = [example.source or "" for example in examples] if data.kind == "conditional" else None
    latents = load(folder).encode([example.target for example in examples], sources)
    (columns,) = [slice(None)] if layer is None else columns_of(latents.groups, layer)
    group = "" if layer is None else f", z{layer}"
    title = f"{record.data.title}: {record.label}{group}"
    return Plane.of(title, latents.mean[:, columns], factor, factors[factor][:texts])
