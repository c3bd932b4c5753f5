"""GPT-2 and BART from a folder: the numbers of transformers, and errors of one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BartForConditionalGeneration, BertConfig, BertModel, GPT2LMHeadModel, PreTrainedModel

from bench.backbones import Backbone, Injection, build_backbone, check_backbone
from bench.backbones.families import FAMILIES
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import BackboneKind, BackboneSpec, DecodingSpec, TokenizerSpec
from bench.systems import SYSTEMS
from bench.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from tests import pretrained_models
from tests.hub import COMMIT
from tests.pretrained_models import BYTES, POSITIONS, SPECIAL

SOURCES = ("where is the cat ?", "who", "what does a dog do all day ?")
TARGETS = ("on the mat", "nobody knows", "it runs")
# The same float32 weights with a different attention kernel.
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-5}

KINDS: tuple[BackboneKind, ...] = ("decoder-only", "encoder-decoder")
MODELS: dict[BackboneKind, type[PreTrainedModel]] = {
    "decoder-only": GPT2LMHeadModel,
    "encoder-decoder": BartForConditionalGeneration,
}
each_kind = pytest.mark.parametrize("kind", KINDS)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a tiny model of a kind in a folder; keywords are entries of its config."""
    return lambda kind, **changes: pretrained_models.save(kind, tmp_path / kind, **changes)


def build(kind: BackboneKind, folder: Path, **changes: Any) -> Backbone:
    spec = BackboneSpec(**{"kind": kind, "source": "folder", "path": folder, "dropout": 0.0, **changes})
    torch.manual_seed(1)
    return build_backbone(spec, load_tokenizer(folder)).eval()


def theirs(kind: BackboneKind, folder: Path) -> PreTrainedModel:
    return MODELS[kind].from_pretrained(folder).eval()


