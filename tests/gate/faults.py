"""The faults by which the regression gate is tested: each is made alone, and each must be noticed.

A fault of the code replaces one piece of text, which stands once in its file, in a copy of the packages. A fault of the
results changes the files of the runs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.records.schema import SHA256

WORSE, MISTAKE, CANNOT_COMPARE = 1, 2, 3


@dataclass(frozen=True)
class Fault:
    """A fault, and what the gate says to it.

    Attributes:
        name: what goes wrong.
        code: exit code of the gate.
        system: system of a cell that shows the fault.
        task: task of the cell.
    """

    name: str
    code: int
    system: str = "embed"
    task: str = "ptb"


@dataclass(frozen=True)
class CodeFault(Fault):
    """A fault of the code.

    Attributes:
        file: the file, below the folder of the packages.
        old: text that stands once in the file.
        new: text in its place.
        seen_in: whether the gate sees it in the records or in the speed.
    """

    file: str = field(kw_only=True)
    old: str = field(kw_only=True)
    new: str = field(kw_only=True)
    seen_in: Literal["records", "speed"] = "records"

    def inject(self, package: Path) -> None:
        """Makes the fault in a copy of the packages.

        Raises:
            ValueError: the text does not stand exactly once in the file.
        """
        path = package / self.file
        text = path.read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: the text stands {count} times in {self.file}: {self.old!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class ResultFault(Fault):
    """A fault of the results.

    Attributes:
        change: makes the fault in the folder of the run.
    """

    change: Callable[[Path], None] = field(kw_only=True)


def _edit(change: Callable[[dict[str, Any]], None], keep_sha256: bool = False) -> Callable[[Path], None]:
    """Returns what changes the content of the record of a run; a record without SHA-256 is not verified."""

    def edit(folder: Path) -> None:
        path = folder / "record.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        if not keep_sha256:
            del content[SHA256]
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    return edit


def _flatter_perplexity(content: dict[str, Any]) -> None:
    score = next(score for score in content["metrics"] if score["name"] == "PPL")
    score["value"] *= 0.97


def _forget_perplexity(content: dict[str, Any]) -> None:
    content["metrics"] = [score for score in content["metrics"] if score["name"] != "PPL"]


def _diverge(content: dict[str, Any]) -> None:
    content |= {"status": "diverged", "reason": "the loss was not finite by step 7", "metrics": []}


FAULTS: tuple[Fault, ...] = (
    # The loss
    CodeFault(
        "KL term dropped from the loss",
        WORSE,
        file="bench/objectives/objective.py",
        old="loss = self.schedule.beta(step) * self.reduction(kl) - log_likelihood",
        new="loss = 0 * self.reduction(kl) - log_likelihood",
    ),
    CodeFault(
        "KL averaged over groups in the loss",
        WORSE,
        "della",
        file="bench/objectives/reductions.py",
        old="return kl.sum(-1)\n\n\nclass MeanGroups",
        new="return kl.mean(-1)\n\n\nclass MeanGroups",
    ),
    CodeFault(
        "KL weight late by one step",
        WORSE,
        file="bench/objectives/schedules.py",
        old="position = (step.number / step.per_epoch) % 2.0",
        new="position = ((step.number - 1) / step.per_epoch) % 2.0",
    ),
    CodeFault(
        "free bits without effect",
        WORSE,
        "optimus",
        file="bench/objectives/free_bits.py",
        old="kl.masked_fill(compared <= target,",
        new="kl.masked_fill(compared < 0,",
    ),
    CodeFault(
        "label smoothing left on",
        WORSE,
        "lm",
        file="bench/backbones/likelihood.py",
        old='reduction="none")',
        new='reduction="none", label_smoothing=0.1)',
    ),
    CodeFault(
        "the loss is not a number",
        WORSE,
        file="bench/objectives/objective.py",
        old="return loss.mean(-1)",
        new='return loss.mean(-1) * float("nan")',
    ),
    # Training
    CodeFault(
        "gradients not clipped",
        WORSE,
        "lm",
        file="bench/harness/train.py",
        old="if self.spec.clip_norm is not None:",
        new="if False:",
    ),
    CodeFault(
        "learning rate without warm-up",
        WORSE,
        "lm",
        file="bench/harness/train.py",
        old="min(1.0, (step + 1) / max(1.0, self.spec.warmup * self.total_steps))",
        new="1.0",
    ),
    CodeFault(
        "the same order of texts in every epoch",
        WORSE,
        "lm",
        file="bench/harness/train.py",
        old='derive_seed(self.seeds["data"], epoch)',
        new='derive_seed(self.seeds["data"], 0)',
    ),
    CodeFault(
        "validation picks the worst epoch",
        WORSE,
        "lm",
        file="bench/harness/train.py",
        old="and rec + kl < self.progress.best:",
        new="and (rec + kl > self.progress.best or math.isinf(self.progress.best)):",
    ),
    CodeFault(
        "no dropout in training",
        WORSE,
        "lm",
        file="bench/backbones/dropout.py",
        old="if self.training and self.p else values",
        new="if False else values",
    ),
    CodeFault(
        "wrong seed stream: latent noise from the seed of dropout",
        WORSE,
        file="bench/harness/train.py",
        old='derive_seed(self.seeds["latent"], step',
        new='derive_seed(self.seeds["dropout"], step',
    ),
    CodeFault(
        "wrong seed stream: weights from the seed of the data",
        WORSE,
        "lm",
        file="bench/harness/prepare.py",
        old='seed = named_seeds(self.spec.seed)["init"]',
        new='seed = named_seeds(self.spec.seed)["data"]',
    ),
    # Systems and backbones
    CodeFault(
        "mask ignored: texts attend to padding",
        WORSE,
        file="bench/backbones/stack.py",
        old="return batch.mask[:, None, None] if batch.padded else None",
        new="return None",
    ),
    CodeFault(
        "padding predicted as if it were text",
        WORSE,
        "lm",
        file="bench/batch.py",
        old="np.flatnonzero(mask[:, 1:])",
        new="np.flatnonzero(np.ones_like(mask[:, 1:]))",
    ),
    CodeFault(
        "decoder sees the tokens that it predicts",
        WORSE,
        "lm",
        file="bench/backbones/decoder_only.py",
        old="self.run(embedded, weights, is_causal=True,",
        new="self.run(embedded, weights, is_causal=False,",
    ),
    CodeFault(
        "variance taken for standard deviation in sampling",
        WORSE,
        file="bench/latents.py",
        old="(0.5 * self.log_variance).exp() * noise",
        new="self.log_variance.exp() * noise",
    ),
    CodeFault(
        "log-variance taken for variance in the KL",
        WORSE,
        file="bench/latents.py",
        old="0.5 * (ratio.exp() + square - 1.0 - ratio)",
        new="0.5 * (ratio + square - 1.0 - ratio)",
    ),
    CodeFault(
        "posterior does not see the source",
        WORSE,
        task="quora",
        file="baselines/transformer_vae.py",
        old="q = self._posterior(torch.cat([text, condition], dim=-1))",
        new="q = self._posterior(torch.cat([text, torch.zeros_like(condition)], dim=-1))",
    ),
    CodeFault(
        "no tanh between the latent variables of two layers",
        WORSE,
        "della",
        file="della/latents.py",
        old="return torch.tanh(self.recurrence_hh[group](state) + self.recurrence_ih[group](z))",
        new="return self.recurrence_hh[group](state) + self.recurrence_ih[group](z)",
    ),
    CodeFault(
        "a system raises an error",
        WORSE,
        "softmax",
        file="baselines/transformer_vae.py",
        old="return self.backbone.vocabulary_size",
        new='raise RuntimeError("broken")',
    ),
    # Scoring
    CodeFault(
        "EOS not counted",
        WORSE,
        "lm",
        file="bench/harness/tokenized_texts.py",
        old="(self.ids.lengths - 1).astype",
        new="(self.ids.lengths - 2).astype",
    ),
    CodeFault(
        "dropout on while scoring",
        WORSE,
        "lm",
        file="bench/harness/scoring.py",
        old="    system.eval()\n",
        new="    system.train()\n",
    ),
    CodeFault(
        "importance weights with the sign turned",
        WORSE,
        file="bench/metrics/model.py",
        old="return self.log_likelihood + self.log_ratio",
        new="return self.log_likelihood - self.log_ratio",
    ),
    CodeFault(
        "mean of the log weights for the log of their mean",
        WORSE,
        file="bench/metrics/likelihood.py",
        old="return log_mean_exp(scored.log_weights[:, :k])",
        new="return scored.log_weights[:, :k].mean(axis=1)",
    ),
    CodeFault(
        "the same noise for every test text",
        WORSE,
        file="bench/harness/scoring.py",
        old='derive_seed(latent_seed, "score", index)',
        new='derive_seed(latent_seed, "score", 0)',
    ),
    CodeFault(
        "KL averaged over groups in the score",
        WORSE,
        "della",
        file="bench/metrics/likelihood.py",
        old="return inputs.kl.sum(axis=1, keepdims=True)",
        new="return inputs.kl.mean(axis=1, keepdims=True)",
    ),
    CodeFault(
        "last test text skipped",
        WORSE,
        "lm",
        file="bench/harness/prepare.py",
        old="tokenize(data.splits[split], tokenizer, *limits)",
        new='tokenize(data.splits[split][: -1 if split == "test" else None], tokenizer, *limits)',
    ),
    CodeFault(
        "last test text skipped, the first one counted twice",
        WORSE,
        "lm",
        file="bench/harness/prepare.py",
        old="tokenize(data.splits[split], tokenizer, *limits)",
        new="tokenize([*data.splits[split][:-1], data.splits[split][0]], tokenizer, *limits)",
    ),
    CodeFault(
        "version of a metric raised",
        CANNOT_COMPARE,
        "lm",
        file="bench/metrics/likelihood.py",
        old='    name = "PPL"\n',
        new='    name = "PPL"\n    version = 2\n',
    ),
    CodeFault(
        "version of a system raised",
        CANNOT_COMPARE,
        "lm",
        file="baselines/language_model.py",
        old="    groups = ()\n",
        new="    groups = ()\n    version = 2\n",
    ),
    # Generation
    CodeFault(
        "wrong seed stream: generations from the seed of scoring",
        WORSE,
        "lm",
        file="bench/harness/recording.py",
        old='seeds["sampling"]',
        new='seeds["latent"]',
    ),
    CodeFault(
        "generation ignores top_p",
        WORSE,
        "lm",
        file="bench/backbones/decoding.py",
        old="if decoding.top_p < 1:",
        new="if False:",
    ),
    # Data
    CodeFault(
        "data replaced: the grammar writes other texts",
        CANNOT_COMPARE,
        "lm",
        file="bench/tasks/grammars/ptb.py",
        old="{statement} {aftermath} |",
        new="{aftermath} {statement} |",
    ),
    CodeFault(
        "other test texts drawn",
        CANNOT_COMPARE,
        "lm",
        file="bench/tasks/task.py",
        old="derive_seed(seed, task.name, split, index)",
        new='derive_seed(seed + (split == "test"), task.name, split, index)',
    ),
    CodeFault(
        "tokenizer lowercases",
        CANNOT_COMPARE,
        "lm",
        "quora",
        file="bench/tokenizers.py",
        old="encode_batch_fast(list(texts),",
        new="encode_batch_fast([text.lower() for text in texts],",
    ),
    CodeFault(
        "a setting of the scale changed: half the importance samples",
        CANNOT_COMPARE,
        file="bench/scales/regress.yaml",
        old="n_importance_samples: 8",
        new="n_importance_samples: 4",
    ),
    # Results
    ResultFault("run deleted", CANNOT_COMPARE, "lm", change=shutil.rmtree),
    ResultFault("record edited: PPL 3 % lower", MISTAKE, "lm", change=_edit(_flatter_perplexity, keep_sha256=True)),
    ResultFault("record and its SHA-256 edited: PPL 3 % lower", WORSE, "lm", change=_edit(_flatter_perplexity)),
    ResultFault("record and its SHA-256 edited: no PPL", CANNOT_COMPARE, "lm", change=_edit(_forget_perplexity)),
    ResultFault("run diverged", WORSE, "lm", change=_edit(_diverge)),
    # Speed
    CodeFault(
        "training slowed twofold",
        WORSE,
        "lm",
        file="bench/harness/train.py",
        old="logged.append(self.step(batch, self.progress.step + len(logged)))",
        new=(
            "begun = time.process_time()\n"
            "            logged.append(self.step(batch, self.progress.step + len(logged)))\n"
            "            ended = time.process_time()\n"
            "            while time.process_time() - ended < ended - begun:\n"
            "                pass"
        ),
        seen_in="speed",
    ),
    CodeFault(
        "one system slowed: its encoder runs six times",
        WORSE,
        "della",
        file="della/model.py",
        old="layers = self.backbone.encode(batch).layers",
        new="layers = [self.backbone.encode(batch).layers for _ in range(6)][-1]",
        seen_in="speed",
    ),
)
