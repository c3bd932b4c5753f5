"""Forms of English words that several grammars need."""

from __future__ import annotations

DOUBLED = {"run", "sit", "swim", "jog", "cut", "stir", "dig", "get", "slim"}
"""Verbs that double their last letter before -ing."""


def with_article(word: str) -> str:
    """Returns the word after a or an."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def progressive(phrase: str) -> str:
    """Returns the phrase with its leading verb in the -ing form."""
    verb, _, rest = phrase.partition(" ")
    stem = verb + verb[-1] if verb in DOUBLED else verb.removesuffix("e")
    return f"{'ly' if verb == 'lie' else stem}ing {rest}"


def third_person(phrase: str) -> str:
    """Returns the phrase with its leading verb in the third person singular."""
    verb, _, rest = phrase.partition(" ")
    irregular = {"have": "has", "fly": "flies", "carry": "carries"}
    return f"{irregular.get(verb, verb + ('es' if verb.endswith(('ch', 'sh', 'ss')) else 's'))} {rest}"
