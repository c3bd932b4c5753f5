"""Checks before a grid starts: unreadable files, models that cannot be built and folders that cannot be written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from bench.errors import BenchError
from bench.harness import preflight
from bench.harness.preflight import check_folder, check_inputs
from bench.specs import RunSpec
from tests import pretrained_models

MakeSpec = Callable[..., RunSpec]


def test_files_are_read_once_a_task_before_anything_runs(
    micro: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_files(spec: RunSpec) -> RunSpec:
        return spec.model_copy(update={"task": spec.task.model_copy(update={"source": "files"})})

    read: list[str] = []
    monkeypatch.setattr(preflight, "load_texts", lambda task, folder: read.append(task.name))
    specs = [micro(label, task) for task in ("snli", "ptb") for label in ("lm", "embed")]
    check_inputs(specs, tmp_path)
    assert read == []  # a grammar is no file
    check_inputs(list(map(from_files, specs)), tmp_path)
    assert sorted(read) == ["ptb", "snli"]


def test_bad_files_are_found_before_anything_runs(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("lm")
    spec = spec.model_copy(update={"task": spec.task.model_copy(update={"source": "files"})})
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_bytes(b"fine\n\xff\n" if split == "valid" else b"fine\n")
    with pytest.raises(BenchError, match=r"valid\.txt, line 2: not UTF-8"):
        check_inputs([spec], tmp_path)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("snli", {"backbone": {"width": 15}}, "backbone.width is 15, no multiple of backbone.heads, 2."),
        ("snli", {"backbone": {"source": "hub"}}, "backbone.source is 'hub' but backbone.name is not set."),
        (
            "snli",
            {"backbone": {"source": "hub", "name": "a/b"}},
            "backbone.source is 'hub' but backbone.revision is not",
        ),
        ("snli", {"tokenizer": {"kind": "hub"}}, "tokenizer.kind is 'hub' but tokenizer.name is not set."),
        (
            "snli",
            {"tokenizer": {"kind": "hub", "name": "a/b", "revision": "v1"}},
            "tokenizer.kind is 'hub' but tokenizer.revision is 'v1', which is no commit; name the commit of a/b on ",
        ),
        ("quora", {"backbone": {"source": "folder", "path": "/none"}}, "no model in /none: expected config.json and "),
        ("snli", {"tokenizer": {"kind": "folder"}}, "tokenizer.kind is 'folder' but tokenizer.path is not set."),
        ("snli", {"tokenizer": {"kind": "folder", "path": "/none"}}, "no tokenizer in /none: expected tokenizer.json"),
        (
            "writingprompts",
            {"max_source_tokens": 158},
            "the backbone's 160 positions leave no room for a text behind sources of up to ",
        ),
    ],
)
def test_what_cannot_be_built_is_found_before_anything_runs(
    micro: MakeSpec, task: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=f"^{re.escape(message)}") as error:
        check_inputs([micro("lm"), micro("lm", task, **changes)], None)
    assert "\n" not in str(error.value)


def test_weights_that_are_missing_are_found_before_anything_runs(micro: MakeSpec, tmp_path: Path) -> None:
    folder = pretrained_models.save("decoder-only", tmp_path / "gpt2")
    files = {"tokenizer": {"kind": "folder", "path": folder}, "backbone": {"source": "folder", "path": folder}}
    spec = micro("lm", max_tokens=40, **files)
    check_inputs([spec], None)
    weights = load_file(folder / "model.safetensors")
    save_file({f"module.{name}": weight for name, weight in weights.items()}, folder / "model.safetensors")
    with pytest.raises(BenchError, match=f"^{folder}: the weights lack 'transformer.wte.weight' and "):
        check_inputs([spec], None)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        with pytest.raises(BenchError, match=f"cannot write to {folder}: "):
            check_folder(folder)
    check_folder(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    assert list((tmp_path / "new" / "folder").iterdir()) == []
