"""Comparison of two benchmark files: verdicts on ratios, and ratios that are not comparable."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.records.benchmarks import BenchmarkFile, compare_benchmarks, is_benchmark_file, read_benchmark_file

MACHINE = {"cpu": {"brand_raw": "A CPU", "flags": []}, "python_version": "3.11.7", "threads": 1, "torch": "2.13.0"}


def benchmark(ratio: float | None, name: str = "test_x", seconds: float = 1.0, **figures: Any) -> dict[str, Any]:
    figures = {"ratio": ratio, "at_most": 1.1, "sizes": {"texts": 64}, **figures}
    return {
        "fullname": name,
        "stats": {"median": seconds, "mean": seconds, "data": [seconds]},
        "extra_info": {key: value for key, value in figures.items() if value is not None},
    }


def content(*benchmarks: dict[str, Any], machine: dict[str, Any] = MACHINE) -> dict[str, Any]:
    return {"machine_info": machine, "commit_info": {}, "benchmarks": benchmarks, "version": "5.3.1"}


def benchmark_file(*benchmarks: dict[str, Any], machine: dict[str, Any] = MACHINE) -> Any:
    return BenchmarkFile.model_validate(content(*benchmarks, machine=machine))


def lines(first: BenchmarkFile, second: BenchmarkFile) -> list[str]:
    return list(map(str, compare_benchmarks(first, second).comparisons))


@pytest.mark.parametrize(
    ("second", "verdict"), [(2.0, "ok"), (2.5, "ok"), (2.51, "regression"), (1.5, "ok"), (1.49, "improvement")]
)
def test_a_ratio_that_moves_by_more_than_a_quarter_is_judged(second: float, verdict: str) -> None:
    seconds = 1.5  # no two runs take equally long
    compared = compare_benchmarks(benchmark_file(benchmark(2.0)), benchmark_file(benchmark(second, seconds=seconds)))
    (comparison,) = compared.comparisons
    assert comparison.verdict == verdict
    assert comparison.change == pytest.approx(second / 2 - 1, abs=1e-15)
    assert compared.exit_code == (verdict == "regression")


def test_seconds_are_printed_but_not_judged() -> None:
    both = benchmark_file(benchmark(2.0, seconds=0.5)), benchmark_file(benchmark(2.1, seconds=50.0))
    assert lines(*both) == ["ok: test_x ratio 2 -> 2.1 (+5.00%, tolerance 25.00%, seconds 0.5 -> 50)"]


def test_a_benchmark_in_one_file_only_is_incomparable() -> None:
    both = benchmark(1.0)
    first, second = benchmark_file(both, benchmark(1.0, "test_old")), benchmark_file(benchmark(1.0, "test_new"), both)
    compared = compare_benchmarks(first, second)
    assert [(c.name, c.verdict, c.obstacle, c.reason) for c in compared.comparisons] == [
        ("test_x", "ok", None, ""),
        ("test_old", "incomparable", "missing", "ratio 1 in the first file, no benchmark in the second"),
        ("test_new", "incomparable", "missing", "no benchmark in the first file, ratio 1 in the second"),
    ]
    assert compared.exit_code == 3
    assert compare_benchmarks(benchmark_file(benchmark(1.0, "test_old")), second).exit_code == 3


def test_a_copy_of_a_file_is_no_second_measurement() -> None:
    file = benchmark_file(benchmark(1.0))
    compared = compare_benchmarks(file, file)
    assert [(c.subject, c.verdict, c.obstacle) for c in compared.comparisons] == [
        ("files", "incomparable", "same"),
        ("test_x ratio", "ok", None),
    ]
    assert compared.exit_code == 3


def test_different_sizes_are_incomparable() -> None:
    first = benchmark_file(benchmark(1.0, sizes={"texts": 64, "tokens": 8}))
    second = benchmark_file(benchmark(9.0, sizes={"texts": 128, "tokens": 8, "layers": 4}))
    assert lines(first, second) == [
        "incomparable: test_x ratio: sizes differ: texts 64 and 128, layers None and 4",
    ]


def test_a_ratio_in_one_file_only_is_incomparable() -> None:
    timed = benchmark(None, "test_timed", seconds=3.0)
    first, second = benchmark_file(benchmark(1.0), timed), benchmark_file(benchmark(None), timed)
    assert lines(first, second) == ["incomparable: test_x ratio: ratio 1 in the first file, no ratio in the second"]
    assert lines(second, first) == ["incomparable: test_x ratio: no ratio in the first file, ratio 1 in the second"]


@pytest.mark.parametrize(("ratio", "verdict"), [(2.9, "ok"), (3.1, "regression")])
def test_a_benchmark_may_say_which_change_is_accepted(ratio: float, verdict: str) -> None:
    first, second = (benchmark_file(benchmark(value, tolerance=0.5)) for value in (2.0, ratio))
    (comparison,) = compare_benchmarks(first, second).comparisons
    assert (comparison.verdict, comparison.tolerance) == (verdict, 0.5)


def test_ratios_of_different_machines_are_compared() -> None:
    first = benchmark_file(benchmark(1.0))
    second = benchmark_file(benchmark(1.5), machine={**MACHINE, "threads": 2, "node": "elsewhere"})
    assert compare_benchmarks(first, second).remarks == (
        "machines differ, so the seconds are not comparable: A CPU, threads 1, torch 2.13.0, Python 3.11.7"
        " and A CPU, threads 2, torch 2.13.0, Python 3.11.7",
    )
    assert lines(first, second) == [
        "regression: test_x ratio 1 -> 1.5 (+50.00%, tolerance 25.00%, seconds 1 -> 1)",
    ]
    of_the_same = benchmark_file(benchmark(1.0), machine={**MACHINE, "node": "elsewhere"})
    assert compare_benchmarks(first, of_the_same).remarks == ()


BROKEN = {
    "not JSON": ("{", "not JSON"),
    "a list": ("[]", "expected keys and values, got list."),
    "another JSON": ('{"schema_version": 1}', "not a benchmark file"),
    "no benchmark": (content(), "no benchmark has a ratio"),
    "no ratio": (content(benchmark(None)), "no benchmark has a ratio, and seconds are not compared"),
    "duplicate": (content(benchmark(1.0), benchmark(1.1)), "the benchmark test_x occurs more than once"),
    "ratio zero": (content(benchmark(0.0)), "benchmarks.0.extra_info.ratio: Input should be greater than 0"),
    "ratio not finite": (
        content(benchmark(math.inf)),
        "Infinity is not a finite number.",
    ),
    "no seconds": (content({**benchmark(1.0), "stats": {}}), "benchmarks.0.stats.median: Field required"),
}


@pytest.mark.parametrize(("text", "complaint"), BROKEN.values(), ids=BROKEN)
def test_the_error_names_an_invalid_file(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "benchmark.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(BenchError) as error:
        read_benchmark_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_is_benchmark_file(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    assert not is_benchmark_file(tmp_path)
    assert not is_benchmark_file(path)
    for text, expected in (('{"benchmarks": 0}', True), ('{"schema_version": 1}', False), ("[]", False), ("{", False)):
        path.write_text(text)
        assert is_benchmark_file(path) == expected


BENCHMARKS = """
import time


