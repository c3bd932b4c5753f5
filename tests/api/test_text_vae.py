"""Models of runs, in Python: texts to latent values and back, and bounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import DecodingSpec

TEXTS = ["a man is outside .", "two dogs run", "a woman reads a book on a bench", "no ."]
SOURCES = ["how do i learn to cook ?", "why", "what is the best book ?", "who am i ?"]
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}
"""Float32 passes over batches of other texts."""

Load = Callable[[str, str], bench.TextVAE]


@pytest.fixture
def load(runs: Path) -> Load:
    def load(label: str, task: str = "snli") -> bench.TextVAE:
        (folder,) = runs.glob(f"{task}.{label}.*")
        return bench.load(folder)

    return load


def batch_of(model: bench.TextVAE, texts: list[str], sources: list[str] | None = None) -> Batch:
    """One batch of all texts, collated by hand."""
    tokenizer = model.system.tokenizer
    encoder = None
    if tokenizer.encoder is not None:
        encoder = Batch.collate(tokenizer.encoder.tokenizer.encode(texts), tokenizer.encoder.tokenizer.pad)
    condition = None if sources is None else Batch.collate(tokenizer.encode(sources), tokenizer.pad)
    return Batch.collate(tokenizer.encode(texts), tokenizer.pad, condition, encoder)


@pytest.mark.parametrize(("label", "groups"), [("embed", 1), ("della", 3), ("optimus", 1)])
def test_encode(load: Load, label: str, groups: int) -> None:
    model = load(label, "snli")
    latents = model.encode(TEXTS, n=5, seed=1)
    size = sum(model.groups)
    assert (latents.mean.shape, latents.samples.shape) == ((4, size), (4, 5, size))
    assert len(latents.groups) == groups
    with torch.no_grad():
        posterior = model.system.encode(batch_of(model, TEXTS))
        first = posterior.sample(1, torch.Generator()).mean[0][:, 0]  # of the first group: it has no ancestors
    np.testing.assert_allclose(latents.of_group(1).mean, first.numpy(), **CLOSE)
    again, other = model.encode(TEXTS, n=5, seed=1), model.encode(TEXTS, n=5, seed=2)
    assert np.array_equal(again.samples, latents.samples)
    np.testing.assert_allclose(model.encode(TEXTS[2:], n=5, seed=1).samples, latents.samples[2:], **CLOSE)
    assert not np.array_equal(other.samples, latents.samples)


@pytest.mark.parametrize("task", ["snli", "quora"])
@pytest.mark.parametrize("label", ["embed", "della"])
def test_reconstructions_and_ends_of_lines_are_decoded_means(load: Load, label: str, task: str) -> None:
    model = load(label, task)
    sources = SOURCES if task == "quora" else None
    means = model.encode(TEXTS, sources).mean
    with torch.no_grad():
        batch = batch_of(model, TEXTS, sources)
        parts = torch.tensor(means, dtype=torch.float32)[:, None].split(model.groups, dim=-1)
        path = model.system.path_of(parts, batch.condition)
        ids = model.system.generate(path, batch.condition, DecodingSpec(strategy="greedy", max_tokens=12), 0)
    expected = model.system.tokenizer.decode(ids)
    assert model.reconstruct(TEXTS, sources, max_tokens=12) == expected
    if sources is None:
        line = model.interpolate(TEXTS[0], TEXTS[1], steps=3, max_tokens=12)
        assert [line[0], line[2]] == expected[:2]
        every = range(1, len(model.groups) + 1)
        assert model.swap(TEXTS[0], TEXTS[1], every, max_tokens=12) == expected[1]
        assert model.swap(TEXTS[0], TEXTS[1], [], max_tokens=12) == expected[0]
        assert model.analogy(TEXTS[0], TEXTS[0], TEXTS[2], max_tokens=12) == expected[2]


def test_layers_move_alone(load: Load) -> None:
    """The middle of a line on which only layer 2 moves has the other layers of the first text."""
    model = load("della", "snli")
    a, b = model.encode(TEXTS[:2]).mean
    z = np.concatenate([a[:32], (a[32:64] + b[32:64]) / 2, a[64:]])
    assert model.groups == (32, 32, 32)
    assert (
        model.interpolate(*TEXTS[:2], steps=3, layers=[2], max_tokens=12)[1] == model.decode(z[None], max_tokens=12)[0]
    )


def test_neighbours(load: Load) -> None:
    model = load("embed", "snli")
    means = model.encode(TEXTS).mean
    found = model.neighbours(TEXTS[1], TEXTS, k=2)
    distances = np.linalg.norm(means - means[1], axis=1)
    nearest = np.argsort(distances)[:2]
    assert [text for text, _ in found] == [TEXTS[i] for i in nearest]
    assert found[0][1] == pytest.approx(0.0, abs=1e-5)
    assert found[1][1] == pytest.approx(distances[nearest[1]], abs=1e-5)
    conditional = load("embed", "quora")
    assert conditional.neighbours(TEXTS[0], TEXTS, k=1, source=SOURCES[0])[0][0] == TEXTS[0]


def test_no_texts(load: Load) -> None:
    model = load("della", "snli")
    latents = model.encode([], n=3)
    assert (latents.mean.shape, latents.samples.shape) == ((0, 96), (0, 3, 96))
    assert (model.reconstruct([]), model.log_likelihood([]).shape) == ([], (0,))
    assert model.neighbours("a text", []) == []


def test_samples(load: Load) -> None:
    model = load("embed", "snli")
    texts = model.sample(3, seed=4, max_tokens=6)
    assert len(texts) == 3
    assert texts == model.sample(3, seed=4, max_tokens=6) != model.sample(3, seed=5, max_tokens=6)
    assert len(load("lm", "snli").sample(2, max_tokens=4)) == 2
    assert len(load("embed", "quora").sample(2, SOURCES, max_tokens=4)) == 8


def test_log_likelihood_without_latent_variables_is_exact(load: Load) -> None:
    model = load("lm", "snli")
    tokenizer = model.system.tokenizer
    expected = []
    for ids in tokenizer.encode(TEXTS):
        with torch.no_grad():
            log_p = model.system.backbone.model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
        expected.append(float(log_p[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum()))
    np.testing.assert_allclose(model.log_likelihood(TEXTS), expected, rtol=1e-5)


def test_a_bound_rises_with_its_samples_and_does_not_depend_on_the_batch(load: Load) -> None:
    model = load("della", "snli")
    few, many = (model.log_likelihood(TEXTS, n_samples=n).mean() for n in (2, 200))
    assert many > few
    np.testing.assert_allclose(model.log_likelihood(TEXTS)[:1], model.log_likelihood(TEXTS[:1]), rtol=1e-5)


def test_another_process_gives_the_same_bits(load: Load, runs: Path) -> None:
    (folder,) = runs.glob("snli.della.*")
    code = f"import bench; print(bench.load({str(folder)!r}).log_likelihood({TEXTS!r}).tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == load("della", "snli").log_likelihood(TEXTS).tobytes().hex()


def test_importing_bench_needs_no_torch() -> None:
    code = "import sys, bench; dir(bench); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "False"
    assert all(getattr(bench, name) for name in bench.__all__)


@pytest.mark.parametrize(
    ("label", "task", "call", "message"),
    [
        ("lm", "snli", lambda model: model.encode(TEXTS), "lm has no latent variables."),
        ("lm", "snli", lambda model: model.decode(np.zeros((1, 3))), "lm has no latent variables."),
        ("embed", "snli", lambda model: model.encode("a text"), "expected a list of texts, got one text."),
        ("embed", "snli", lambda model: model.encode(TEXTS, SOURCES), "embed has no sources."),
        ("embed", "quora", lambda model: model.encode(TEXTS), "embed needs the source of each text."),
        ("embed", "quora", lambda model: model.encode(TEXTS, SOURCES[:3]), "4 texts, but 3 sources."),
        ("embed", "snli", lambda model: model.encode(["b a d " * 90]), "the model has 160 positions."),
        (
            "embed",
            "snli",
            lambda model: model.encode(["a", "b " * 900]),
            "text 2, 'b b b b b b b b b b b b b b b b b b b b …',",
        ),
        ("embed", "quora", lambda model: model.sample(1, ["b " * 900]), "source 1, 'b b "),
        (
            "embed",
            "snli",
            lambda model: model.reconstruct(TEXTS, top_k=5),
            "top_k has no effect with the strategy 'greedy'",
        ),
        ("embed", "snli", lambda model: model.sample(2, samples_per_source=3), "samples_per_source has no effect here"),
        ("embed", "snli", lambda model: model.decode(np.zeros((2, 5))), "expected (texts, 32)."),
        ("embed", "snli", lambda model: model.interpolate("a", "b", steps=1), "the two ends are 2 steps."),
        ("della", "snli", lambda model: model.swap("a", "b", [4]), "the model has groups 1 to 3."),
        ("embed", "snli", lambda model: model.sample(1, temprature=0.5), "temprature"),
        ("embed", "snli", lambda model: model.sample(0), "n is 0; at least 1."),
        ("embed", "snli", lambda model: model.encode(TEXTS, n=0), "n is 0; at least 1."),
        ("embed", "snli", lambda model: model.encode(["a", None]), "got None in it."),
        ("embed", "snli", lambda model: model.decode(np.full((1, 32), np.nan)), "not finite."),
        ("embed", "snli", lambda model: model.neighbours("a", TEXTS, k=-1), "k is -1; at least 1."),
        ("embed", "snli", lambda model: model.neighbours("a", "abc"), "got one text."),
        ("embed", "snli", lambda model: model.log_likelihood(TEXTS, n_samples=1), "n_samples is 1; at least 2."),
        ("della", "snli", lambda model: model.swap("a", "b", ["1"]), "expected whole numbers, got '1'."),
    ],
)
def test_errors(load: Load, label: str, task: str, call: Callable[[bench.TextVAE], object], message: str) -> None:
    with pytest.raises(BenchError) as error:
        call(load(label, task))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
