"""Imported checkpoints of He et al. give the posterior, the likelihood and the texts of the released code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lstm_vae import LstmVAE

from bench.batch import Batch
from bench.errors import BenchError
from bench.harness.model_folder import ModelFolder, import_model
from bench.harness.plan import evaluation_spec
from bench.harness.run import score_model
from bench.scales import Scale
from bench.specs import DecodingSpec
from tests.examples.released_lstm_vae import BOS, EOS, PAD, WORDS, ReleasedLstmVAE, save_words

TEXTS = ("the cat sat on a mat .", "a dog", "réveillé", "the _UNK sat on the cat . a dog .")
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}

Import = Callable[..., LstmVAE]
pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def released() -> ReleasedLstmVAE:
    torch.manual_seed(0)
    return ReleasedLstmVAE().eval()


@pytest.fixture
def convert(tmp_path: Path) -> Import:
    words = save_words(tmp_path / "words")

    def make(state: object, options: dict[str, object] | None = None, heads: int | None = None) -> LstmVAE:
        torch.save(state, tmp_path / "yahoo.pt")
        import_model("lstm-vae", options or {}, tmp_path / "yahoo.pt", tmp_path / "out", words, heads)
        system: Any = ModelFolder.read(tmp_path / "out").load()
        return system

    return make


@torch.no_grad()
def test_posterior_and_likelihood(convert: Import) -> None:
    oracle = released()
    system = convert(oracle.state_dict())
    batch = Batch.collate(system.tokenizer.encode(TEXTS), system.tokenizer.pad)
    path = system.encode(batch).sample(2, torch.Generator().manual_seed(0))
    likelihood = system.log_likelihood(batch, path)
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([BOS, *map(WORDS.index, text.split()), EOS])
        mean, log_variance = oracle.encoder(ids)
        torch.testing.assert_close(path.mean[0][row, 0], mean, **TOLERANCE)
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum()
        torch.testing.assert_close(path.kl[row, 0, 0], kl, **TOLERANCE)
        for sample, z in enumerate(path.z[0][row]):
            torch.testing.assert_close(likelihood[row, sample], oracle.decoder.log_probability(ids, z), **TOLERANCE)


@torch.no_grad()
def test_greedy_generation(convert: Import) -> None:
    oracle = released()
    system = convert(oracle.state_dict())
    path = system.sample_prior(6, None, torch.Generator().manual_seed(1))
    generated = system.generate(path, None, DecodingSpec(strategy="greedy", max_tokens=12), seed=0)
    for z, text in zip(path.z[0][0], generated, strict=True):
        ids = [BOS]
        while len(ids) <= 12 and ids[-1] != EOS:
            ids.append(int(oracle.decoder.logits(torch.tensor(ids), z)[-1].argmax()))
        assert text == [token for token in ids if token not in (PAD, BOS, EOS)]
    assert len({tuple(text) for text in generated}) > 1


def test_an_imported_model_is_scored(convert: Import, tmp_path: Path) -> None:
    """Bits per byte count the bytes of the texts, blanks included; a text with an unknown word is refused."""
    torch.set_default_dtype(torch.float32)
    convert(released().state_dict())
    model = ModelFolder.read(tmp_path / "out")
    scoring = {"n_importance_samples": 2, "bootstrap_samples": 0, "n_generations": 2}
    scale = Scale.model_validate({"scoring": scoring, "decoding": {"max_tokens": 8}})
    spec = evaluation_spec(model, "yahoo", 0, "micro", scale, "files")
    (tmp_path / "data" / "yahoo").mkdir(parents=True)
    for split, texts in {"train": TEXTS, "valid": TEXTS, "test": TEXTS}.items():
        (tmp_path / "data" / "yahoo" / f"{split}.txt").write_text("".join(f"{text}\n" for text in texts))
    record = score_model(model, spec, tmp_path / "runs", tmp_path / "data")
    values = {score.name: score.value for score in record.metrics}
    n_bytes, n_tokens = sum(len(text.encode()) for text in TEXTS), sum(len(text.split()) + 1 for text in TEXTS)
    bits = n_tokens * torch.tensor(values["PPL"]).log2()
    assert values["BPB"] == pytest.approx(float(bits) / n_bytes, rel=1e-5)
    (tmp_path / "data" / "yahoo" / "test.txt").write_text("the zebra sat\n")
    with pytest.raises(BenchError, match="loses characters: 'the zebra sat' becomes 'the <unk> sat'"):
        score_model(model, spec, tmp_path / "again", tmp_path / "data")


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a missing tensor": ({"encoder.linear.weight": None}, "it lacks 'encoder.linear.weight'."),
    "a second layer": ({"decoder.lstm.bias_hh_l1": torch.zeros(28)}, "more than an LSTM-VAE of these sizes:"),
    "a wrong shape": ({"decoder.pred_linear.weight": torch.zeros(9, 7)}, "would be (14, 7)."),
    "heads": ({"heads": 2}, "--heads: the LSTM-VAE has no attention."),
    "an option that the file contains": ({"options": {"latent_size": 3}}, "'latent_size' is no option of an import"),
}


@pytest.mark.parametrize(("changes", "complaint"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_and_write_nothing(
    convert: Import, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    arguments = {name: changes[name] for name in ("heads", "options") if name in changes}
    state = {**released().state_dict(), **{name: value for name, value in changes.items() if name not in arguments}}
    with pytest.raises(BenchError) as caught:
        convert({name: tensor for name, tensor in state.items() if tensor is not None}, **arguments)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_description(convert: Import, tmp_path: Path) -> None:
    convert(released().state_dict(), {"dropout": 0.2})
    options = json.loads((tmp_path / "out" / "model.json").read_text())["system"]["options"]
    sizes = {"latent_size": 3, "embedding_size": 6, "hidden_size": None, "encoder_size": 5, "decoder_size": 7}
    assert options == {**sizes, "dropout": 0.2}