def test_twice(beside):
    beside(lambda: time.sleep(0.02), lambda: time.sleep(0.01), at_most=0.1, rounds=3, texts=2)


def test_quadratic(growth):
    growth(lambda size: lambda: time.sleep(1e-4 * size**2), "texts", (8, 16, 32), at_most=9, tokens=4)
"""


def test_a_file_that_pytest_benchmark_wrote(tmp_path: Path) -> None:
    """The fixtures of the benchmarks, their summary and their file; every machine reaches or misses these targets."""
    tests = Path(__file__).parents[1]
    copy = tmp_path / "tests"
    (copy / "benchmarks").mkdir(parents=True)
    for name in ("conftest.py", "hub.py", "benchmarks/conftest.py", "benchmarks/figures.py"):
        shutil.copy(tests / name, copy / name)
    (copy / "benchmarks" / "test_sleep.py").write_text(BENCHMARKS)
    options = ["--import-mode=importlib", "--benchmark-only", "--benchmark-json=benchmark.json"]
    # pytest-benchmark measures nothing in a worker of pytest-xdist, which this process may be and the other is not.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-m", "pytest", *options, "tests/benchmarks"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout

    file = read_benchmark_file(tmp_path / "benchmark.json")
    assert file.machine.threads == 1
    assert file.machine.torch == torch.__version__
    ratio, _ = file.benchmarks
    assert ratio.name == "tests/benchmarks/test_sleep.py::test_twice"
    assert ratio.stats.median > 0.02
    assert ratio.figures.ratio == pytest.approx(ratio.stats.median / ratio.figures.reference_seconds, rel=1e-12)
    assert ratio.figures.sizes == {"texts": 2}
    assert [c.verdict for c in compare_benchmarks(file, file).comparisons] == ["incomparable", "ok"]

    extra_info = json.loads((tmp_path / "benchmark.json").read_text())["benchmarks"][1]["extra_info"]
    grown = extra_info["growth"]
    assert extra_info["sizes"] == {"tokens": 4}
    assert grown["exponent"] == pytest.approx(np.polyfit(np.log([8, 16, 32]), np.log(grown["seconds"]), 1)[0], rel=1e-9)

    summary = done.stdout.partition("figures beside their targets (threads 1)")[2]
    (of_ratio,) = (line for line in summary.splitlines() if line.startswith("test_twice"))
    assert f"{ratio.figures.ratio:.4g}  at most 0.1   MISSED" in of_ratio
    (of_growth,) = (line for line in summary.splitlines() if line.startswith("test_quadratic"))
    assert f"growth in texts {grown['exponent']:8.4g}  at most 9    " in of_growth
    assert "MISSED" not in of_growth
