"""The nearest clouds of a random part of a sample, many times from one distance matrix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LISTED", "NeighborLists"]

LISTED = 32
"""Neighbours in a list: one in 2^32 holds none of a random half, and is looked up then."""

Index = NDArray[np.intp]


class Nearest(NamedTuple):
    """Nearest members of clouds.

    Attributes:
        distances: To the nearest member, shape (n,); infinite where there is none.
        holders: Members that are the nearest of one of the clouds, ties included, ascending.
    """

    distances: NDArray[Any]
    holders: Index


class NeighborLists:
    """The nearest few of some columns, for each cloud, so that a part of them is found at once.

    A random half of the columns holds one of the first 32 for all clouds but a few, which are
    looked up in the matrix. So results are those of the whole matrix, and cost a hundredth.

    Args:
        matrix: Distances between all clouds, shape (P, P), symmetric; NaN counts as endless. The
            distance of a cloud to itself is not looked at.
        columns: Clouds that any part is made of, shape (C,).
        number: Length of a list.
    Attributes:
        clouds: The nearest columns of each cloud, nearest first, shape (P, number).
    Example:
        >>> matrix = np.array([[0.0, 2, 1, 3], [2, 0, 4, 5], [1, 4, 0, 1], [3, 5, 1, 0]])
        >>> NeighborLists(matrix, np.array([1, 2, 3])).nearest(np.array([0, 2]), np.array([1, 3]))
        Nearest(distances=array([2., 1.]), holders=array([1, 3]))
    """

    def __init__(self, matrix: NDArray[Any], columns: Index, number: int = LISTED) -> None:
        self._matrix = matrix
        distances = matrix[:, columns]  # (P, C), a copy
        if distances.dtype.kind != "f":
            distances = distances.astype(np.float64)
        np.copyto(distances, np.inf, where=np.isnan(distances))
        distances[columns, np.arange(len(columns))] = np.inf  # a cloud is no neighbour of its own
        number = min(number, len(columns))
        nearest = np.argpartition(distances, number - 1, axis=1)[:, :number]  # (P, K)
        values = np.take_along_axis(distances, nearest, 1)
        order = values.argsort(1, kind="stable")
        self.clouds = columns[np.take_along_axis(nearest, order, 1)]  # (P, K)
        self._distances = np.take_along_axis(values, order, 1)

    @property
    def num_clouds(self) -> int:
        """P, all clouds of the matrix."""
        return len(self._matrix)

    def nearest(self, clouds: Index, members: Index) -> Nearest:
        """The nearest members of each cloud, but itself.

        Args:
            clouds: Shape (n,).
            members: Some of the columns, shape (m,).
        """
        is_member = np.zeros(len(self._matrix), dtype=bool)
        is_member[members] = True
        listed, distances = self.clouds[clouds], self._distances[clouds]  # (n, K)
        inside = is_member[listed]
        first = inside.argmax(1)[:, None]
        smallest = np.take_along_axis(distances, first, 1)  # (n, 1)
        # a list without a member, or one that ends in a tie, does not say all
        is_short = ~inside.any(1) | (distances[:, -1] == smallest[:, 0])
        is_holder = np.zeros(len(self._matrix), dtype=bool)
        is_holder[listed[inside & (distances == smallest) & ~is_short[:, None]]] = True
        lengths = smallest[:, 0]
        if is_short.any():
            rest = self._matrix[np.ix_(clouds[is_short], members)].astype(lengths.dtype)
            rest[np.isnan(rest) | (clouds[is_short, None] == members)] = np.inf
            lengths[is_short] = rest.min(1)
            is_holder[members[(rest == lengths[is_short, None]).any(0)]] = True
        return Nearest(lengths, is_holder.nonzero()[0])
