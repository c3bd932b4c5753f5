"""DELLA against its equations: logits, KL per layer, gradients and cached generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from bench.batch import Batch
from bench.interface import LatentPath, System
from bench.specs import DecodingSpec
from della.model import Della
from tests.systems.literal_della import LiteralDella, sources_of

# In float64 both sides agree to rounding; in float32 the contract demands 1e-5.
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}

STORY = {"kind": "decoder-only", "conditional": True}
SUMMARY = {"kind": "encoder-decoder", "conditional": True}
VARIANTS = {
    "della": ("della", {}),
    "story": ("della", STORY),
    "story, released": ("della-2022", STORY),
    "summary": ("della", SUMMARY),
    "summary, released": ("della-2022", SUMMARY),
    "summary, layers 2 to 3": ("della", {**SUMMARY, "layers": "2-3", "rank": 2}),
    "rank 3": ("della", {"rank": 3}),
    "pooled, normal init": ("della", {"representation": "attention_pool", "fusion_init": "normal"}),
    "layers 2 to 3": ("della", {"layers": "2-3"}),
    "shared": ("della-lw", {}),
    "shared, story": ("della-lw", STORY),
    "independent": ("della", {"dependence": "independent"}),
    "independent, story": ("della", {**STORY, "dependence": "independent"}),
    "added, rank 2": ("della", {"fusion": "add", "rank": 2}),
    "added, summary": ("della", {**SUMMARY, "fusion": "add", "layers": "2-3"}),
    "low rank": ("della", {"fusion": "low_rank", "rank": 3, "fusion_init": "normal"}),
    "low rank, story": ("della", {**STORY, "fusion": "low_rank", "rank": 2, "layers": "2-3"}),
    "low rank, summary": ("della", {**SUMMARY, "fusion": "low_rank", "rank": 2}),
    "memory": ("della-ltp", {"layers": "1-2"}),
    "memory, summary": ("della-ltp", {**SUMMARY, "layers": "3"}),
    "unfused": ("della", {"fusion": "none"}),
    "shared, low rank, pooled, with biases": (
        "della",
        {"latents": "shared", "fusion": "low_rank", "rank": 2, "affine": True, "representation": "attention_pool"},
    ),
    "independent, added, released, summary": (
        "della-2022",
        {**SUMMARY, "dependence": "independent", "fusion": "add"},
    ),
    "memory, released": ("della-2022", {"fusion": "memory"}),
    "released": ("della-2022", {}),
    "released, tight clamp": ("della-2022", {"clamp": 0.1}),
}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=VARIANTS, ids=list(VARIANTS))
def system(request: pytest.FixtureRequest, make_system: Callable[..., System]) -> Della:
    name, options = VARIANTS[request.param]
    made = make_system(name, latent_size=4, **options)
    assert isinstance(made, Della)
    return made.double()


@pytest.fixture
def data(system: Della, batch: Batch, pairs: Batch) -> Batch:
    """Two texts of different lengths, so that one is padded, with sources on conditional tasks."""
    source = Batch.collate(pairs.condition.unpadded()[:2], pad=0) if system.conditional and pairs.condition else None
    return Batch.collate(batch.unpadded()[:2], pad=0, condition=source)


def noise_of(index: int, groups: int, size: int) -> torch.Tensor:
    """The noise of a text from its own stream, group by group."""
    stream = torch.Generator().manual_seed(index)
    return torch.stack([torch.randn(1, size, generator=stream)[0] for _ in range(groups)])


def sampled(system: Della, batch: Batch) -> LatentPath:
    return system.encode(batch).sample(1, [torch.Generator().manual_seed(i) for i in range(len(batch))])


@torch.no_grad()
def test_samples_and_terms_of_every_layer(system: Della, data: Batch) -> None:
    path = sampled(system, data)
    for index, (ids, source) in enumerate(zip(data.unpadded(), sources_of(data), strict=True)):
        z, log_q, log_p, kl = LiteralDella(system).latents(ids, noise_of(index, len(system.groups), 4), source)
        torch.testing.assert_close(torch.stack([group[index, 0] for group in path.z]), torch.stack(z), **TOLERANCE)
        torch.testing.assert_close(path.log_q[index, 0], log_q, **TOLERANCE)
        torch.testing.assert_close(path.log_p[index, 0], log_p, **TOLERANCE)
        torch.testing.assert_close(path.kl[index, 0], kl, **TOLERANCE)


@torch.no_grad()
def test_log_likelihood(system: Della, data: Batch) -> None:
    path = system.encode(data).sample(2, torch.Generator().manual_seed(0))
    ours = system.log_likelihood(data, path)
    for index, (ids, source) in enumerate(zip(data.unpadded(), sources_of(data), strict=True)):
        for k in range(2):
            expected = LiteralDella(system).log_likelihood(ids, [z[index, k] for z in path.z], source)
            torch.testing.assert_close(ours[index, k], expected, **TOLERANCE)


def test_gradients_of_the_loss(system: Della, data: Batch) -> None:
    path = sampled(system, data)
    loss = path.kl.sum() - system.log_likelihood(data, path).sum()
    ours = dict(zip(_names(system), torch.autograd.grad(loss, list(system.parameters())), strict=True))
    expected = torch.zeros(())
    literal = LiteralDella(system)
    for index, (ids, source) in enumerate(zip(data.unpadded(), sources_of(data), strict=True)):
        z, _, _, kl = literal.latents(ids, noise_of(index, len(system.groups), 4), source)
        expected = expected + kl.sum() - literal.log_likelihood(ids, z, source)
    gradients = torch.autograd.grad(expected, list(system.parameters()), allow_unused=True)
    for name, gradient in zip(_names(system), gradients, strict=True):
        if gradient is None:
            # W_hh of the first layer is multiplied only by the zero state.
            gradient = torch.zeros_like(ours[name])
        # The tolerance is larger because the order of summation over tokens differs.
        torch.testing.assert_close(ours[name], gradient, rtol=1e-7, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}")


@torch.no_grad()
def test_cached_greedy_generation(system: Della, data: Batch) -> None:
    path = system.sample_prior(1 if system.conditional else 2, data.condition, torch.Generator().manual_seed(3))
    ours = system.generate(path, data.condition, DecodingSpec(strategy="greedy", max_tokens=6), seed=0)
    tokenizer = system.tokenizer
    for row, generated in enumerate(ours):
        text, k = divmod(row, path.n)
        ids = [tokenizer.bos]
        while len(ids) <= 6:
            scores = LiteralDella(system).logits(ids, [z[text, k] for z in path.z], sources_of(data)[text])
            best = int(scores[-1].argmax())
            if best == tokenizer.eos:
                break
            ids.append(best)
        assert generated == [token for token in ids[1:] if token not in (tokenizer.pad, tokenizer.bos)]


def test_beam_search_of_a_text_does_not_depend_on_the_batch(system: Della, data: Batch) -> None:
    path = system.sample_prior(2, data.condition, torch.Generator().manual_seed(3))
    decoding = DecodingSpec(strategy="beam", beams=3, max_tokens=6)
    together = system.generate(path, data.condition, decoding, seed=0)
    sources = [None if ids is None else Batch.collate([ids], pad=0) for ids in sources_of(data)]
    alone = []
    for row in range(len(path.log_q)):
        z = tuple(group[[row]] for group in path.z)
        for k in range(path.n):
            sample = LatentPath(z, z, *(path.log_q[[row]],) * 3).narrow(k, k + 1)
            alone += system.generate(sample, sources[row], decoding, seed=0)
    assert together == alone


def test_prior_of_the_first_layer_is_standard_normal_as_in_the_paper(make_system: Callable[..., System]) -> None:
    path = make_system("della", latent_size=4).double().sample_prior(3, None, torch.Generator().manual_seed(0))
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(path.z[0]).sum(-1)
    torch.testing.assert_close(path.log_p[..., 0], standard, **TOLERANCE)


def test_prior_of_the_first_layer_is_learned_as_released(make_system: Callable[..., System]) -> None:
    path = make_system("della-2022", latent_size=4).double().sample_prior(3, None, torch.Generator().manual_seed(0))
    assert path.mean[0].abs().min() > 1e-3


def test_with_gates_of_one_the_decoder_is_plain_gpt2(make_system: Callable[..., System], batch: Batch) -> None:
    """With W_v = I and gates of 1 the logits equal those of transformers' GPT-2."""
    system = make_system("della", latent_size=4).double()
    assert isinstance(system, Della)
    with torch.no_grad():
        system.fusion.text_factor.copy_(torch.eye(16).expand_as(system.fusion.text_factor))
        system.fusion.latent_factor.fill_(0.25)
    ones = torch.ones(len(batch), 1, 4)
    path = LatentPath((ones,) * 3, (ones,) * 3, *(torch.zeros(len(batch), 1, 3) for _ in range(3)))
    model = system.backbone.model
    logits = model(batch.inputs, use_cache=False).logits
    tokens = -torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    expected = (tokens.view(batch.targets.shape) * batch.mask[:, 1:]).sum(1, keepdim=True)
    torch.testing.assert_close(system.log_likelihood(batch, path), expected, **TOLERANCE)


def test_rank_does_not_change_what_can_be_expressed(make_system: Callable[..., System], batch: Batch) -> None:
    """Eq. 9 multiplies sums of linear maps: one pair of summed factors gives the same likelihood."""
    high, low = make_system("della", latent_size=4, rank=3).double(), make_system("della", latent_size=4).double()
    assert isinstance(high, Della)
    assert isinstance(low, Della)
    state = high.state_dict()
    for name in ("fusion.text_factor", "fusion.latent_factor"):
        state[name] = state[name].sum(1, keepdim=True)
    low.load_state_dict(state)
    path = high.encode(batch).sample(1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(low.log_likelihood(batch, path), high.log_likelihood(batch, path), **TOLERANCE)


def _names(system: Della) -> list[str]:
    return [name for name, _ in system.named_parameters()]
