"""What a grid will take: sizes that are public, FLOPs of real steps and of the rule of thumb, tokens of real texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.backbones import build_backbone
from bench.batch import Batch
from bench.errors import BenchError
from bench.harness.calibration import STEPS, WARM_UP
from bench.harness.dry_run import Forecast, forecast, lines
from bench.harness.plan import plan
from bench.harness.run import run
from bench.harness.train import Trainer
from bench.pretrained import without_weights
from bench.specs import RunSpec
from bench.suites import Suite
from bench.tokenizers import Tokenizer

MakeSpec = Callable[..., RunSpec]


def of_paper(label: str, task: str, **settings: Any) -> Forecast:
    suite = Suite(name="one", systems=(label,), tasks=(task,))
    epochs = 4 if label == "optimus" else 1  # it has stages
    return forecast(plan(suite, "paper", settings={"training.epochs": epochs} | settings))[0]


@pytest.mark.parametrize(
    ("label", "task", "parameters"),
    [
        ("lm", "snli", 124_439_808 + 3 * 768),  # with <pad>, <bos> and <eos>
        ("lm@layers=2x", "snli", 354_823_168 + 3 * 1024),
        ("lm", "quora", 139_420_416),
    ],
)
def test_models_of_the_hub_have_their_public_sizes(label: str, task: str, parameters: int) -> None:
    assert of_paper(label, task).parameters == parameters


def test_berts_size_is_the_public_one() -> None:
    sizes = of_paper("optimus", "snli").weights
    assert sizes["google-bert/bert-base-cased"] == 4 * 108_310_272
    assert sizes["openai-community/gpt2-large"] == 4 * 774_030_080  # of MAUVE
    assert sizes["openai-community/gpt2"] == 4 * (124_439_808 + 3 * 768)


def test_texts_that_are_not_there_have_the_sizes_of_the_paper() -> None:
    run = of_paper("lm", "snli")
    assert (run.train.texts, run.texts) == (100_000, "Table 7 of the paper")
    assert run.tokens == pytest.approx(100_000 * (10 * 1.14 + 1))
    assert of_paper("lm", "snli", **{"limits.train": 50}).train.texts == 50
    long = of_paper("lm", "writingprompts", max_tokens=100)
    assert long.tokens == 272_600 * 99


def test_flops_follow_the_rule_of_six_per_parameter_and_token() -> None:
    """Short texts have little attention: six per weight, but for the embeddings, and token of a padded batch."""
    run = of_paper("lm", "yelp", **{"training.batch_texts": None, "training.batch_tokens": 4096})
    assert run.training / (6 * (run.parameters - 1024 * 768) * run.tokens) == pytest.approx(1.0, abs=0.06)
    latent = of_paper("embed", "yelp", **{"training.batch_texts": None, "training.batch_tokens": 4096})
    blocks = 85_054_464  # a second pass, of the encoder
    assert (latent.training - run.training) / (6 * blocks * run.tokens) == pytest.approx(1.0, abs=0.06)
    assert latent.scoring > 100 * run.scoring  # 500 samples of a text
    assert of_paper("lm", "yelp").training > 1.2 * run.training  # batches of any length are padded


@pytest.mark.parametrize(
    ("label", "task"), [("lm", "ptb"), ("della", "snli"), ("optimus", "ptb"), ("embed", "quora"), ("memory", "yelp")]
)
def test_the_flops_are_those_of_real_steps(
    micro: MakeSpec, make_trainer: Callable[..., Trainer], label: str, task: str
) -> None:
    spec = micro(label, task, training={"epochs": 4 if label == "optimus" else 1})
    trainer = make_trainer(spec)
    with FlopCounterMode(display=False) as counter:
        trainer.run()
    validation = trainer.validation
    with FlopCounterMode(display=False) as of_validation:
        validation.rec_and_kl()
    expected = counter.get_total_flops() - spec.training.epochs * of_validation.get_total_flops()
    (found,) = forecast([spec])
    assert found.training == pytest.approx(expected, rel=0.1)
    assert found.parameters == sum(parameter.numel() for parameter in trainer.system.parameters())


def test_tokens_of_texts_that_are_there_are_those_of_the_record(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("lm", training={"epochs": 2})
    record = run(spec, tmp_path)
    (found,) = forecast([spec])
    assert found.texts == "tokens of texts"
    assert found.tokens == 2 * record.data.statistics["tokens"]["train"]


def test_a_given_throughput_is_that_of_the_first_run(micro: MakeSpec) -> None:
    specs = [micro("lm"), micro("embed"), micro("lm").model_copy(update={"seed": 1})]
    lm, embed, other = forecast(specs, tokens_per_second=100.0)
    assert lm.tokens_per_second == other.tokens_per_second == pytest.approx(100.0)
    assert embed.tokens_per_second == pytest.approx(100 * (lm.training / lm.tokens) / (embed.training / embed.tokens))
    assert lm.hours == pytest.approx((1 + lm.scoring / lm.training) * lm.tokens / 100 / 3600)
    assert [found.spec.seed for found in (lm, embed, other)] == [0, 0, 1]
    assert forecast(specs)[0].hours is None


@pytest.mark.parametrize(("label", "training"), [("optimus", {}), ("embed", {"batch_texts": 4}), ("della", {})])
def test_a_calibration_times_ten_steps(
    micro: MakeSpec, monkeypatch: pytest.MonkeyPatch, label: str, training: dict[str, int]
) -> None:
    steps: list[int] = []
    take_step = Trainer.step

    def noted(trainer: Trainer, batch: Sequence[Batch], step: int) -> torch.Tensor:
        steps.append(step)
        return take_step(trainer, batch, step)

    monkeypatch.setattr(Trainer, "step", noted)
    (found,) = forecast([micro(label, training=training)], calibrated=True)
    assert len(steps) == WARM_UP + STEPS
    assert found.tokens_per_second is not None
    assert found.tokens_per_second > 0
    assert found.hours is not None


def test_memory_is_that_of_the_weights_and_grows_with_the_batch() -> None:
    small, large = (of_paper("embed", "yelp", **{"training.batch_texts": texts}) for texts in (8, 32))
    assert 16 * small.parameters < small.memory < large.memory
    saving = of_paper("embed", "yelp", **{"training.batch_texts": 32, "training.activation_checkpointing": True})
    assert saving.memory < large.memory


def test_what_a_system_cannot_do_is_skipped_and_costs_nothing() -> None:
    specs = plan(Suite(name="two", systems=("della:pairs=joined", "lm"), tasks=("quora",)), "paper")
    joined, lm = forecast(specs, tokens_per_second=1e4)
    assert joined.skipped
    assert joined.hours is None
    assert lm.tokens_per_second == pytest.approx(1e4)
    assert any("skipped" in line for line in lines([joined, lm]))
    assert any(line.startswith("1 runs: ") for line in lines([joined, lm]))


def test_sizes_that_nobody_knows_are_named(micro: MakeSpec) -> None:
    stack = {"source": "hub", "name": "nobody/nothing", "revision": "0" * 40}
    with pytest.raises(BenchError, match=r"^cannot load the backbone from nobody/nothing: ") as error:
        forecast([micro("lm", backbone=stack)])
    assert "\n" not in str(error.value)


def test_without_weights_nothing_is_loaded(tokenizer: Tokenizer) -> None:
    (spec,) = plan(Suite(name="one", systems=("lm",), tasks=("snli",)), "paper")
    with pytest.raises(BenchError):
        build_backbone(spec.backbone, tokenizer)
    with without_weights(), torch.device("meta"), pytest.raises(BenchError, match="weights for a vocabulary of 50257"):
        build_backbone(spec.backbone, tokenizer)
