from __future__ import annotations

import subprocess
import sys

import pytest

RENDER = """
import sys, time
start = time.process_time()
from pathlib import Path
from bench.records.store import load_records
from bench.report import FORMATS, build_table, load_layout, render_table
records = load_records([Path(sys.argv[1])])
for name in FORMATS.names():
    render_table(build_table(records, load_layout("table8")), name)
print(time.process_time() - start)
heavy = {"torch", "transformers", "pandas"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize("module", ["bench.audit", "bench.records.compare", "bench.records.store", "bench.report"])
def test_no_model_is_needed_to_read_results(module):
    code = f"import sys, {module}; sys.exit(str({{'torch', 'transformers', 'pandas', 'rich'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: S603
    assert done.stderr == "set()\n"


def test_a_table_takes_less_than_a_second_and_no_heavy_import(tmp_path, make_run, make_score):
    path = tmp_path / "record.json"
    path.write_bytes(make_run("della", scores=[make_score("PPL", 20)]).to_json())
    done = subprocess.run([sys.executable, "-c", RENDER, str(path)], capture_output=True, text=True)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) < 1.0
