"""Training: gradients, learning, stored weights and the declarations of a system."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save
from torch import Tensor

from bench.backbones import TransformerStack
from bench.batch import Batch
from bench.harness.tokenized_texts import TokenizedTexts
from bench.harness.train import Trainer, gradient_flow
from bench.harness.weights import load_weights, weights
from bench.interface import System
from bench.objectives import build_stages, unsupported_reason
from bench.objectives.gradient_flow import GradientFlow
from bench.seeds import named_seeds
from bench.specs import TrainingSpec
from bench.tasks import Split
from bench.testing.check import check
from bench.testing.expect import Inconclusive, expect, expect_close
from bench.testing.samples import generator, generators, named_tensors
from bench.testing.system_under_test import DECODINGS, TOLERANCE, SystemUnderTest


@check(
    "A parameter without a gradient is never trained, but is counted. Remove it or, if the equations of the system"
    " leave it unused, name it in `idle_parameters`. A wrong `detach` has the same effect."
)
def gradients(tested: SystemUnderTest) -> str | None:
    """Every parameter gets a gradient, except frozen ones and those in idle_parameters."""
    system, batch = tested.system().train(), tested.batch()
    path = system.encode(batch).sample(2, generator())
    (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
    trained = {name: parameter.grad for name, parameter in system.named_parameters() if parameter.requires_grad}
    infinite = [name for name, grad in trained.items() if grad is not None and not grad.isfinite().all()]
    expect(not infinite, "finite gradients", f"infinite ones or NaN in {_first_names(infinite)}")
    without = {name for name, grad in trained.items() if grad is None or not grad.any()}
    idle = system.idle_parameters()
    expect(without <= idle, "a gradient for every parameter", f"none for {_first_names(without - idle)}")
    wrong = idle & trained.keys() - without
    expect(not wrong, "no gradient for parameters in idle_parameters", f"one for {_first_names(wrong)}")
    frozen = [name for name, parameter in system.named_parameters() if not parameter.requires_grad]
    return f"Frozen parameters, which training leaves unchanged: {_first_names(frozen)}." if frozen else None


@check(
    "Back-propagate -log p(x|z) alone: z must not be detached, neither in `sample` nor in `log_likelihood`, and of the"
    " parameters that only q(z|x) uses, some must have `requires_grad`."
)
def latents_learn(tested: SystemUnderTest) -> None:
    """The likelihood alone, without the KL, has a gradient in every latent group and trains the posterior."""
    system, batch = tested.system(), tested.batch()
    if not system.groups:
        return
    path = system.encode(batch).sample(2, generator())
    for group, z in enumerate(path.z):
        expect(z.requires_grad, f"z[{group}] to depend on trained parameters", "no gradient")
    gradients = torch.autograd.grad(system.log_likelihood(batch, path).sum(), path.z, allow_unused=True)
    for group, gradient in enumerate(gradients):
        reached = gradient is not None and bool(gradient.flatten(1).any(1).all())
        expect(reached, f"a gradient of log p(x|z) in z[{group}] of every text", "none")
    frozen = {name for name, parameter in system.named_parameters() if not parameter.requires_grad}
    own = GradientFlow.of(system.requires_grad_(True), batch).encoder_only()
    seen = f"{_first_names(own)}, all frozen"
    expect(not own or bool(own - frozen), "a trained parameter among those that only q(z|x) uses", seen)


@check(
    "Check for `detach`, `no_grad` and `.data` on the way from the parameters to z, likelihood and KL, and for factors"
    " that only the gradient has: with the noise unchanged, back-propagation must give the derivative. This check runs"
    " in double precision, where rounding by a `.float()` inside the system fails it too."
)
def derivatives(tested: SystemUnderTest) -> None:
    """Gradients of log-likelihood and KL are their derivatives, as finite differences give them.

    Along a random direction d, (f(w + h d) - f(w - h d)) / 2h differs from d . grad f(w) by rounding errors only.
    """
    h, batch = 1e-6, tested.batch()
    with tested.trained_without_dropout() as system:
        trained = [parameter for parameter in system.parameters() if parameter.requires_grad]
        if _unrepeatable(system, batch):
            raise Inconclusive(RANDOM)
        noise = generator(1)
        directions = [torch.randn(parameter.shape, generator=noise, dtype=torch.float64) for parameter in trained]
        found = []
        for total in _sums(system, batch).values():
            gradients: Iterable[Tensor | None] = [None] * len(trained)
            if total.requires_grad:
                gradients = torch.autograd.grad(total, trained, retain_graph=True, allow_unused=True)
            pairs = zip(gradients, directions, strict=True)
            found.append([(gradient, direction) for gradient, direction in pairs if gradient is not None])
        shifted = []
        for step in (h, -2 * h):
            with torch.no_grad():
                for parameter, direction in zip(trained, directions, strict=True):
                    parameter.add_(direction, alpha=step)
                shifted.append(_sums(system, batch))
    for (name, right), left, pairs_of_term in zip(shifted[0].items(), shifted[1].values(), found, strict=True):
        expected = float(right - left) / (2 * h)
        actual = sum(float((gradient * direction).sum()) for gradient, direction in pairs_of_term)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient, _ in pairs_of_term))
        bound = 1e-5 * max(abs(expected), norm) + 1e-8 * abs(float(right)) + 1e-6
        what = f"{expected:.6g} as the derivative of the {name} along a random direction, by finite differences"
        expect(abs(actual - expected) <= bound, what, f"{actual:.6g} by back-propagation")


@check(
    "Check for `self.training`, `torch.is_grad_enabled()` and hooks: apart from dropout, training mode must change"
    " nothing. Switch dropout off by an option whose name contains 'dropout', or use torch's modules."
)
def same_in_training(tested: SystemUnderTest) -> None:
    """Without dropout, samples, terms and likelihoods are the same in training and in evaluation mode."""
    batch = tested.batch()
    with tested.trained_without_dropout() as system:
        if _unrepeatable(system, batch):
            raise Inconclusive(RANDOM)
        actual = _outputs(system, batch)
        with torch.no_grad():
            expected = _outputs(system.eval(), batch)
        for name, tensor in expected.items():
            what = f"{name} in training mode equal to that in evaluation mode"
            expect_close(what, actual[name].detach(), tensor, AXES[: tensor.dim()], TOLERANCE, TOLERANCE)


@check(
    "With activation checkpointing, the backward pass runs each block again: a block, or a hook on it, must not read"
    " attributes that changed since. Pass what it needs as arguments, as `Injection` does."
)
def activation_checkpointing(tested: SystemUnderTest) -> None:
    """Activation checkpointing leaves all gradients unchanged."""
    batch = tested.batch()
    with tested.trained_without_dropout() as system:
        stacks = [module for module in system.modules() if isinstance(module, TransformerStack)]
        if not stacks:
            return
        if _unrepeatable(system, batch):
            raise Inconclusive(RANDOM)
        named = {name: parameter for name, parameter in system.named_parameters() if parameter.requires_grad}
        found = []
        for recompute in (False, True):
            for stack in stacks:
                stack.activation_checkpointing = recompute
            total = torch.stack(list(_sums(system, batch).values())).sum()
            found.append(torch.autograd.grad(total, list(named.values()), allow_unused=True, materialize_grads=True))
        for name, expected, actual in zip(named, *found, strict=True):
            difference, norm = float((actual - expected).norm()), float(expected.norm())
            seen = f"a difference of {difference:.3g} for a norm of {norm:.3g}"
            expect(difference <= 1e-8 * (1 + norm), f"the same gradient of {name} with activation checkpointing", seen)


@check("Train the system on a few texts: with `default_objective`, the reconstruction term of these texts must fall.")
def learns(tested: SystemUnderTest) -> None:
    """Five epochs of training lower the reconstruction term of the training texts."""
    texts: dict[Split, TokenizedTexts] = {"train": tested.texts, "valid": tested.texts}
    spec = TrainingSpec(epochs=5, learning_rate=1e-2, warmup=0.0)
    system, stages = tested.system(moved=False), build_stages(tested.spec().objective, spec.epochs)
    reason = unsupported_reason(stages, gradient_flow(system, tested.texts))
    expect(reason is None, "a default objective that suits the system", f"{reason}")
    with TemporaryDirectory() as folder:
        trainer = Trainer(system, texts, stages, spec, named_seeds(0), Path(folder), lambda phase, fraction: None)
        progress = trainer.run()
    expect(not progress.diverged, "a finite loss", f"an infinite one or NaN at step {progress.step}")
    first, last = (progress.curve[epoch]["valid Rec"] for epoch in (0, -1))
    expect(last < first, f"a reconstruction term after epoch 5 below the {first:.4g} nats after epoch 1", f"{last:.4g}")


@check(
    "Every tensor that affects an output must be a parameter or a registered buffer. Check for plain tensor attributes."
)
def saved_weights(tested: SystemUnderTest) -> None:
    """A system loaded from stored weights gives the same likelihoods."""
    system, other = tested.system(seed=0), tested.system(seed=1)
    expected = _likelihood(tested, system)
    expect(
        not torch.equal(_likelihood(tested, other), expected),
        "a different likelihood for different weights",
        "the same",
    )
    with TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        file.write_bytes(save(weights(system)))
        load_weights(other, file)
    pairs = zip(system.state_dict().items(), other.state_dict().values(), strict=True)
    differing = [name for (name, tensor), loaded in pairs if not torch.equal(tensor, loaded)]
    expect(not differing, "loaded weights equal to the stored ones", f"differences in {_first_names(differing)}")
    actual = _likelihood(tested, other)
    difference = float((actual - expected).abs().max())
    expect(
        torch.equal(actual, expected), "the likelihood of the stored system", f"a difference of {difference:.3g} nats"
    )


@check("Check the class attributes: `Config`, `groups`, `version`, `default_objective`.")
def declarations(tested: SystemUnderTest) -> None:
    """Every option has a default; groups, version and default objective are valid."""
    cls = tested.cls
    required = [name for name, field in cls.Config.model_fields.items() if field.is_required()]
    expect(not required, "a default for every field of Config", f"none for {_first_names(required)}")
    groups = tested.system().groups
    sizes = isinstance(groups, tuple) and all(isinstance(size, int) and size > 0 for size in groups)
    expect(sizes, "groups to be a tuple of sizes above 0, or () without latents", f"{groups!r}")
    expect(isinstance(cls.version, int) and cls.version >= 1, "a version from 1", f"{cls.version!r}")
    spec = tested.spec()
    build_stages(spec.objective, epochs=10)
    for decoding in (spec.decoding, *DECODINGS.values()):
        reason = cls.supports(tested.spec(decoding))
        one_line = reason is None or (isinstance(reason, str) and len(reason.splitlines()) == 1)
        expect(one_line, "None or a one-line reason from `supports`", f"{reason!r}")


AXES = ("text", "sample", "column")
RANDOM = "outputs in training mode are random even without dropout"


def _outputs(system: System, batch: Batch) -> dict[str, Tensor]:
    """Returns samples, terms and likelihoods of the texts, with the same noise at every call."""
    posterior = system.encode(batch)
    path = posterior.sample(2, generators(range(len(batch))))
    prior = system.sample_prior(2, batch.condition, generator())
    return {
        **{f"{name} of the posterior": tensor for name, tensor in named_tensors(path).items()},
        **{f"{name} of the prior": tensor for name, tensor in named_tensors(prior).items()},
        "log_prob": posterior.log_prob(path),
        "the log-likelihood": system.log_likelihood(batch, path),
    }


def _sums(system: System, batch: Batch) -> dict[str, Tensor]:
    """Returns log-likelihood and KL, summed over all texts and samples."""
    path = system.encode(batch).sample(2, generators(range(len(batch))))
    return {"log-likelihood": system.log_likelihood(batch, path).sum(), "KL": path.kl.sum()}


@torch.no_grad()
def _unrepeatable(system: System, batch: Batch) -> bool:
    """Returns whether two passes with the same noise differ."""
    first, again = (_outputs(system, batch).values() for _ in range(2))
    return not all(torch.equal(tensor, other) for tensor, other in zip(first, again, strict=True))


@torch.no_grad()
def _likelihood(tested: SystemUnderTest, system: System) -> Tensor:
    batch = tested.batch()
    return system.log_likelihood(batch, system.encode(batch).sample(2, generator()))


def _first_names(names: Iterable[str]) -> str:
    listed = sorted(names)
    rest = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{', '.join(listed[:3])}{rest}"
