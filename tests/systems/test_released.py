"""Imported checkpoints give the logits, distributions and terms of every layer of the released code."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2Tokenizer

from bench.batch import Batch
from bench.errors import BenchError
from bench.harness.model_folder import import_model, load_model
from bench.interface import LatentPath
from bench.specs import DecodingSpec
from della.model import Della2022
from della.released import Sizes
from tests.released_della import BOS, EOS, PAD, VOCABULARY, Layer, ReleasedDella, save_tokenizer

TEXTS = ("the cat sat on the mat .", "a dog", "no", "the quick brown fox jumps over it")
SOURCES = ("where is it ?", "what does it do", "the fox and the lazy dog .", "who")

# In float64 both sides agree to rounding; in float32, the data type of checkpoints, to the rounding of 300 nats.
TOLERANCE = {torch.float64: {"rtol": 1e-9, "atol": 1e-9}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


@pytest.fixture
def gpt2_files(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "gpt2")


@dataclass(frozen=True)
class Case:
    """A released model and its import."""

    released: ReleasedDella
    system: Della2022
    layers: range

    @property
    def tolerance(self) -> dict[str, float]:
        return TOLERANCE[self.released.decoder.lm_head.weight.dtype]

    def latents(self, ids: Tensor, index: int, condition: Tensor | None) -> list[Layer]:
        """The latent path of the released model for a text, with the noise of stream ``index``."""
        stream = torch.Generator().manual_seed(index)
        noise = torch.stack([torch.randn(1, 4, generator=stream) for _ in self.layers])
        seen = None if condition is None else alone(condition)
        return self.released.encoder.latents(*alone(ids), noise, seen, self.layers)

    def by_layer(self, path: LatentPath, index: int) -> list[Tensor | None]:
        """The latent path of the imported model for a text, layer by layer."""
        z: list[Tensor | None] = [None] * 3
        for group, layer in enumerate(self.layers):
            z[layer] = path.z[group][index]
        return z


def alone(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a batch of a single text, and its length."""
    return ids[None], torch.tensor([len(ids)])


MakeCase = Callable[..., Case]


@pytest.fixture
def make_case(tmp_path: Path, gpt2_files: Path) -> Iterator[MakeCase]:
    def make(
        conditional: bool = False,
        dtype: torch.dtype = torch.float64,
        layers: str = "all",
        numbers: range = range(3),
        **sizes: object,
    ) -> Case:
        torch.set_default_dtype(dtype)
        torch.manual_seed(0)
        released = ReleasedDella(positions=160, conditional=conditional, **sizes).eval()
        torch.save(released.state_dict(), tmp_path / "model_epoch_3.pt")
        options = {} if layers == "all" else {"layers": layers}
        import_model("della-2022", options, tmp_path / "model_epoch_3.pt", tmp_path / "out", gpt2_files, heads=2)
        system = load_model(tmp_path / "out")
        assert isinstance(system, Della2022)
        return Case(released, system, numbers)

    yield make
    torch.set_default_dtype(torch.float32)


def batch_of(system: Della2022) -> Batch:
    """The texts as the harness gives them, padded, with their sources where the model has any."""
    tokenizer = system.tokenizer
    sources = Batch.collate(tokenizer.encode(SOURCES), tokenizer.pad) if system.conditional else None
    return Batch.collate(tokenizer.encode(TEXTS), tokenizer.pad, sources)


def as_released(gpt2_files: Path, conditional: bool) -> list[tuple[Tensor, Tensor | None]]:
    """The same texts as the released code reads them: <s> text </s>, or source </s> text </s> and source </s>."""
    encode = GPT2Tokenizer(str(gpt2_files / "vocab.json"), str(gpt2_files / "merges.txt")).encode
    if not conditional:
        return [(torch.tensor([BOS, *encode(text), EOS]), None) for text in TEXTS]
    conditions = [[*encode(source), EOS] for source in SOURCES]
    return [
        (torch.tensor([*condition, *encode(text), EOS]), torch.tensor(condition))
        for text, condition in zip(TEXTS, conditions, strict=True)
    ]


