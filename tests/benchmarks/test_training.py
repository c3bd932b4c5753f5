"""A training step beside the yardstick's, and beside what the plain backbone needs for the same two passes.

The limit is arithmetic: 6 floating-point operations for every weight and token of a pass, twice, and as many for the
output layer at every predicted token. docs/performance.md says how far from it each figure is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from bench.batch import Batch, batches_of_similar_length
from bench.harness.plan import plan
from bench.harness.prepare import prepare
from bench.harness.train import Trainer
from bench.objectives import build_stages
from bench.seeds import named_seeds
from bench.suites import load_suite
from tests.benchmarks import yardstick
from tests.benchmarks.figures import Beside, Growth
from tests.benchmarks.workloads import BASE, BATCH, DEVICE, HAS_BF16, SMALL, Workload, each_alone, gpt2, take_steps

# Losses of some 700 nats in float32: sums over 100 tokens and, in the KL, over 4 or 12 layers.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-3}


@pytest.mark.parametrize("workload", [SMALL, BASE], ids=["small", "base"])
def test_yardstick_and_ours_are_the_same_model(benchmark: BenchmarkFixture, workload: Workload) -> None:
    """Terms of four texts, which the yardstick reads one by one since it pools padding, and gradients of their loss."""
    reference = workload.yardstick().eval()
    ours = workload.like(reference).eval()
    texts = range(4)
    expected = torch.cat(
        [
            torch.stack([log_likelihood, log_q.sum(0), log_p.sum(0), kl.sum(0)])
            for log_likelihood, log_q, log_p, kl in (
                yardstick.terms(reference, ids, lengths, noise) for ids, lengths, noise in each_alone(workload, texts)
            )
        ],
        dim=1,
    )
    streams = [torch.Generator().manual_seed(index) for index in texts]
    batch = workload.tokenized.batch(texts).to(DEVICE)
    path = benchmark.pedantic(lambda: ours.encode(batch).sample(1, streams), rounds=1)
    found = torch.stack(
        [ours.log_likelihood(batch, path)[:, 0], *(t[:, 0].sum(-1) for t in (path.log_q, path.log_p, path.kl))]
    )
    torch.testing.assert_close(found.float(), expected, **CLOSE)
    (found[3] - found[0]).sum().backward()
    (expected[3] - expected[0]).sum().backward()
    theirs = dict(reference.encoder.named_parameters())
    mine = dict(ours.backbone.model.transformer.named_parameters())
    for name in ("wte.weight", "h.0.attn.c_attn.weight", "ln_f.bias"):
        largest = float(theirs[name].grad.abs().max())
        torch.testing.assert_close(mine[name].grad, theirs[name].grad, rtol=1e-3, atol=1e-4 * largest)


BF16 = pytest.param(
    "bf16", marks=pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16, which torch would emulate")
)


@pytest.mark.parametrize("precision", ["fp32", BF16])
@pytest.mark.parametrize(
    ("workload", "at_most", "rounds"),
    [pytest.param(SMALL, 0.25, 5, marks=pytest.mark.main_ratio), (BASE, 0.45, 1)],
    ids=["small", "base"],
)
def test_step_beside_the_yardstick(
    beside: Beside, workload: Workload, at_most: float, rounds: int, precision: str
) -> None:
    """All texts once: the yardstick in the order of the file, ours in as many batches of similar length."""
    model = workload.yardstick()
    optimizer, ids = yardstick.optimizer(model), workload.tokenized.ids.tolist()
    trainer, batches = workload.trainer(workload.system("della-2022"), precision=precision), workload.batches()
    beside(
        lambda: take_steps(trainer, batches),
        lambda: yardstick.train(model, optimizer, ids, BATCH, workload.tokenizer.pad),
        at_most=at_most,
        rounds=rounds,
        **workload.sizes,
        precision=precision,
    )


class TwoPasses(nn.Module):
    """GPT-2 of transformers, which reads every text once with every token seeing every other, and predicts it once."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.model = gpt2(workload)
        self.optimizer = torch.optim.AdamW(self.parameters(), fused=True)

    def train_on(self, batches: list[Batch]) -> None:
        """Takes one step for each batch, the encoder's part of the loss being any that reaches all blocks."""
        self.train()
        for batch in batches:
            encoded = self.model.transformer(batch.ids, attention_mask=batch.mask[:, None, None], use_cache=False)
            logits = self.model(batch.inputs, use_cache=False).logits
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
            (loss.sum() + encoded.last_hidden_state.sum()).backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            loss.sum().item()


