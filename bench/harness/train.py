"""Training one system on one task: plain AdamW, an objective, and a checkpoint that loses nothing.

Every random draw of a step comes from a seed derived from the step, so a run that is killed and resumed ends, on CPU,
with the very weights of an undisturbed one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bench.backbones import Stack, compiled
from bench.batch import Batch, batches_of_similar_length, divided
from bench.harness.batches import load
from bench.harness.model_folder import WEIGHTS, load_weights, weights
from bench.harness.phases import OnPhase
from bench.harness.precision import autocast
from bench.harness.tokenized_texts import TokenizedTexts
from bench.interface import LatentPath, Posterior, System
from bench.latents import aggregated_posterior
from bench.objectives import InnerLoop, Stage
from bench.objectives.gradient_flow import GradientFlow
from bench.seeds import SeedName, derive_seed
from bench.specs import TrainingSpec
from bench.storage import atomic_write
from bench.tasks.task import Split

VERSION = 2
"""Rises whenever the same spec trains other weights."""


AUXILIARY = "auxiliary/"
"""Begins the names, in a checkpoint, of parameters that are not the system's; no module's name has a slash."""

# Sums are looked at, and a loss that is not finite noticed, this often: each look waits for the device.
STEPS_BETWEEN_LOOKS = 20


@dataclass
class Progress:
    """Where training stands; together with weights and optimizer state this is the whole checkpoint.

    Attributes:
        step: optimizer steps taken.
        batch: batches of the present epoch that are done.
        best: validation ELBO of the last stage's best epoch so far, in nats per text.
        best_epoch: its number, from 1; 0 before the last stage's first validation.
        sums: of the raw terms over the present epoch.
        curve: one row per finished epoch.
        seconds: spent on training steps.
        tokens: predicted tokens seen.
        catching_up: whether the stage's inner loop still runs.
        inner_updates: that it made in the present epoch.
        mutual_information: on the validation texts after the last epoch of an inner loop, in nats.
        diverged: whether a loss was not finite.
    """

    step: int = 0
    batch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    catching_up: bool = False
    inner_updates: int = 0
    mutual_information: float = -math.inf
    diverged: bool = False


class Trainer:
    """Trains a system to its best validation ELBO, resuming from ``folder`` if a checkpoint lies there.

    Args:
        system: untrained, on the device it trains on.
        texts: training and validation texts.
        stages: what is optimised, and in which of the epochs.
        spec: budget and optimizer.
        seeds: the run's named seeds.
        folder: where checkpoint and best weights are kept.
        on_phase: told of progress.
    """

    def __init__(
        self,
        system: System,
        texts: Mapping[Split, TokenizedTexts],
        stages: Sequence[Stage],
        spec: TrainingSpec,
        seeds: Mapping[SeedName, int],
        folder: Path,
        on_phase: OnPhase,
    ) -> None:
        self.system, self.texts, self.stages, self.spec, self.seeds = system, texts, stages, spec, seeds
        self.folder, self.on_phase = folder, on_phase
        self.device = next(system.parameters()).device
        self.steps_per_epoch = len(batches_of_similar_length(texts["train"].lengths, spec.batch_tokens))
        self.total_steps = self.steps_per_epoch * spec.epochs
        self.networks = self._auxiliary_networks()
        self.decoder_before = self._decoder() if any(stage.reset for stage in stages) else {}
        self.batches: list[list[int]] = []
        self.trained = {
            **dict(system.named_parameters()),
            **{f"{AUXILIARY}{name}": parameter for name, parameter in self.networks.named_parameters()},
        }
        inner = any(stage.objective.inner_loop for stage in stages)
        encoder = gradient_flow(system, texts["train"]).encoder_only() if inner else frozenset()
        self.encoder = [parameter for name, parameter in self.trained.items() if name in encoder]
        self.others = [parameter for name, parameter in self.trained.items() if name not in encoder]
        decayed = [p for p in self.trained.values() if p.dim() > 1]
        plain = [p for p in self.trained.values() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=spec.learning_rate,
            fused=True,
        )
        self.progress = Progress()

    def _auxiliary_networks(self) -> nn.ModuleDict:
        """Returns the parameters that are the objective's; a loss that several stages name keeps its own."""
        networks = nn.ModuleDict()
        for part in (part for stage in self.stages for part in stage.objective.auxiliary):
            if part.name not in networks:
                with torch.random.fork_rng():
                    torch.manual_seed(derive_seed(self.seeds["init"], part.name))
                    networks[part.name] = part.network(self.system).to(self.device)
        return networks

    def _decoder(self) -> dict[str, Tensor]:
        """Returns a copy of what the decoder alone uses."""
        names = gradient_flow(self.system, self.texts["train"]).decoder_only()
        return {name: p.detach().clone() for name, p in self.system.named_parameters() if name in names}

    @property
    def stage(self) -> Stage:
        """The stage of the present epoch."""
        return next(stage for stage in self.stages if len(self.progress.curve) in stage.epochs)

    @property
    def checkpoint(self) -> Path:
        """File that holds everything needed to go on."""
        return self.folder / "checkpoint.safetensors"

    @property
    def best_weights(self) -> Path:
        """File of the weights of the best epoch."""
        return self.folder / WEIGHTS

    def run(self) -> Progress:
        """Trains to the end and loads the best weights into the system.

        Returns:
            What happened; ``diverged`` is set, and the system is of no use, if a loss was not finite.
        """
        stacks = [module for module in self.system.modules() if isinstance(module, Stack)]
        with ExitStack() as settings:
            for stack in stacks:
                stack.activation_checkpointing = self.spec.activation_checkpointing
                if self.spec.compile:
                    settings.enter_context(compiled(stack.blocks()))
            return self._run()

    def _run(self) -> Progress:
        self._resume()
        saved = time.monotonic()
        # Not the step says which epoch it is: after the last one of an epoch, validation is still to come.
        while (epoch := len(self.progress.curve)) < self.spec.epochs and not self.progress.diverged:
            rng = np.random.Generator(np.random.PCG64(derive_seed(self.seeds["data"], epoch)))
            self.batches = batches_of_similar_length(self.texts["train"].lengths, self.spec.batch_tokens, rng)
            if self.progress.batch == 0 and epoch == self.stage.epochs.start:
                self._begin_stage()
            with closing(self._load(self.batches[self.progress.batch :])) as batches:
                while self.progress.batch < len(self.batches) and not self.progress.diverged:
                    # An inner loop waits for the device by itself, and takes long enough.
                    self._look_at(islice(batches, 1 if self.progress.catching_up else STEPS_BETWEEN_LOOKS))
                    self.on_phase("train", self.progress.step / self.total_steps)
                    if time.monotonic() - saved > self.spec.checkpoint_seconds and not self.progress.diverged:
                        self._save()
                        saved = time.monotonic()
            if not self.progress.diverged:
                self._end_epoch(epoch + 1)
            if not self.progress.diverged:
                self._save()
                saved = time.monotonic()
        if not self.progress.diverged:
            load_weights(self.system, self.best_weights)
        return self.progress

    def _load(self, batches: Iterable[Sequence[int]]) -> Generator[Sequence[Batch], None, None]:
        """Yields the micro-batches of each batch of training texts, which together make one step."""
        texts, budget = self.texts["train"], self.spec.micro_batch_tokens
        parts, again = tee(
            [indices] if budget is None else divided(indices, texts.lengths, budget) for indices in batches
        )
        with closing(load(texts, chain.from_iterable(parts), self.device)) as loaded:
            yield from (list(islice(loaded, len(of_one))) for of_one in again)

    def _look_at(self, batches: Iterable[Sequence[Batch]]) -> None:
        """Takes the steps of some batches, then adds up what they logged."""
        start = time.perf_counter()
        self.system.train()
        logged: list[Tensor] = []
        texts = 0
        for batch in batches:
            logged.append(self._step(batch, self.progress.step + len(logged)))
            texts += sum(len(part) for part in batch)
            self.progress.tokens += _predicted(batch)
        totals = torch.stack(logged).sum(0).tolist()
        groups = [f"kl[{group}]" for group in range(1, len(self.system.groups) + 1)]
        names = ["loss", "rec", "kl", *groups, *(part.name for part in self.stage.objective.auxiliary)]
        for name, total in zip(names, totals, strict=True):
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + total
        self.progress.sums["texts"] = self.progress.sums.get("texts", 0.0) + texts
        self.progress.step += len(logged)
        self.progress.batch += len(logged)
        self.progress.diverged = not all(map(math.isfinite, totals))
        self.progress.seconds += time.perf_counter() - start

    def _step(self, batch: Sequence[Batch], step: int) -> Tensor:
        """Takes one step; returns sums over texts: loss, rec, KL, each group's KL, each auxiliary loss."""
        inner = self.stage.objective.inner_loop
        if inner is None or not self.progress.catching_up:
            return self._update(batch, step)
        self._catch_up(inner, batch, step)
        return self._update(batch, step, frozen=self.encoder)

    def _update(self, batch: Sequence[Batch], step: int, *draw: int, frozen: Sequence[nn.Parameter] = ()) -> Tensor:
        """Updates all weights but the frozen ones; ``draw`` tells the random draws of a step's updates apart."""
        torch.manual_seed(derive_seed(self.seeds["dropout"], step, *draw))
        noise = torch.Generator().manual_seed(derive_seed(self.seeds["latent"], step, *draw))
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.learning_rate * min(1.0, (step + 1) / max(1.0, self.spec.warmup * self.total_steps))
        logged = torch.stack([self._accumulate(part, step, noise) for part in batch]).sum(0)
        torch.nn.utils.clip_grad_norm_(self.trained.values(), self.spec.clip_norm)
        for parameter in frozen:
            parameter.grad = None
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return logged

    def _accumulate(self, batch: Batch, step: int, noise: torch.Generator) -> Tensor:
        """Adds the gradients of a micro-batch to those there are; returns what ``_step`` does."""
        objective = self.stage.objective
        with autocast(self.spec.precision, self.device):
            path = self.system.encode(batch).sample(1, noise)
            log_likelihood = self.system.log_likelihood(batch, path)
            auxiliary = [part.terms(self.networks[part.name], self.system, batch, path) for part in objective.auxiliary]
        loss = objective.loss(log_likelihood, path, self.stage.step(step, self.steps_per_epoch), auxiliary).sum()
        # A fixed divisor, not the batch's own token count, keeps every text's weight the same in every batch.
        (loss / self.spec.batch_tokens).backward()
        kl = path.kl.detach().double().mean(1).sum(0)
        further = [terms.detach().mean(1).sum() for terms in auxiliary]
        return torch.stack([loss.detach(), -log_likelihood.detach().sum(), kl.sum(), *kl, *further])

    def _catch_up(self, inner: InnerLoop, first: Sequence[Batch], step: int) -> None:
        """Updates the encoder alone, until its loss per token does not fall from one look to the next."""
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seeds["data"], "inner", step)))
        drawn = (self.batches[rng.integers(len(self.batches))] for _ in range(1, inner.at_most))
        previous, losses, tokens = math.inf, [], 0
        with closing(self._load(drawn)) as others:
            for number, batch in enumerate(chain([first], others), start=1):
                losses.append(self._update(batch, step, number, frozen=self.others)[0])
                tokens += _predicted(batch)
                self.progress.inner_updates += 1
                if number % inner.look == 0:
                    present = float(torch.stack(losses).sum()) / tokens
                    if not present < previous:
                        break
                    previous, losses, tokens = present, [], 0

    def _begin_stage(self) -> None:
        self.progress.catching_up = self.stage.objective.inner_loop is not None
        self.progress.mutual_information = -math.inf
        if self.stage.reset:
            self._reset_decoder()

    @torch.no_grad()
    def _reset_decoder(self) -> None:
        for name, parameter in self.system.named_parameters():
            if name in self.decoder_before:
                parameter.copy_(self.decoder_before[name])
                self.optimizer.state.pop(parameter, None)

    def _end_epoch(self, epoch: int) -> None:
        """Validates, keeps the weights if they are the last stage's best so far, and closes the epoch's row."""
        sums, stage = self.progress.sums, self.stage
        means = {name: value / sums["texts"] for name, value in sums.items() if name != "texts"}
        rec, kl = self._validate()
        inner = self._end_of_inner_loop() if self.progress.catching_up else {}
        if not all(map(math.isfinite, (rec, kl, *inner.values()))):
            self.progress.diverged = True
            return
        self.progress.curve.append(
            {
                "epoch": epoch,
                "step": self.progress.step,
                "stage": self.stages.index(stage) + 1,
                "beta": stage.objective.schedule.beta(stage.step(self.progress.step - 1, self.steps_per_epoch)),
                **{f"train {name}": value for name, value in means.items()},
                "valid ELBO": rec + kl,
                "valid Rec": rec,
                "valid KL": kl,
                **inner,
            }
        )
        # Validation is the bound itself, beta 1 and no floor, whatever is optimised: by it an epoch of an earlier stage
        # could win that was never meant to be the result.
        if stage is self.stages[-1] and rec + kl < self.progress.best:
            self.progress.best, self.progress.best_epoch = rec + kl, epoch
            atomic_write(self.best_weights, save(weights(self.system)))
        self.progress.batch, self.progress.sums, self.progress.inner_updates = 0, {}, 0

    def _end_of_inner_loop(self) -> dict[str, float]:
        """Ends the inner loop for good if mutual information did not rise; returns what the curve says of it."""
        before, present = self.progress.mutual_information, self._mutual_information()
        self.progress.mutual_information, self.progress.catching_up = present, present > before
        return {"valid MI": present, "inner updates": self.progress.inner_updates}

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Returns Rec and KL of the validation texts in nats per text, from one posterior sample of fixed noise."""
        rec = kl = 0.0
        for batch, _, path in self._encode_validation():
            with autocast(self.spec.precision, self.device):
                rec -= float(self.system.log_likelihood(batch, path).sum())
            kl += float(path.kl.double().sum())
        n_texts = len(self.texts["valid"])
        return rec / n_texts, kl / n_texts

    @torch.no_grad()
    def _mutual_information(self) -> float:
        """Returns I(x; z) of the validation texts under their aggregated posterior, in nats."""
        encoded = [(posterior, path) for _, posterior, path in self._encode_validation()]
        own, aggregated = aggregated_posterior(*zip(*encoded, strict=True))
        return float((own - aggregated).mean())

    def _encode_validation(self) -> Iterator[tuple[Batch, Posterior, LatentPath]]:
        """Yields the validation texts with their posteriors and one sample each, of fixed noise."""
        self.system.eval()
        texts = self.texts["valid"]
        batches = batches_of_similar_length(texts.lengths, self.spec.batch_tokens)
        for indices, batch in zip(batches, load(texts, batches, self.device), strict=True):
            noise = [torch.Generator().manual_seed(derive_seed(self.seeds["latent"], "valid", i)) for i in indices]
            with autocast(self.spec.precision, self.device):
                posterior = self.system.encode(batch)
                path = posterior.sample(1, noise)
            yield batch, posterior, path

    def _save(self) -> None:
        states = self.optimizer.state
        tensors = {f"weights.{name}": tensor for name, tensor in weights(self.system).items()}
        tensors |= {f"{AUXILIARY}{name}": tensor for name, tensor in weights(self.networks).items()}
        for name, parameter in self.trained.items():
            tensors |= {f"optimizer.{name}.{key}": value for key, value in states.get(parameter, {}).items()}
        atomic_write(self.checkpoint, save(tensors, {"progress": json.dumps(asdict(self.progress))}))

    def _resume(self) -> None:
        if not self.checkpoint.is_file():
            return
        with safe_open(self.checkpoint, "pt") as file:
            self.progress = Progress(**json.loads(file.metadata()["progress"]))
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        self.system.load_state_dict(_below("weights.", stored), strict=False)
        self.networks.load_state_dict(_below(AUXILIARY, stored))
        for name, parameter in self.trained.items():
            state = _below(f"optimizer.{name}.", stored)
            self.optimizer.state[parameter] = {
                key: value if key == "step" and self.device.type == "cpu" else value.to(self.device)
                for key, value in state.items()
            }


def _predicted(batch: Sequence[Batch]) -> int:
    return sum(len(part.predicted) for part in batch)


def gradient_flow(system: System, texts: TokenizedTexts) -> GradientFlow:
    """Sends the first text through an untrained system, to see what an objective can do with it."""
    batch = texts.batch([0])
    return GradientFlow.of(system, batch.to(next(system.parameters()).device))


def _below(prefix: str, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
