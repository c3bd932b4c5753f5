"""Components by name: found through entry points, imported when asked for and not before."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from bench.errors import BenchError, did_you_mean
from bench.interface import System
from bench.registry import Registry
from bench.systems import SYSTEMS

GROUP = "della_bench.systems"
OURS = {"lm", "embed", "memory", "softmax", "optimus", "della", "della-2022"}

Install = Callable[..., Path]


def test_our_own_systems_are_entry_points_like_anybodys() -> None:
    assert SYSTEMS.builtin == {}
    assert set(SYSTEMS.names()) >= OURS
    assert list(SYSTEMS.names()) == sorted({entry.name for entry in entry_points(group=GROUP)})
    for name in OURS:
        assert issubclass(SYSTEMS.get(name), System)


@pytest.mark.parametrize(("typo", "meant"), [("dela", "della"), ("memry", "memory"), ("softmx", "softmax")])
def test_an_unknown_name_gets_the_allowed_and_the_nearest(typo: str, meant: str) -> None:
    message = f"unknown system {typo!r}. Did you mean {meant!r}? Allowed: {', '.join(SYSTEMS.names())}."
    with pytest.raises(BenchError, match=f"^{re.escape(message)}$"):
        SYSTEMS.get(typo)


def test_no_name_is_suggested_where_several_are_as_near() -> None:
    assert did_you_mean("tabl", ["table1", "table2", "run"]) == ""
    assert did_you_mean("tabl", ["table", "table1", "table2"]) == " Did you mean 'table'?"
    assert did_you_mean("tabel1", ["table1", "table2"]) == " Did you mean 'table1'?"


def test_an_empty_registry_says_so() -> None:
    with pytest.raises(BenchError, match=r"^unknown ghost 'x'\. Allowed: \(none\)\.$"):
        Registry[type]("ghost", {}, "della_bench.ghosts").get("x")


def test_a_third_partys_system_is_imported_only_when_asked_for(install: Install) -> None:
    install("acme_lazy", {"lazy": "acme_lazy.models:Lazy"}, models='class Lazy:\n    """A lazy one."""\n')
    assert "lazy" in SYSTEMS.names()
    assert SYSTEMS.summaries()["lazy"] == "A lazy one."
    assert not [name for name in sys.modules if name.startswith("acme_lazy")]
    found = SYSTEMS.get("lazy")
    assert found is sys.modules["acme_lazy.models"].Lazy
    assert SYSTEMS.get("lazy") is found
    assert set(SYSTEMS.names()) >= OURS


def test_components_may_lie_inside_others(install: Install) -> None:
    source = "class Outer:\n    class Inner:\n        pass\n"
    install("acme_nested", {"nested": "acme_nested.models:Outer.Inner"}, models=source)
    assert SYSTEMS.get("nested").__qualname__ == "Outer.Inner"
    assert SYSTEMS.summaries()["nested"] == ""


def test_builtin_components_and_entry_points_share_a_registry(install: Install) -> None:
    install("acme_parts", {"mine": "acme_parts.parts:Mine"}, "acme.parts", parts="class Mine: pass\n")
    registry = Registry[type]("part", {"counter": "collections:Counter"}, "acme.parts")
    assert registry.names() == ("counter", "mine")
    assert registry.get("counter").__name__ == "Counter"
    assert registry.get("mine").__name__ == "Mine"


def test_two_packages_under_one_name_stop_only_the_use_of_this_name(install: Install) -> None:
    install("acme_one", {"twin": "acme_one.models:Twin"})
    install("acme_two", {"twin": "acme_two.models:Twin", "single": "acme_two.models:Single"}, models="class Single: 0")
    with pytest.raises(
        BenchError, match=r"^two systems are called 'twin': acme_\w+.models:Twin and acme_\w+"
    ) as caught:
        SYSTEMS.get("twin")
    assert {"twin", "single", "lm"} <= set(SYSTEMS.names())
    assert SYSTEMS.get("single").__name__ == "Single"
    assert "two systems" in SYSTEMS.all()[1]["twin"]
    assert all(part in str(caught.value) for part in ("acme_one.models:Twin", "acme_two.models:Twin", "Uninstall"))


def test_a_built_in_name_cannot_be_taken(install: Install) -> None:
    install("acme_thief", {"counter": "acme_thief.models:Counter"}, "acme.thieves")
    registry = Registry[type]("part", {"counter": "collections:Counter"}, "acme.thieves")
    with pytest.raises(BenchError, match="two parts are called 'counter': collections:Counter and acme_thief"):
        registry.get("counter")


@pytest.mark.parametrize("content", [b"[della_bench.systems]\nbroken\n", b"\xff", b"[della_bench.systems]\nx = :y\n"])
def test_a_package_with_damaged_metadata_costs_only_itself(install: Install, content: bytes) -> None:
    folder = install("acme_damaged", {"mine": "acme_damaged:Mine"})
    (folder / "acme_damaged-1.0.dist-info" / "entry_points.txt").write_bytes(content)
    assert set(SYSTEMS.names()) >= OURS
    assert not {"mine", "x", "broken"} & set(SYSTEMS.names())
    assert SYSTEMS.get("lm").__name__ == "LanguageModel"


def test_one_component_seen_twice_is_no_conflict(install: Install) -> None:
    folder = install("acme_seen", {"seen": "acme_seen.models:Seen"}, models="class Seen: pass\n")
    (folder / "acme_seen-1.0.dist-info").rename(folder / "acme_seen_copy-1.0.dist-info")
    install("acme_seen_again", {"seen": "acme_seen.models:Seen"})
    assert "seen" in SYSTEMS.names()


FAILING = {
    "angry": "raise RuntimeError('no driver,\\nno device')\n",
    "garbled": "def f(:\n",
    "library": "import ctypes\nctypes.CDLL('libnothere.so')\n",
    "exits": "raise SystemExit(3)\n",
    "quiet": "raise ImportError\n",
}


def test_all_components_but_the_broken(install: Install) -> None:
    install(
        "acme_all", {"good": "acme_all.good:Good", "bad": "acme_all.angry:Bad"}, "acme.all", good="Good = 1", **FAILING
    )
    components, reasons = Registry[int]("part", {}, "acme.all").all()
    assert components == {"good": 1}
    assert reasons == {
        "bad": "part 'bad' cannot be loaded from 'acme_all.angry:Bad': RuntimeError: no driver, no device"
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("acme_none.models:Thing", "No module named 'acme_none'"),
        ("acme_gaps.nothing:Thing", "No module named 'acme_gaps.nothing'"),
        ("acme_gaps.models:Thing", "module 'acme_gaps.models' has no attribute 'Thing'"),
        ("acme_gaps.needy:Thing", "No module named 'acme_unknown'"),
        ("acme_gaps.models", "has no attribute ''"),
        ("acme_gaps.angry:Thing", "RuntimeError: no driver, no device"),
        ("acme_gaps.garbled:Thing", "SyntaxError: invalid syntax (garbled.py, line 1)"),
        (
            "acme_gaps.library:Thing",
            "OSError: libnothere.so: cannot open shared object file: No such file or directory",
        ),
        ("acme_gaps.exits:Thing", "SystemExit: 3"),
        ("acme_gaps.quiet:Thing", "ImportError"),
    ],
)
def test_what_cannot_be_loaded_is_one_line_that_says_from_where(install: Install, value: str, reason: str) -> None:
    install("acme_gaps", {"gap": value}, models="", needy="import acme_unknown\nclass Thing: pass\n", **FAILING)
    assert SYSTEMS.summaries()["gap"] == ""
    with pytest.raises(BenchError, match=re.escape(f"system 'gap' cannot be loaded from {value!r}: ")) as caught:
        SYSTEMS.get("gap")
    assert str(caught.value).endswith(reason)


def test_summaries_are_the_first_lines_of_the_docstrings() -> None:
    summaries = SYSTEMS.summaries()
    for name in OURS:
        assert summaries[name]
        assert summaries[name] == (SYSTEMS.get(name).__doc__ or "").strip().splitlines()[0]


def test_summaries_survive_broken_packages(install: Install) -> None:
    """A package that fails on import, and one that does not parse, must not break the list of all others."""
    entries = {"angry": "acme_angry.models:Angry", "garbled": "acme_angry.garbled:Garbled"}
    folder = install(
        "acme_angry", entries, models='class Angry:\n    """An angry one."""\n', garbled="class Garbled(:\n"
    )
    (folder / "acme_angry" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    summaries = SYSTEMS.summaries()
    assert summaries["angry"] == "An angry one."
    assert summaries["garbled"] == ""
    assert set(summaries) >= OURS


def test_listing_imports_neither_torch_nor_any_system() -> None:
    """Run apart from this process, which has imported everything, with torch made impossible to import."""
    program = (
        "import json, sys; sys.modules['torch'] = None\n"
        "from bench.systems import SYSTEMS\n"
        "from bench.objectives import OBJECTIVES\n"
        "import bench.metric, bench.specs, bench.seeds, bench.resources, bench.errors\n"
        "found = {**SYSTEMS.summaries(), **OBJECTIVES.summaries()}\n"
        "loaded = [name for name in sys.modules if name.partition('.')[0] in ('della', 'baselines', 'transformers')]\n"
        "print(json.dumps([found, loaded]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    found, loaded = json.loads(done.stdout)
    assert all(found[name] for name in OURS | {"cyclical", "mean-groups"})
    assert loaded == []
