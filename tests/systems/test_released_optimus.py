"""Imported checkpoints of Optimus give the posterior, the likelihood and the texts of the released code."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertTokenizer, GPT2Tokenizer

from baselines.optimus import Optimus
from baselines.released_optimus import import_released
from bench.batch import Batch
from bench.errors import BenchError
from bench.harness.model_folder import ModelFolder, import_model
from bench.harness.plan import evaluation_spec
from bench.harness.run import score_model
from bench.scales import Scale
from bench.specs import DecodingSpec
from bench.systems import IMPORTERS
from tests.released_della import save_tokenizer
from tests.released_optimus import BOS, EOS, PAD, WORDS, ReleasedOptimus, save_wordpiece

TEXTS = ("the cats run on .", "a dog", "no", "the dog and the cat run on and on, it runs")
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
HEADS = {"heads": 2, "options": {"encoder_heads": 3}}

Import = Callable[..., Optimus]
each_injection = pytest.mark.parametrize("injection", ["both", "memory", "embedding"])


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the importer, also where an older version of this package is installed."""
    importer = EntryPoint("optimus", "baselines.released_optimus:import_released", IMPORTERS.group)

    def with_importer(group: str) -> list[EntryPoint]:
        return [*entry_points(group=group), *([importer] if group == IMPORTERS.group else [])]

    monkeypatch.setattr("bench.registry.entry_points", with_importer)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def released(injection: str = "both") -> ReleasedOptimus:
    torch.manual_seed(0)
    return ReleasedOptimus(injection).eval()


@pytest.fixture
def convert(tmp_path: Path) -> Import:
    """Imports what ``torch.save`` makes of a checkpoint."""
    tokenizers = {
        "tokenizer": save_tokenizer(tmp_path / "gpt2"),
        "encoder_tokenizer": save_wordpiece(tmp_path / "bert"),
    }

    def make(checkpoint: object, options: dict[str, object] | None = None, **changes: Any) -> Optimus:
        torch.save(checkpoint, tmp_path / "training.bin")
        options = {"encoder_heads": 3, **(options or {})}
        arguments = {"heads": 2, **tokenizers, **changes}
        import_model("optimus", options, tmp_path / "training.bin", tmp_path / "out", **arguments)
        system = ModelFolder.read(tmp_path / "out").load()
        assert isinstance(system, Optimus)
        return system

    return make


def batch_of(system: Optimus) -> Batch:
    """The texts as the harness gives them, padded, in the tokens of both stacks."""
    own, encoder = system.tokenizer, system.tokenizer.encoder.tokenizer
    wordpieces = Batch.collate(encoder.encode(TEXTS), encoder.pad)
    return Batch.collate(own.encode(TEXTS), own.pad, encoder=wordpieces)


