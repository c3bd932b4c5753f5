"""Workflows, tox.ini, pyproject.toml and .ci/run say the same."""

from __future__ import annotations

import configparser
import itertools
import re
import shlex
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import bench
from tests.distribution import problems

ROOT = Path(__file__).parents[1]
WORKFLOWS: dict[str, Any] = {
    path.stem: yaml.load(path.read_text(), yaml.BaseLoader)  # noqa: S506  # no types: `on` is a word, 3.10 is no number
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini")
ENVIRONMENTS = {section.removeprefix("testenv:") for section in TOX.sections() if section.startswith("testenv:")}

INSTALL = "python -m pip install tox"
NOT_IN_CI = {"estimators", "pretrained", ".pkg_external"}
"""Two make what is committed; the third is a part of ``dist``."""


def commands(job: dict[str, Any]) -> Iterator[str]:
    """Returns the commands of a job, once for each combination of its matrix."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    further = matrix.pop("include", [])
    combinations = [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]
    for step, values in itertools.product(job.get("steps", []), combinations + further):
        if "run" in step:
            yield re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda name, values=values: values[name[1]], step["run"])


def tox_environments(lines: list[str]) -> list[str]:
    """Returns the environments that command lines run; every line must be ``python -m tox`` or the installation."""
    found = []
    for line in lines:
        if line == INSTALL:
            continue
        words = shlex.split(line)
        assert words[:4] == ["python", "-m", "tox", "-e"], line
        found += words[4].split(",")
    return found


@pytest.mark.parametrize("name", sorted(WORKFLOWS.keys() - {"baseline"}))
def test_every_command_is_a_tox_environment(name: str) -> None:
    lines = [line for job in WORKFLOWS[name]["jobs"].values() for line in commands(job)]
    assert lines
    assert set(tox_environments(lines)) <= ENVIRONMENTS


def test_every_tox_environment_is_run_by_continuous_integration() -> None:
    lines = [line for job in WORKFLOWS["ci"]["jobs"].values() for line in commands(job)]
    assert set(tox_environments(lines)) == ENVIRONMENTS - NOT_IN_CI


def test_the_commands_for_other_repositories_are_those_of_the_example() -> None:
    """They cannot use our tox.ini there."""
    (job,) = WORKFLOWS["baseline"]["jobs"].values()
    inputs = WORKFLOWS["baseline"]["on"]["workflow_call"]["inputs"]
    here = {'"$SYSTEM"': "lstm-vae", '"$TASK"': inputs["task"]["default"], "runs/smoke": "{env_tmp_dir}/smoke"}
    text = TOX["testenv:example"]["commands"]
    for there, ours in here.items():
        text = text.replace(ours, there)
    ours = [line for line in text.splitlines() if line.startswith("della-bench")]
    assert ours == [line for line in commands(job) if line.startswith("della-bench")]


def test_the_workflow_for_other_repositories_is_called_with_what_it_takes() -> None:
    call = WORKFLOWS["ci"]["jobs"]["baseline"]
    assert (ROOT / call["uses"]).samefile(ROOT / ".github" / "workflows" / "baseline.yml")
    inputs = WORKFLOWS["baseline"]["on"]["workflow_call"]["inputs"]
    assert {name for name, given in inputs.items() if given.get("required")} <= call["with"].keys() <= inputs.keys()
    assert (ROOT / call["with"]["package"] / "pyproject.toml").exists()


def test_a_workflow_may_read_only_and_one_job_may_publish() -> None:
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}
        more = {job: content["permissions"] for job, content in workflow["jobs"].items() if "permissions" in content}
        assert more == ({"publish": {"id-token": "write"}} if name == "release" else {})


def test_the_script_runs_the_commands_of_the_readme_and_environments_that_exist() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    (section,) = re.findall(r"## Two commands\n(.*?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    two = re.findall(r"```console\n(.*)\n```", section)
    assert len(two) == 2
    assert set(two) <= set(lines)
    tox = [line.removeprefix(f"{INSTALL} && ") for line in lines if " tox" in line]
    chosen = tox_environments([line for line in tox if line != "python -m tox"])
    assert {*chosen, *re.split(r",\s*", TOX["tox"]["env_list"])} <= ENVIRONMENTS


def test_classifiers_name_only_versions_of_python_that_the_tests_run_on() -> None:
    matrix = WORKFLOWS["ci"]["jobs"]["tox"]["strategy"]["matrix"]
    tested = {*matrix["python"], *(one["python"] for one in matrix["include"] if one["environment"] == "tests")}
    named = {line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line}
    assert named
    assert named <= tested
    assert f">={min(named)}" == PROJECT["requires-python"]


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    """The version of torch is set where the environment is run: this repository cannot fetch another everywhere."""
    extras = [text for of_extra in PROJECT["optional-dependencies"].values() for text in of_extra]
    bounds: dict[str, Version] = {}
    for text in (*PROJECT["dependencies"], *extras):
        requirement = Requirement(text)
        found = [part.version for part in requirement.specifier if part.operator == ">="]
        bounds |= {requirement.name: Version(found[0])} if found else {}
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(version) for name, version in pinned.items()} == {name: bounds[name] for name in pinned}
    required = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert required - pinned.keys() == {"torch"}
    assert Version(WORKFLOWS["ci"]["env"]["LOWEST_TORCH"]) == bounds["torch"]


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == bench.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]


def test_what_is_wrong_with_the_files_of_a_release_is_named(tmp_path: Path) -> None:
    """An sdist with records and without tests, and a wheel with a package of tests, of another version than the tag."""
    with tarfile.open(tmp_path / "della_bench-1.0.tar.gz", "w:gz") as sdist:
        for name in ("pyproject.toml", "tox.ini", "results/published/della-2022.csv", "CHANGELOG.md"):
            sdist.add(ROOT / "LICENSE", f"della_bench-1.0/{name}")
        sdist.add(ROOT / "LICENSE", "della_bench-1.0/results/reference/record.json")
    assert problems(tmp_path) == [f"{tmp_path} contains ['della_bench-1.0.tar.gz'], not one wheel and one sdist"]
    with zipfile.ZipFile(tmp_path / "della_bench-1.0-py3-none-any.whl", "w") as wheel:
        for name in ("bench/py.typed", "bench/records/published/della-2022.csv", "della/model.py", "tests/x.py"):
            wheel.writestr(name, "")
    assert problems(tmp_path, "v1.1") == [
        "della_bench-1.0-py3-none-any.whl lacks baselines/optimus.py",
        "della_bench-1.0.tar.gz lacks tests/conftest.py",
        "della_bench-1.0-py3-none-any.whl contains ['tests']",
        "della_bench-1.0.tar.gz contains results/reference/record.json",
        "the tag is v1.1, the version 1.0",
    ]
