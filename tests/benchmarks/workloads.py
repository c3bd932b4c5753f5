"""What is timed: models at the sizes of scales, on texts of Yahoo Answers; ours and the yardstick as the same model.

The texts are real where ``DELLA_BENCH_DATA`` names a folder of real texts, else of the embedded grammar; an artefact
says which, and figures of one are not compared with those of the other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from bench.backbones import build_backbone
from bench.batch import Batch, batches_of_similar_length
from bench.harness.tokenized_texts import TokenizedTexts, tokenize
from bench.harness.train import Trainer
from bench.harness.weights import set_weights
from bench.interface import System
from bench.objectives import build_stages, resolve_objective
from bench.seeds import named_seeds
from bench.specs import BackboneSpec, DataSource, TaskSpec, TokenizerSpec, TrainingSpec
from bench.systems import SYSTEMS
from bench.tasks import TaskData, load_texts
from bench.tokenizers import Tokenizer, build_tokenizer
from della.released import import_released
from tests.released_della import ReleasedDella

BATCH = 16
"""Texts of a batch of the yardstick, and on average of ours."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HAS_BF16 = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.ops.mkldnn._is_mkldnn_bf16_supported()
"""Whether the device multiplies in bfloat16; a CPU without would emulate it."""
LATENT_SIZE = 32
RANK = 4


@cache
def yahoo() -> TaskData:
    """Returns texts of Yahoo Answers, real ones where there are any."""
    named = os.environ.get("DELLA_BENCH_DATA")
    source: DataSource = "files" if named else "grammar"
    limits = {"train": 4000, "valid": 1, "test": 1}
    return load_texts(TaskSpec(name="yahoo", source=source, limits=limits), Path(named) if named else None)


@dataclass(frozen=True)
class Workload:
    """Some texts, and the sizes of the models that read them.

    Attributes:
        layers: of the model.
        width: of the model.
        heads: of the model.
        vocabulary: of the tokenizer, at most.
        texts: number of texts.
        dropout: of the models.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    texts: int
    dropout: float = 0.1

    @cached_property
    def tokenizer(self) -> Tokenizer:
        texts = [example.target for example in yahoo().splits["train"]]
        return build_tokenizer(TokenizerSpec(vocabulary_size=self.vocabulary), texts)

    @cached_property
    def tokenized(self) -> TokenizedTexts:
        return tokenize(yahoo().splits["train"][: self.texts], self.tokenizer, 256)

    @property
    def sizes(self) -> dict[str, object]:
        """What decides how much work it is."""
        return {
            "model": f"{self.layers} x {self.width}",
            "texts": self.texts,
            "tokens": int(self.tokenized.lengths.sum()),
            "vocabulary": len(self.tokenizer),
            "dropout": self.dropout,
            "source": yahoo().source,
        }

    @cached_property
    def batch_tokens(self) -> int:
        """The smallest budget with which our batches are as many as the yardstick's."""
        budget = int(self.tokenized.lengths.max())
        while len(batches_of_similar_length(self.tokenized.lengths, budget)) > -(-self.texts // BATCH):
            budget += 16
        return budget

    def batches(self) -> list[Batch]:
        """Returns all texts in our batches."""
        grouped = batches_of_similar_length(self.tokenized.lengths, self.batch_tokens)
        return [self.tokenized.batch(indices).to(DEVICE) for indices in grouped]

    def yardstick(self) -> ReleasedDella:
        torch.manual_seed(0)
        return ReleasedDella(
            len(self.tokenizer),
            std=0.02,
            layers=self.layers,
            width=self.width,
            heads=self.heads,
            positions=256,
            latent_size=LATENT_SIZE,
            rank=RANK,
            dropout=self.dropout,
        ).to(DEVICE)

    def system(self, name: str) -> System:
        cls = SYSTEMS.get(name)
        backbone = BackboneSpec(
            layers=self.layers, width=self.width, heads=self.heads, positions=256, dropout=self.dropout
        )
        torch.manual_seed(0)
        options: dict[str, Any] = {} if name == "lm" else {"latent_size": LATENT_SIZE}
        return cls(build_backbone(backbone, self.tokenizer), cls.Config(**options)).to(DEVICE)

    def like(self, yardstick: ReleasedDella) -> System:
        """Returns our system with the weights of the yardstick, imported as a checkpoint is."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "yardstick.pt"
            torch.save(yardstick.state_dict(), path)
            imported = import_released(path, {}, self.heads)
            system = self.system("della-2022")
            set_weights(system, imported.weights, path)
        return system

    def trainer(self, system: System, **settings: Any) -> Trainer:
        """Returns a trainer of the objective that the yardstick trains with: KL of weight 1, averaged over layers."""
        parts = ["mean-groups", "constant"] if system.groups else ["constant"]
        spec = TrainingSpec(epochs=1, batch_tokens=self.batch_tokens, **settings)
        texts = {"train": self.tokenized, "valid": self.tokenized}
        stages = build_stages(resolve_objective(parts), 1)
        folder = Path(tempfile.mkdtemp())
        return Trainer(system, texts, stages, spec, named_seeds(0), folder, lambda phase, fraction: None)


def gpt2(workload: Workload) -> GPT2LMHeadModel:
    """Returns the plain backbone: transformers' own model, with its own attention."""
    config = GPT2Config(
        vocab_size=len(workload.tokenizer),
        n_positions=256,
        n_embd=workload.width,
        n_layer=workload.layers,
        n_head=workload.heads,
        bos_token_id=workload.tokenizer.bos,
        eos_token_id=workload.tokenizer.eos,
        attn_implementation="sdpa",
        activation_function="gelu_pytorch_tanh",
        **{f"{place}_pdrop": workload.dropout for place in ("resid", "embd", "attn")},
    )
    return GPT2LMHeadModel(config).to(DEVICE)


def each_alone(workload: Workload, texts: Sequence[int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields ids (1 x T), length (1), and noise (layers x 1 x size) of each text, from a stream seeded by its index."""
    for index in texts:
        ids, stream = torch.from_numpy(workload.tokenized.ids[index][None]).long(), torch.Generator().manual_seed(index)
        noise = [torch.randn(1, LATENT_SIZE, generator=stream) for _ in range(workload.layers)]
        yield ids.to(DEVICE), torch.tensor([ids.shape[1]], device=DEVICE), torch.stack(noise).to(DEVICE)


def take_steps(trainer: Trainer, batches: Sequence[Batch]) -> Tensor:
    """Takes one step on each batch, as training does between two looks; returns nothing of it but its last terms."""
    trainer.take_steps([batch] for batch in batches)
    return torch.tensor(trainer.progress.sums["loss"])


SMALL = Workload(layers=4, width=128, heads=4, vocabulary=4000, texts=160)
"""The sizes of scale ``small``."""

BASE = Workload(layers=12, width=768, heads=12, vocabulary=32000, texts=32)
"""The sizes of scale ``base``."""
