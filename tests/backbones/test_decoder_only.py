"""The decoder-only backbone against transformers' own GPT-2, with injections made in other ways.

The oracle is `GPT2LMHeadModel` with its eager attention: embeddings go in as `inputs_embeds`, a memory as a cache of
one position filled beforehand, gates and value maps through hooks on the projections, logits by addition. Unless a
test says otherwise everything runs in float64, where both sides agree to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import DynamicCache, GPT2LMHeadModel

from bench.backbones import Backbone, Injection, build_backbone, likelihood
from bench.batch import Batch
from bench.specs import BackboneSpec, DecodingSpec
from bench.tokenizers import Tokenizer

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
GATED = (0, 2)
PARTS = ("nothing", "embedding", "memory", "logits", "gate", "shift", "values", "everything", "maps")
GREEDY, BEAM = DecodingSpec(strategy="greedy", max_tokens=8), DecodingSpec(strategy="beam", beams=3, max_tokens=8)

Make = Callable[..., Backbone]
each_part = pytest.mark.parametrize("parts", PARTS)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def gpt2(make_backbone: Make) -> Backbone:
    return make_backbone(layers=3)


def injection_of(gpt2: Backbone, n: int, parts: str, dtype: torch.dtype = torch.float64) -> Injection:
    """Random injections for n samples: ``values`` includes gates, ``maps`` has two value maps per layer.

    A memory is in all layers, gates and maps without one are in the first and the last.
    """
    layers = None if parts in ("memory", "everything") else GATED
    stream = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=stream, dtype=torch.float64).to(dtype)

    width, n_layers = gpt2.width, gpt2.n_layers if layers is None else len(layers)
    every: dict[str, Any] = {
        "embedding": draw(n, width),
        "memory": draw(n, n_layers, 2, width),
        "logits": draw(n, gpt2.vocabulary_size),
        "gate": draw(n, n_layers, width),
        "shift": draw(n, n_layers, width),
        "values": draw(n_layers, width, width) / 4,
        "value_bias": draw(n_layers, width),
    }
    fusion = ("gate", "values", "value_bias")
    if parts == "maps":
        return Injection(
            **{name: torch.cat([every[name], every[name].sin()], -2 if name == "values" else -1) for name in fusion},
            layers=layers,
        )
    named = {"nothing": (), "values": fusion, "everything": tuple(every)}
    return Injection(**{name: every[name] for name in named.get(parts, (parts,))}, layers=layers)


def sample_of(injection: Injection, number: int) -> Injection:
    """The injection of one of N samples."""
    return of_rows(injection, lambda tensor: tensor[[number]])


def of_rows(injection: Injection, choose: Callable[[Tensor], Tensor]) -> Injection:
    rows = {name: getattr(injection, name) for name in ("embedding", "memory", "gate", "shift", "logits")}
    return replace(injection, **{name: choose(tensor) for name, tensor in rows.items() if tensor is not None})


def plain(gpt2: Backbone) -> GPT2LMHeadModel:
    """The same weights in transformers' own model, without our attention."""
    config = copy.deepcopy(gpt2.model.config)
    config._attn_implementation = "eager"
    model = GPT2LMHeadModel(config).to(gpt2.model.dtype).eval()
    model.load_state_dict(gpt2.model.state_dict())
    return model


@contextmanager
def fused(model: GPT2LMHeadModel, injection: Injection) -> Iterator[None]:
    """Maps the output of the value projection; gates and shifts the input of the output projection.

    For a single sample several gated maps equal one map.
    """
    maps, biases, gate = injection.values, injection.value_bias, injection.gate
    if injection.rank > 1:
        gates = gate[0].unflatten(-1, (injection.rank, -1))
        maps = (gates[..., None] * maps.unflatten(1, (injection.rank, -1))).sum(1)
        biases = (gates * biases.unflatten(1, (injection.rank, -1))).sum(1)
        gate = None

    def map_values(index: int) -> Callable[..., Tensor]:
        def hook(module: object, inputs: object, output: Tensor) -> Tensor:
            query, key, value = output.chunk(3, dim=-1)
            mapped = torch.einsum("ntd,ed->nte", value, maps[index]) + biases[index]
            return torch.cat([query, key, mapped], dim=-1)

        return hook

    def change(index: int) -> Callable[..., tuple[Tensor]]:
        def hook(module: object, inputs: tuple[Tensor]) -> tuple[Tensor]:
            output = inputs[0] if gate is None else inputs[0] * gate[:, index, None]
            return (output if injection.shift is None else output + injection.shift[:, index, None],)

        return hook

    with ExitStack() as hooks:
        for index, layer in enumerate(
            range(len(model.transformer.h)) if injection.layers is None else injection.layers
        ):
            attention = model.transformer.h[layer].attn
            if maps is not None:
                hooks.enter_context(attention.c_attn.register_forward_hook(map_values(index)))
            hooks.enter_context(attention.c_proj.register_forward_pre_hook(change(index)))
        yield


