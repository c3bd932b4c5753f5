"""Signatures in a few words: what most have in common is said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.errors import BenchError
from bench.metric import Signature
from bench.report.table import SignatureLine


def shortened(lines: Sequence[SignatureLine]) -> str:
    """Returns all signatures in one sentence, the values of several tasks with a slash between them.

    An entry that has one value wherever it occurs, and occurs in several metrics, is in front. Example:
    ``K:30, v:1; PPL est:iw tok:bpe@a1/bpe@b2; KL est:analytic``.
    """
    by_metric: dict[str, dict[str, dict[str, None]]] = {}
    for line in lines:
        metric, fields = _fields(line.signature)
        for key, value in fields.items():
            by_metric.setdefault(metric, {}).setdefault(key, {})[value] = None
    values: dict[str, list[str]] = {}
    for entries in by_metric.values():
        for key, found in entries.items():
            values.setdefault(key, []).append("/".join(found))
    common = {key: of[0] for key, of in values.items() if len(of) > 1 and len(set(of)) == 1}
    parts = [", ".join(f"{key}:{value}" for key, value in common.items())]
    for metric, entries in by_metric.items():
        own = [f"{key}:{'/'.join(found)}" for key, found in entries.items() if key not in common]
        parts += [" ".join([metric, *own])] if own else []
    return "; ".join(filter(None, parts))


def _fields(text: str) -> tuple[str, Mapping[str, str]]:
    """Returns metric and entries of a signature; of a text that is none, the text as one entry."""
    try:
        signature = Signature.parse(text)
    except BenchError:
        metric, _, rest = text.partition("|")
        return metric, {"signature": rest}
    return signature.metric, {**dict(signature.fields), "v": str(signature.version)}
