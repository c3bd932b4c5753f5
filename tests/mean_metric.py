"""A per-text metric for tests of records: its statistics are its inputs."""

from __future__ import annotations

from bench.bootstrap import Array
from bench.metric import PerTextMetric


class Mean(PerTextMetric[Array]):
    """The mean of one column."""

    name, version, unit, direction, tolerance = "Loss", 1, "nats", "down", 0.01

    def fields(self, inputs: Array) -> dict[str, object]:
        return {}

    def statistics(self, inputs: Array) -> Array:
        return inputs