CASES = {
    "unconditional": {},
    "conditional": {"conditional": True},
    "unconditional in float32": {"dtype": torch.float32},
    "conditional in float32": {"conditional": True, "dtype": torch.float32},
    "trained with a bag of words": {"bow": True},
    "rank 1": {"rank": 1},
    "layers 2 to 3": {"layers": "2-3", "numbers": range(1, 3)},
    "conditional, layers 1 to 2": {"conditional": True, "layers": "1-2", "numbers": range(2)},
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request: pytest.FixtureRequest, make_case: MakeCase) -> Case:
    return make_case(**request.param)


@torch.no_grad()
def test_posterior_prior_and_terms_of_every_layer(case: Case, gpt2_files: Path) -> None:
    """The imported model gets one padded batch, the released model single texts."""
    batch = batch_of(case.system)
    streams = [torch.Generator().manual_seed(index) for index in range(len(batch))]
    path = case.system.encode(batch).sample(1, streams)
    for index, (ids, condition) in enumerate(as_released(gpt2_files, case.system.conditional)):
        layers = case.latents(ids, index, condition)
        for group, layer in enumerate(layers):
            torch.testing.assert_close(path.mean[group][index, 0], layer.q[0][0], **case.tolerance)
            torch.testing.assert_close(path.z[group][index, 0], layer.z[0], **case.tolerance)
            ours = torch.stack([path.log_q[index, 0, group], path.log_p[index, 0, group], path.kl[index, 0, group]])
            theirs = torch.cat([layer.log_q, layer.log_p, layer.kl])
            torch.testing.assert_close(ours, theirs, **case.tolerance)


@torch.no_grad()
def test_logits_and_likelihood(case: Case, gpt2_files: Path) -> None:
    batch = batch_of(case.system)
    path = case.system.encode(batch).sample(1, torch.Generator().manual_seed(0))
    source = None if batch.condition is None else case.system.source_to_decode(batch.condition)
    decoder_input = replace(batch, condition=source)
    states, starts = case.system.backbone.decode(decoder_input, case.system.inject(path), 1)
    logits = case.system.backbone.model.lm_head(states)
    likelihood = case.system.log_likelihood(batch, path)
    for index, (ids, condition) in enumerate(as_released(gpt2_files, case.system.conditional)):
        z = case.by_layer(path, index)
        expected = case.released.decoder.logits(ids[None, :-1], z)[0]
        torch.testing.assert_close(logits[index, : len(ids) - 1], expected, **case.tolerance)
        first = 1 if condition is None else len(condition)
        assert int(starts[index]) == first - 1
        expected = case.released.log_likelihood(*alone(ids), z, first)[0]
        torch.testing.assert_close(likelihood[index, 0].to(expected.dtype), expected, **case.tolerance)


@torch.no_grad()
@pytest.mark.parametrize("conditional", [False, True], ids=["unconditional", "conditional"])
def test_greedy_generation(make_case: MakeCase, gpt2_files: Path, conditional: bool) -> None:
    """Prompts have different lengths. The released code pads on the wrong side, so it gets single texts."""
    case = make_case(conditional)
    condition = batch_of(case.system).condition
    path = case.system.sample_prior(1 if conditional else len(TEXTS), condition, torch.Generator().manual_seed(1))
    if not conditional:
        path = LatentPath(
            tuple(z.transpose(0, 1) for z in path.z),
            tuple(mean.transpose(0, 1) for mean in path.mean),
            *(term.transpose(0, 1) for term in (path.log_q, path.log_p, path.kl)),
        )
    generated = case.system.generate(path, condition, DecodingSpec(strategy="greedy", max_tokens=6), seed=0)
    for index, (_, source) in enumerate(as_released(gpt2_files, conditional)):
        prompt = [BOS] if source is None else source.tolist()
        ids = list(prompt)
        while len(ids) < len(prompt) + 6 and (len(ids) == len(prompt) or ids[-1] != EOS):
            logits = case.released.decoder.logits(torch.tensor([ids]), case.by_layer(path, index))
            ids.append(int(logits[0, -1].argmax()))
        special = {PAD, BOS, EOS} if source is None else {PAD, EOS}
        assert generated[index] == [token for token in ids[len(prompt) :] if token not in special]


