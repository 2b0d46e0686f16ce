"""Files whose clouds come in chunks that are decoded as a whole; the last ones are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.source import Source, StoredRows

__all__ = ["ChunkedSource"]

KEPT_BYTES = 2**26
"""Bytes of decoded chunks that are kept, so that several calls may take rows of the same ones; one
chunk is always kept."""


class ChunkedSource(Source):
    """Clouds in chunks, of which the least recently used are dropped.

    Args:
        starts: First cloud of each chunk, and the number of clouds, shape (C + 1,).
    """

    def __init__(self, starts: NDArray[np.int64]) -> None:
        self._starts = starts
        self._kept: OrderedDict[int, StoredRows] = OrderedDict()

    @abstractmethod
    def read_chunk(self, number: int) -> StoredRows:
        """Decodes one chunk."""

    def span(self, start: int, stop: int) -> StoredRows:
        """Consecutive clouds."""
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        parts = []
        for number in range(int(first), int(last) + 1):
            begin = int(self._starts[number])
            rows = slice(max(0, start - begin), stop - begin)
            parts.append(_cut(self._chunk(number), rows))
        points, *others = zip(*parts, strict=True)
        return StoredRows(np.concatenate(points), *map(_joined, others))

    def rows(self, rows: NDArray[np.int64]) -> StoredRows:
        """Clouds by number, each chunk decoded once."""
        order = np.argsort(rows)
        ascending = rows[order]
        numbers = np.searchsorted(self._starts, ascending, side="right") - 1
        breaks = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
        result: list[NDArray[Any] | None] = [None] * len(StoredRows._fields)
        for first, last in zip(breaks[:-1], breaks[1:], strict=True):
            number = int(numbers[first])
            within = ascending[first:last] - self._starts[number]
            for which, array in enumerate(self._chunk(number)):
                if array is None:
                    continue
                target = result[which]
                if target is None:
                    target = result[which] = np.empty((len(rows), *array.shape[1:]), array.dtype)
                target[order[first:last]] = array[within]
        return StoredRows(*result)  # type: ignore[arg-type]  # points are always there

    def _chunk(self, number: int) -> StoredRows:
        chunk = self._kept.pop(number, None)
        if chunk is None:
            chunk = self.read_chunk(number)
            size = sum(array.nbytes for array in chunk if array is not None)
            while self._kept and (len(self._kept) + 1) * size > KEPT_BYTES:
                self._kept.popitem(last=False)
        self._kept[number] = chunk
        return chunk

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}


def _cut(chunk: StoredRows, rows: slice) -> StoredRows:
    points, *others = chunk
    return StoredRows(points[rows], *(None if array is None else array[rows] for array in others))


def _joined(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Arrays one after another, if there are any."""
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known else None
