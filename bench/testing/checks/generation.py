"""Texts from samples: one for each, from the same distribution that scores them, decided by the seed alone."""

from __future__ import annotations

import torch

from bench.specs import DecodingSpec
from bench.testing.check import check
from bench.testing.checks.likelihood import next_token
from bench.testing.expect import NotChecked, expect
from bench.testing.paths import of_text, repeated, stream, streams
from bench.testing.subject import Subject

MANY = 2000
"""Enough one-token texts that, of 300 tokens nearly alike, the end of text is drawn several times."""


@check(
    "Look at what `generate` returns: a list for each of the B x n samples, text by text; a sample whose text is empty"
    " gives an empty list, else texts and sources no longer belong together."
)
@torch.no_grad()
def one_text_per_sample(subject: Subject) -> None:
    """Every sample becomes one text, be it empty."""
    system, batch, tokenizer = subject.system(), subject.batch(), subject.tokenizer
    ordinary = set(range(len(tokenizer))) - {tokenizer.pad, tokenizer.bos, tokenizer.eos}
    prior = system.sample_prior(3, batch.condition, stream())
    posterior = system.encode(batch).sample(3, stream())
    lots = system.sample_prior(MANY // len(prior.log_q), batch.condition, stream())
    flat = DecodingSpec(max_tokens=1, temperature=100.0)
    for path, decoding in ((prior, DecodingSpec(max_tokens=5)), (posterior, DecodingSpec(max_tokens=5)), (lots, flat)):
        rows = len(path.log_q)
        decoded = system.generate(path, batch.condition, decoding, 0)
        expect(len(decoded) == rows * path.n, f"{rows * path.n} texts of {rows} x {path.n} samples", f"{len(decoded)}")
        longest = max(map(len, decoded))
        expect(longest <= decoding.max_tokens, f"at most {decoding.max_tokens} tokens", f"{longest}")
        others = {token for text in decoded for token in text} - ordinary
        expect(not others, "ids of the vocabulary without padding, BOS and EOS", f"{sorted(others)}")
    expect([] in decoded, f"some empty texts among {MANY} of at most one token", "none")


@check(
    "Look at `generate`: every random choice comes from `seed` (one seed, or one per text), none from torch's global"
    " generator; and different seeds must differ."
)
@torch.no_grad()
def seeded_texts(subject: Subject) -> None:
    """The seed decides the texts, and nothing else does."""
    system, batch, decoding = subject.system(), subject.batch(), DecodingSpec(max_tokens=10)
    path = system.sample_prior(4, batch.condition, stream())
    before = torch.get_rng_state()
    first, again, other = (system.generate(path, batch.condition, decoding, seed) for seed in (0, 0, 1))
    expect(first == again, "the same texts for the same seed", f"{_differing(first, again)} others")
    expect(first != other, "other texts for another seed", "the same")
    expect(torch.equal(torch.get_rng_state(), before), "the global random state left alone", "draws from it")


@check(
    "Look at what `generate` gives its decoder: the same z, condition and positions as `log_likelihood`, beginning from"
    " BOS."
)
@torch.no_grad()
def greedy_is_likeliest(subject: Subject) -> None:
    """Greedy decoding takes the likeliest token at every step."""
    decoding = DecodingSpec(strategy="greedy", max_tokens=4)
    if (reason := subject.cls.supports(subject.spec(decoding))) is not None:
        raise NotChecked(reason)
    with subject.in_precision(torch.float64) as system:
        rows = subject.rows[:2]
        batch = subject.batch(rows)
        path = system.encode(batch).sample(1, streams(rows))
        decoded = system.generate(path, batch.condition, decoding, 0)
        for row in rows:
            text = decoded[row]
            for place in range(decoding.max_tokens):
                prefix = [subject.tokenizer.bos, *text[:place]]
                likeliest = int(next_token(system, subject, of_text(path, row), prefix, row).argmax())
                if likeliest in (subject.tokenizer.pad, subject.tokenizer.bos):
                    break  # such a token is left out of the text, and what follows it is not to be seen
                due = None if likeliest == subject.tokenizer.eos else likeliest
                found = text[place] if place < len(text) else None
                expect(found == due, f"token {due} at place {place} of text {row}, or its end if None", f"{found}")
                if due is None:
                    break


@check(
    "Look at what `generate` samples from: the scores of `log_likelihood`, divided by the temperature, then the top k,"
    " then one draw for each text; `bench.backbones` has it all."
)
@torch.no_grad()
def sampling_is_fair(subject: Subject) -> None:
    """Sampled tokens come as often as their probabilities say.

    Each count of 2,000 lies within 6 standard deviations and 6 (a chance below 1e-6 for all tokens).
    """
    tokenizer = subject.tokenizer
    system, batch = subject.system(), subject.batch(subject.rows[:1])
    path = system.encode(batch).sample(1, stream())
    log_p = next_token(system, subject, path, [tokenizer.bos], row=0)
    for decoding in (DecodingSpec(max_tokens=1), DecodingSpec(max_tokens=1, temperature=0.3, top_k=20)):
        scores = log_p / decoding.temperature
        if decoding.top_k:
            scores = scores.masked_fill(scores < scores.topk(decoding.top_k).values[-1], float("-inf"))
        due = MANY * scores.softmax(0)
        decoded = system.generate(repeated(path, MANY), batch.condition, decoding, 0)
        found = torch.bincount(torch.tensor([token for text in decoded for token in text]), minlength=len(due))
        due[[tokenizer.pad, tokenizer.bos, tokenizer.eos]] = 0.0  # these make empty texts
        excess = (found - due).abs() - 6 * (due * (1 - due / MANY)).sqrt() - 6
        token = int(excess.argmax())
        seen = f"{int(found[token])} (temperature {decoding.temperature}, top-k {decoding.top_k or 'off'})"
        expect(bool(excess[token] <= 0), f"token {token} about {float(due[token]):.4g} times in {MANY}", seen)


def _differing(first: list[list[int]], again: list[list[int]]) -> int:
    return sum(one != other for one, other in zip(first, again, strict=False)) + abs(len(first) - len(again))
