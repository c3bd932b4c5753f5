"""Generation: one text per sample, from the distribution that `log_likelihood` scores, reproducible by seed."""

from __future__ import annotations

import torch

from bench.specs import DecodingSpec
from bench.testing.check import check
from bench.testing.checks.likelihood import next_token_log_p
from bench.testing.expect import Inconclusive, expect
from bench.testing.samples import generator, generators, repeat_sample, samples_of_text
from bench.testing.system_under_test import SystemUnderTest

MANY = 2000
"""Enough one-token texts that EOS, one of 300 tokens of similar probability, is drawn several times."""


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
    decoding = DecodingSpec(strategy="greedy", max_tokens=4)
    if (reason := tested.cls.supports(tested.spec(decoding))) is not None:
        raise Inconclusive(reason)
    with tested.in_precision(torch.float64) as system:
        rows = tested.rows[:2]
        batch = tested.batch(rows)
        path = system.encode(batch).sample(1, generators(rows))
        decoded = system.generate(path, batch.condition, decoding, 0)
        for row in rows:
            text = decoded[row]
            for place in range(decoding.max_tokens):
                prefix = [tested.tokenizer.bos, *text[:place]]
                likeliest = int(next_token_log_p(system, tested, samples_of_text(path, row), prefix, row).argmax())
                if likeliest in (tested.tokenizer.pad, tested.tokenizer.bos):
                    break  # the text omits such a token, so its continuation is unknown
                expected = None if likeliest == tested.tokenizer.eos else likeliest
                actual = text[place] if place < len(text) else None
                expect(
                    actual == expected,
                    f"token {expected} at position {place} of text {row} (None: end)",
                    f"{actual}",
                )
                if expected is None:
                    break


@check(
    "Check what `generate` samples from: the logits of `log_likelihood`, divided by the temperature, then cut to the"
    " top k, then one draw for each text, as `bench.backbones` does."
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
    for decoding in (DecodingSpec(max_tokens=1), DecodingSpec(max_tokens=1, temperature=0.3, top_k=20)):
        scores = log_p / decoding.temperature
        if decoding.top_k:
            scores = scores.masked_fill(scores < scores.topk(decoding.top_k).values[-1], float("-inf"))
        counts = MANY * scores.softmax(0)
        decoded = system.generate(repeat_sample(path, MANY), batch.condition, decoding, 0)
        actual = torch.bincount(torch.tensor([token for text in decoded for token in text]), minlength=len(counts))
        counts[[tokenizer.pad, tokenizer.bos, tokenizer.eos]] = 0.0  # these give empty texts
        excess = (actual - counts).abs() - 6 * (counts * (1 - counts / MANY)).sqrt() - 6
        token = int(excess.argmax())
        seen = f"{int(actual[token])} (temperature {decoding.temperature}, top-k {decoding.top_k or 'off'})"
        expect(bool(excess[token] <= 0), f"token {token} about {float(counts[token]):.4g} times in {MANY}", seen)


def _n_different(first: list[list[int]], again: list[list[int]]) -> int:
    return sum(text != other for text, other in zip(first, again, strict=False)) + abs(len(first) - len(again))