def as_released(tmp_path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """The same texts as the released code reads them: [CLS] text [SEP] and <BOS> text <EOS>."""
    bert = BertTokenizer({word: place for place, word in enumerate(WORDS)}, do_lower_case=False)
    gpt2 = GPT2Tokenizer(str(tmp_path / "gpt2" / "vocab.json"), str(tmp_path / "gpt2" / "merges.txt"))
    for text in TEXTS:
        yield torch.tensor(bert.encode(text)), torch.tensor([BOS, *gpt2.encode(text), EOS])


@each_injection
@torch.no_grad()
def test_posterior_and_likelihood(convert: Import, tmp_path: Path, injection: str) -> None:
    """The imported model gets one padded batch, the released model single texts."""
    oracle = released(injection)
    system = convert(oracle.checkpoint(), {"injection": injection})
    batch = batch_of(system)
    path = system.encode(batch).sample(2, [torch.Generator().manual_seed(row) for row in range(len(TEXTS))])
    likelihood = system.log_likelihood(batch, path)
    for row, (wordpieces, ids) in enumerate(as_released(tmp_path)):
        mean, log_variance = oracle.encoder(wordpieces)
        torch.testing.assert_close(path.mean[0][row, 0], mean, **TOLERANCE)
        noise = torch.randn(2, 3, generator=torch.Generator().manual_seed(row))
        torch.testing.assert_close(path.z[0][row], mean + (log_variance / 2).exp() * noise, **TOLERANCE)
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum()
        torch.testing.assert_close(path.kl[row, 0, 0], kl, **TOLERANCE)
        for sample, z in enumerate(path.z[0][row]):
            torch.testing.assert_close(likelihood[row, sample], oracle.log_likelihood(ids, z), **TOLERANCE)


@each_injection
@torch.no_grad()
def test_greedy_generation(convert: Import, injection: str) -> None:
    oracle = released(injection)
    system = convert(oracle.checkpoint(), {"injection": injection})
    path = system.sample_prior(4, None, torch.Generator().manual_seed(1))
    generated = system.generate(path, None, DecodingSpec(strategy="greedy", max_tokens=12), seed=0)
    for z, text in zip(path.z[0][0], generated, strict=True):
        ids = [BOS]
        while len(ids) <= 12 and ids[-1] != EOS:
            ids.append(int(oracle.logits(torch.tensor(ids), z)[-1].argmax()))
        assert text == [token for token in ids if token not in (PAD, BOS, EOS)]
    assert len({tuple(text) for text in generated}) > 1


def test_description(convert: Import, tmp_path: Path) -> None:
    system = convert(released().checkpoint())
    spec = ModelFolder.read(tmp_path / "out").spec
    assert (spec.backbone.layers, spec.backbone.width, spec.backbone.heads, spec.backbone.positions) == (3, 16, 2, 63)
    assert (spec.encoder.layers, spec.encoder.width, spec.encoder.heads, spec.encoder.positions) == (2, 12, 3, 40)
    assert (system.tokenizer.pad, system.tokenizer.bos, system.tokenizer.eos) == (PAD, BOS, EOS)
    assert system.tokenizer.encoder.positions == 40


def test_an_imported_model_is_scored(convert: Import, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    convert(released().checkpoint())
    scale = Scale.model_validate(
        {
            "limits": {"train": 8, "test": 4},
            "max_tokens": 60,
            "scoring": {"n_importance_samples": 2, "bootstrap_samples": 0, "n_generations": 2},
            "decoding": {"max_tokens": 8},
        }
    )
    model = ModelFolder.read(tmp_path / "out")
    record = score_model(model, evaluation_spec(model, "snli", 0, "micro", scale, "grammar"), tmp_path / "runs")
    assert record.status == "finished"
    assert {"PPL", "KL", "AU"} <= {score.name for score in record.metrics}


def test_an_embedding_without_memory_does_not_shift_positions(convert: Import, tmp_path: Path) -> None:
    convert(released().checkpoint(), {"injection": "embedding"})
    assert ModelFolder.read(tmp_path / "out").spec.backbone.positions == 64


def test_arguments_stored_by_old_versions_of_numpy_are_not_read(tmp_path: Path) -> None:
    """Released checkpoints are of torch 1, whose files are no archives, and of NumPy 1, whose names differ."""
    path = tmp_path / "training.bin"
    torch.save(released().checkpoint(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in content
    path.write_bytes(content)
    imported = import_released(path, {"encoder_heads": 3}, heads=2)
    assert imported.weights["posterior.weight"].shape == (6, 12)


class Malicious(Namespace):
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "gotcha"))


def checkpoint(**changes: object) -> dict[str, Any]:
    """A checkpoint with tensors replaced or, where None, left out; dots are double underscores."""
    whole: dict[str, Any] = released().checkpoint()
    state = {**whole["model_state_dict"], **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    return {**whole, "model_state_dict": {name: tensor for name, tensor in state.items() if tensor is not None}}


MISTAKES: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "no checkpoint": (lambda: released().state_dict(), {}, "no checkpoint of this code: it lacks 'model_state_dict'."),
    "another model": (
        lambda: {"model_state_dict": {"wte": torch.zeros(2, 2)}},
        {},
        "no checkpoint of the released Optimus code: it lacks 'encoder.embeddings.word_embeddings.weight'.",
    ),
    "a missing tensor": (lambda: checkpoint(encoder__pooler__dense__bias=None), {}, "'encoder.pooler.dense.bias'."),
    "an unknown tensor": (lambda: checkpoint(decoder__x=torch.zeros(1)), {}, "more than an Optimus of these sizes:"),
    "a wrong shape": (
        lambda: checkpoint(decoder__transformer__linear__weight=torch.zeros(32, 3)),
        {},
        "'decoder.transformer.linear.weight' has shape (32, 3); with the other tensors it would be (48, 3).",
    ),
    "an output layer of its own": (
        lambda: checkpoint(decoder__lm_head__weight=torch.zeros(260, 16)),
        {},
        "'decoder.lm_head.weight' differs from 'decoder.transformer.wte.weight', which it shares.",
    ),
    "no heads": (released().checkpoint, {"heads": None}, "the number of attention heads; name it (--heads)."),
    "heads of the decoder": (released().checkpoint, {"heads": 3}, "3 heads do not divide a width of 16"),
    "heads of the encoder": (
        released().checkpoint,
        {"options": {"encoder_heads": 5}},
        "5 heads do not divide a width of 12",
    ),
    "an unknown option": (released().checkpoint, {"options": {"latent_size": 3}}, "unknown key 'latent_size'"),
    "no tokenizer of BERT": (
        released().checkpoint,
        {"encoder_tokenizer": None},
        "optimus has an encoder of its own; name the folder of its tokenizer (--encoder-tokenizer).",
    ),
}


@pytest.mark.parametrize(("content", "changes", "complaint"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_write_nothing(
    convert: Import, tmp_path: Path, content: Callable[[], object], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BenchError) as caught:
        convert(content(), **changes)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_another_encoder_is_refused(convert: Import, tmp_path: Path) -> None:
    with (tmp_path / "bert" / "vocab.txt").open("a") as file:
        file.write("more\n")
    with pytest.raises(BenchError, match=r"its encoder is made for 15 tokens; the tokenizer in .*bert has 16\.$"):
        convert(released().checkpoint())


def test_no_code_in_a_checkpoint_is_executed(convert: Import, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no state dict that can be read without executing it"):
        convert({**released().checkpoint(), "args": Malicious(tmp_path / "gotcha")})
    assert not (tmp_path / "gotcha").exists()