def random_ids(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(BYTES, (rows, length), generator=torch.Generator().manual_seed(seed))


def pairs(tokenizer: Tokenizer) -> Batch:
    sources, targets = tokenizer.encode(SOURCES), tokenizer.encode(TARGETS)
    return Batch.collate(targets, tokenizer.pad, Batch.collate(sources, tokenizer.pad))


@each_kind
def test_a_folder_gives_the_same_model_with_room_for_the_special_tokens(save: Save, kind: BackboneKind) -> None:
    folder = save(kind)
    # The sizes in the spec are for a model from scratch; they are ignored.
    made, expected = build(kind, folder, layers=9, width=999), theirs(kind, folder)
    assert (made.n_layers, made.width, made.positions, made.vocabulary_size) == (2, 16, POSITIONS, BYTES + SPECIAL)
    embedding = made.model.get_input_embeddings().weight
    assert made.model.lm_head.weight is embedding
    assert torch.equal(embedding[:BYTES], expected.get_input_embeddings().weight)
    mask = (torch.arange(11) < torch.tensor([11, 4, 1])[:, None]).long()
    inputs = {"input_ids": random_ids(3, 11), "attention_mask": mask}
    if kind == "encoder-decoder":
        inputs["decoder_input_ids"] = random_ids(3, 7, seed=1)
    with torch.no_grad():
        logits = made.model(**inputs).logits[..., :BYTES], expected(**inputs).logits
    if kind == "decoder-only":  # logits at padding are undefined
        logits = tuple(tensor[mask.bool()] for tensor in logits)
    torch.testing.assert_close(*logits, **CLOSE)


@each_kind
def test_likelihoods_equal_transformers(save: Save, kind: BackboneKind) -> None:
    """With a folder that has embeddings of the special tokens, so that none is new."""
    folder = save(kind, vocab_size=BYTES + SPECIAL)
    made, expected = build(kind, folder), theirs(kind, folder)
    batch = pairs(made.tokenizer)
    with torch.no_grad():
        found = made.log_likelihood(batch, Injection())
    encode = made.tokenizer.encode
    for row, (source, target) in enumerate(zip(encode(SOURCES), encode(TARGETS), strict=True)):
        with torch.no_grad():
            if kind == "decoder-only":
                logits = expected(torch.tensor([[*source, *target[:-1]]])).logits[0, len(source) :]
            else:
                logits = expected(torch.tensor([source]), decoder_input_ids=torch.tensor([target[:-1]])).logits[0]
        log_p = logits.log_softmax(-1)[torch.arange(len(target) - 1), torch.tensor(target[1:])].sum()
        torch.testing.assert_close(found[row, 0].float(), log_p, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", ["gpt2", "bart", *pretrained_models.LLAMAS])
def test_each_weight_of_the_hub_is_that_of_its_file(
    hub: Callable[[Path], str], tmp_path: Path, family: str, tied: bool
) -> None:
    """A tied head is in the file once; BERT is in ``test_encoder_only``."""
    if family == "bart" and not tied:
        pytest.skip("the head of BART is the embedding")
    kind: BackboneKind = "encoder-decoder" if family == "bart" else "decoder-only"
    changes = {} if family == "bart" else {"tie_word_embeddings": tied}
    folder = pretrained_models.save(kind, tmp_path / "weights", family, vocab_size=BYTES + SPECIAL, **changes)
    spec = {"kind": "hub", "name": hub(folder), "revision": COMMIT}
    tokenizer = build_tokenizer(TokenizerSpec(**spec), ())
    made = build_backbone(BackboneSpec(**{**spec, "kind": kind, "source": "hub"}), tokenizer).model
    found = dict([*made.named_parameters(), *made.named_buffers()])
    expected = load_file(folder / "model.safetensors")
    assert made.lm_head.weight.data_ptr() != made.get_input_embeddings().weight.data_ptr() or tied
    assert ("lm_head.weight" in expected) != tied
    computed = {name for name in found if "inv_freq" in name}  # of rotary positions
    assert found.keys() - computed == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("family", [None, "llama"], ids=["tied", "untied"])
def test_new_tokens_start_at_the_mean_of_the_others(family: str | None, tmp_path: Path) -> None:
    folder = pretrained_models.save("decoder-only", tmp_path, family)
    model = build("decoder-only", folder).model
    layers = [model.get_input_embeddings(), model.lm_head]
    assert (layers[0].weight is layers[1].weight) == (family is None)
    for layer in layers:
        mean = layer.weight[:BYTES].mean(0)
        torch.testing.assert_close(layer.weight[BYTES:], mean.expand(SPECIAL, -1))


@each_kind
def test_half_precision_weights_become_float32(save: Save, kind: BackboneKind) -> None:
    """Training in bfloat16 is an option of the spec, and keeps the weights in float32."""
    folder = save(kind)
    theirs(kind, folder).bfloat16().save_pretrained(folder)
    assert {tensor.dtype for tensor in build(kind, folder).parameters()} == {torch.float32}


@each_kind
def test_its_size_can_be_checked_without_its_weights(save: Save, kind: BackboneKind) -> None:
    folder = save(kind)
    (folder / "model.safetensors").write_bytes(b"junk")
    assert check_backbone(BackboneSpec(kind=kind, source="folder", path=folder, positions=7)).positions == POSITIONS
    assert check_backbone(BackboneSpec(kind=kind, positions=7)).positions == 7


@each_kind
def test_dropout_comes_from_the_spec(save: Save, kind: BackboneKind) -> None:
    config = build(kind, save(kind), dropout=0.125).model.config.to_dict()
    rates = {name: rate for name, rate in config.items() if name.endswith(("pdrop", "dropout", "layerdrop"))}
    of_the_spec = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout", "attention_dropout")
    elsewhere = ("activation_dropout", "encoder_layerdrop", "decoder_layerdrop")
    assert {rates[name] for name in of_the_spec if name in rates} == {0.125}
    assert {rates[name] for name in elsewhere if name in rates} <= {0.0}


def test_every_embedding_but_the_paddings_learns(save: Save) -> None:
    """Token 1 is BART's own padding, which no gradient reaches; in this folder's tokenizer it is a letter."""
    made = build("encoder-decoder", save("encoder-decoder"))
    assert made.model.config.pad_token_id == made.tokenizer.pad == BYTES
    source = made.model.model.encoder
    batch = Batch.collate([[made.tokenizer.bos, 1, 2], [made.tokenizer.bos]], made.tokenizer.pad)
    source(batch.ids, attention_mask=batch.mask.long()).last_hidden_state[0].square().sum().backward()
    norms = made.model.get_input_embeddings().weight.grad.norm(dim=1)
    assert (norms > 0).nonzero().flatten().tolist() == [1, 2, made.tokenizer.bos]


FOLDER_SETTINGS = {
    "no_repeat_ngram_size": 1,
    "forced_bos_token_id": 5,
    "length_penalty": 3.0,
    "min_length": 9,
    "early_stopping": True,
    "suppress_tokens": [token for token in range(BYTES + SPECIAL) if token not in (2, 5)],
}


@pytest.mark.parametrize(
    "decoding",
    [DecodingSpec(strategy="greedy", max_tokens=12), DecodingSpec(strategy="beam", beams=3, max_tokens=12)],
    ids=["greedy", "beam"],
)
@each_kind
def test_decoding_settings_come_from_the_spec_and_not_from_the_folder(
    save: Save, kind: BackboneKind, decoding: DecodingSpec
) -> None:
    """Pretrained summarisers bring n-gram bans and forced tokens, which no spec and no signature names."""
    folder = save(kind)
    plain = build(kind, folder)
    config = folder / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **FOLDER_SETTINGS}))
    condition = pairs(plain.tokenizer).condition
    plain_texts, texts = (
        backbone.generate(1, Injection(), decoding, 0, condition) for backbone in (plain, build(kind, folder))
    )
    assert plain_texts == texts
    assert theirs(kind, folder).generation_config.suppress_tokens == FOLDER_SETTINGS["suppress_tokens"]


