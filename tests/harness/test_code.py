"""Records and checkpoints of other code: whatever changes a number is noticed, whatever changes none is not."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.harness import code as module
from bench.harness.code import changed_code, check_code, code_of_run
from bench.harness.rescore import rescore
from bench.harness.run import run
from bench.records.store import RecordStore, load_runs
from bench.registry import Registry
from bench.specs import RunSpec

MakeSpec = Callable[..., RunSpec]

PLUG_IN = '''"""A system of another package."""

from baselines.transformer_vae import EmbedVAE

from {package}.settings import SCALE


class Scaled(EmbedVAE):
    """EmbedVAE whose z is scaled."""

    def place(self, projected):
        """Scales."""
        return super().place(SCALE * projected)
'''


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package with a system called ``scaled``; each test has a package of its own name."""
    package = re.sub(r"\W", "_", f"scaled_{tmp_path.name}")
    folder = tmp_path / "site" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "settings.py").write_text("SCALE = 1.0\n")
    (folder / "system.py").write_text(PLUG_IN.format(package=package))
    monkeypatch.syspath_prepend(folder.parent)
    entries = Registry.entries

    def with_plug_in(self: Registry[object]) -> dict[str, EntryPoint]:
        entry = EntryPoint("scaled", f"{package}.system:Scaled", self.group)
        return {**entries(self), **({"scaled": entry} if self.kind == "system" else {})}

    monkeypatch.setattr(Registry, "entries", with_plug_in)
    yield folder
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def rewrite(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    module._read.cache_clear()
    module._digests_below.cache_clear()
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("system.py", "SCALE * projected", "0 * projected"),
        ("settings.py", "1.0", "2.0"),
        ("__init__.py", "", "import os\n"),
    ],
)
def test_a_record_of_other_code_is_an_error_until_the_user_chooses(
    micro: MakeSpec, plug_in: Path, tmp_path: Path, file: str, old: str, new: str
) -> None:
    spec, out = micro("scaled", training={"epochs": 1}), tmp_path / "out"
    record = run(spec, out)
    assert run(spec, out) == record
    rewrite(plug_in / file, old, new)
    with pytest.raises(
        BenchError, match=rf"^snli scaled seed 0: recorded by other code: .*{file[:-3]}.* Choose: --reuse "
    ):
        run(spec, out)
    assert run(spec, out, reuse=True) == record
    again = run(spec, out, reuse=False)
    assert again.created > record.created
    assert again.code != record.code
    assert run(spec, out) == again


def test_modules_of_one_name_in_two_packages_are_told_apart(micro: MakeSpec, plug_in: Path) -> None:
    """The later one must not stand for both."""
    inner = plug_in / "zz_inner"
    inner.mkdir()
    (inner / "settings.py").write_text("SCALE = 3.0\n")
    spec = micro("scaled")
    before = code_of_run(spec)
    rewrite(plug_in / "settings.py", "1.0", "2.0")
    assert code_of_run(spec).scoring == before.scoring
    assert changed_code(before.training, code_of_run(spec).training) == [f"{plug_in.name}/settings.py"]


def test_comments_docstrings_and_layout_change_nothing(micro: MakeSpec, plug_in: Path) -> None:
    spec = micro("scaled")
    before = code_of_run(spec)
    rewrite(plug_in / "system.py", '"""Scales."""', "# scales\n")
    rewrite(plug_in / "system.py", "SCALE * projected", "(SCALE\n            * projected)")
    assert code_of_run(spec) == before


def test_a_checkpoint_of_other_code_is_an_error_until_the_user_chooses(
    micro: MakeSpec, plug_in: Path, tmp_path: Path
) -> None:
    spec, out = micro("scaled", training={"epochs": 2, "checkpoint_seconds": 0.0}), tmp_path / "out"

    def interrupt(phase: str, fraction: float) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(spec, out, on_phase=interrupt)
    rewrite(plug_in / "settings.py", "1.0", "2.0")
    with pytest.raises(
        BenchError, match=r"checkpoint\.safetensors: written by other code: .*settings.* Choose: --reuse"
    ):
        run(spec, out)
    fresh = run(spec, tmp_path / "fresh")
    assert run(spec, out, reuse=False).measurement() == fresh.measurement()


def test_a_record_without_code_is_not_taken_for_one_of_this_code(micro: MakeSpec, tmp_path: Path) -> None:
    spec = micro("lm", training={"epochs": 1})
    record = run(spec, tmp_path)
    RecordStore(tmp_path).write(record.model_copy(update={"code": {}}))
    with pytest.raises(BenchError, match=r"^snli lm seed 0: recorded without digests of its code\. Choose: "):
        run(spec, tmp_path)


def test_the_modules_of_a_run_are_those_it_imports(micro: MakeSpec) -> None:
    embed, della, lm = (code_of_run(micro(label)).training for label in ("embed", "della+free-bits", "lm"))
    assert {
        "baselines.transformer_vae",
        "bench.harness.train",
        "bench.backbones.injection",
        "bench.seeds",
    } <= embed.keys()
    assert {"della.model", "della.latents", "bench.objectives.free_bits"} <= della.keys() - embed.keys()
    assert not {name for name in lm if name.startswith(("bench.report", "bench.cli", "bench.records", "bench.audit"))}
    assert "baselines.transformer_vae" not in lm
    assert not {name for name in lm if name.startswith("bench.metric")}
    scoring = code_of_run(micro("lm")).scoring
    assert not lm.keys() & scoring.keys()
    of_scoring = {"bench.harness.scoring", "bench.harness.generate", "bench.metric", "bench.metrics.likelihood"}
    assert {*of_scoring, "bench.metrics.diversity", "della.protocol"} <= scoring.keys()


def test_digests_declared_equivalent_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    declared = '{"bench.seeds": [["a", "b"], ["c", "d"]], "bench.new": [[null, "n"]]}'
    (tmp_path / "equivalent_code.json").write_text(declared)
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    present = {"bench.seeds": "a", "bench.batch": "x"}
    assert changed_code({"bench.seeds": "b", "bench.batch": "x"}, present) == []
    assert changed_code({"bench.seeds": "c", "bench.batch": "y"}, present) == ["bench.batch", "bench.seeds"]
    assert changed_code({"bench.seeds": "a"}, present) == ["bench.batch"]
    assert changed_code(present, {**present, "bench.new": "n"}) == []
    assert changed_code(present, {**present, "bench.new": "m"}) == ["bench.new"]


def test_many_changed_modules_are_counted() -> None:
    with pytest.raises(BenchError, match=r"^it by other code: a, b, c and 2 more\. "):
        check_code("it", dict.fromkeys("abcde", "1"), dict.fromkeys("abcde", "2"))


def test_rescored_metrics_have_the_present_code(micro: MakeSpec, tmp_path: Path) -> None:
    """All but the code that generated the texts, which stay."""
    run(micro("lm", training={"epochs": 1}, scoring={"n_generations": 4}), tmp_path)
    (stored,) = load_runs([tmp_path])
    old = {"bench.metrics.diversity": "0" * 12, "bench.harness.generate": "1" * 12}
    changes = {"scoring_code": {**stored.record.scoring_code, **old}, "code": {"bench.seeds": "2" * 12}}
    RecordStore(tmp_path).write(stored.record.model_copy(update=changes))
    (rescored,) = rescore(load_runs([tmp_path]))
    assert rescored.scoring_code == {**stored.record.scoring_code, "bench.harness.generate": "1" * 12}
    assert rescored.code == {"bench.seeds": "2" * 12}
