"""What training and records rely on: gradients, weights that can be stored, and what a system says about itself."""

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
from bench.testing.paths import stream
from bench.testing.subject import DECODINGS, Subject


@check(
    "A parameter that nothing reaches is trained for nothing, and counted all the same: leave it out, or, if the"
    " system's own equations keep it still, name it in `idle_parameters`. One `detach` too many looks the same."
)
def gradients(subject: Subject) -> None:
    """Every parameter gets a gradient, except those declared idle."""
    system, batch = subject.system().train(), subject.batch()
    path = system.encode(batch).sample(2, stream())
    (path.kl.sum() - system.log_likelihood(batch, path).sum()).backward()
    trained = {name: one.grad for name, one in system.named_parameters() if one.requires_grad}
    infinite = [name for name, grad in trained.items() if grad is not None and not grad.isfinite().all()]
    expect(not infinite, "finite gradients", f"others in {_some(infinite)}")
    still = {name for name, grad in trained.items() if grad is None or not grad.any()}
    idle = system.idle_parameters()
    expect(still <= idle, "a gradient for every parameter", f"none for {_some(still - idle)}")
    expect(idle <= still, "no gradient for parameters declared idle", f"some for {_some(idle - still)}")


@check(
    "Train it by hand on a few texts: with `default_objective`, the reconstruction term of the same texts must fall."
)
def learns(subject: Subject) -> None:
    """Trained by the harness on a few texts, the system comes to know them."""
    texts: dict[Split, TokenizedTexts] = {"train": subject.texts, "valid": subject.texts}
    spec = TrainingSpec(epochs=5, learning_rate=1e-2, warmup=0.0)
    system, stages = subject.system(moved=False), build_stages(subject.spec().objective, spec.epochs)
    reason = unsupported_reason(stages, gradient_flow(system, subject.texts))
    expect(reason is None, "a default objective that means something for the system", f"{reason}")
    with TemporaryDirectory() as folder:
        trainer = Trainer(system, texts, stages, spec, named_seeds(0), Path(folder), lambda phase, fraction: None)
        progress = trainer.run()
    expect(not progress.diverged, "a finite loss", f"one that is not, at step {progress.step}")
    first, last = (progress.curve[epoch]["valid Rec"] for epoch in (0, -1))
    expect(last < first, f"a reconstruction term below the {first:.4g} nats of step 1 after 5", f"{last:.4g}")


@check("Everything that decides an output is a parameter or a registered buffer; look for plain tensor attributes.")
def saved_weights(subject: Subject) -> None:
    """Weights that are stored and loaded make the same system."""
    system, other = subject.system(seed=0), subject.system(seed=1)
    expected = _likelihood(subject, system)
    expect(not torch.equal(_likelihood(subject, other), expected), "another likelihood for other weights", "the same")
    with TemporaryDirectory() as folder:
        file = Path(folder, "model.safetensors")
        file.write_bytes(save(weights(system)))
        load_weights(other, file)
    pairs = zip(system.state_dict().items(), other.state_dict().values(), strict=True)
    differing = [name for (name, one), another in pairs if not torch.equal(one, another)]
    expect(not differing, "the weights that were stored", f"others in {_some(differing)}")
    found = _likelihood(subject, other)
    far = float((found - expected).abs().max())
    expect(torch.equal(found, expected), "the likelihood of the system that was stored", f"one {far:.3g} nats away")


@check("Look at the class attributes: `Config`, `groups`, `version`, `default_objective`.")
def declarations(subject: Subject) -> None:
    """Options have defaults; groups, version and objective can be read."""
    cls = subject.cls
    required = [name for name, one in cls.Config.model_fields.items() if one.is_required()]
    expect(not required, "a default for every field of Config", f"none for {_some(required)}")
    groups = subject.system().groups
    sizes = isinstance(groups, tuple) and all(isinstance(size, int) and size > 0 for size in groups)
    expect(sizes, "groups: a tuple of sizes above 0, or () without latents", f"{groups!r}")
    expect(isinstance(cls.version, int) and cls.version >= 1, "a version from 1", f"{cls.version!r}")
    spec = subject.spec()
    build_stages(spec.objective, epochs=10)
    for decoding in (spec.decoding, *DECODINGS.values()):
        reason = cls.supports(subject.spec(decoding))
        one_line = reason is None or (isinstance(reason, str) and len(reason.splitlines()) == 1)
        expect(one_line, "None or a reason of one line from `supports`", f"{reason!r}")


@torch.no_grad()
def _likelihood(subject: Subject, system: System) -> Tensor:
    batch = subject.batch()
    return system.log_likelihood(batch, system.encode(batch).sample(2, stream()))


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    rest = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"{', '.join(listed[:3])}{rest}"
