"""Models on the hub: published to a server on the loopback interface, and downloaded from it by other processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import bench
from bench.errors import BenchError
from bench.records.schema import parse_record
from bench.records.store import load_runs
from tests.api.test_text_vae import SOURCES, TEXTS
from tests.fuzz.readers import command
from tests.hub import COMMIT, Hub


def folder_of(runs: Path, label: str, task: str = "snli") -> Path:
    (folder,) = runs.glob(f"{task}.{label}.*")
    return folder


def test_a_model_comes_back_from_the_hub_to_the_bit(
    runs: Path, server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(runs, "embed", "quora")
    model = bench.load(folder)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    model.push_to_hub("me/quora-embed")
    (commit,) = server.revisions["me/quora-embed"].values()
    published = server.files["me/quora-embed", commit]
    kept = ("model.safetensors", "model.json", "tokenizer.json", "record.json", "statistics.npz", "curve.jsonl")
    assert published.keys() == {"README.md", *kept}  # no generations, which stand beside sources of the data
    assert {name: published[name] for name in kept} == {name: (folder / name).read_bytes() for name in kept}
    code = (
        "import bench, hashlib\n"
        f"model = bench.TextVAE.from_pretrained('me/quora-embed', revision={commit!r})\n"
        f"print(model.log_likelihood({TEXTS!r}, {SOURCES!r}).tobytes().hex())\n"
        "print(hashlib.sha256((model.folder / 'model.safetensors').read_bytes()).hexdigest())"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        env={**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    likelihoods = model.log_likelihood(TEXTS, SOURCES).tobytes().hex()
    assert done.stdout.split() == [likelihoods, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()]


def test_a_model_of_the_hub_reaches_for_no_other_and_executes_nothing(runs: Path, server: Hub) -> None:
    """Its ``model.json`` names other weights, and a file of Python lies beside it."""
    files = {path.name: path.read_bytes() for path in folder_of(runs, "embed").iterdir()}
    content = json.loads(files["model.json"])
    del content["sha256"]
    other = server.put("me/other", {"config.json": b"{}"})
    content["backbone"] |= {"source": "hub", "name": "me/other", "revision": other}
    code = {"modeling.py": b"raise SystemExit", "config.json": b'{"auto_map": {"AutoModel": "modeling.Model"}}'}
    commit = server.put("me/evil", {**files, **code, "model.json": json.dumps(content).encode()})
    with pytest.raises(BenchError, match=r"^cannot load the backbone from me/other: "):
        bench.load("me/evil", revision=commit)
    asked = " ".join(server.asked)
    assert f"/me/evil/resolve/{commit}/model.safetensors" in asked
    assert "me/other" not in asked
    assert "modeling.py" not in asked


def test_the_commands_take_a_name_of_the_hub(runs: Path, hub: Callable[[Path], str]) -> None:
    folder = folder_of(runs, "embed")
    name = f"{hub(folder)}@{COMMIT}"
    arguments = ("reconstruct", TEXTS[0], "--decoding", "greedy:max_tokens=4")
    assert command(arguments[0], name, *arguments[1:]) == command(arguments[0], folder, *arguments[1:])


def test_the_card_says_what_the_record_says(runs: Path, tmp_path: Path) -> None:
    folder = folder_of(runs, "della")
    model = bench.load(folder)
    model.save_pretrained(tmp_path / "saved")
    (run,) = load_runs([folder])
    card = ModelCard.load(tmp_path / "saved" / "README.md")
    assert card.data.library_name == "della-bench"
    lines = card.text.splitlines()
    for score in run.record.metrics:
        assert f"- `{score.signature}`" in lines
        (row,) = (line for line in lines if line.startswith(f"| {score.name} |"))
        if score.interval is not None and score.interval.low > 1:
            value, low, high = (
                f"{number:.4g}"[:4] for number in (score.value, score.interval.low, score.interval.high)
            )
            assert f"| {value}" in row
            assert f"[{low}" in row
            assert f", {high}" in row
    assert run.record.data.sha256 in card.text
    assert "still-falling" in card.text
    again = bench.load(tmp_path / "saved")
    assert again.generate_model_card().content == card.content
    again.save_pretrained(tmp_path / "saved")


def test_weights_that_changed_after_the_run_have_no_scores(runs: Path, tmp_path: Path) -> None:
    model = bench.load(folder_of(runs, "embed"))
    with torch.no_grad():
        next(model.system.parameters()).add_(1.0)
    model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "record.json").exists()
    assert "no record of a run" in (tmp_path / "saved" / "README.md").read_text()
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in model.system.named_parameters())
    shutil.copytree(folder_of(runs, "embed"), tmp_path / "run")
    with pytest.raises(BenchError, match="run: holds the record of another model"):
        model.save_pretrained(tmp_path / "run")
    assert parse_record((tmp_path / "run" / "record.json").read_bytes(), "").label == "embed"


@pytest.mark.parametrize(
    ("where", "revision", "message"),
    [
        ("runs/nothing", None, "runs/nothing: no such folder; of a model on the Hugging Face hub, name the commit"),
        ("me/model@main", None, "name the commit of 40 hex digits: me/model@COMMIT"),
        ("me/model", "main", "name the commit of 40 hex digits: me/model@COMMIT"),
        (f"me/model@{COMMIT}", COMMIT, "has a commit, and the revision"),
        (f"me/model@{COMMIT}", None, f"cannot load the model me/model at {COMMIT}: "),
        (f"a/b/c@{COMMIT}", None, "cannot load the model a/b/c"),
        (".", COMMIT, ".: a folder has no revision."),
    ],
)
def test_mistakes(where: str, revision: str | None, message: str) -> None:
    with pytest.raises(BenchError) as error:
        bench.load(where, revision=revision)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
