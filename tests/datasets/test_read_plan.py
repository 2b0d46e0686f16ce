"""Rows in any order are gathered by few reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gconvae.datasets.storage import read_plan
from gconvae.datasets.storage.read_plan import ReadPlan

TABLE = np.random.default_rng(0).random((5000, 3))


class Reader:
    """Fills arrays from the table and remembers what was read."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    def __call__(self, start: int, target: NDArray[Any]) -> None:
        self.spans.append((start, start + len(target)))
        target[:] = TABLE[start : start + len(target)]


@pytest.mark.parametrize("skipped", [0, 48, 2**15])
@pytest.mark.parametrize("scratch", [24, 240, 2**23])
@pytest.mark.parametrize("seed", range(4))
def test_any_rows_come_in_the_order_asked_for(
    monkeypatch: pytest.MonkeyPatch, skipped: int, scratch: int, seed: int
) -> None:
    monkeypatch.setattr(read_plan, "SKIPPED", skipped)
    monkeypatch.setattr(read_plan, "SCRATCH", scratch)
    random = np.random.default_rng(seed)
    for rows in (
        random.integers(0, 5000, 300),
        random.permutation(200) + 1000,
        np.sort(random.integers(0, 50, 80)),
        np.array([4999]),
        np.repeat(7, 5),
        np.concatenate([np.arange(50), np.arange(25), np.arange(4900, 5000)]),
    ):
        read = Reader()
        np.testing.assert_array_equal(ReadPlan(rows).gather(read, TABLE.dtype, (3,)), TABLE[rows])
        needed = set(rows.tolist())
        for start, stop in read.spans:
            assert start in needed
            assert stop - 1 in needed
            is_dense = needed >= set(range(start, stop))
            assert is_dense or stop - start <= max(1, scratch // 24)


def test_neighbours_are_read_together() -> None:
    chunks = np.concatenate([np.arange(start, start + 100) for start in (0, 2000, 4000)])
    rows = np.random.default_rng(0).permutation(chunks)
    read = Reader()
    ReadPlan(rows).gather(read, TABLE.dtype, (3,))
    assert read.spans == [(0, 100), (2000, 2100), (4000, 4100)]