@pytest.mark.parametrize("name", ["della", "della-2022"])
@pytest.mark.parametrize(("workload", "rounds"), [(SMALL, 5), (BASE, 1)], ids=["small", "base"])
def test_step_beside_two_passes_of_the_plain_backbone(
    beside: Beside, workload: Workload, rounds: int, name: str
) -> None:
    batches, plain = workload.batches(), TwoPasses(workload)
    trainer = workload.trainer(workload.system(name))
    beside(
        lambda: take_steps(trainer, batches),
        lambda: plain.train_on(batches),
        at_most=1.15,
        rounds=rounds,
        **workload.sizes,
    )


@pytest.mark.parametrize("label", load_suite("gate").systems)
def test_steps_of_the_regression_gate_beside_the_plain_backbone(beside: Beside, tmp_path: Path, label: str) -> None:
    """The steps of a run of the regression gate, of any system, beside the same two passes of the plain backbone."""
    (spec,) = plan(load_suite("gate"), "regress", systems=[label], tasks=["ptb"])
    prepared, seeds = prepare(spec), named_seeds(spec.seed)
    texts, settings, stack = prepared.texts["train"], spec.training, spec.backbone
    assert settings is not None
    system, stages = prepared.system(seeds["init"]).to(DEVICE), build_stages(spec.objective, settings.epochs)
    trainer = Trainer(system, prepared.texts, stages, settings, seeds, tmp_path, lambda phase, fraction: None)
    grouped = batches_of_similar_length(texts.lengths, settings.batch_tokens)
    batches = [texts.batch(indices).to(DEVICE) for indices in grouped]
    sizes = {"layers": stack.layers, "width": stack.width, "vocabulary": len(prepared.tokenizer)}
    plain = TwoPasses(Workload(**sizes, heads=stack.heads, texts=1, dropout=stack.dropout))
    beside(
        lambda: take_steps(trainer, batches),
        lambda: plain.train_on(batches),
        at_most=1.25,
        rounds=7,
        # Wide enough for another machine than that of the committed ratio, where unchanged code must pass.
        tolerance=0.5,
        **sizes,
        tokens=int(texts.lengths.sum()),
    )


@pytest.mark.parametrize(("of", "series"), [("texts", (8, 16, 32, 64)), ("tokens per text", (32, 64, 128, 256))])
def test_growth_of_a_step(growth: Growth, of: str, series: tuple[int, ...]) -> None:
    """With 16 texts of 64 tokens but for what grows; attention alone is quadratic in the tokens."""
    trainer = SMALL.trainer(SMALL.system("della"))
    ids = torch.randint(3, len(SMALL.tokenizer), (256,)).tolist()

    def work(size: int) -> Callable[[], object]:
        texts, tokens = (size, 64) if of == "texts" else (16, size)
        batch = Batch.collate([ids[:tokens]] * texts, SMALL.tokenizer.pad).to(DEVICE)
        return lambda: take_steps(trainer, [batch])

    growth(work, of, series, at_most=1.1, rounds=3, model="4 x 128")


def test_growth_of_a_step_with_depth(growth: Growth) -> None:
    def work(layers: int) -> Callable[[], object]:
        workload = Workload(layers=layers, width=128, heads=4, vocabulary=4000, texts=16)
        trainer, batches = workload.trainer(workload.system("della")), workload.batches()
        return lambda: take_steps(trainer, batches)

    growth(work, "layers", (2, 4, 8), at_most=1.1, rounds=3, width=128, texts=16)
