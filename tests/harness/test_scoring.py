"""Scoring: terms stay with their texts, whatever the batches, and equal what the definitions say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.harness.generate import generate_texts
from bench.harness.prepare import Prepared, prepare
from bench.harness.scoring import SAMPLES_AT_ONCE, score_texts
from bench.interface import LatentPath, System
from bench.metrics.latent import MutualInformation
from bench.metrics.likelihood import importance_bound
from bench.metrics.model import ScoredTexts
from bench.seeds import derive_seed
from bench.specs import RunSpec
from bench.systems import SYSTEMS

MakeSpec = Callable[..., RunSpec]
SEED = 7


def built(spec: RunSpec) -> tuple[Prepared, System]:
    """Returns texts and a system whose weights were moved far enough for posteriors to differ between texts."""
    prepared = prepare(spec)
    system = prepared.system(3).eval()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=noise))
    return prepared, system


def score(prepared: Prepared, system: System, **changes: Any) -> ScoredTexts:
    scoring = prepared.spec.scoring.model_copy(update=changes)
    return score_texts(system, prepared.texts["test"], scoring, prepared.spec.precision, SEED)


@pytest.mark.parametrize("task", ["snli", "quora", "writingprompts"])
@pytest.mark.parametrize("label", SYSTEMS.names())
def test_terms_do_not_depend_on_the_batches(micro: MakeSpec, label: str, task: str) -> None:
    """From one text and one sample at a time to all at once. The weights are far from trained, so terms are large."""
    prepared, system = built(micro(label, task))
    one_by_one, together = (score(prepared, system, batch_tokens=tokens) for tokens in (1, 10**6))
    assert together.conditional == (task != "snli")
    for field in fields(ScoredTexts):
        first, second = getattr(one_by_one, field.name), getattr(together, field.name)
        if isinstance(first, np.ndarray):
            # Forward passes of other shapes in float32; absolute because log ratios can be near zero.
            np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-4, err_msg=field.name)
        else:
            assert first == second, field.name


@pytest.mark.parametrize("label", ["lm", "memory", "della"])
def test_terms_are_those_of_each_text_alone_in_the_order_of_the_texts(micro: MakeSpec, label: str) -> None:
    """The oracle asks the system itself, one text and one sample at a time."""
    prepared, system = built(micro(label))
    texts, n = prepared.texts["test"], 4
    assert texts.lengths.tolist() != sorted(texts.lengths)  # else batches by length would not change the order
    scored = score(prepared, system, batch_tokens=300)
    with torch.no_grad():
        for index in range(len(texts)):
            stream = torch.Generator().manual_seed(derive_seed(SEED, "score", index))
            path = system.encode(texts.batch([index])).sample(n, [stream])
            terms = [float(system.log_likelihood(texts.batch([index]), path.narrow(k, k + 1))) for k in range(n)]
            ratio = (path.log_p.double() - path.log_q.double()).sum(-1)[0]
            mean = torch.cat([torch.zeros(1, n, 0), *path.mean], dim=-1)[0].double().numpy()
            np.testing.assert_allclose(scored.log_likelihood[index], terms, rtol=1e-5)
            np.testing.assert_allclose(scored.log_ratio[index], ratio, rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(scored.kl[index], path.kl[0].double().mean(0), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(scored.mean[index], mean.mean(0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(scored.first_mean[index], mean[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(scored.mean_noise[index], mean.var(axis=0, ddof=1) / n, rtol=1e-3, atol=1e-7)
    assert scored.tokens.tolist() == [length - 1 for length in texts.lengths]


@pytest.mark.parametrize("label", ["embed", "della"])
def test_the_aggregated_posterior_is_the_average_over_all_pairs(micro: MakeSpec, label: str) -> None:
    """I(x; z) from its definition: every text's first sample under every text's posterior, pair by pair."""
    prepared, system = built(micro(label))
    texts = prepared.texts["test"]
    scored = score(prepared, system, batch_tokens=400)
    n = len(texts)
    with torch.no_grad():
        posteriors = [system.encode(texts.batch([index])) for index in range(n)]
        streams = [torch.Generator().manual_seed(derive_seed(SEED, "score", index)) for index in range(n)]
        samples = [q.sample(4, [s]).narrow(0, 1) for q, s in zip(posteriors, streams, strict=True)]
        pairs = np.array([[float(q.log_prob(z).double().sum()) for q in posteriors] for z in samples])
    aggregated = np.log(np.exp(pairs - pairs.max(1, keepdims=True)).mean(1)) + pairs.max(1)
    # Densities of up to hundreds of nats from float32 means and variances.
    np.testing.assert_allclose(scored.log_q, np.diag(pairs), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(scored.log_q_aggregated, aggregated, rtol=1e-5, atol=1e-3)
    mi = MutualInformation().score(scored).value
    assert mi == pytest.approx((np.diag(pairs) - aggregated).mean(), abs=1e-3)
    assert 0.1 < mi <= np.log(n)


def test_without_latent_variables_all_samples_are_one(micro: MakeSpec) -> None:
    prepared, system = built(micro("lm"))
    scored = score(prepared, system, n_importance_samples=5)
    assert scored.log_likelihood.shape == (12, 5)
    assert (scored.log_likelihood == scored.log_likelihood[:, :1]).all()
    assert not scored.log_ratio.any()
    assert scored.kl.shape == scored.mean.shape == (12, 0)
    np.testing.assert_allclose(importance_bound(scored), -scored.reconstruction, rtol=1e-12)


@pytest.mark.parametrize("label", ["embed", "della"])
def test_moments_over_samples_that_come_in_blocks_are_those_over_all(
    micro: MakeSpec, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    """70 samples are two blocks and a part of one; what is recorded of the blocks is put together by hand."""
    n, texts_of = 70, 3
    prepared, system = built(micro(label, limits={"test": texts_of}))
    paths: list[LatentPath] = []
    posterior = type(system.encode(prepared.texts["test"].batch([0])))
    sample = posterior.sample

    def record(*arguments: Any) -> LatentPath:
        paths.append(sample(*arguments))
        return paths[-1]

    monkeypatch.setattr(posterior, "sample", record)
    scored = score(prepared, system, n_importance_samples=n, batch_tokens=10**6)
    assert [path.n for path in paths] == [SAMPLES_AT_ONCE, SAMPLES_AT_ONCE, n - 2 * SAMPLES_AT_ONCE]
    path = LatentPath.concatenate(paths)
    back = np.argsort(np.argsort(prepared.texts["test"].lengths, kind="stable"))
    kl = path.kl.double().numpy()[back]
    mean = torch.cat([torch.zeros(texts_of, n, 0), *path.mean], dim=-1).double().numpy()[back]
    np.testing.assert_allclose(scored.kl, kl.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(scored.mean, mean.mean(axis=1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(scored.mean_noise, mean.var(axis=1, ddof=1) / n, rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(scored.first_mean, mean[:, 0], rtol=1e-12)


@pytest.mark.parametrize("label", ["embed", "della"])
def test_no_tensor_grows_with_the_number_of_samples(micro: MakeSpec, label: str) -> None:
    prepared, system = built(micro(label))

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            made = [one.numel() for one in tree_leaves(result) if isinstance(one, torch.Tensor)]
            self.elements = max([self.elements, *made])
            return result

    sizes = []
    for n in (64, 640):
        with Largest() as largest:
            score(prepared, system, n_importance_samples=n)
        sizes.append(largest.elements)
    assert sizes[0] == sizes[1] > 0


def test_the_seed_decides_the_samples(micro: MakeSpec) -> None:
    prepared, system = built(micro("embed"))
    texts, spec = prepared.texts["test"], prepared.spec
    first, again, other = (score_texts(system, texts, spec.scoring, spec.precision, seed) for seed in (1, 1, 2))
    assert (first.log_weights == again.log_weights).all()
    assert not np.isclose(first.log_weights, other.log_weights).any()


def test_scoring_leaves_the_random_state_alone_and_the_system_in_evaluation_mode(micro: MakeSpec) -> None:
    prepared, system = built(micro("embed", backbone={"dropout": 0.5}))
    system.train()
    state = torch.get_rng_state()
    score(prepared, system)
    generate_texts(system, 2, prepared.texts["test"], prepared.spec.decoding, SEED)
    assert torch.get_rng_state().equal(state)
    assert not system.training


def test_progress_reaches_the_end(micro: MakeSpec) -> None:
    prepared, system = built(micro("lm"))
    spec, texts, told = prepared.spec, prepared.texts["test"], []
    score_texts(system, texts, spec.scoring, spec.precision, SEED, on_phase=lambda *event: told.append(event))
    generate_texts(system, 3, texts, spec.decoding, SEED, on_phase=lambda *event: told.append(event))
    assert [event for event in told if event[1] == 1.0] == [("score", 1.0), ("generate", 1.0)]
    assert told == sorted(told, key=lambda event: (event[0] == "generate", event[1]))
