"""Verbs of a trained model: what its latent space holds (see ``bench.api.TextVAE``)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.output import say
from bench.cli.runs import DecodingOption
from bench.errors import BenchError
from bench.escape import json_text, line

if TYPE_CHECKING:
    from bench.api import TextVAE

STDIN = Path("/dev/stdin")

ModelArgument = Annotated[
    str, typer.Argument(help="Model: folder of a run or of an imported checkpoint; NAME@COMMIT of the hub.")
]
TextsArgument = Annotated[list[str] | None, typer.Argument(help="Texts; - reads one per line from the standard input.")]
FileOption = Annotated[
    Path | None,
    typer.Option("--file", help="File of the texts: .txt, or .jsonl, perhaps with the source of each; also .gz."),
]
SourceOption = Annotated[str | None, typer.Option(help="Of a conditional model: the source of the texts.")]
LayersOption = Annotated[str, typer.Option(help="Latent groups, comma-separated, the lowest is 1; by default all.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the random draws.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def reconstruct(
    model: ModelArgument,
    texts: TextsArgument = None,
    file: FileOption = None,
    source: SourceOption = None,
    decoding: DecodingOption = "greedy",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Print the text that the posterior mean of each text decodes to."""
    given, sources = _texts(texts or (), file), _sources(file)
    if sources is not None and source is not None:
        raise BenchError(f"--source and the sources in {file} exclude each other.")
    if source is not None:
        sources = [source] * len(given)
    vae = _load(model)
    decoded = vae.reconstruct(given, sources, seed=seed, **_decoding(vae, decoding))
    if as_json:
        say(json_text([{"text": text, "reconstruction": new} for text, new in zip(given, decoded, strict=True)]))
    else:
        _print(decoded, as_json)


def sample(
    model: ModelArgument,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of texts.")] = 1,
    source: SourceOption = None,
    decoding: DecodingOption = "sample",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Print texts of latent values that are drawn from the prior."""
    vae = _load(model)
    sources = None if source is None else [source]
    _print(vae.sample(n, sources, seed=seed, **_decoding(vae, decoding)), as_json)


def interpolate(
    model: ModelArgument,
    a: Annotated[str, typer.Argument(help="First text.")],
    b: Annotated[str, typer.Argument(help="Second text.")],
    steps: Annotated[int, typer.Option(min=2, help="Number of texts, both ends included.")] = 7,
    layers: LayersOption = "",
    source: SourceOption = None,
    decoding: DecodingOption = "greedy",
    as_json: JsonOption = False,
) -> None:
    """Print texts along the line between the posterior means of two texts."""
    vae = _load(model)
    _print(vae.interpolate(a, b, steps, _layers(layers), source, **_decoding(vae, decoding)), as_json)


def swap(
    model: ModelArgument,
    a: Annotated[str, typer.Argument(help="Text.")],
    b: Annotated[str, typer.Argument(help="Text whose latent groups replace those of the first.")],
    layers: Annotated[str, typer.Option(help="These latent groups, comma-separated; the lowest is 1.")],
    source: SourceOption = None,
    decoding: DecodingOption = "greedy",
    as_json: JsonOption = False,
) -> None:
    """Print the text of one posterior mean with some latent groups of another: what does each layer hold?"""
    chosen = _layers(layers)
    if chosen is None:
        raise BenchError("--layers: name at least one latent group; the lowest is 1.")
    vae = _load(model)
    _print([vae.swap(a, b, chosen, source, **_decoding(vae, decoding))], as_json)


def analogy(
    model: ModelArgument,
    a: Annotated[str, typer.Argument(help="A text,")],
    b: Annotated[str, typer.Argument(help="what becomes of it,")],
    c: Annotated[str, typer.Argument(help="and another text.")],
    source: SourceOption = None,
    decoding: DecodingOption = "greedy",
    as_json: JsonOption = False,
) -> None:
    """Print the text that is to C as B is to A."""
    vae = _load(model)
    _print([vae.analogy(a, b, c, source, **_decoding(vae, decoding))], as_json)


def neighbours(
    model: ModelArgument,
    text: Annotated[str, typer.Argument(help="Text.")],
    among: Annotated[Path, typer.Option(help="File of the texts to search: .txt or .jsonl, also .gz.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of neighbours.")] = 5,
    layers: LayersOption = "",
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the texts of a file with the nearest posterior means, and their distances."""
    from bench.metrics.score_files import read_texts

    found = _load(model).neighbours(text, read_texts(among), k, _layers(layers), source)
    if as_json:
        say(json_text([{"text": near, "distance": distance} for near, distance in found]))
    else:
        for near, distance in found:
            say(f"{distance:>8.3f}  {line(near)}")


def _load(model: str) -> TextVAE:
    from bench.api import load

    return load(model)


def _texts(arguments: Sequence[str], file: Path | None) -> list[str]:
    """Returns the texts of the command line, of a file, or the lines of the standard input for ``-``.

    Raises:
        BenchError: there are none, the arguments and a file both give some, or they cannot be read.
    """
    from bench.metrics.score_files import read_texts
    from bench.reading import read_lines

    if arguments and file is not None:
        raise BenchError("texts and --file exclude each other.")
    if file is not None:
        return list(read_texts(file))
    given = ((text for _, text in read_lines(STDIN)) if each == "-" else [each] for each in arguments)
    if not (texts := list(chain.from_iterable(given))):
        raise BenchError("no texts: name some, a --file, or - for the lines of the standard input.")
    return texts


def _sources(file: Path | None) -> list[str] | None:
    from bench.metrics.score_files import read_sources

    sources = read_sources(file) if file is not None else None
    return None if sources is None else list(sources)


def _layers(text: str) -> list[int] | None:
    """Returns the numbers of a list, None for an empty one.

    Raises:
        BenchError: a number is no whole number.
    """
    from bench.labels import split_list

    try:
        return [int(number) for number in split_list(text)] or None
    except ValueError as error:
        raise BenchError(f"--layers {text}: expected whole numbers, comma-separated.") from error


def _decoding(vae: TextVAE, text: str) -> dict[str, object]:
    """Returns the entries that are not the default, so that those without effect can be told from all others."""
    from bench.harness.plan import resolve_decoding
    from bench.specs import DecodingSpec

    resolved = resolve_decoding(text, vae.spec.system.name, default := DecodingSpec())
    changed = resolved.model_dump().items() - default.model_dump().items()
    return {**dict(changed), "strategy": resolved.strategy}


def _print(texts: Sequence[str], as_json: bool) -> None:
    if as_json:
        say(json_text(list(texts)))
    else:
        for text in texts:
            say(line(text))