@pytest.mark.parametrize("name", SYSTEMS.names())
@each_kind
def test_every_system_works_with_it(save: Save, kind: BackboneKind, name: str) -> None:
    backbone, cls = build(kind, save(kind)), SYSTEMS.get(name)
    system = cls(backbone, cls.Config(), conditional=True).eval()
    batch = pairs(backbone.tokenizer)
    stream = torch.Generator().manual_seed(0)
    path = system.encode(batch).sample(2, stream)
    loss = path.kl.sum() - system.log_likelihood(batch, path).sum()
    loss.backward()
    assert loss.isfinite()
    assert [name for name, parameter in system.named_parameters() if parameter.grad is None] == []
    with torch.no_grad():
        prior = system.sample_prior(2, batch.condition, stream)
        texts = system.generate(prior, batch.condition, DecodingSpec(max_tokens=5), 0)
    assert len(texts) == 2 * len(TARGETS)
    assert len(set(map(tuple, texts))) > 1


# --- errors -------------------------------------------------------------------------------------------------------


def one_line(kind: BackboneKind, folder: Path) -> str:
    with pytest.raises(BenchError) as caught:
        build(kind, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (BackboneSpec(source="folder"), "backbone.source is 'folder' but backbone.path is not set."),
        (BackboneSpec(source="hub"), "backbone.source is 'hub' but backbone.name is not set."),
        (
            BackboneSpec(source="folder", path=Path("/nowhere")),
            "no model in /nowhere: expected config.json and model.safetensors.",
        ),
        (
            BackboneSpec(source="hub", name="nobody/nothing"),
            "backbone.source is 'hub' but backbone.revision is not set; name the commit of nobody/nothing on the hub,"
            " of 40 hex digits: --set backbone.revision=COMMIT.",
        ),
        (
            BackboneSpec(source="hub", name="nobody/nothing", revision="main"),
            "backbone.source is 'hub' but backbone.revision is 'main', which is no commit; name the commit of ",
        ),
        (
            BackboneSpec(source="hub", name="nobody/nothing", revision=COMMIT),
            "cannot load the backbone from nobody/nothing: ",
        ),
        (BackboneSpec(width=15), "backbone.width is 15, no multiple of backbone.heads, 2."),
    ],
)
def test_errors_of_a_spec(tokenizer: Tokenizer, spec: BackboneSpec, message: str) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}") as caught:
        build_backbone(spec, tokenizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content"), [("model.safetensors", b"junk"), ("config.json", b"{")])
@each_kind
def test_error_for_damaged_files(save: Save, kind: BackboneKind, name: str, content: bytes) -> None:
    folder = save(kind)
    (folder / name).write_bytes(content)
    assert one_line(kind, folder).startswith(f"cannot load the backbone from {folder}: ")


def without(pattern: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if not re.search(pattern, name)}


INCOMPLETE: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str, str]] = {
    "compiled": (
        lambda weights: {f"_orig_mod.{name}": weight for name, weight in weights.items()},
        "the weights lack 'transformer.wte.weight' and 28 more,",
        "the weights lack 'model.shared.weight' and 93 more,",
    ),
    "distributed": (
        lambda weights: {f"module.{name}": weight for name, weight in weights.items()},
        "the weights lack 'transformer.wte.weight' and 28 more,",
        "the weights lack 'model.shared.weight' and 93 more,",
    ),
    "no second block": (
        lambda weights: without(r"\.1\.", weights),
        "the weights lack 'transformer.h.1.ln_1.weight' and 11 more,",
        "the weights lack 'model.encoder.layers.1.self_attn.k_proj.weight' and 41 more,",
    ),
    "one bias": (
        lambda weights: without(r"ln_f.bias|decoder.layers.1.final_layer_norm.bias", weights),
        "the weights lack 'transformer.ln_f.bias', which the model needs.",
        "the weights lack 'model.decoder.layers.1.final_layer_norm.bias', which the model needs.",
    ),
    "other shape": (
        lambda weights: {
            name: weight[:20] if "wpe" in name or "ns.w" in name else weight for name, weight in weights.items()
        },
        "weight 'transformer.wpe.weight' has the shape (20, 16); the model needs (64, 16).",
        "weight 'model.decoder.embed_positions.weight' has the shape (20, 16); the model needs (66, 16).",
    ),
}


