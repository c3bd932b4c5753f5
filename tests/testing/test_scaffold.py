"""A new system: written, installed, checked and tested as an author would, and mistakes in its name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.testing import SystemConformance
from bench.testing.scaffold import new_system
from bench.testing.template.my_vae import MyVAE

SCRIPT = Path(sys.executable).with_name("della-bench")


class TestTemplate(SystemConformance):
    """In every setting, conditional ones included."""

    system = MyVAE


@pytest.mark.skipif(find_spec("setuptools") is None, reason="setuptools, which builds the package, is missing")
def test_it_installs_passes_every_check_and_its_own_test(tmp_path: Path) -> None:
    new_system("odd-one-out", tmp_path)
    site = tmp_path / "site"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
    environment = {**os.environ, "PYTHONPATH": str(site), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, *pip, "./odd-one-out")
    assert re.search(r"^odd-one-out +One latent variable", run(str(SCRIPT), "list", "systems"), re.MULTILINE)
    checked = run(str(SCRIPT), "check", "odd-one-out", "--settings", "unconditional").splitlines()
    assert checked[-1] == f"{len(checked) - 1} ok"
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "shapes", "test_odd_one_out.py"]
    assert "4 passed" in run(*test, folder=tmp_path / "odd-one-out")


def test_one_file_one_test_and_the_entry_point(tmp_path: Path) -> None:
    written = new_system("sigma-vae2", tmp_path)
    folder = tmp_path / "sigma-vae2"
    assert written == [folder / "sigma_vae2.py", folder / "test_sigma_vae2.py", folder / "pyproject.toml"]
    assert set(written) == set(folder.iterdir())
    system, test, project = (path.read_text() for path in written)
    classes = [node.name for node in ast.parse(system).body if isinstance(node, ast.ClassDef)]
    assert classes == ["SigmaVae2Config", "SigmaVae2"]
    assert 'system = "sigma-vae2"' in test
    assert tomllib.loads(project)["project"]["entry-points"] == {
        "della_bench.systems": {"sigma-vae2": "sigma_vae2:SigmaVae2"}
    }
    assert not re.search("my.?vae", system + test + project, re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My VAE", "'My VAE' is not a valid name of a system. Did you mean 'my-vae'? Expected lower-case words joined"),
        ("sigma_vae", "Did you mean 'sigma-vae'?"),
        ("2vae", "Did you mean 'vae'?"),
        ("vae-", "Did you mean 'vae'?"),
        ("../vae", "Did you mean 'vae'?"),
        ("", "'' is not a valid name of a system. Expected"),
        ("ß", "'ß' is not a valid name of a system. Expected"),
        ("lm", "a system 'lm' exists already: baselines.language_model:LanguageModel."),
        ("torch", "'torch' is not a valid name of a system: its file would hide the module 'torch'."),
        ("lambda", "'lambda' is not a valid name of a system: its file would hide a Python keyword."),
    ],
)
def test_mistakes_in_names_write_nothing(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)) as caught:
        new_system(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    system = new_system("fresh", tmp_path)[0]
    system.write_text("mine")
    with pytest.raises(BenchError, match=r"fresh exists already; nothing was written\."):
        new_system("fresh", tmp_path)
    assert system.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"cannot make .*nowhere/fresh: No such file or directory\."):
        new_system("fresh", tmp_path / "nowhere")
