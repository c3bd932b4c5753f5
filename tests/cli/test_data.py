"""The verbs of real texts: from a hub on the loopback interface to a run on what it held."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants

from bench.corpora import corpora, load_corpus
from bench.records.store import load_runs
from tests.cli.cli_process import Finished, run_script
from tests.hub import Hub
from tests.parquet_files import files_of

DellaBench = Callable[..., Finished]
SIZES = ("--sizes", "train=40,valid=8,test=8")


@pytest.fixture
def online(filled_server: Hub, workplace: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Runs the command in the workplace, with a hub that has the data sets of all tasks and an empty cache."""
    hub = {"HF_ENDPOINT": filled_server.url, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "hub")}
    return lambda *arguments: run_script(arguments, workplace, {**os.environ, **hub})


def test_from_the_hub_to_a_run_on_every_task(
    filled_server: Hub, online: DellaBench, della_bench: DellaBench, workplace: Path
) -> None:
    built = online("-q", "data", "build", "all", *SIZES)
    assert (built.code, built.err) == (0, "")
    assert [line.partition(" texts of ")[0] for line in built.out.splitlines()] == [
        f"{name}: 40 / 8 / 8" for name in corpora()
    ]
    asked = len(filled_server.asked)
    again = online("data", "build", "all")
    assert [line.endswith("; built before") for line in again.out.splitlines()] == [True] * 7
    assert len(filled_server.asked) == asked
    verified = della_bench("data", "verify")
    assert (verified.code, len(verified.out.splitlines())) == (0, 7)
    tasks, few = ",".join(corpora()), "limits.train=8,limits.valid=4,limits.test=4,scoring.n_generations=0"
    done = della_bench(
        *("run", "mine.yaml", "--scale", "micro.yaml", "--data-dir", "DATA", "--systems", "lm", "--jobs", "1"),
        *("--tasks", tasks, "--set", few, "--set", "max_source_tokens=40"),
    )
    assert done.code == 0, done.err
    runs = load_runs([workplace / "runs"])
    assert {run.record.task: run.record.data.source for run in runs} == dict.fromkeys(corpora(), "files")


def test_a_corpus_may_move_with_one_line(
    filled_server: Hub, online: DellaBench, della_bench: DellaBench, workplace: Path
) -> None:
    shown = yaml.safe_load(della_bench("data", "show", "quora").out)
    filled_server.put("elsewhere/pairs", files_of(load_corpus("quora"), {"train": 30}))
    (workplace / "quora.yaml").write_text(yaml.safe_dump({**shown, "repository": "elsewhere/pairs"}))
    done = online("-q", "data", "build", "quora.yaml", *SIZES)
    assert done.code == 0, done.err
    assert "texts of elsewhere/pairs@" in done.out
    moved = online("data", "build", "snli", "--revision", "v9")
    assert (moved.code, moved.err) == (
        2,
        "della-bench: stanfordnlp/snli has no revision 'v9'; --revision names another.\n",
    )


def test_mistakes_are_named_in_one_line(della_bench: DellaBench, workplace: Path) -> None:
    for arguments, message in {
        ("show", "snil"): "unknown corpus 'snil'. Did you mean 'snli'?",
        ("build", "all", "--revision", "x"): "--revision: name one task.",
        ("build", "snli", "--sizes", "dev=3"): "unknown split in --sizes 'dev'.",
        ("build", "snli", "--sizes", "test=0"): "--sizes: test is 0; it must be a whole number from 1.",
        ("verify", "snli"): "no data.json: these texts were not built by della-bench data build.",
        ("verify",): "nothing to verify: DATA has no folder of a task.",
        ("build", "micro.yaml"): "unknown task of the corpus 'micro.yaml' 'micro'.",
    }.items():
        done = della_bench("-q", "data", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert done.err.count("\n") == 1
    assert not (workplace / "DATA").exists()


def test_without_a_network_the_folder_form_is_named(della_bench: DellaBench) -> None:
    assert constants.HF_HUB_OFFLINE
    done = della_bench("data", "build", "ptb")
    assert done.code == 2
    assert done.err.startswith("della-bench: cannot download ptb-text-only/ptb_text_only@refs/convert/parquet: ")
    assert "Without a network, put texts of your own into DATA/ptb: train, valid and test as .txt or .jsonl" in done.err
    assert done.err.count("\n") == 1
