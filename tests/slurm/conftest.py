from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes, of which nothing may be left at the end."""
    if not os.environ.get("DELLA_BENCH_SLURM"):
        pytest.skip("`python -m tox -e slurm` runs this: it installs and starts a Slurm")
    if reason := why_not():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster")) as two_nodes:
        yield two_nodes
    assert not two_nodes.processes()
