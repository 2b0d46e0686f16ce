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
    Example:
        >>> numbers = []
        >>> def read(start, target):
        ...     numbers.append(start)
        ...     target[:] = np.arange(start, start + len(target))
        >>> ReadPlan(np.array([9000, 7, 5, 6])).gather(read, np.dtype(np.int64), ()), numbers
        (array([9000,    7,    5,    6]), [5, 9000])
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self._place: NDArray[np.int64] | None = None
        if (rows[1:] < rows[:-1]).any():
            order = np.argsort(rows)
            self._place = np.empty_like(order)
            self._place[order] = np.arange(len(order))
            rows = rows[order]
        self._ascending = rows
        self._steps = np.diff(rows)
        self._irregular = np.concatenate([[0], np.cumsum(self._steps != 1)])

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
        result = np.empty((len(self._ascending), *shape), dtype)
        row_bytes = max(1, dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
        for first, last, is_dense in self._reads(row_bytes):
            start = int(self._ascending[first])
            if is_dense:
                read(start, result[first:last])
                continue
            scratch = np.empty((int(self._ascending[last - 1]) + 1 - start, *shape), dtype)
            read(start, scratch)
            result[first:last] = scratch[self._ascending[first:last] - start]
        return result if self._place is None else np.take(result, self._place, axis=0)

    def _reads(self, row_bytes: int) -> Iterator[tuple[int, int, bool]]:
        """First and one past the last place, and whether each row between is needed once."""
        rows = self._ascending
        most = max(1, SCRATCH // row_bytes)
        breaks = np.flatnonzero(self._steps > 1 + SKIPPED // row_bytes) + 1
        starts, ends = np.append(0, breaks), np.append(breaks, len(rows))
        is_dense = self._irregular[ends - 1] == self._irregular[starts]
        runs = zip(starts.tolist(), ends.tolist(), is_dense.tolist(), strict=True)
        for first, last, dense in runs:
            while not dense and rows[last - 1] - rows[first] >= most:
                end = first + int(np.searchsorted(rows[first:last], rows[first] + most))
                yield first, end, False
                first = end
            yield first, last, dense
