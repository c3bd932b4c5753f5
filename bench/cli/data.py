"""Verbs of real texts: what they are, and folders of them that ``run --data-dir`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import is_quiet
from bench.cli.output import say
from bench.errors import BenchError, unknown_name

if TYPE_CHECKING:
    from bench.corpora import Corpus

TaskArgument = Annotated[str, typer.Argument(help="Task, all, or the YAML file of a corpus, named like its task.")]
OutOption = Annotated[Path, typer.Option(help="Folder of the folders of the tasks, as for --data-dir.")]


def show(task: TaskArgument = "all") -> None:
    """Print where the texts of a task come from, and what is taken, as the YAML that can be changed."""
    import yaml

    chosen = _chosen(task)
    for name, corpus in chosen.items():
        if len(chosen) > 1:
            say(f"# {name}")
        say(yaml.safe_dump(corpus.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True))


def build(
    context: typer.Context,
    task: TaskArgument,
    out: OutOption = Path("DATA"),
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of texts in place of the hub, such as released label<TAB>text."),
    ] = None,
    revision: Annotated[str, typer.Option(help="Commit or branch of the data set, in place of that of its file.")] = "",
    sizes: Annotated[
        str, typer.Option(help="Texts of each split in place of the paper's, as train=1000,valid=100,test=100.")
    ] = "",
) -> None:
    """Download the texts of a task, draw those of the paper's sizes, and write OUT/TASK with a data.json beside them.

    What is built and undamaged is left as it is, unless --from, --revision or --sizes is given.
    """
    from bench.corpora.build import FACTS
    from bench.corpora.build import build as build_folder
    from bench.corpora.build import verify as verify_folder

    chosen, wanted = _chosen(task), _sizes(sizes)
    if len(chosen) > 1 and (source is not None or revision):
        raise BenchError(f"{'--from' if source is not None else '--revision'}: name one task.")
    for name, corpus in chosen.items():
        folder = out / name
        if (folder / FACTS).is_file() and source is None and not revision and not wanted:
            say(f"{_summary(name, verify_folder(folder))}; built before")
            continue
        given = corpus.model_copy(update={"revision": revision}) if revision else corpus
        say(f"{_summary(name, build_folder(name, given, folder, wanted, source, is_quiet(context)))}; in {folder}")


def verify(task: TaskArgument = "all", out: OutOption = Path("DATA")) -> None:
    """Compare built texts with the checksums beside them; with all, the tasks that have a folder."""
    from bench.corpora.build import verify as verify_folder

    names = [name for name in _chosen(task) if task != "all" or (out / name).is_dir()]
    if not names:
        raise BenchError(f"nothing to verify: {out} has no folder of a task.")
    for name in names:
        say(f"{_summary(name, verify_folder(out / name))}; undamaged")


def _chosen(task: str) -> dict[str, Corpus]:
    """Returns the corpora by the names of their tasks."""
    from bench.corpora import corpora, load_corpus
    from bench.resources import SUFFIXES
    from bench.tasks import TASKS

    if task == "all":
        return {name: load_corpus(name) for name in corpora()}
    if not task.endswith(SUFFIXES) and task not in corpora():
        raise unknown_name("corpus", task, ("all", *corpora()))
    if (name := Path(task).stem) not in TASKS.names():
        raise unknown_name(f"task of the corpus {task!r}", name, TASKS.names())
    return {name: load_corpus(task)}


def _sizes(text: str) -> dict[Any, int]:
    from bench.labels import parse_call
    from bench.tasks import SPLITS

    sizes = parse_call(f"--sizes:{text}")[1]
    for split, size in sizes.items():
        if split not in SPLITS:
            raise unknown_name("split in --sizes", str(split), SPLITS)
        if type(size) is not int or size < 1:
            raise BenchError(f"--sizes: {split} is {size!r}; it must be a whole number from 1.")
    return sizes


def _summary(name: str, facts: Mapping[str, Any]) -> str:
    sizes = " / ".join(f"{size:,}" for size in facts["sizes"].values())
    origin = f"{facts['repository']}@{facts['revision'][:7]}" if "repository" in facts else f"folder {facts['folder']}"
    return f"{name}: {sizes} texts of {origin}"
