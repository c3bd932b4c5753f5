"""Generation: one text per sample, from the distribution that `log_likelihood` scores, reproducible by seed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import torch
from torch import Tensor

from bench.batch import Batch
from bench.interface import LatentPath, System
from bench.specs import DecodingSpec
from bench.testing.check import check
from bench.testing.checks.likelihood import next_token_log_p
from bench.testing.expect import Inconclusive, expect
from bench.testing.samples import generator, generators, repeat_sample, samples_of_text
from bench.testing.system_under_test import SystemUnderTest

MANY = 2000
"""Enough one-token texts that EOS, one of 300 tokens of similar probability, is drawn several times."""

GREEDY = DecodingSpec(strategy="greedy", max_tokens=48)

PLACES = (0, 1, 2, 3, 5, 8, 9, 10, 13, 17, 21, 29, 31, 40, 47)
"""Positions at which greedy texts are compared with the likelihood."""


@check(
    "Check what `generate` returns: one list of ids for each of the B x n samples, text by text; an empty text is an"
    " empty list, so that texts and sources stay aligned."
)
@torch.no_grad()
def one_text_per_sample(tested: SystemUnderTest) -> None:
    """Every sample gives exactly one text, which may be empty."""
    system, batch, tokenizer = tested.system(), tested.batch(), tested.tokenizer
    ordinary = set(range(len(tokenizer))) - {tokenizer.pad, tokenizer.bos, tokenizer.eos}
    prior = system.sample_prior(3, batch.condition, generator())
    posterior = system.encode(batch).sample(3, generator())
    many = system.sample_prior(MANY // len(prior.log_q), batch.condition, generator())
    flat = DecodingSpec(max_tokens=1, temperature=100.0)
    for path, decoding in ((prior, DecodingSpec(max_tokens=5)), (posterior, DecodingSpec(max_tokens=5)), (many, flat)):
        rows = len(path.log_q)
        decoded = system.generate(path, batch.condition, decoding, 0)
        expect(len(decoded) == rows * path.n, f"{rows * path.n} texts for {rows} x {path.n} samples", f"{len(decoded)}")
        longest = max(map(len, decoded))
        expect(longest <= decoding.max_tokens, f"at most {decoding.max_tokens} tokens", f"{longest}")
        others = {token for text in decoded for token in text} - ordinary
        expect(not others, "no PAD, BOS, EOS or id outside of the vocabulary", f"{sorted(others)}")
    expect([] in decoded, f"some empty texts among {MANY} texts of at most one token", "none")


@check(
    "Check `generate`: every random choice must come from `seed` (one seed, or one per text), none from torch's global"
    " generator, and different seeds must give different texts."
)
@torch.no_grad()
def seeded_texts(tested: SystemUnderTest) -> None:
    """The seed alone determines the generated texts."""
    system, batch, decoding = tested.system(), tested.batch(), DecodingSpec(max_tokens=10)
    path = system.sample_prior(4, batch.condition, generator())
    before = torch.get_rng_state()
    first, again, other = (system.generate(path, batch.condition, decoding, seed) for seed in (0, 0, 1))
    expect(first == again, "the same texts for the same seed", f"{_n_different(first, again)} different texts")
    expect(first != other, "different texts for a different seed", "the same texts")
    expect(torch.equal(torch.get_rng_state(), before), "an unchanged global random state", "draws from it")


@check(
    "Check what `generate` passes to the decoder: the same z, condition and positions as `log_likelihood`, BOS first."
)
@torch.no_grad()
def greedy_is_likeliest(tested: SystemUnderTest) -> None:
    """Greedy decoding takes the most probable token at every step."""
    _require(tested, GREEDY)
    for seed in range(8):
        with tested.in_precision(torch.float64, seed) as system:
            batch = tested.batch(rows := tested.rows[:2])
            path = system.encode(batch).sample(32, generators(rows))
            decoded = system.generate(path, batch.condition, GREEDY, 0)
            expect(len(decoded) == 2 * path.n, f"{2 * path.n} texts", f"{len(decoded)}")
            # A decoder that repeats one token hides mistakes of its memory and of its positions.
            of_rows = [decoded[path.n * row : path.n * (row + 1)] for row in rows]
            best = [max(enumerate(texts), key=lambda numbered: _variety(numbered[1])) for texts in of_rows]
            if seed < 7 and min(_variety(text) for _, text in best) < 3:
                continue
            for row, (number, text) in enumerate(best):
                sample = samples_of_text(path, row).narrow(number, number + 1)
                _expect_likeliest(system, tested, sample, row, text)
            return


def _variety(text: list[int]) -> int:
    """Returns the number of different tokens of a text, 0 for a text that ended or that leaves out PAD or BOS."""
    return len(set(text)) if len(text) == GREEDY.max_tokens else 0


def _expect_likeliest(system: System, tested: SystemUnderTest, sample: LatentPath, row: int, text: list[int]) -> None:
    """Expects tokens of a text to be the most probable ones after the tokens before them."""
    tokenizer = tested.tokenizer
    for place in PLACES:
        if place > len(text):
            break
        prefix = [tokenizer.bos, *text[:place]]
        likeliest = int(next_token_log_p(system, tested, sample, prefix, row).argmax())
        if likeliest in (tokenizer.pad, tokenizer.bos):
            break  # the text omits such a token, so its continuation is unknown
        expected = None if likeliest == tokenizer.eos else likeliest
        actual = text[place] if place < len(text) else None
        expect(
            actual == expected,
            f"token {expected} at position {place} of text {row} (None: end)",
            f"{actual}",
        )


@check(
    "Check that `generate` bans EOS before `min_tokens` tokens, and applies `repetition_penalty` to the scores of"
    " tokens that the text contains, as `bench.backbones.decode_stepwise` does."
)
@torch.no_grad()
def decoding_options(tested: SystemUnderTest) -> None:
    """No text is shorter than min_tokens, and a high repetition penalty prevents repetitions."""
    system, batch, n = tested.system(), tested.batch(tested.rows[:1]), 400
    path = system.encode(batch).sample(n, generator())
    shortest = DecodingSpec(min_tokens=24, max_tokens=24, temperature=100.0)
    if tested.cls.supports(tested.spec(shortest)) is None:
        least = min(map(len, system.generate(path, batch.condition, shortest, 0)))
        # A text omits BOS and PAD; each is sampled once in 300 tokens.
        expect(least >= 16, "at least 16 tokens in texts of 24 tokens, BOS and PAD not counted", f"a text of {least}")
    penalty = DecodingSpec(strategy="greedy", repetition_penalty=1e3, max_tokens=12)
    if tested.cls.supports(tested.spec(penalty)) is None:
        decoded = system.generate(path.narrow(0, 32), batch.condition, penalty, 0)
        repeated = [text for text in decoded if len(set(text)) < len(text)]
        expect(not repeated, "no token twice in 12, with a repetition penalty of 1,000", f"{[*repeated, []][0]}")


@check(
    "Check what `generate` samples from: the logits of `log_likelihood`, divided by the temperature, then cut to the"
    " top k, then to the top p, then one draw for each text, as `bench.backbones` does."
)
@torch.no_grad()
def sampling_is_fair(tested: SystemUnderTest) -> None:
    """Sampled tokens occur as often as their probabilities predict.

    Each count of 2,000 lies within 6 standard deviations plus 6; a correct system fails with probability below 1e-6.
    """
    tokenizer = tested.tokenizer
    system, batch = tested.system(), tested.batch(tested.rows[:1])
    path = system.encode(batch).sample(1, generator())
    log_p = next_token_log_p(system, tested, path, [tokenizer.bos], row=0)
    decodings = {"": {}, "temperature 0.3, top-k 20": {"temperature": 0.3, "top_k": 20}, "top-p 0.5": {"top_p": 0.5}}
    for name, options in decodings.items():
        decoding = DecodingSpec(max_tokens=1, **options)
        counts = MANY * _probabilities(log_p, decoding)
        decoded = system.generate(repeat_sample(path, MANY), batch.condition, decoding, 0)
        actual = torch.bincount(torch.tensor([token for text in decoded for token in text]), minlength=len(counts))
        counts[[tokenizer.pad, tokenizer.bos, tokenizer.eos]] = 0.0  # these give empty texts
        excess = (actual - counts).abs() - 6 * (counts * (1 - counts / MANY)).sqrt() - 6
        token = int(excess.argmax())
        seen = f"{int(actual[token])} ({name or 'temperature 1'})"
        expect(bool(excess[token] <= 0), f"token {token} about {float(counts[token]):.4g} times in {MANY}", seen)
    _expect_fair_texts(system, tested, path, batch.condition)


def _expect_fair_texts(system: System, tested: SystemUnderTest, path: LatentPath, condition: Batch | None) -> None:
    """Expects each of the texts of three tokens, each from the likeliest four, as often as it is probable."""
    tokenizer, decoding = tested.tokenizer, DecodingSpec(max_tokens=3, temperature=0.7, top_k=4)
    special = {tokenizer.pad, tokenizer.bos, tokenizer.eos}
    expected: defaultdict[tuple[int, ...], float] = defaultdict(float)
    begun: dict[tuple[int, ...], float] = {(tokenizer.bos,): MANY}
    for length in range(1, 4):
        longer: dict[tuple[int, ...], float] = {}
        for prefix, count in begun.items():
            probabilities = _probabilities(next_token_log_p(system, tested, path, prefix, row=0), decoding)
            for token in probabilities.nonzero().flatten().tolist():
                longer[*prefix, token] = count * float(probabilities[token])
        ended = {text: count for text, count in longer.items() if length == 3 or text[-1] == tokenizer.eos}
        for text, count in ended.items():
            expected[tuple(token for token in text if token not in special)] += count
        begun = {text: count for text, count in longer.items() if text not in ended}
    actual = Counter(map(tuple, system.generate(repeat_sample(path, MANY), condition, decoding, 0)))
    for text in sorted({*expected, *actual}):
        count = expected[text]
        bound = 6 * math.sqrt(count * (1 - min(count / MANY, 1))) + 6
        seen = f"{actual[text]} (temperature 0.7, top-k 4)"
        expect(abs(actual[text] - count) <= bound, f"text {list(text)} about {count:.4g} times in {MANY}", seen)


def _probabilities(log_p: Tensor, decoding: DecodingSpec) -> Tensor:
    """Returns the probabilities of the next token (V) after temperature, top-k and top-p."""
    scores = log_p.double() / decoding.temperature
    if decoding.top_k:
        scores = scores.masked_fill(scores < scores.topk(decoding.top_k).values[-1], float("-inf"))
    probabilities = scores.softmax(0)
    if decoding.top_p < 1:
        ordered, tokens = probabilities.sort(descending=True)
        probabilities[tokens[ordered.cumsum(0) - ordered >= decoding.top_p]] = 0.0
    return probabilities / probabilities.sum()


def _require(tested: SystemUnderTest, decoding: DecodingSpec) -> None:
    if (reason := tested.cls.supports(tested.spec(decoding))) is not None:
        raise Inconclusive(reason)


def _n_different(first: list[list[int]], again: list[list[int]]) -> int:
    return sum(text != other for text, other in zip(first, again, strict=False)) + abs(len(first) - len(again))