@torch.no_grad()
def test_the_released_pooling_sees_padding_and_ours_does_not(make_case: MakeCase, gpt2_files: Path) -> None:
    case = make_case()
    (ids, _), *_ = as_released(gpt2_files, conditional=False)
    padded = torch.cat([ids, torch.full((5,), PAD)])
    unpadded, with_padding = (
        case.released.encoder.representations(tokens[None], torch.tensor([len(ids)])) for tokens in (ids, padded)
    )
    assert all((x - y).abs().max() > 1e-3 for x, y in zip(unpadded, with_padding, strict=True))
    mask = torch.arange(len(padded))[None] < len(ids)
    ours = case.system._representations(Batch(padded[None], mask, torch.tensor([])))
    torch.testing.assert_close(ours[0], torch.cat(unpadded), **case.tolerance)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("bow", [False, True])
def test_every_tensor_is_required_or_optional(conditional: bool, bow: bool) -> None:
    state = ReleasedDella(20, conditional=conditional, bow=bow).state_dict()
    sizes = Sizes.of(state, Path("x.pt"))
    assert sizes == Sizes(3, 16, 4, 4, 20, 48, conditional)
    required, optional = sizes.required_shapes().keys(), sizes.optional_names() | sizes.copies().keys()
    assert not required & optional
    bag = {"decoder.mlp_bow.weight", "decoder.mlp_bow.bias"}
    assert state.keys() == required | (optional if bow else optional - bag)


@pytest.mark.parametrize(("conditional", "parameters"), [(False, 193_353_984), (True, 193_943_808)])
def test_number_of_parameters_of_the_paper(conditional: bool, parameters: int) -> None:
    """Appendix A.1 prints the first number for GPT-2 base, rank 4, 32 dimensions and two added tokens."""
    sizes = Sizes(12, 768, 32, 4, 50_259, 1024, conditional)
    assert sum(map(math.prod, sizes.required_shapes().values())) == parameters


@pytest.mark.real_data
def test_gpt2_itself_with_the_two_tokens_of_the_released_code(tmp_path: Path, real_data: Path) -> None:
    folder = real_data.parent / "tokenizers" / "gpt2"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}")
    torch.save(ReleasedDella(50_259, width=8, layers=1).state_dict(), tmp_path / "x.pt")
    import_model("della-2022", {}, tmp_path / "x.pt", tmp_path / "out", folder, heads=2)
    tokenizer = load_model(tmp_path / "out").tokenizer
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos, len(tokenizer)) == (50_256, 50_257, 50_258, 50_259)
    encode = GPT2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).encode
    assert tokenizer.encode(TEXTS) == [[50_257, *encode(text), 50_258] for text in TEXTS]


def state_dict() -> dict[str, Tensor]:
    return ReleasedDella(layers=2, width=64, latent_size=4, rank=2).state_dict()


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state_dict().items() if key != name}


BAD = {
    "another model": (lambda: {"transformer.wte.weight": torch.zeros(5, 4)}, "it lacks 'encoder.wte.weight'."),
    "no tensors": (lambda: {"encoder.wte.weight": "text"}, "no state dict: expected tensors by name, got dict."),
    "a list": (lambda: [torch.zeros(2)], "no state dict: expected tensors by name, got list."),
    "a missing head": (lambda: without("decoder.lm_head.weight"), "lacks 'decoder.lm_head.weight'."),
    "a missing factor": (
        lambda: without("encoder.h.1.attn.lmf.text_factor.1.bias"),
        "lacks 'encoder.h.1.attn.lmf.text_factor.1.bias'.",
    ),
    "two missing tensors": (
        lambda: {key: tensor for key, tensor in state_dict().items() if "encoder.ln_f" not in key},
        "lacks 'encoder.ln_f.weight' and 1 more.",
    ),
    "an unknown tensor": (lambda: {**state_dict(), "decoder.memory": torch.zeros(1)}, "more than a DELLA"),
    "a wrong shape": (
        lambda: {**state_dict(), "encoder.pooling.1.attention_weights": torch.zeros(65)},
        "'encoder.pooling.1.attention_weights' has shape (65,); with the other tensors it would be (64,).",
    ),
    "halves apart": (
        lambda: {**state_dict(), "decoder.wte.weight": torch.zeros(VOCABULARY, 64)},
        "'decoder.wte.weight' differs from 'encoder.wte.weight', which it shares.",
    ),
}


