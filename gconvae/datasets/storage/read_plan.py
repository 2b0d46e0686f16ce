"""Rows in any order as few reads of consecutive ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReadPlan"]

SKIPPED = 2**15
"""Bytes that are sooner read in vain than skipped: one more read takes as long."""

SCRATCH = 2**23
"""Bytes that are read at once where rows are needed with gaps between them."""


class ReadPlan:
    """Which consecutive rows to read for rows in any order, and where each goes.

    Args:
        rows: Row numbers, shape (n,); repeats are allowed.
        row_bytes: Of one row.
    Example:
        >>> plan = ReadPlan(np.array([9000, 7, 5, 6]), row_bytes=300)
        >>> def read(start, target):
        ...     target[:] = np.arange(start, start + len(target))
        >>> plan.gather(read, np.dtype(int), ()), plan.num_reads
        (array([9000,    7,    5,    6]), 2)
    """

    def __init__(self, rows: NDArray[np.int64], row_bytes: int) -> None:
        self._count = len(rows)
        self._place: NDArray[np.int64] | None = None
        steps = np.diff(rows)
        if (steps < 0).any():
            order = np.argsort(rows)
            self._place = np.empty_like(order)
            self._place[order] = np.arange(len(order))
            rows = rows[order]
            steps = np.diff(rows)
        self._ascending = rows
        breaks = np.flatnonzero(steps > 1 + SKIPPED // row_bytes) + 1
        runs = [0, *breaks.tolist(), self._count] if self._count else [0]
        irregular = np.concatenate([[0], np.cumsum(steps != 1)])
        is_dense = irregular[np.array(runs[1:], np.int64) - 1] == irregular[runs[:-1]]
        self._runs = list(zip(runs[:-1], runs[1:], is_dense.tolist(), strict=True))
        self._most = max(1, SCRATCH // row_bytes)

    @property
    def num_reads(self) -> int:
        """How often something is read."""
        return sum(1 for _ in self._reads())

    def _reads(self) -> Iterator[tuple[int, int, bool]]:
        """First and one past the last place, and whether each row between is needed once."""
        for first, last, is_dense in self._runs:
            while (
                not is_dense and self._ascending[last - 1] - self._ascending[first] >= self._most
            ):
                beyond = self._ascending[first] + self._most
                end = first + int(np.searchsorted(self._ascending[first:last], beyond))
                yield first, end, False
                first = end
            yield first, last, is_dense

    def gather(
        self,
        read: Callable[[int, NDArray[Any]], None],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> NDArray[Any]:
        """The rows of one array, in the order that was asked for.

        Args:
            read: Fills an array with the rows from a number on.
            dtype: Of the array.
            shape: Of a row.
        """
        result = np.empty((self._count, *shape), dtype)
        for first, last, is_dense in self._reads():
            start = int(self._ascending[first])
            if is_dense:
                read(start, result[first:last])
                continue
            scratch = np.empty((int(self._ascending[last - 1]) + 1 - start, *shape), dtype)
            read(start, scratch)
            result[first:last] = scratch[self._ascending[first:last] - start]
        return result if self._place is None else result[self._place]
