"""What a grid will take, before anything is trained: parameters, tokens, FLOPs, downloads, memory and time.

Systems are built without values, and need no weights, no network and not much memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.backbones import TransformerStack
from bench.errors import BenchError
from bench.harness.build import build_system
from bench.harness.calibration import calibrate
from bench.harness.costs import scoring_pass, training_step
from bench.harness.lengths import Lengths, lengths_of
from bench.harness.sized_tokenizers import sized_tokenizer
from bench.interface import System
from bench.pretrained import PUBLIC_SETTINGS, public_size, without_weights
from bench.specs import EncoderSpec, RunSpec
from bench.systems import SYSTEMS
from bench.tasks import Split

_COLUMNS = ("task", "system", "seed", "texts", "parameters", "tokens", "FLOPs", "memory", "tokens/s", "hours")


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        spec: of the run.
        parameters: of the system.
        tokens: predicted tokens of training, all epochs together.
        training: FLOPs of training.
        scoring: FLOPs of the likelihood of the test texts.
        weights: names on the hub to the bytes of their weights in float32.
        memory: bytes of weights, gradients, optimizer and activations of a training step in float32; measured if the
            run was calibrated on a GPU.
        train: the texts of training.
        texts: where the numbers of texts and tokens come from.
        tokens_per_second: of training; None if it is not known.
        skipped: why the system does not do this run; None if it does.
    """

    spec: RunSpec
    parameters: int
    tokens: int
    training: float
    scoring: float
    weights: Mapping[str, int]
    memory: int
    train: Lengths
    texts: str
    tokens_per_second: float | None = None
    skipped: str | None = None

    @property
    def hours(self) -> float | None:
        """Time of training and of the likelihood of the test texts, at the FLOPs per second of training."""
        if self.tokens_per_second is None:
            return None
        return (1 + self.scoring / self.training) * self.tokens / self.tokens_per_second / 3600


def forecast(
    specs: Sequence[RunSpec],
    data_folder: Path | None = None,
    tokens_per_second: float | None = None,
    calibrated: bool = False,
) -> list[Forecast]:
    """Returns what each run will take.

    Args:
        specs: the runs.
        data_folder: of real texts; where they are missing, the sizes are those of the paper.
        tokens_per_second: throughput of training of the first run; that of the others follows from their FLOPs.
        calibrated: whether ten steps of each system and task are timed on this machine instead.

    Raises:
        BenchError: a system cannot be built, or the sizes of a model of the hub are not known without a network.
    """
    made: dict[str, Forecast] = {}
    runs: list[Forecast] = []
    with without_weights():
        for spec in specs:
            key = spec.model_copy(update={"seed": 0}).model_dump_json()  # no seed changes a cost
            if key not in made:
                made[key] = _forecast(spec, *lengths_of(spec, data_folder), calibrated)
            runs.append(replace(made[key], spec=spec))
    done = [run for run in runs if run.skipped is None]
    if tokens_per_second is None or not done:
        return runs
    flops_per_second = tokens_per_second * done[0].training / done[0].tokens
    return [
        run if run.skipped else replace(run, tokens_per_second=flops_per_second * run.tokens / run.training)
        for run in runs
    ]


def _forecast(spec: RunSpec, lengths: Mapping[Split, Lengths], texts: str, calibrated: bool) -> Forecast:
    training = spec.training
    if training is None:
        raise BenchError(f"{spec.title}: a dry run is of a run that trains.")
    train, test = lengths["train"], lengths["test"]
    if (reason := SYSTEMS.get(spec.system.name).supports(spec)) is not None:
        return Forecast(spec, 0, 0, 0, 0, {}, 0, train, texts, skipped=reason)
    tokenizer = sized_tokenizer(spec)
    with torch.device("meta"):
        system = build_system(SYSTEMS.get(spec.system.name), spec.model, tokenizer)
    step, memory = training_step(spec, training, system, train)
    encoding, decoding = scoring_pass(spec, system, test)
    samples = spec.scoring.n_importance_samples if system.groups else 1
    made = Forecast(
        spec=spec,
        parameters=sum(parameter.numel() for parameter in system.parameters()),
        tokens=int(train.texts * train.target * training.epochs),
        training=step * train.texts * training.epochs,
        scoring=(encoding + samples * decoding) * test.texts,
        weights=_weights_of_the_hub(spec, system),
        memory=memory,
        train=train,
        texts=texts,
    )
    if not calibrated:
        return made
    speed, measured = calibrate(spec, training, tokenizer, train)
    return replace(made, tokens_per_second=speed, memory=measured or memory)


def _weights_of_the_hub(spec: RunSpec, system: System) -> dict[str, int]:
    """Returns the bytes of the stacks that come from the hub, and of the encoder of MAUVE if its size is public."""
    stacks = [module for module in system.modules() if isinstance(module, TransformerStack)]
    specs = [spec.backbone, *([spec.encoder] if spec.encoder else [])]
    encoder = (spec.scoring.mauve_encoder or "").partition("@")[0]
    of_metrics = {encoder: public_size(encoder)} if encoder in PUBLIC_SETTINGS else {}
    return of_metrics | {
        str(part.name): 4 * sum(parameter.numel() for parameter in stack.parameters())
        for part in specs
        for stack in stacks
        if part.source == "hub" and isinstance(part, EncoderSpec) == (stack is not system.backbone)
    }


def lines(runs: Sequence[Forecast]) -> list[str]:
    """Returns the plan of a grid: a line for each run, what is downloaded, and what the figures are."""
    rows = [_COLUMNS, *map(_cells, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    done = [run for run in runs if run.skipped is None]
    hours = [run.hours for run in done]
    total = "" if None in hours else f", {sum(filter(None, hours)):,.1f} hours one after the other"
    text.append(f"{len(done)} runs: {sum(run.training + run.scoring for run in done):.3g} FLOPs{total}.")
    downloads: dict[str, int] = {}
    for name, size in (item for run in runs for item in run.weights.items()):
        downloads[name] = min(size, downloads.get(name, size))  # a system may give the stack a head of its own
    named = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sorted(downloads.items()))
    text.append(f"Weights of the hub: {named or 'none'}.")
    origins = dict.fromkeys(f"{run.spec.task.name} from {run.texts}" for run in runs)
    text.append(f"Texts: {', '.join(origins)}.")
    text.append(
        "Tokens: predicted ones, of all epochs. FLOPs and hours: of training and of the likelihood of the test texts;"
        " generation and metrics come on top. Memory: of a training step, in float32 unless it was measured on a GPU."
    )
    return text


def _cells(run: Forecast) -> tuple[str, ...]:
    training, head = run.spec.training, (run.spec.task.name, run.spec.system.label, str(run.spec.seed))
    if run.skipped is not None or training is None:
        return (*head, "skipped", *[""] * 6)
    return (
        *head,
        f"{run.train.texts:,} x {training.epochs}",
        f"{run.parameters:,}",
        f"{run.tokens:.3g}",
        f"{run.training + run.scoring:.3g}",
        f"{run.memory / 1e9:.1f} GB",
        "" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}",
        "" if run.hours is None else f"{run.hours:,.2f}",
    )