@pytest.mark.parametrize(("content", "complaint"), BAD.values(), ids=BAD)
def test_errors_for_other_files(
    tmp_path: Path, gpt2_files: Path, content: Callable[[], object], complaint: str
) -> None:
    torch.save(content(), tmp_path / "bad.pt")
    assert complaint in mistake(tmp_path / "bad.pt", tmp_path, gpt2_files)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.path, "gotcha"))


def test_no_code_in_a_file_is_executed(tmp_path: Path, gpt2_files: Path) -> None:
    for number, save in enumerate(
        (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)))
    ):
        path = tmp_path / f"bad{number}.pt"
        save({"encoder.wte.weight": Malicious(tmp_path / "gotcha")}, path)
        assert "no state dict that can be read without executing it" in mistake(path, tmp_path, gpt2_files)
    assert not (tmp_path / "gotcha").exists()


def test_errors_for_damaged_and_missing_files(tmp_path: Path, gpt2_files: Path) -> None:
    path = tmp_path / "half.pt"
    torch.save(state_dict(), path)
    for size in (1000, 0):
        path.write_bytes(path.read_bytes()[:size])
        assert "half.pt: damaged, or no state dict" in mistake(path, tmp_path, gpt2_files)
    assert "cannot read" in mistake(tmp_path / "nowhere.pt", tmp_path, gpt2_files)


@pytest.mark.parametrize("number", ["3", "999999999", "9" * 5000])
def test_a_number_that_is_too_large_costs_no_memory(tmp_path: Path, gpt2_files: Path, number: str) -> None:
    tensors = state_dict()
    torch.save({**tensors, f"encoder.h.{number}.x": torch.zeros(1)}, tmp_path / "x.pt")
    tracemalloc.start()
    complaint = mistake(tmp_path / "x.pt", tmp_path, gpt2_files)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert "x.pt: the checkpoint lacks 'encoder.h.2.ln_1.weight' and " in complaint


def test_a_tensor_that_repeats_its_values_is_refused(tmp_path: Path, gpt2_files: Path) -> None:
    torch.save({**state_dict(), "encoder.wte.weight": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "x.pt")
    complaint = mistake(tmp_path / "x.pt", tmp_path, gpt2_files)
    assert complaint.endswith("x.pt: 'encoder.wte.weight' has more values than the file stores for it.")


@pytest.mark.parametrize(
    ("options", "heads", "complaint"),
    [
        ({}, None, "x.pt: a state dict does not contain the number of attention heads; name it (--heads)."),
        ({"rank": 1}, 1, "unknown option of a released checkpoint 'rank'. Allowed: layers."),
        ({"layers": "3-4"}, 1, "there are no latent layers 3-4 in 2 layers."),
        ({}, 5, "5 heads do not divide a width of 64; name another number."),
    ],
)
def test_errors_for_options_that_contradict_the_checkpoint(
    tmp_path: Path, gpt2_files: Path, options: dict[str, object], heads: int | None, complaint: str
) -> None:
    torch.save(state_dict(), tmp_path / "x.pt")
    assert complaint in mistake(tmp_path / "x.pt", tmp_path, gpt2_files, options, heads)


def test_error_for_a_different_tokenizer(tmp_path: Path, gpt2_files: Path) -> None:
    torch.save(ReleasedDella(VOCABULARY + 1, width=64).state_dict(), tmp_path / "x.pt")
    complaint = mistake(tmp_path / "x.pt", tmp_path, gpt2_files)
    assert "x.pt: made for 260 tokens; the tokenizer in" in complaint
    assert complaint.endswith("with <|endoftext|>, <s>, </s> has 259.")


def mistake(
    path: Path, folder: Path, tokenizer: Path, options: dict[str, object] | None = None, heads: int | None = 1
) -> str:
    """Returns the error of an import, which has one line and writes nothing."""
    with pytest.raises(BenchError) as caught:
        import_model("della-2022", options or {}, path, folder / "out", tokenizer, heads)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()
    return str(caught.value)
