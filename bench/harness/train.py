"""Training one system on one task: AdamW, an objective, and checkpoints.

Every random draw of a step has a seed that is derived from the step. So a run that was killed and resumed ends, on CPU,
with the same weights as an undisturbed one. A signal to stop is heeded between two steps and two batches of validation.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.backbones import TransformerStack, compiled
from bench.batch import Batch, batches_of_similar_length, batches_of_texts
from bench.errors import BenchError
from bench.harness.batches import micro_batches_on_device
from bench.harness.checkpoint import AUXILIARY, Checkpoint, Progress
from bench.harness.phases import OnPhase
from bench.harness.precision import autocast
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.stopping import Stopped, deferred, first, requested
from bench.harness.tokenized_texts import TokenizedTexts
from bench.harness.validation import Validation
from bench.harness.weights import set_weights, weights
from bench.interface import System
from bench.objectives import InnerLoop, Stage
from bench.objectives.gradient_flow import GradientFlow
from bench.seeds import SeedName, derive_seed
from bench.specs import TrainingSpec
from bench.tasks import Split

STEPS_BETWEEN_SUMS = 20
"""Steps after which their logged terms are added up and checked for NaN, which waits for the device."""


class Trainer:
    """Trains a system to the weights of its best validation ELBO. It resumes from a checkpoint in ``folder``.

    Args:
        system: untrained, on the device that trains it.
        texts: training and validation texts.
        stages: the objectives, each with its epochs.
        spec: budget and optimizer.
        seeds: named seeds of the run.
        folder: of the checkpoints.
        on_phase: receives the progress.
        code: digest of each module that trains, for the checkpoint.
        processes: that train the run together.
        check: called before each write of a file; raises if another process has taken the run over.

    Raises:
        BenchError: the run cannot be trained by several processes.
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
        code: Mapping[str, str] | None = None,
        processes: ProcessGroup = ALONE,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.processes = processes
        self.system, self.texts, self.stages, self.spec, self.seeds = system, texts, stages, spec, seeds
        self.on_phase, self.check = on_phase, check
        self.device = next(system.parameters()).device
        self.validation = Validation(
            system, texts["valid"], spec.batch_tokens, spec.precision, seeds["latent"], processes
        )
        self.steps_per_epoch = len(training_batches(texts["train"], spec))
        # Of the loss: the tokens of a batch, of one of texts those of a mean one.
        mean_length = float(texts["train"].lengths.mean())
        self.divisor = spec.batch_tokens if spec.batch_texts is None else spec.batch_texts * mean_length
        self.total_steps = self.steps_per_epoch * spec.epochs
        self.networks = self._auxiliary_networks()
        self.initial_decoder = self._decoder() if any(stage.reset for stage in stages) else {}
        self.batches: list[list[int]] = []
        self.parameters = {
            **dict(system.named_parameters()),
            **{f"{AUXILIARY}{name}": parameter for name, parameter in self.networks.named_parameters()},
        }
        inner = any(stage.objective.inner_loop for stage in stages)
        encoder = gradient_flow(system, texts["train"]).encoder_only() if inner else frozenset()
        self.encoder = [parameter for name, parameter in self.parameters.items() if name in encoder]
        self.others = [parameter for name, parameter in self.parameters.items() if name not in encoder]
        matrices = [parameter for parameter in self.parameters.values() if parameter.dim() > 1]
        vectors = [parameter for parameter in self.parameters.values() if parameter.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": spec.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=spec.learning_rate,
            fused=True,
        )
        self.best: dict[str, Tensor] = {}
        self.checkpoint = Checkpoint(
            folder, system, self.best, self.networks, self.parameters, self.optimizer, code or {}
        )
        self.progress = Progress()
        self.stops = False
        if processes.size > 1:
            self._check_division()

    def _check_division(self) -> None:
        """Raises if several processes would not train the weights that one process trains."""
        size = self.processes.size
        if (self.spec.micro_batch_tokens or math.inf) > self.spec.batch_tokens / size:
            raise BenchError(
                f"{size} processes share the micro-batches of a batch: set training.micro_batch_tokens to"
                f" {self.spec.batch_tokens // size} or less (training.batch_tokens / processes)."
            )
        for objective in (stage.objective for stage in self.stages):
            if objective.inner_loop or objective.adaptations:
                raise BenchError(
                    "an inner loop or an adaptation, such as batch norm, cannot be trained by several processes."
                )

    def _auxiliary_networks(self) -> nn.ModuleDict:
        """Returns the parameters of the auxiliary losses; a loss that several stages name has one set for all."""
        networks = nn.ModuleDict()
        for part in (part for stage in self.stages for part in stage.objective.auxiliary):
            if part.name not in networks:
                with torch.random.fork_rng():
                    torch.manual_seed(derive_seed(self.seeds["init"], part.name))
                    networks[part.name] = part.network(self.system).to(self.device)
        return networks

    def _decoder(self) -> dict[str, Tensor]:
        """Returns a copy of the parameters that only the decoder uses."""
        names = gradient_flow(self.system, self.texts["train"]).decoder_only()
        return {name: p.detach().clone() for name, p in self.system.named_parameters() if name in names}

    @property
    def stage(self) -> Stage:
        """The stage of the current epoch."""
        return next(stage for stage in self.stages if len(self.progress.curve) in stage.epochs)

    def run(self) -> Progress:
        """Trains to the end and gives the system the best weights.

        Returns:
            The progress; if ``diverged`` is set, a loss was not finite, and the weights of the system mean nothing.

        Raises:
            BenchError: a checkpoint cannot be written, or is of another system.
            Stopped: a signal came; a checkpoint was written.
        """
        stacks = [module for module in self.system.modules() if isinstance(module, TransformerStack)]
        with ExitStack() as settings:
            for stack in stacks:
                stack.activation_checkpointing = self.spec.activation_checkpointing
                if self.spec.compile:
                    settings.enter_context(compiled(stack.blocks()))
            self.progress = self.checkpoint.load()
            self.processes.wait()  # until all have read it
            settings.enter_context(deferred())
            try:
                self._train()
            except Stopped:
                self._save()
                raise
        if not self.progress.diverged:
            set_weights(self.system, self.best, self.checkpoint.folder)
            self.best.clear()
        return self.progress

    def _train(self) -> None:
        saved_at = time.monotonic()
        # The curve has a row per finished epoch. After the last step of an epoch, its validation is still due.
        while (epoch := len(self.progress.curve)) < self.spec.epochs and not self._is_trained_out():
            rng = np.random.Generator(np.random.PCG64(derive_seed(self.seeds["data"], epoch)))
            self.batches = training_batches(self.texts["train"], self.spec, rng)
            if self.progress.batch == 0 and epoch == self.stage.epochs.start:
                self._begin_stage()
            with closing(self._micro_batches(self.batches[self.progress.batch :])) as batches:
                while self.progress.batch < len(self.batches) and not self.progress.diverged:
                    # An inner loop waits for the device itself, and one of its steps takes long.
                    until_sum = STEPS_BETWEEN_SUMS - self.progress.batch % STEPS_BETWEEN_SUMS
                    self.take_steps(islice(batches, 1 if self.progress.inner_loop else until_sum))
                    self.on_phase("train", self.progress.step / self.total_steps)
                    if self.stops and not self.progress.diverged:
                        raise Stopped(first() or signal.SIGTERM)
                    if time.monotonic() - saved_at > self.spec.checkpoint_seconds and not self.progress.diverged:
                        self._save()
                        saved_at = time.monotonic()
            if not self.progress.diverged:
                self._end_epoch(epoch + 1)
            if self.progress.diverged:
                return
            self._save()
            saved_at = time.monotonic()

    def _is_trained_out(self) -> bool:
        """Returns whether the validation ELBO of the last stage has stopped falling; never without ``patience``."""
        if self.spec.patience is None:
            return False
        stage = self.stages[-1]
        last_steps = (epoch * self.steps_per_epoch + self.steps_per_epoch - 1 for epoch in stage.epochs)
        full_weight = max(stage.objective.schedule.beta(stage.step(step, self.steps_per_epoch)) for step in last_steps)
        since_best = self.progress.curve[self.progress.best_epoch :] if self.progress.best_epoch else []
        return sum(row["beta"] >= full_weight for row in since_best) >= self.spec.patience

    def _save(self) -> None:
        if self.processes.leads:
            self.check()
            self.checkpoint.save(self.progress)

    def _micro_batches(self, batches: Iterable[Sequence[int]]) -> Generator[list[Batch], None, None]:
        spec = self.spec
        return micro_batches_on_device(
            self.texts["train"], batches, spec.micro_batch_tokens, self.device, self.processes
        )

    def take_steps(self, batches: Iterable[Sequence[Batch]]) -> None:
        """Takes a step on each batch, which comes as its micro-batches, and adds up what the steps logged.

        A request to stop ends it after the present step; several processes take all steps, and then stop together.
        """
        start = time.perf_counter()
        self.system.train()
        logged: list[Tensor] = []
        counts: list[tuple[int, int, bool]] = []
        for batch in batches:
            logged.append(self.step(batch, self.progress.step + len(logged)))
            counts.append((sum(len(part) for part in batch), _predicted_tokens(batch), stop := requested()))
            if stop and self.processes.size == 1:
                break
        of_batches = torch.tensor(counts, dtype=torch.float64, device=self.device)
        rows = self.processes.sum(torch.cat([torch.stack(logged).double(), of_batches], 1)).tolist()
        groups = [f"kl[{group}]" for group in range(1, len(self.system.groups) + 1)]
        names = ["loss", "rec", "kl", *groups, *(part.name for part in self.stage.objective.auxiliary), "texts"]
        # One by one, so that the sums do not depend on where training was interrupted.
        for step, (*values, tokens, stop) in enumerate(rows, start=self.progress.step + 1):
            self.stops = self.stops or stop > 0
            if not all(map(math.isfinite, values)):
                self._diverge(f"the loss was not finite at step {step}")
                break
            for name, value in zip(names, values, strict=True):
                self.progress.sums[name] = self.progress.sums.get(name, 0.0) + value
            *terms, n = values
            self.progress.last_terms = {name: term / n for name, term in zip(names, terms, strict=False)}
            self.progress.tokens += int(tokens)
        self.progress.step += len(logged)
        self.progress.batch += len(logged)
        self.progress.seconds += time.perf_counter() - start

    def _diverge(self, what: str) -> None:
        terms = ", ".join(f"{name} {value:.6g}" for name, value in self.progress.last_terms.items())
        self.progress.diverged = f"{what}; the last finite terms, in nats per text: {terms or 'none'}"

    def step(self, batch: Sequence[Batch], step: int) -> Tensor:
        """Takes optimizer step number ``step``, after the updates of the inner loop if it is active.

        Returns:
            Sums over the texts, in nats: loss, Rec, KL, KL of each group, each auxiliary loss (3 + G + auxiliary).
        """
        inner_loop = self.stage.objective.inner_loop
        if inner_loop is None or not self.progress.inner_loop:
            return self._update(batch, step)
        self._run_inner_loop(inner_loop, batch, step)
        return self._update(batch, step, frozen=self.encoder)

    def _update(self, batch: Sequence[Batch], step: int, *draw: int, frozen: Sequence[nn.Parameter] = ()) -> Tensor:
        """Updates all parameters except ``frozen``; ``draw`` gives each update of one step its own random draws."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.learning_rate * min(1.0, (step + 1) / max(1.0, self.spec.warmup * self.total_steps))
        logged = torch.zeros(3 + len(self.system.groups) + len(self.stage.objective.auxiliary), device=self.device)
        for index, part in enumerate(batch):
            logged = logged + self._accumulate(
                part, step, *draw, number=self.processes.rank + index * self.processes.size
            )
        self.processes.sum_gradients(self.parameters.values())
        if self.spec.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.clip_norm)
        for parameter in frozen:
            parameter.grad = None
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return logged

    def _accumulate(self, batch: Batch, step: int, *draw: int, number: int) -> Tensor:
        """Adds the gradients of micro-batch ``number`` to the present ones; returns the same sums as ``step``."""
        objective = self.stage.objective
        # Each micro-batch has its own random draws, whichever process computes it.
        names: tuple[str | int, ...] = (*draw, "micro-batch", number) if number else draw
        torch.manual_seed(derive_seed(self.seeds["dropout"], step, *names))
        noise = torch.Generator().manual_seed(derive_seed(self.seeds["latent"], step, *names))
        with autocast(self.spec.precision, self.device):
            path = self.system.encode(batch).sample(1, noise)
            log_likelihood = self.system.log_likelihood(batch, path)
            auxiliary = [part.terms(self.networks[part.name], self.system, batch, path) for part in objective.auxiliary]
        loss = objective.loss(log_likelihood, path, self.stage.step(step, self.steps_per_epoch), auxiliary).sum()
        # The divisor is fixed, not the token count of the batch, so every text has the same weight in every batch.
        (loss / self.divisor).backward()
        kl = path.kl.detach().double().mean(1).sum(0)
        auxiliary_sums = [terms.detach().mean(1).sum() for terms in auxiliary]
        return torch.stack([loss.detach(), -log_likelihood.detach().sum(), kl.sum(), *kl, *auxiliary_sums])

    def _run_inner_loop(self, inner_loop: InnerLoop, first: Sequence[Batch], step: int) -> None:
        """Updates the encoder alone until its loss per token stops falling."""
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seeds["data"], "inner", step)))
        drawn = (self.batches[rng.integers(len(self.batches))] for _ in range(1, inner_loop.at_most))
        previous, losses, tokens = math.inf, [], 0
        with closing(self._micro_batches(drawn)) as others:
            for number, batch in enumerate(chain([first], others), start=1):
                losses.append(self._update(batch, step, number, frozen=self.others)[0])
                tokens += _predicted_tokens(batch)
                self.progress.inner_updates += 1
                if number % inner_loop.look == 0:
                    loss_per_token = float(torch.stack(losses).sum()) / tokens
                    if not loss_per_token < previous:
                        break
                    previous, losses, tokens = loss_per_token, [], 0

    def _begin_stage(self) -> None:
        self.progress.inner_loop = self.stage.objective.inner_loop is not None
        self.progress.mutual_information = -math.inf
        if self.stage.reset:
            self.reset_decoder()

    @torch.no_grad()
    def reset_decoder(self) -> None:
        """Gives the parameters that only the decoder uses their values before training."""
        for name, parameter in self.system.named_parameters():
            if name in self.initial_decoder:
                parameter.copy_(self.initial_decoder[name])
                self.optimizer.state.pop(parameter, None)

    def _end_epoch(self, epoch: int) -> None:
        """Validates, keeps the weights if they are the best of the last stage, and adds a row to the curve."""
        sums, stage = self.progress.sums, self.stage
        means = {name: value / sums["texts"] for name, value in sums.items() if name != "texts"}
        rec, kl = self.validation.rec_and_kl()
        inner_loop = self._end_epoch_of_inner_loop() if self.progress.inner_loop else {}
        if not all(map(math.isfinite, (rec, kl, *inner_loop.values()))):
            self._diverge(f"the validation after step {self.progress.step} was not finite")
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
                **inner_loop,
            }
        )
        # The validation ELBO ignores the objective: beta is 1 and no bits are free. By that measure an epoch of an
        # earlier stage could be the best, although its weights are not a result.
        if stage is self.stages[-1] and rec + kl < self.progress.best:
            self.progress.best, self.progress.best_epoch = rec + kl, epoch
            self.best.update({name: tensor.to("cpu", copy=True) for name, tensor in weights(self.system).items()})
        self.progress.batch, self.progress.sums, self.progress.inner_updates = 0, {}, 0

    def _end_epoch_of_inner_loop(self) -> dict[str, float]:
        """Ends the inner loop for good if mutual information did not rise; returns entries for the curve."""
        previous, self.progress.mutual_information = (
            self.progress.mutual_information,
            self.validation.mutual_information(),
        )
        self.progress.inner_loop = self.progress.mutual_information > previous
        return {"valid MI": self.progress.mutual_information, "inner updates": self.progress.inner_updates}


def training_batches(
    texts: TokenizedTexts, spec: TrainingSpec, rng: np.random.Generator | None = None
) -> list[list[int]]:
    """Returns the indices of the texts of each batch of an epoch, whose number does not depend on ``rng``."""
    if spec.batch_texts is not None:
        return batches_of_texts(len(texts), spec.batch_texts, rng)
    return batches_of_similar_length(texts.lengths, spec.batch_tokens, rng)


def gradient_flow(system: System, texts: TokenizedTexts) -> GradientFlow:
    """Returns which parameters of an untrained system its outputs depend on, by a pass of the first text."""
    return GradientFlow.of(system, texts.batch([0]).to(next(system.parameters()).device))


def _predicted_tokens(batch: Sequence[Batch]) -> int:
    return sum(len(part.predicted) for part in batch)
