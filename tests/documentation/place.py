"""The folder in which the commands of a page are run: the files that a reader of the page has."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from bench import resources
from bench.records.store import RECORD
from tests.documentation.blocks import ROOT
from tests.page.conftest import copy_run, some_run
from tests.released_della import ReleasedDella, save_tokenizer
from tests.released_optimus import ReleasedOptimus, save_wordpiece

MICRO = ROOT / "tests" / "cli" / "micro.yaml"
REFERENCE = ROOT / "results" / "reference"
TEXTS = ("a cat sat on the mat .", "a dog runs", "no", "the dog sat", "two men play a game", "the cat runs home")


def furnish(folder: Path, commands: Iterable[str] = ()) -> None:
    """Writes what the pages name: scales, texts, checkpoints, benchmarks, and records but those that commands make."""
    micro = yaml.safe_load(MICRO.read_text(encoding="utf-8"))
    micro["training"]["epochs"] = 2  # as many as the stages of any system of the pages
    for name in resources.names("scales"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(micro))
    _results(folder)
    for command in commands:
        if made := re.search(r"della-bench run (\w+) --scale (\w+)", command):
            shutil.rmtree(folder / "runs" / f"{made[1]}-{made[2]}", ignore_errors=True)
    _texts(folder)
    _checkpoints(folder)


def _results(folder: Path) -> None:
    shutil.copytree(ROOT / "results" / "published", folder / "results" / "published")
    shutil.copy(ROOT / "results" / "published" / "della-2022.csv", folder / "mine.csv")
    for name in ("regress", "table8-small", "collapse-study"):
        shutil.copytree(REFERENCE / name, folder / "results" / "reference" / name)
        _made_again(REFERENCE / name, folder / "runs" / name)
    shutil.copytree(REFERENCE / "regress", folder / "runs" / "before")
    _made_again(REFERENCE / "regress", folder / "runs" / "after")
    for last in (1, 2):  # the first layers have latent variables
        copy_run(some_run("table8-small/ptb.della."), folder / "runs" / "figure2-small", partial(_with_layers, last))
    content = json.loads((REFERENCE / "regress" / "speed.json").read_text())
    for name in ("before", "after"):
        content["benchmarks"][0]["stats"]["median"] *= 1.001
        (folder / f"{name}.json").write_text(json.dumps(content))


def _with_layers(last: int, content: dict[str, Any]) -> None:
    system = content["spec"]["system"]
    system["options"]["layers"] = f"1-{last}"
    system["label"] = f"della:layers=1-{last}"


def _made_again(runs: Path, folder: Path) -> None:
    """Copies runs as if they had been made again a year later: a copy is not compared with what it is a copy of."""
    shutil.copytree(runs, folder)
    for path in folder.glob(f"*/{RECORD}"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("sha256", None)
        content["created"] = content["created"].replace("2026", "2027")
        path.write_text(json.dumps(content), encoding="utf-8")


def _texts(folder: Path) -> None:
    for name in ("samples", "test", "train", "texts"):
        (folder / f"{name}.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    for name, field in (("summaries", "text"), ("references", "reference"), ("answers", "text")):
        lines = (json.dumps({field: text}) for text in TEXTS[:5])
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for task in ("ptb", "snli", "yelp"):
        for split in ("train", "valid", "test"):
            file = folder / "DATA" / task / f"{split}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{split} {text} {number}\n" for number in range(5) for text in TEXTS))


def _checkpoints(folder: Path) -> None:
    for name in ("GPT2", "gpt2-files"):
        save_tokenizer(folder / name)
    save_wordpiece(folder / "bert-base-cased-files")
    della = ReleasedDella(width=24, positions=300).state_dict()
    for name in ("model.pt", "model_epoch_39.pt"):
        torch.save(della, folder / name)
    optimus: Any = ReleasedOptimus().checkpoint()
    (folder / "checkpoint-full-31250").mkdir()
    torch.save(optimus, folder / "checkpoint-full-31250" / "training.bin")
    for half in ("encoder", "decoder"):
        state = {
            name.removeprefix(f"{half}."): tensor
            for name, tensor in optimus["model_state_dict"].items()
            if name.startswith(f"{half}.")
        }
        (folder / f"checkpoint-{half}-31250").mkdir()
        torch.save(state, folder / f"checkpoint-{half}-31250" / "pytorch_model.bin")
