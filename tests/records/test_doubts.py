"""Whether training had ended, from learning curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.records.doubts import TrainingEnd, training_end, training_ends
from bench.records.schema import Record
from bench.records.store import RecordStore


@pytest.mark.parametrize(
    ("elbos", "stages", "expected"),
    [
        ([40.0, 20.0, 18.0], [1, 1, 1], TrainingEnd(3, 3, 0.1)),
        ([40.0, 20.0, 30.0], [1, 1, 1], TrainingEnd(3, 2, -0.5)),
        ([20.0, 90.0, 18.0], [1, 1, 1], TrainingEnd(3, 3, 0.05)),  # as under a cycle of two epochs
        ([10.0, 40.0, 36.0], [1, 2, 2], TrainingEnd(3, 3, 0.1)),  # the first stage gives no result
        ([10.0, 40.0], [1, 2], TrainingEnd(2, 2, None)),
        ([20.0, 18.0], [None, None], TrainingEnd(2, 2, 0.1)),  # an old record
        ([20.0, -1.0], [1, 1], None),
        ([], [], None),
    ],
)
def test_the_last_epoch_is_compared_with_the_best_earlier_one(
    tmp_path: Path,
    make_record: Callable[..., Record],
    elbos: list[float],
    stages: list[int | None],
    expected: TrainingEnd | None,
) -> None:
    curve = [
        {"valid ELBO": elbo, **({} if stage is None else {"stage": stage})}
        for elbo, stage in zip(elbos, stages, strict=True)
    ]
    run = RecordStore(tmp_path).write(make_record(), curve=curve)
    end = training_end(run)
    if expected is None:
        assert end is None
        return
    assert end is not None
    assert (end.epochs, end.best_epoch) == (expected.epochs, expected.best_epoch)
    assert end.fall == (None if expected.fall is None else pytest.approx(expected.fall))


def test_a_run_without_a_curve_says_nothing(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    assert training_ends([RecordStore(tmp_path).write(make_record())]) == {}
