"""The families of decoder-only models: the numbers of transformers, and injections written out with its own modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from bench.backbones import Backbone, Injection, build_backbone, check_backbone
from bench.backbones.families import FAMILIES
from bench.batch import Batch
from bench.errors import BenchError
from bench.specs import BackboneSpec, DecodingSpec, TokenizerSpec
from bench.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from tests import pretrained_models

TEXTS = ("on the mat", "nobody knows", "it runs and runs", "no")
N = 3
"""Samples of each text."""

CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-5}
"""The norms of transformers compute in float32 also in a model of float64, as these are; ours do not."""

each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def in_double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def saved(folder: Path, family: str) -> tuple[Backbone, PreTrainedModel]:
    """Returns the backbone of a folder, and the model that transformers loads from it."""
    pretrained_models.save("decoder-only", folder, family)
    spec = BackboneSpec(source="folder", path=folder, dropout=0.0)
    ours = build_backbone(spec, load_tokenizer(folder)).double().eval()
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    theirs.resize_token_embeddings(ours.vocabulary_size, mean_resizing=False)
    theirs.load_state_dict(ours.model.state_dict())  # with our rows for the special tokens
    return ours, theirs


def batch_of(tokenizer: Tokenizer) -> Batch:
    return Batch.collate(tokenizer.encode(TEXTS), tokenizer.pad)


def log_likelihood(model: PreTrainedModel, ids: list[int], added: Tensor | None = None, **keywords: Any) -> float:
    """Scores one text without padding, all of its tokens but BOS; ``added`` is added to the logits."""
    logits = model(**(keywords or {"input_ids": torch.tensor([ids])})).logits[0, :-1]
    log_p = (logits if added is None else logits + added).log_softmax(-1)
    return float(log_p[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum())


@each_family
def test_a_folder_gives_the_log_likelihoods_of_transformers(family: str, tmp_path: Path) -> None:
    ours, theirs = saved(tmp_path, family)
    batch = batch_of(ours.tokenizer)
    with torch.no_grad():
        found = ours.log_likelihood(batch, Injection())
        expected = [log_likelihood(theirs, ids) for ids in batch.unpadded()]
    torch.testing.assert_close(found[:, 0], torch.tensor(expected), **CLOSE)


@each_family
def test_the_encoder_pass_sees_the_whole_text_and_no_padding(family: str, tmp_path: Path) -> None:
    ours, theirs = saved(tmp_path, family)
    batch = batch_of(ours.tokenizer)
    with torch.no_grad():
        encoded = ours.encode(batch)
        for row, ids in enumerate(batch.unpadded()):
            everything = torch.zeros(1, 1, len(ids), len(ids))  # added to the scores: nothing is hidden
            states = theirs.base_model(torch.tensor([ids]), attention_mask=everything, output_hidden_states=True)
            torch.testing.assert_close(encoded.last[row, : len(ids)], states.last_hidden_state[0], **CLOSE)
            torch.testing.assert_close(encoded.layers[0][row, : len(ids)], states.hidden_states[1][0], **CLOSE)


def injection_of(kind: str, ours: Backbone) -> Injection:
    """Returns a random injection of every kind that can be written out with hooks."""
    rows, layers, width = len(TEXTS) * N, ours.n_layers, ours.value_width
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "embedding": Injection(embedding=draw(rows, ours.width)),
        "logits": Injection(logits=draw(rows, ours.vocabulary_size)),
        "gate": Injection(gate=draw(rows, layers, width)),
        "shift": Injection(gate=draw(rows, layers, width), shift=draw(rows, layers, width)),
        "values": Injection(values=draw(layers, width, width)),
        "product": Injection(
            gate=draw(rows, layers, width), values=draw(layers, width, width), value_bias=draw(layers, width)
        ),
        "one layer": Injection(gate=draw(rows, 1, width), values=draw(1, width, width), layers=(1,)),
    }[kind]


@contextmanager
def hooked(model: PreTrainedModel, injection: Injection, row: int) -> Iterator[None]:
    """Writes an injection out: maps after the value projection, gate and shift before the output projection."""
    attentions = [layer.self_attn for layer in model.model.layers]
    with ExitStack() as stack:
        for place, layer in enumerate(injection.layers or range(len(attentions))):
            attention: Any = attentions[layer]
            size: int = attention.head_dim
            shared: int = attention.q_proj.out_features // attention.k_proj.out_features

            def mapped(_: nn.Module, __: Any, value: Tensor, place: int = place) -> Tensor:
                bias = 0.0 if injection.value_bias is None else injection.value_bias[place]
                return value if injection.values is None else value @ injection.values[place].T + bias

            def gated(
                _: nn.Module, inputs: tuple[Tensor], place: int = place, size: int = size, n: int = shared
            ) -> Any:
                (attended,) = inputs
                for heads, combine in ((injection.gate, torch.mul), (injection.shift, torch.add)):
                    if heads is not None:  # each head of values n times
                        parts = [part for part in heads[row, place].split(size) for _ in range(n)]
                        attended = combine(attended, torch.cat(parts))
                return (attended,)

            for hook in (
                attention.v_proj.register_forward_hook(mapped),
                attention.o_proj.register_forward_pre_hook(gated),
            ):
                stack.callback(hook.remove)
        yield


@pytest.mark.parametrize("kind", ["embedding", "logits", "gate", "shift", "values", "product", "one layer"])
@pytest.mark.parametrize("family", pretrained_models.LLAMAS)
def test_an_injection_is_what_it_is_written_out(family: str, kind: str, tmp_path: Path) -> None:
    ours, theirs = saved(tmp_path, family)
    batch, injection = batch_of(ours.tokenizer), injection_of(kind, ours)
    with torch.no_grad():
        found = ours.log_likelihood(batch, injection, N)
        for row in range(len(TEXTS) * N):
            ids = batch.unpadded()[row // N]
            embedded = theirs.get_input_embeddings()(torch.tensor([ids]))
            if injection.embedding is not None:
                embedded = embedded + injection.embedding[row]
            added = None if injection.logits is None else injection.logits[row]
            with hooked(theirs, injection, row):
                expected = log_likelihood(theirs, ids, added, inputs_embeds=embedded)
            assert float(found[row // N, row % N]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["gate", "shift", "values", "product", "one layer"])
@pytest.mark.parametrize("family", pretrained_models.LLAMAS)
def test_generation_follows_the_same_distribution(family: str, kind: str, tmp_path: Path) -> None:
    """Greedy texts, decoded with a cache, are the likeliest continuations by the pass over a whole text."""
    ours, _ = saved(tmp_path, family)
    injection = injection_of(kind, ours)
    with torch.no_grad():  # a logit of zero: PAD and BOS, which texts leave out, are never the likeliest
        ours.output_layer.weight[[ours.tokenizer.pad, ours.tokenizer.bos]] = 0.0
    rows = len(TEXTS) * N
    texts = ours.generate(rows, injection, DecodingSpec(strategy="greedy", max_tokens=8), seed=0)
    ids = [[ours.tokenizer.bos, *text, ours.tokenizer.eos] for text in texts]
    batch = Batch.collate(ids, ours.tokenizer.pad)
    with torch.no_grad():
        states, _ = ours.decode(batch, injection, 1)
        likeliest = ours.next_token_logits(states).argmax(-1)
    for row, text in enumerate(texts):
        assert likeliest[row, : len(text)].tolist() == text


def test_from_scratch_with_fewer_heads_of_values() -> None:
    tokenizer = build_tokenizer(TokenizerSpec(vocabulary_size=270), TEXTS)
    spec = BackboneSpec(family="llama", layers=2, width=24, heads=4, key_value_heads=2, positions=32, dropout=0.2)
    made = build_backbone(spec, tokenizer)
    config = made.model.config
    assert (made.n_layers, made.width, made.value_width, made.positions) == (2, 24, 12, 32)
    assert (config.intermediate_size, config.attention_dropout) == (64, 0.2)
    assert made.output_layer.weight is made.model.get_input_embeddings().weight


UNKNOWN = "unknown backbone.family of kind decoder-only"
ALLOWED = "Allowed: gpt2, llama, mistral, qwen2."


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"family": "lama"}, f"{UNKNOWN} 'lama'. Did you mean 'llama'? {ALLOWED}"),
        ({"family": "bart"}, f"{UNKNOWN} 'bart'. {ALLOWED}"),
        (
            {"family": "llama", "heads": 4, "key_value_heads": 3},
            "backbone.heads is 4, no multiple of backbone.key_value_heads, 3.",
        ),
        ({"family": "llama", "width": 18}, "backbone.width / backbone.heads is 9; llama needs an even number."),
        ({"key_value_heads": 1}, "backbone.key_value_heads: gpt2 has as many heads of values as of queries."),
    ],
)
def test_errors(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError) as error:
        check_backbone(BackboneSpec(**{"heads": 2, **entries}))
    assert str(error.value) == message
