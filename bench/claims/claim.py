"""The claims of a paper, from a YAML file beside its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.errors import unknown_name
from bench.reading import parse_as, read_yaml
from bench.records.published import published_folder
from bench.specs import Spec

SUFFIX = ".claims.yaml"


class Claim(Spec):
    """A sentence that records can test.

    Attributes:
        sentence: the claim.
        source: where the paper makes it.
        row: label of the system that it is about.
        relation: how a metric of the row compares with the others.
        than: labels of the other rows, or a number.
        metrics: that are compared; those with an ``@`` are the same scores by other arithmetic and judged apart.
        tasks: task of the row and task of the others, if they are not the same.
    """

    sentence: str
    source: str
    row: str
    relation: Literal["above", "below"]
    than: tuple[str, ...] | float
    metrics: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, str] | None = None


class _Claims(Spec):
    claims: tuple[Claim, ...] = Field(min_length=1)


def read_claims(paper: str = "") -> tuple[Claim, ...]:
    """Returns the claims of a paper by its key, or of a YAML file with a list ``claims``; by default of all papers.

    Raises:
        BenchError: neither a paper with claims nor a file, or a file that holds something else.
    """
    if paper.endswith((".yaml", ".yml")):
        return parse_as(_Claims, read_yaml(Path(paper)), f"claims {paper!r}").claims
    files = {f.name.removesuffix(SUFFIX): f for f in published_folder().iterdir() if f.name.endswith(SUFFIX)}
    if paper and paper not in files:
        raise unknown_name("paper with claims", paper, files)
    return tuple(
        claim
        for key in ([paper] if paper else sorted(files))
        for claim in parse_as(_Claims, read_yaml(files[key]), f"claims of {key!r}").claims
    )
