"""Validation during training: the ELBO and the mutual information of the validation texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from bench.batch import Batch, batches_of_similar_length
from bench.harness.batches import batches_on_device
from bench.harness.precision import autocast
from bench.harness.process_group import ALONE, ProcessGroup
from bench.harness.stopping import stop_if_requested
from bench.harness.tokenized_texts import TokenizedTexts
from bench.interface import LatentPath, Posterior, System
from bench.latents import aggregated_posterior
from bench.seeds import derive_seed
from bench.specs import Precision


@dataclass(frozen=True)
class Validation:
    """The validation texts of a run and the settings of its passes over them.

    Every pass draws one posterior sample per text, with the same noise.

    Attributes:
        system: the system in training; a pass leaves it in evaluation mode.
        texts: the validation texts.
        batch_tokens: padded tokens per batch.
        precision: of the passes.
        latent_seed: seed of the posterior samples.
        processes: that share the texts.
    """

    system: System
    texts: TokenizedTexts
    batch_tokens: int
    precision: Precision
    latent_seed: int
    processes: ProcessGroup = ALONE

    @torch.no_grad()
    def rec_and_kl(self) -> tuple[float, float]:
        """Returns Rec and KL, in nats per text."""
        rec = kl = 0.0
        batches = batches_of_similar_length(self.texts.lengths, self.batch_tokens)
        for batch, _, path in self._encode(self.processes.share(batches)):
            with autocast(self.precision, batch.ids.device):
                rec -= float(self.system.log_likelihood(batch, path).sum())
            kl += float(path.kl.double().sum())
        rec, kl = map(sum, zip(*self.processes.gather((rec, kl)), strict=True))
        return rec / len(self.texts), kl / len(self.texts)

    @torch.no_grad()
    def mutual_information(self) -> float:
        """Returns I(x; z) under the aggregated posterior of the validation texts, in nats."""
        batches = batches_of_similar_length(self.texts.lengths, self.batch_tokens)
        posteriors_and_paths = [(posterior, path) for _, posterior, path in self._encode(batches)]
        log_q, log_q_aggregated = aggregated_posterior(*zip(*posteriors_and_paths, strict=True))
        return float((log_q - log_q_aggregated).mean())

    def _encode(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Batch, Posterior, LatentPath]]:
        """Yields each batch with its posteriors and one sample per text."""
        self.system.eval()
        device = next(self.system.parameters()).device
        for indices, batch in zip(batches, batches_on_device(self.texts, batches, device), strict=True):
            if self.processes.size == 1:  # several stop together or not at all
                stop_if_requested()
            noise = [torch.Generator().manual_seed(derive_seed(self.latent_seed, "valid", i)) for i in indices]
            with autocast(self.precision, device):
                posterior = self.system.encode(batch)
                path = posterior.sample(1, noise)
            yield batch, posterior, path
