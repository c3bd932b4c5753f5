"""The bag-of-words loss against a loop over texts, samples and tokens, in value and gradient.

Everything runs in float64; 1e-12 leaves room for the order of a sum.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.batch import Batch
from bench.errors import BenchError
from bench.interface import LatentPath
from bench.objectives import Objective, StageStep, build_objective, resolve_objective
from bench.objectives.bow import BagOfWords
from bench.objectives.schedules import Constant

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
PAD, VOCABULARY, WIDTH, SIZES = 0, 7, 5, (2, 3)
TEXTS = ([1, 3, 3, 6, 2], [1, 4, 2], [1, 5, 4, 3, 5, 5, 2])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def system() -> Any:
    head = nn.Linear(WIDTH, VOCABULARY, bias=False, dtype=torch.float64)
    return SimpleNamespace(groups=SIZES, output_layer=head)


def draw(n: int) -> LatentPath:
    z = tuple(torch.randn(len(TEXTS), n, size, dtype=torch.float64, requires_grad=True) for size in SIZES)
    kl = torch.rand(len(TEXTS), n, len(SIZES), dtype=torch.float64)
    return LatentPath(z, z, kl, kl, kl)


def literally(network: nn.Linear, head: nn.Linear, z: Tensor) -> Tensor:
    """- sum_t log softmax(head(W z_L + b))[x_t], token by token, BOS and padding left out (B x n)."""
    rows = []
    for text, samples in zip(TEXTS, z, strict=True):
        row = []
        for sample in samples:
            scores = head.weight @ (network.weight @ sample + network.bias)
            row.append(-sum(scores[token] - scores.exp().sum().log() for token in text[1:]))
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [({"groups": ()}, "needs latent variables"), ({"output_layer": None}, "needs an output layer")],
)
def test_it_needs_latent_variables_and_an_output_layer(system: Any, lacking: dict[str, Any], reason: str) -> None:
    part = BagOfWords()
    assert part.supports(SimpleNamespace(system=system)) is None
    assert reason in str(part.supports(SimpleNamespace(system=SimpleNamespace(**{**vars(system), **lacking}))))


@pytest.mark.parametrize("n", [1, 4])
def test_terms_and_gradients_are_the_loop(system: Any, n: int) -> None:
    part, path = BagOfWords(), draw(n)
    network = part.network(system).double()
    terms = part.terms(network, system, Batch.collate(TEXTS, PAD), path)
    expected = literally(network, system.output_layer, path.z[-1])
    assert terms.shape == (len(TEXTS), n)
    torch.testing.assert_close(terms, expected, **EXACT)
    inputs = [*network.parameters(), *system.output_layer.parameters(), path.z[-1]]
    for gradient, literal in zip(
        torch.autograd.grad(terms.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(gradient, literal, rtol=1e-10, atol=1e-10)


def test_only_the_last_group_has_to_know_the_words(system: Any) -> None:
    path = draw(1)
    terms = BagOfWords().terms(BagOfWords().network(system).double(), system, Batch.collate(TEXTS, PAD), path)
    first, last = torch.autograd.grad(terms.sum(), path.z, allow_unused=True)
    assert first is None
    assert (last != 0).all()


def test_padding_and_company_change_nothing(system: Any) -> None:
    part, path = BagOfWords(), draw(2)
    network = part.network(system).double()
    together = part.terms(network, system, Batch.collate(TEXTS, PAD), path)
    for row, text in enumerate(TEXTS):
        z = tuple(z[[row]] for z in path.z)
        alone = part.terms(network, system, Batch.collate([text], PAD), LatentPath(z, z, path.kl, path.kl, path.kl))
        torch.testing.assert_close(alone[0], together[row], **EXACT)


def test_the_loss_is_weighted_by_its_own_weight_and_not_by_beta() -> None:
    objective = Objective(Constant(weight=0.5), auxiliary=(BagOfWords(weight=0.2),))
    path, terms = draw(2), torch.rand(len(TEXTS), 2, dtype=torch.float64)
    log_likelihood = torch.randn(len(TEXTS), 2, dtype=torch.float64)
    loss = objective.loss(log_likelihood, path, StageStep(0, 1, 1), [terms])
    expected = (0.5 * path.kl.sum(-1) + 0.2 * terms - log_likelihood).mean(-1)
    torch.testing.assert_close(loss, expected, **EXACT)


def test_a_bag_of_words_stands_beside_everything_but_itself() -> None:
    label = ["cyclical", "free-bits:0.5", "mean-groups", "bow:0.1"]
    objective = build_objective(resolve_objective(label).parts)
    assert objective.auxiliary == (BagOfWords(weight=0.1),)
    assert len(objective.parts) == 4
    with pytest.raises(BenchError, match=r"'bow' is given twice\."):
        resolve_objective(["bow", "bow:0.3"])
    with pytest.raises(BenchError, match=r"'bow:0': weight: Input should be greater than 0 \(got 0\)\."):
        resolve_objective(["bow:0"])