@pytest.mark.parametrize("case", INCOMPLETE)
@each_kind
def test_error_for_weights_that_are_missing_or_misshapen(
    save: Save, kind: BackboneKind, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save(kind)
    change, *messages = INCOMPLETE[case]
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    capfd.readouterr()
    assert one_line(kind, folder).startswith(f"{folder}: {messages[KINDS.index(kind)]}")
    assert capfd.readouterr() == ("", "")


def change_config(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


LAYERS = {"decoder-only": ("n_layer",), "encoder-decoder": ("encoder_layers", "decoder_layers", "num_hidden_layers")}


@each_kind
def test_error_for_blocks_that_the_settings_leave_out(save: Save, kind: BackboneKind) -> None:
    """Transformers would drop them without a word."""
    folder = change_config(save(kind), **dict.fromkeys(LAYERS[kind], 1))
    first = {"decoder-only": "transformer.h.1.attn.c_attn.weight", "encoder-decoder": "model.decoder.layers.1."}[kind]
    found = one_line(kind, folder)
    assert found.startswith(f"{folder}: the weights hold '{first}")
    assert found.endswith("', which the model of config.json does not have.")


@each_kind
def test_weights_of_a_task_may_be_left_over(save: Save, kind: BackboneKind) -> None:
    """Heads of tasks, and the causal mask that older files contain."""
    folder = save(kind)
    more = {"classifier.0.weight": torch.ones(2), "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4)}
    save_file({**load_file(folder / "model.safetensors"), **more}, folder / "model.safetensors", {"format": "pt"})
    assert build(kind, folder).n_layers == 2


@pytest.mark.parametrize("size", [999_999_999, 10**30])
@each_kind
def test_error_for_sizes_that_the_weights_cannot_have(save: Save, kind: BackboneKind, size: int) -> None:
    folder = change_config(save(kind), **dict.fromkeys(LAYERS[kind], size))
    assert one_line(kind, folder) == f"{folder}: config.json names {size} layers, but the weights are " + (
        "28 tensors." if kind == "decoder-only" else "92 tensors."
    )
    wide = {"decoder-only": "n_inner", "encoder-decoder": "decoder_ffn_dim"}[kind]
    folder = change_config(save(kind), **{wide: 999_999_999})
    assert re.search(r"config\.json needs \d{10,} weights, and the folder has \d+\.$", one_line(kind, folder))


@each_kind
def test_no_code_of_a_folder_is_run(save: Save, kind: BackboneKind, tmp_path: Path) -> None:
    folder = change_config(save(kind), auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    assert build(kind, folder).n_layers == 2
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@each_kind
def test_error_for_missing_files(save: Save, kind: BackboneKind, name: str) -> None:
    folder = save(kind)
    (folder / name).unlink()
    assert one_line(kind, folder) == f"no model in {folder}: expected config.json and model.safetensors."


def test_error_for_a_model_without_blocks(save: Save) -> None:
    config = save("decoder-only") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "n_layer": 0}))
    found = one_line("decoder-only", config.parent)
    assert re.fullmatch(rf"{re.escape(str(config.parent))}: config\.json names 0 layers, but .* tensors\.", found)


def test_error_for_weights_of_a_different_model(save: Save) -> None:
    """Transformers would only warn, and continue with random weights."""
    folders = {kind: save(kind) for kind in KINDS}
    found = one_line("encoder-decoder", folders["decoder-only"])
    assert found == f"{folders['decoder-only']}: backbone.kind 'encoder-decoder' takes weights of bart, not of 'gpt2'."
    bert = BertConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    BertModel(bert).save_pretrained(folders["decoder-only"])
    found = one_line("decoder-only", folders["decoder-only"])
    known = ", ".join(FAMILIES)
    assert found == f"{folders['decoder-only']}: backbone.kind 'decoder-only' takes weights of {known}, not of 'bert'."


@pytest.mark.parametrize(("vocab_size", "fits"), [(255, False), (256, True), (386, True), (387, False)])
@each_kind
def test_error_for_a_different_tokenizer(save: Save, kind: BackboneKind, vocab_size: int, fits: bool) -> None:
    """The tokenizer has 259 tokens. The weights may lack 3 of them, or have up to 127 more as padding."""
    folder = save(kind, vocab_size=vocab_size)
    if fits:
        assert build(kind, folder).vocabulary_size == max(vocab_size, 259)
    else:
        assert one_line(kind, folder) == (
            f"{folder}: weights for a vocabulary of {vocab_size} tokens, but the tokenizer has 259;"
            " pretrained weights need their own tokenizer (tokenizer.kind 'folder' or 'hub')."
        )


def test_error_for_an_encoder_deeper_than_the_decoder(save: Save) -> None:
    folder = save("encoder-decoder", encoder_layers=3)
    assert one_line("encoder-decoder", folder) == (
        f"{folder}: 3 encoder and 2 decoder layers; an encoder-decoder backbone takes as many of one as of the other."
    )
