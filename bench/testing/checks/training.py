"""Training: gradients, learning, stored weights and the declarations of a system."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save
from torch import Tensor

from bench.harness.tokenized_texts import TokenizedTexts
from bench.harness.train import Trainer, gradient_flow
from bench.harness.weights import load_weights, weights
from bench.interface import System
from bench.objectives import build_stages, unsupported_reason
from bench.seeds import named_seeds
from bench.specs import TrainingSpec
from bench.tasks import Split
from bench.testing.check import check
from bench.testing.expect import expect
from bench.testing.samples import generator
from bench.testing.system_under_test import DECODINGS, SystemUnderTest


@check(
    "A parameter without a gradient is never trained, but is counted. Remove it or, if the equations of the system"
    " leave it unused, name it in `idle_parameters`. A wrong `detach` has the same effect."
)
def gradients(tested: SystemUnderTest) -> None:
    """Every parameter gets a gradient, except those in idle_parameters."""
    system, batch = tested.system().train(), tested.batch()
    path = system.encode(batch).sample(2, generator())
    (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
    trained = {name: parameter.grad for name, parameter in system.named_parameters() if parameter.requires_grad}
    infinite = [name for name, grad in trained.items() if grad is not None and not grad.isfinite().all()]
    expect(not infinite, "finite gradients", f"infinite ones or NaN in {_first_names(infinite)}")
    without = {name for name, grad in trained.items() if grad is None or not grad.any()}
    idle = system.idle_parameters()
    expect(without <= idle, "a gradient for every parameter", f"none for {_first_names(without - idle)}")
    expect(idle <= without, "no gradient for parameters in idle_parameters", f"one for {_first_names(idle - without)}")


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


@torch.no_grad()
def _likelihood(tested: SystemUnderTest, system: System) -> Tensor:
    batch = tested.batch()
    return system.log_likelihood(batch, system.encode(batch).sample(2, generator()))


def _first_names(names: Iterable[str]) -> str:
    listed = sorted(names)
    rest = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{', '.join(listed[:3])}{rest}"