def oracle_logits(gpt2: Backbone, ids: list[int], injection: Injection) -> Tensor:
    """Logits of the next token after every prefix of one text (T x V), for one sample."""
    model = plain(gpt2)
    embedded = model.transformer.wte(torch.tensor([ids]))
    keywords: dict[str, Any] = {}
    if injection.embedding is not None:
        embedded = embedded + injection.embedding
    if injection.memory is not None:
        cache, heads = DynamicCache(), model.config.n_head
        for layer in range(gpt2.n_layers):
            key, value = (part.view(1, heads, 1, -1) for part in injection.memory[0, layer])
            cache.update(key, value, layer)
        keywords = {"past_key_values": cache, "attention_mask": torch.ones(1, len(ids) + 1)}
    with fused(model, injection):
        logits = model(inputs_embeds=embedded, position_ids=torch.arange(len(ids))[None], **keywords).logits[0]
    return logits if injection.logits is None else logits + injection.logits


def oracle_log_likelihood(gpt2: Backbone, ids: list[int], injection: Injection) -> float:
    scores = oracle_logits(gpt2, ids[:-1], injection).log_softmax(-1)
    return sum(float(scores[place, token]) for place, token in enumerate(ids[1:]))


class TestLikelihood:
    def test_without_injection_it_is_the_loss_of_transformers(self, gpt2: Backbone, batch: Batch) -> None:
        """Transformers computes its loss in float32, exact to 1e-6 of its value."""
        ours = gpt2.log_likelihood(batch, Injection())
        model = plain(gpt2)
        for text, ids in enumerate(batch.unpadded()):
            labels = torch.tensor([ids])
            loss = model(labels, labels=labels).loss
            assert float(ours[text, 0]) == pytest.approx(-float(loss) * (len(ids) - 1), rel=1e-6)
        labels = batch.ids.masked_fill(~batch.mask, -100)
        total = model(batch.ids, attention_mask=batch.mask.long(), labels=labels).loss * len(batch.predicted)
        assert float(ours.sum()) == pytest.approx(-float(total), rel=1e-6)

    @each_part
    def test_with_injections_it_equals_the_oracle(self, gpt2: Backbone, batch: Batch, parts: str) -> None:
        injection = injection_of(gpt2, 2 * len(batch), parts)
        ours = gpt2.log_likelihood(batch, injection, n=2)
        assert ours.shape == (len(batch), 2)
        for text, ids in enumerate(batch.unpadded()):
            for k in range(2):
                expected = oracle_log_likelihood(gpt2, ids, sample_of(injection, 2 * text + k))
                assert float(ours[text, k]) == pytest.approx(expected, rel=1e-10)

    def test_every_part_changes_it(self, gpt2: Backbone, batch: Batch) -> None:
        values = {parts: gpt2.log_likelihood(batch, injection_of(gpt2, len(batch), parts)) for parts in PARTS}
        for parts, value in values.items():
            others = [float((value - other).abs().max()) for name, other in values.items() if name != parts]
            assert min(others) > 0.1

    @each_part
    def test_does_not_depend_on_the_batch(self, make_backbone: Make, batch: Batch, parts: str) -> None:
        """In float32, where the order of summation depends on the shapes of matrices: 1e-5 nats per text."""
        made = make_backbone(layers=3, dtype=torch.float32)
        injection = injection_of(made, len(batch), parts, torch.float32)
        together = made.log_likelihood(batch, injection)
        for number, ids in enumerate(batch.unpadded()):
            alone = made.log_likelihood(Batch.collate([ids], pad=0), sample_of(injection, number))
            torch.testing.assert_close(alone[0], together[number], rtol=0, atol=1e-5)

    @each_part
    def test_does_not_depend_on_the_padding_token(self, gpt2: Backbone, batch: Batch, parts: str) -> None:
        noise = torch.randint(len(gpt2.tokenizer), batch.ids.shape, generator=torch.Generator().manual_seed(0))
        other = replace(batch, ids=torch.where(batch.mask, batch.ids, noise))
        injection = injection_of(gpt2, len(batch), parts)
        expected = gpt2.log_likelihood(batch, injection)
        torch.testing.assert_close(gpt2.log_likelihood(other, injection), expected, **EXACT)

    @each_part
    def test_does_not_depend_on_later_tokens(self, gpt2: Backbone, parts: str) -> None:
        """A prefix has the same likelihood whatever follows, and the probabilities of the next token sum to 1."""
        prefix, size = [1, 40, 41, 42], len(gpt2.tokenizer)
        short = Batch.collate([prefix] * size, pad=0)
        long = Batch.collate([[*prefix, token] for token in range(size)], pad=0)
        injection = injection_of(gpt2, 1, parts)
        alike = of_rows(injection, lambda tensor: tensor.expand(size, *tensor.shape[1:]))
        last = gpt2.log_likelihood(long, alike) - gpt2.log_likelihood(short, alike)
        assert float(last.exp().sum()) == pytest.approx(1.0, abs=1e-10)
        assert float(last.std()) > 0.1

    @torch.enable_grad()
    @pytest.mark.parametrize("at_once", [1, 7, 10**6])
    def test_does_not_depend_on_the_number_of_logits_held_at_once(
        self, make_backbone: Make, batch: Batch, monkeypatch: pytest.MonkeyPatch, at_once: int
    ) -> None:
        whole, parts = make_backbone(), make_backbone()
        expected = whole.log_likelihood(batch, Injection())
        monkeypatch.setattr(likelihood, "LOGITS_AT_ONCE", at_once * whole.vocabulary_size)
        found = parts.log_likelihood(batch, Injection())
        torch.testing.assert_close(found, expected, **EXACT)
        expected.sum().backward()
        found.sum().backward()
        for parameter, expected in zip(parts.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, expected.grad, **EXACT)

    @torch.enable_grad()
    def test_never_holds_the_logits_of_all_tokens(
        self, make_backbone: Make, batch: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither in the forward pass nor for the backward pass, which computes them again."""
        backbone, largest = make_backbone(), 0
        monkeypatch.setattr(likelihood, "LOGITS_AT_ONCE", 4 * backbone.vocabulary_size)

        class Largest(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                nonlocal largest
                result = func(*args, **(kwargs or {}))
                made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and leaf.dim() > 1]
                # Tensors with the size of the vocabulary that are no weights.
                sizes = [len(t) for t in made if t.shape[-1] == backbone.vocabulary_size and len(t) != width]
                largest = max([largest, *sizes])
                return result

        width = backbone.width
        with Largest():
            backbone.log_likelihood(batch, Injection()).sum().backward()
        assert largest == 4 < len(batch.predicted)

    def test_with_a_condition_it_is_the_loss_of_transformers(self, gpt2: Backbone, batch: Batch) -> None:
        """Of [BOS source EOS] [BOS target EOS] the tokens after the second BOS are predicted."""
        conditions = replace(batch, ids=batch.ids.flip(0), mask=batch.mask.flip(0))
        ours = gpt2.log_likelihood(replace(batch, condition=conditions), Injection(), n=1)
        for text, (source, target) in enumerate(zip(conditions.unpadded(), batch.unpadded(), strict=True)):
            labels = torch.tensor([[-100] * (len(source) + 1) + target[1:]])
            loss = plain(gpt2)(torch.tensor([source + target]), labels=labels).loss
            assert float(ours[text, 0]) == pytest.approx(-float(loss) * (len(target) - 1), rel=1e-6)


class TestEncoder:
    def test_sees_later_tokens(self, gpt2: Backbone) -> None:
        first, second = (gpt2.encode(Batch.collate([[1, 40, 41, last, 2]], pad=0)) for last in (42, 43))
        for states, changed in zip(first.layers, second.layers, strict=True):
            assert float((states[0, 0] - changed[0, 0]).abs().max()) > 1e-4
        assert len(first.layers) == gpt2.n_layers

    def test_last_is_the_normalised_output_of_the_top_block(self, gpt2: Backbone, batch: Batch) -> None:
        encoded = gpt2.encode(batch)
        assert encoded.last.shape == (*batch.ids.shape, gpt2.width)
        torch.testing.assert_close(gpt2.model.transformer.ln_f(encoded.layers[-1]), encoded.last, **EXACT)

    def test_does_not_see_padding(self, make_backbone: Make, batch: Batch) -> None:
        """In float32: 1e-5 as in the contract."""
        made = make_backbone(dtype=torch.float32)
        together = made.encode(batch)
        for number, ids in enumerate(batch.unpadded()):
            alone = made.encode(Batch.collate([ids], pad=0))
            for states, whole in zip((*alone.layers, alone.last), (*together.layers, together.last), strict=True):
                torch.testing.assert_close(states[0], whole[number, : len(ids)], rtol=0, atol=1e-5)

    def test_equals_transformers_with_a_full_mask(self, gpt2: Backbone, batch: Batch) -> None:
        encoded = gpt2.encode(batch)
        for number, ids in enumerate(batch.unpadded()):
            open_mask = torch.zeros(1, 1, len(ids), len(ids), dtype=torch.float64)  # added to the scores
            expected = plain(gpt2).transformer(torch.tensor([ids]), attention_mask=open_mask).last_hidden_state
            torch.testing.assert_close(encoded.last[number, : len(ids)], expected[0], **EXACT)

    def test_leaves_no_hooks(self, gpt2: Backbone, batch: Batch) -> None:
        gpt2.encode(batch)
        assert not any(block._forward_hooks for block in gpt2.model.transformer.h)


def greedy(gpt2: Backbone, injection: Injection, length: int) -> list[int]:
    """Decodes with the oracle, without a cache."""
    tokenizer, ids = gpt2.tokenizer, [gpt2.tokenizer.bos]
    while len(ids) <= length:
        best = int(oracle_logits(gpt2, ids, injection)[-1].argmax())
        if best == tokenizer.eos:
            break
        ids.append(best)
    return [token for token in ids[1:] if token not in (tokenizer.pad, tokenizer.bos)]


class TestGeneration:
    @each_part
    def test_greedy_decoding_with_a_cache_equals_the_oracle_without(self, gpt2: Backbone, parts: str) -> None:
        injection = injection_of(gpt2, 3, parts)
        ours = gpt2.generate(3, injection, GREEDY, seed=0)
        assert ours == [greedy(gpt2, sample_of(injection, number), 8) for number in range(3)]
        assert any(ours)

    @pytest.mark.parametrize("decoding", [GREEDY, BEAM, DecodingSpec(max_tokens=8)], ids=lambda d: d.strategy)
    @each_part
    def test_a_batch_equals_single_texts(self, gpt2: Backbone, parts: str, decoding: DecodingSpec) -> None:
        injection, seeds = injection_of(gpt2, 3, parts), [7, 8, 9]
        together = gpt2.generate(3, injection, decoding, seeds)
        alone = [gpt2.generate(1, sample_of(injection, k), decoding, [seed])[0] for k, seed in enumerate(seeds)]
        assert together == alone
        assert len(together) == 3

    def test_beam_search_without_injection_equals_transformers(self, gpt2: Backbone) -> None:
        tokenizer = gpt2.tokenizer
        ids = (
            plain(gpt2)
            .generate(
                torch.tensor([[tokenizer.bos]]),
                attention_mask=torch.ones(1, 1),
                num_beams=3,
                do_sample=False,
                max_new_tokens=8,
                pad_token_id=tokenizer.pad,
                eos_token_id=tokenizer.eos,
            )[0, 1:]
            .tolist()
        )
        expected = [token for token in ids[: [*ids, tokenizer.eos].index(tokenizer.eos)] if token > tokenizer.bos]
        assert gpt2.generate(1, Injection(), BEAM, seed=0) == [expected]

    def test_the_seed_determines_the_texts(self, gpt2: Backbone) -> None:
        decoding = DecodingSpec(max_tokens=12)
        first, again, other = (gpt2.generate(4, Injection(), decoding, seed) for seed in (1, 1, 2))
        assert first == again
        assert all(text != changed for text, changed in zip(first, other, strict=True))
        assert len({tuple(text) for text in first}) == 4

    def test_a_text_does_not_depend_on_the_number_of_texts(self, gpt2: Backbone) -> None:
        decoding = DecodingSpec(max_tokens=12)
        assert gpt2.generate(5, Injection(), decoding, 3)[:2] == gpt2.generate(2, Injection(), decoding, 3)

    @pytest.mark.parametrize("strategy", ["sample", "greedy", "beam"])
    def test_the_global_random_state_does_not_change(self, gpt2: Backbone, strategy: str) -> None:
        torch.manual_seed(0)
        before = torch.get_rng_state()
        gpt2.generate(2, Injection(), DecodingSpec(strategy=strategy, beams=2, max_tokens=4), seed=5)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize(
        "options",
        [{}, {"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.6}, {"temperature": 2.0, "top_k": 9, "top_p": 0.7}],
    )
    def test_sampling_follows_the_distribution(self, gpt2: Backbone, options: dict[str, Any]) -> None:
        """First tokens of 3,000 texts against the softmax; tokens expected fewer than 5 times are counted together."""
        n, injection = 3000, injection_of(gpt2, 1, "logits")
        scores = (oracle_logits(gpt2, [gpt2.tokenizer.bos], injection)[-1]) / options.get("temperature", 1.0)
        likeliest = scores.argsort(descending=True)
        kept = likeliest[: options.get("top_k", len(scores))]
        chances = scores[kept].softmax(-1)
        before = chances.cumsum(-1) - chances
        kept = kept[before < options.get("top_p", 1.0)]  # the token that crosses the threshold is the last one kept
        probability = torch.zeros_like(scores).index_add(0, kept, scores[kept].softmax(-1))

        many = replace(injection, logits=injection.logits.expand(n, -1))
        texts = gpt2.generate(n, many, DecodingSpec(max_tokens=1, **options), seed=0)
        # An empty text stands for a special token, which texts do not contain.
        first = torch.tensor([text[0] if text else gpt2.tokenizer.pad for text in texts])
        counts = torch.bincount(first, minlength=len(scores))
        special = [gpt2.tokenizer.pad, gpt2.tokenizer.bos, gpt2.tokenizer.eos]
        probability[special[0]], probability[special[1:]] = probability[special].sum(), 0.0
        assert counts[probability == 0].sum() == 0
        common = probability * n >= 5
        observed = [*counts[common].tolist(), float(counts[~common].sum())]
        expected = [*(probability[common] * n).tolist(), float(probability[~common].sum() * n)]
        pairs = [(o, e) for o, e in zip(observed, expected, strict=True) if e > 0]
        assert len(pairs) >= 3
        assert chisquare(*zip(*pairs, strict=True)).pvalue > 1e-4

    def test_texts_contain_no_special_token(self, gpt2: Backbone) -> None:
        tokenizer, size = gpt2.tokenizer, gpt2.vocabulary_size

        def always(token: int) -> Injection:
            return Injection(logits=1e4 * torch.nn.functional.one_hot(torch.tensor([token]), size).double())

        for special in (tokenizer.eos, tokenizer.bos, tokenizer.pad):
            assert gpt2.generate(1, always(special), GREEDY, 0) == [[]]
        assert gpt2.generate(1, always(77), GREEDY, 0) == [[77] * 8]

    def test_texts_are_no_longer_than_max_tokens(self, gpt2: Backbone) -> None:
        many = gpt2.generate(20, Injection(), DecodingSpec(max_tokens=5), 0)
        assert max(map(len, many)) <= 5
        to_the_end = gpt2.generate(3, Injection(), DecodingSpec(max_tokens=1000, min_tokens=63), 0)
        assert max(map(len, to_the_end)) <= gpt2.positions - 1 == 63

    def test_texts_are_no_shorter_than_min_tokens(self, gpt2: Backbone) -> None:
        bias = torch.zeros(1, gpt2.vocabulary_size, dtype=torch.float64)
        bias[:, gpt2.tokenizer.eos] = 20.0
        assert gpt2.generate(1, Injection(logits=bias), GREEDY, 0) == [[]]
        (text,) = gpt2.generate(
            1, Injection(logits=bias), DecodingSpec(strategy="greedy", min_tokens=4, max_tokens=9), 0
        )
        assert len(text) == 4

    def test_repetition_penalty(self, gpt2: Backbone) -> None:
        bias = 5.0 * torch.nn.functional.one_hot(torch.tensor([77]), gpt2.vocabulary_size).double()
        decoding = DecodingSpec(strategy="greedy", repetition_penalty=10.0, max_tokens=6)
        assert gpt2.generate(1, Injection(logits=bias), GREEDY, 0)[0].count(77) > 3
        assert gpt2.generate(1, Injection(logits=bias), decoding, 0)[0].count(77) == 1

    def test_merged_weights_are_restored(self, gpt2: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        before = {name: tensor.clone() for name, tensor in gpt2.state_dict().items()}
        injection = injection_of(gpt2, 2, "values")
        gpt2.generate(2, injection, GREEDY, 0)

        def interrupted(**keywords: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(gpt2.model, "generate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gpt2.generate(2, injection, GREEDY, 0)
        for name, tensor in gpt2.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    @pytest.mark.parametrize("decoding", [GREEDY, BEAM], ids=lambda d: d.strategy)
    @each_part
    def test_conditions_of_different_lengths_equal_single_texts(
        self, gpt2: Backbone, batch: Batch, parts: str, decoding: DecodingSpec
    ) -> None:
        """Prompts are padded on the left; the padding must not change a text."""
        injection = injection_of(gpt2, 2 * len(batch), parts)
        together = gpt2.generate(2, injection, decoding, 0, condition=batch)
        sources = [Batch.collate([ids], pad=0) for ids in batch.unpadded() for _ in range(2)]
        alone = [gpt2.generate(1, sample_of(injection, k), decoding, 0, source)[0] for k, source in enumerate(sources)]
        assert together == alone


class TestWeights:
    def test_signals_from_scratch_are_equally_strong_at_any_width(self, tokenizer: Tokenizer) -> None:
        torch.manual_seed(0)
        for width in (16, 64):
            made = build_backbone(BackboneSpec(width=width, layers=1), tokenizer)
            assert made.initial_std == pytest.approx(0.02 * (768 / width) ** 0.5)
            # 300 x width draws: the standard error of their standard deviation is below 1%.
            assert float(made.model.transformer.wte.weight.std()) == pytest.approx(made.initial_std, rel=0.05)

    def test_sizes(self, tokenizer: Tokenizer) -> None:
        made = build_backbone(BackboneSpec(layers=3, width=16, heads=4, positions=50), tokenizer)
        assert (made.n_layers, made.width, made.positions, made.vocabulary_size) == (3, 16, 50, 300)
        assert made.model.config.n_head == 4

    def test_untie_head(self, make_backbone: Make, batch: Batch) -> None:
        made = make_backbone()
        assert made.model.lm_head.weight is made.model.transformer.wte.weight
        before = made.log_likelihood(batch, Injection())
        made.untie_head()
        made.to(torch.float64)
        assert made.model.lm_head.weight.shape == made.model.transformer.wte.weight.shape
        made.model.lm_head.weight.copy_(made.model.transformer.wte.weight)
        torch.testing.assert_close(made.log_likelihood(batch, Injection()), before, **EXACT)
        made.model.lm_head.weight.zero_()
        uniform = -torch.log(torch.tensor(300.0, dtype=torch.float64)) * (batch.mask.sum(1, keepdim=True) - 1)
        torch.testing.assert_close(made.log_likelihood(batch, Injection()), uniform, **EXACT)

    def test_dropout_of_the_spec_applies_everywhere(self, make_backbone: Make, batch: Batch) -> None:
        config = make_backbone(dropout=0.25).model.config
        assert (config.resid_pdrop, config.embd_pdrop, config.attn_pdrop) == (0.25, 0.25, 0.25)
        training = make_backbone(dropout=0.25).train()
        values = [float(training.log_likelihood(batch, Injection()).sum()) for _ in range(2)]
        assert values[0] != values[1]
