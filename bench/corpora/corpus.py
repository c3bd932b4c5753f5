"""Where the real texts of each task come from: a small YAML file per task beside this module."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bench import resources
from bench.reading import parse_as
from bench.specs import Spec
from bench.tasks import Split

Count = Annotated[int, Field(ge=1)]
Columns = Annotated[tuple[str, ...], Field(min_length=1)]


class Corpus(Spec):
    """The data set of a task on the Hugging Face hub, and what is taken from it.

    Attributes:
        summary: one line.
        repository: name of the data set on the hub.
        revision: branch or commit; a branch is resolved to its commit when the texts are downloaded.
        licence: one line.
        files: split to a pattern of the names of its parquet files. A split without files is drawn from ``train``.
        source: columns of the sources of a conditional task.
        target: columns of the texts. Each names a text of its own; columns with blanks between them make one text.
        replace: what is replaced in every text, such as the escapes of line ends, by what.
        distinct: whether each text is taken once, however often it is there.
        sizes: texts of each split in the paper (its Table 7), drawn at random if there are more.
        words: mean number of words of sources and texts in the paper (its Table 7).
        note: how the texts differ from those of the paper.
    """

    summary: str
    repository: str
    revision: str = "main"
    licence: str
    files: dict[Split, str] = Field(min_length=1)
    source: Columns | None = None
    target: Columns
    replace: dict[str, str] = Field(default_factory=dict)
    distinct: bool = False
    sizes: dict[Split, Count]
    words: dict[Literal["source", "target"], Count]
    note: str = ""


def corpora() -> tuple[str, ...]:
    """Returns the names of the tasks that have a corpus."""
    return resources.names("corpora")


def load_corpus(name: str) -> Corpus:
    """Returns the corpus of a task by its name, or one from a YAML file.

    Raises:
        BenchError: no such corpus or file, or the file is not one.
    """
    return parse_as(Corpus, resources.read("corpora", name), f"corpus {name!r}")
