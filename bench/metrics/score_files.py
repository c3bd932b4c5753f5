"""Scores of text files from this or another program: reading, checks, and every metric that applies.

A file has one text per line (.txt), or one JSON string or object per line (.jsonl), and may be gzipped (.gz). The text
of an object is its field ``text`` or ``target``; in a file of references the fields ``references`` (a list) and
``reference`` precede these, so that one file may serve as both. A blank line is an empty text, and is scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from pydantic import create_model

from bench.bootstrap import Bootstrap
from bench.errors import BenchError, reason_of
from bench.labels import configure, parse_call
from bench.metric import Score
from bench.metrics.text import TEXT_METRICS, TextMetric, TextSet
from bench.reading import parse_json, read_lines, text_of
from bench.specs import Spec

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz")
TEXT_FIELDS = ("text", "target")
REFERENCE_FIELDS = ("reference", "target", "text")


@dataclass(frozen=True)
class FileScores:
    """The scores of a file of generated texts.

    Attributes:
        scores: in the order of the metrics.
        skipped: metrics without a score, each with its reason.
    """

    scores: tuple[Score, ...]
    skipped: Mapping[str, str]


class UnpairedError(BenchError):
    """There are not as many references as texts."""


def score_files(
    generations: Path,
    references: Path | None = None,
    train: Path | None = None,
    metrics: Sequence[str] | None = None,
    *,
    pairs: bool | None = None,
    per_source: int | None = None,
    tokenizer: str | None = None,
    encoder: str | Path | None = None,
    bootstrap: Bootstrap | None = None,
) -> FileScores:
    """Scores a file of generated texts.

    Args:
        generations: the generated texts.
        references: texts to compare them with.
        train: the training texts.
        metrics: names in the table of `bench.metrics.text`, each with ``:option=value,...`` or without; None for all
            that apply to the files.
        pairs: whether line i of the references belongs to line i of the generations; None: yes if a named metric
            needs pairs, or if no metric is named and the files have equally many lines.
        per_source: number of consecutive lines that are generated from the same source; None without sources.
        tokenizer: for all metrics that have a choice and do not name theirs; None for the default of each.
        encoder: for MAUVE and BERTScore, see `bench.metrics.encoders.find_encoder`.
        bootstrap: resampling for the intervals; None for no intervals.

    Raises:
        BenchError: a file cannot be read or is empty, pairs do not match in number, a metric or an option is unknown,
            or a metric that was named does not apply or fails.
    """
    texts, groups = read_texts(generations), read_references(references) if references else ()
    try:
        return score_texts(
            texts,
            groups,
            read_texts(train) if train else (),
            metrics,
            pairs=pairs,
            per_source=per_source,
            tokenizer=tokenizer,
            encoder=encoder,
            bootstrap=bootstrap,
        )
    except UnpairedError:
        message = f"{generations} has {len(texts)} texts but {references} has {len(groups)}: no pairs"
        raise BenchError(message) from None


def score_texts(
    texts: Sequence[str],
    references: Sequence[Sequence[str]] = (),
    train: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    *,
    pairs: bool | None = None,
    per_source: int | None = None,
    tokenizer: str | None = None,
    encoder: str | Path | None = None,
    bootstrap: Bootstrap | None = None,
) -> FileScores:
    """Scores generated texts; ``references`` has one or more texts for each, or any number of texts without pairs.

    The other arguments and the errors are those of ``score_files``.
    """
    shared = {name: value for name, value in (("tokenizer", tokenizer), ("encoder", encoder)) if value is not None}
    chosen: dict[str, TextMetric] = {}
    skipped: dict[str, str] = {}
    for call in TEXT_METRICS.names() if metrics is None else metrics:
        try:
            chosen[call] = _metric(call, shared)
        except BenchError as error:
            if metrics is not None:
                raise
            skipped[call] = str(error)
    groups = tuple(map(tuple, references))
    if pairs is None:
        pairs = (
            len(groups) == len(texts) if metrics is None else any("pairs" in metric.needs for metric in chosen.values())
        )
    if pairs and groups and len(groups) != len(texts):
        raise UnpairedError(f"{len(texts)} texts but {len(groups)} references: no pairs")
    inputs = TextSet(
        generations=tuple(texts),
        references=groups if pairs else (),
        corpus=tuple(text for group in groups for text in group),
        train=tuple(train),
        per_source=per_source,
    )
    scores = []
    for name, metric in chosen.items():
        if metrics is None and encoder is None and hasattr(metric, "encoder"):
            skipped[name] = "needs an encoder: name one"
        elif metrics is None and (reason := metric.supports(inputs)):
            skipped[name] = reason
        else:
            try:
                scores.append(metric.score(inputs, bootstrap))
            except Exception as error:  # a metric may come from any package
                reason = reason_of(error)
                if metrics is not None:
                    raise BenchError(reason if isinstance(error, BenchError) else f"{name}: {reason}") from error
                skipped[name] = reason
    return FileScores(tuple(scores), skipped)


def read_texts(path: Path) -> tuple[str, ...]:
    """Returns the texts of a file, one per line.

    Raises:
        BenchError: the file is missing, empty, of another kind, not UTF-8 or not JSON; file and line are named.
    """
    return tuple(_text(path, number, entry, TEXT_FIELDS) for number, entry in _entries(path))


def read_sources(path: Path) -> tuple[str, ...] | None:
    """Returns the field ``source`` of the lines of a file; None if no line has it.

    Raises:
        BenchError: as `read_texts`, or only some lines have it.
    """
    entries = list(_entries(path))
    if not any(isinstance(entry, dict) and "source" in entry for _, entry in entries):
        return None
    return tuple(_text(path, number, entry, ("source",)) for number, entry in entries)


def read_references(path: Path) -> tuple[tuple[str, ...], ...]:
    """Returns the references of a file, one group per line.

    Raises:
        BenchError: as `read_texts`, or a list of references is empty or not of strings.
    """
    return tuple(_references(path, number, entry) for number, entry in _entries(path))


def _metric(call: str, shared: Mapping[str, object]) -> TextMetric:
    """Returns the metric of a call ``name[:option=value,...]``, with those of the ``shared`` options that it takes.

    Raises:
        BenchError: the metric or an option is unknown, a value is out of range, or the metric cannot be loaded.
    """
    typed_name, arguments = parse_call(call)
    name = {name.lower(): name for name in TEXT_METRICS.names()}.get(typed_name.lower(), typed_name)
    create = TEXT_METRICS.get(name)
    try:
        parameters = signature(create, eval_str=bool(arguments)).parameters
        options = {key: value for key, value in shared.items() if key in parameters}
        if arguments:
            fields: dict[str, Any] = {
                key: (parameter.annotation, parameter.default) for key, parameter in parameters.items()
            }
            typed_options = configure(create_model("Options", __base__=Spec, **fields), call, arguments)
            options |= {key: getattr(typed_options, key) for key in typed_options.model_fields_set}
        return create(**options)
    except BenchError:
        raise
    except Exception as error:  # a metric may come from any package
        raise BenchError(f"{name}: {reason_of(error)}") from error


def _entries(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields the number and the content of each line: a string, or the value that a line of a .jsonl file holds.

    Raises:
        BenchError: the file is missing, empty, of another kind, not UTF-8 or not JSON.
    """
    if not path.name.endswith(SUFFIXES):
        raise BenchError(f"{path}: unknown kind of file; allowed: {', '.join(SUFFIXES)}")
    is_json = ".jsonl" in path.suffixes
    number = 0
    for number, line in read_lines(path):
        yield number, parse_json(line, f"{path}, line {number}") if is_json else line
    if number == 0:
        raise BenchError(f"{path} is empty")


def _text(path: Path, number: int, entry: Any, fields: Sequence[str]) -> str:
    if isinstance(entry, dict):
        field = next((name for name in fields if name in entry), None)
        if field is None:
            raise BenchError(
                f"{path}, line {number}: no field {' or '.join(map(repr, fields))}; it has: {', '.join(entry)}"
            )
        return text_of(entry[field], f"{path}, line {number}: field {field!r}")
    return text_of(entry, f"{path}, line {number}")


def _references(path: Path, number: int, entry: Any) -> tuple[str, ...]:
    if not (isinstance(entry, dict) and "references" in entry):
        return (_text(path, number, entry, REFERENCE_FIELDS),)
    group = entry["references"]
    if not (isinstance(group, list) and group):
        raise BenchError(f"{path}, line {number}: 'references' is not a list of one or more texts.")
    return tuple(text_of(text, f"{path}, line {number}: field 'references'") for text in group)
