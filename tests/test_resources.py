"""Packaged YAML by name, a user's by path, and one line for anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import bench
from bench import resources
from bench.errors import BenchError
from bench.resources import Folder


@pytest.mark.parametrize("folder", ["suites", "scales"])
def test_names_are_those_of_the_files(folder: Folder) -> None:
    files = sorted((Path(bench.__file__).parent / folder).glob("*.yaml"))
    assert files
    assert resources.names(folder) == tuple(file.stem for file in files)
    for file in files:
        assert resources.read(folder, file.stem) == yaml.safe_load(file.read_text())


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_path_is_read_from_where_it_lies(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"mine{suffix}"
    file.write_text("tasks: [snli]\ntitle: Größe\n", encoding="utf-8")
    assert resources.read("suites", str(file)) == {"tasks": ["snli"], "title": "Größe"}


def test_an_unknown_name_gets_the_allowed_and_the_nearest() -> None:
    with pytest.raises(BenchError, match=r"^unknown scale 'smok'\. Did you mean 'smoke'\? Allowed: .*small, smoke"):
        resources.read("scales", "smok")
    with pytest.raises(BenchError, match=r"^unknown suite 'table-1'\. Did you mean 'table1'\?"):
        resources.read("suites", "table-1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "expected keys and values, got list."),
        (b"", "expected keys and values, got NoneType."),
        (b"a: [1,\n", "not YAML: while parsing a flow"),
        (b"a: \xff\xfe\n", "not UTF-8 (byte 4)."),
        (b"a: 2024-13-45\n", "not YAML: a value that its type does not have (month must be in 1..12)"),
    ],
)
def test_bad_content_is_one_line_that_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        resources.read("suites", str(file))
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"^cannot read .*none\.yaml: No such file or directory\.$"):
        resources.read("suites", str(tmp_path / "none.yaml"))
