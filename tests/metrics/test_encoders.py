"""Encoders on tiny random models in a folder: batching, pooling, caching; BERTScore against its definition."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from bench.errors import BenchError
from bench.metrics import encoders
from bench.metrics.bertscore import BERTScore
from bench.metrics.encoders import Encoder, find_encoder
from bench.metrics.text import TextSet
from tests.metrics.text_cases import AWKWARD, WORDS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELLA_BENCH_CACHE", str(tmp_path / "cache"))


def save_tokenizer(folder: Path, *, wrapped: bool) -> None:
    engine = Tokenizer(models.WordLevel({t: i for i, t in enumerate((*SPECIAL, *WORDS))}, unk_token=SPECIAL[1]))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if wrapped:
        engine.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    ends = {"cls_token": "[CLS]", "sep_token": "[SEP]"} if wrapped else {"eos_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=engine, **names, **ends, model_max_length=32).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-bert")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=40, max_position_embeddings=64, initializer_range=0.5, **size)).save_pretrained(
        folder
    )
    save_tokenizer(folder, wrapped=True)
    return folder


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    config = GPT2Config(vocab_size=40, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5)
    GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(folder, wrapped=False)
    return folder


def hidden_states(folder: Path, text: str, kind: type[BertModel] | type[GPT2LMHeadModel]) -> torch.Tensor:
    """Returns the last hidden states of one text alone (T x D)."""
    ids = PreTrainedTokenizerFast.from_pretrained(folder)(text)["input_ids"] or [3]
    model = kind.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]


def test_an_encoder_averages_the_tokens(bert: Path) -> None:
    features = find_encoder(bert).features(AWKWARD)
    expected = [hidden_states(bert, text, BertModel).mean(dim=0).numpy() for text in AWKWARD]
    # 1e-5: float32, and padding changes the order of additions.
    assert np.allclose(features, np.stack(expected), atol=1e-5)


def test_a_decoder_gives_its_last_token(gpt2: Path) -> None:
    features = find_encoder(gpt2).features(AWKWARD)
    expected = [hidden_states(gpt2, text, GPT2LMHeadModel)[-1].numpy() for text in AWKWARD]
    assert np.allclose(features, np.stack(expected), atol=1e-5)


def test_features_do_not_depend_on_the_batch(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = find_encoder(bert)
    together = encoder._features(AWKWARD)
    monkeypatch.setattr(encoders, "BATCH_TOKENS", 1)
    assert np.allclose(together, encoder._features(AWKWARD), atol=1e-5)


def test_long_texts_are_cut(bert: Path) -> None:
    vectors = find_encoder(bert).token_vectors(["cat " * 100])
    assert len(vectors[0].vectors) == 32


def test_features_are_computed_once_per_text_set_and_weights(
    bert: Path, gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[tuple[str, int]] = []
    compute = Encoder._features

    def counting(self: Encoder, texts: tuple[str, ...]) -> np.ndarray:
        computed.append((self.label, len(texts)))
        return compute(self, texts)

    monkeypatch.setattr(Encoder, "_features", counting)
    first = find_encoder(bert).features(("a", "b"))
    assert np.array_equal(find_encoder(bert).features(("a", "b")), first)
    assert len(computed) == 1
    for folder, texts in ((bert, ("ab",)), (bert, ("b", "a")), (gpt2, ("a", "b"))):
        find_encoder(folder).features(texts)
    assert len(computed) == 4


def test_the_digest_is_of_the_content(bert: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in bert.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert find_encoder(copy).digest == find_encoder(bert).digest
    (copy / "config.json").write_text((bert / "config.json").read_text().replace('"gelu"', '"relu"'))
    assert find_encoder(copy).digest != find_encoder(bert).digest


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_weights_that_are_missing_are_named(
    kind: str, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """They would be drawn at random: a different score each time, under one signature."""
    folder = tmp_path / "copy"
    shutil.copytree(request.getfixturevalue(kind), folder)
    weights = load_file(folder / "model.safetensors")
    save_file({prefix + name: weight for name, weight in weights.items()}, folder / "model.safetensors")
    first = {"bert": "embeddings.word_embeddings.weight", "gpt2": "wte.weight"}[kind]
    with pytest.raises(
        BenchError, match=f"^{folder}: the weights lack '{first}' and [0-9]+ more, which the model needs"
    ):
        find_encoder(folder).features(("a", "b"))


def test_a_pooler_may_be_missing_because_it_is_not_used(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bert, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: weights[name] for name in weights if "pooler" not in name}, folder / "model.safetensors")
    assert np.array_equal(find_encoder(folder)._features(AWKWARD), find_encoder(bert)._features(AWKWARD))


def test_a_damaged_file_is_one_line(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bert, folder)
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(BenchError, match=f"^cannot load the encoder from {folder}: [^\\n]*$"):
        find_encoder(folder).features(("a",))


def test_a_name_that_is_nowhere_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BenchError) as error:
        find_encoder("nobody/nothing@main")
    assert str(error.value).startswith("encoder 'nobody/nothing@main' is neither a folder nor available from the hub: ")
    assert "\n" not in str(error.value)


def direct_f1(folder: Path, sample: str, reference: str) -> float:
    """BERTScore of one pair, Eq. 1-3 of the paper, special tokens matched but not weighted."""
    unit = [torch.nn.functional.normalize(hidden_states(folder, t, BertModel), dim=-1) for t in (sample, reference)]
    similarity = (unit[0] @ unit[1].T).double()
    precision = similarity.max(dim=1).values[1:-1].mean()
    recall = similarity.max(dim=0).values[1:-1].mean()
    return float(2 * precision * recall / (precision + recall))


def test_bertscore_is_its_definition(bert: Path) -> None:
    samples, references = ("the cat a", "on", ". été"), ("the cat", "x-y the on .", "日本 don't")
    rows = BERTScore(encoder=bert).statistics(TextSet(samples, tuple((r,) for r in references)))[:, 0]
    expected = [direct_f1(bert, sample, reference) for sample, reference in zip(samples, references, strict=True)]
    assert rows == pytest.approx(expected, abs=1e-5)


def test_bertscore_takes_the_best_reference_and_scores_the_empty(bert: Path) -> None:
    inputs = TextSet(("the cat", "", "on a"), (("on", "the cat", "été"), ("the",), ("on a",)))
    rows = BERTScore(encoder=bert).statistics(inputs)[:, 0]
    assert rows == pytest.approx([1.0, 0.0, 1.0], abs=1e-6)
    digest = find_encoder(bert).digest[:12]
    signature = str(BERTScore(encoder=bert).signature(inputs))
    assert signature == f"BERTScore|of:f1|enc:{bert.name}@{digest}|layer:last|idf:no|rescale:no|v:1"


def test_bertscore_of_a_layer(bert: Path) -> None:
    inputs = TextSet(("the cat",), (("a on",),))
    last, first = (BERTScore(encoder=bert, layer=layer).score(inputs).value for layer in (2, 1))
    assert last == BERTScore(encoder=bert).score(inputs).value
    assert first != last
    with pytest.raises(BenchError, match="layer 3; allowed: 0 to 2"):
        BERTScore(encoder=bert, layer=3).score(inputs)


@pytest.mark.skipif(not importlib.util.find_spec("bert_score"), reason="needs the package bert-score")
def test_bertscore_equals_the_authors_code(bert: Path) -> None:
    from bert_score import score

    samples, references = ["the cat a", "on", ". été"], ["the cat", "x-y the on .", "日本 don't"]
    expected = score(samples, references, model_type=str(bert), num_layers=2, use_fast_tokenizer=True)[2].tolist()
    rows = BERTScore(encoder=bert).statistics(TextSet(tuple(samples), tuple((r,) for r in references)))[:, 0]
    assert rows == pytest.approx(expected, abs=1e-5)
