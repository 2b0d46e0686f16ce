"""How two samples of clouds compare as sets: coverage, matching distance, neighbour accuracy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gconvae.metrics.distances import DISTANCES
from gconvae.metrics.neighbor_lists import NeighborLists

__all__ = [
    "DISTANCES",
    "Values",
    "coverage",
    "minimum_matching_distance",
    "nearest_neighbor_accuracy",
    "resample",
    "values",
]


class Values(NamedTuple):
    """The three metrics of two samples of the same size.

    Attributes:
        coverage: Share of real clouds that are the nearest to a generated one; higher is better.
        minimum_matching_distance: Mean distance of a real cloud to the nearest generated one, in
            the unit of the matrix; lower is better.
        nearest_neighbor_accuracy: Share of clouds whose nearest other cloud is of their own
            sample; 0.5 is best.
    """

    coverage: float
    minimum_matching_distance: float
    nearest_neighbor_accuracy: float


def coverage(real_generated: ArrayLike) -> float:
    """Share of real clouds that are the nearest real neighbour of a generated cloud.

    Sees missing modes and samples that are too narrow; blind to clouds that lie too far out, and
    to copies. Of real clouds at the same distance each one is a nearest neighbour, so the order of
    the clouds does not matter. Grows with the number of generated clouds: compare equal sizes.

    Args:
        real_generated: Distances, shape (A, B).
    Returns:
        Between 0 and 1; 1 is the best, and not reached by a second real sample.
    Raises:
        ValueError: If it is no matrix of numbers.
    References:
        | Learning Representations and Generative Models for 3D Point Clouds (Achlioptas et al.,
          2018), arXiv:1707.02392
    Example:
        >>> coverage([[1.0, 2.0], [3.0, 4.0]])  # the first real cloud is nearest to both
        0.5
    """
    matrix = _matrix(real_generated, "real_generated")
    return float((matrix == _smallest(matrix, 0)).any(1).mean())


def minimum_matching_distance(real_generated: ArrayLike) -> float:
    """Mean over real clouds of the distance to the nearest generated cloud.

    Sees missing modes and clouds that are off everywhere; blind to bad clouds beside good ones,
    since each real cloud takes the best there is, and best for copies.

    Args:
        real_generated: Distances, shape (A, B).
    Returns:
        In the unit of the distances; lower is better.
    Raises:
        ValueError: If it is no matrix of numbers.
    References:
        | Learning Representations and Generative Models for 3D Point Clouds (Achlioptas et al.,
          2018), arXiv:1707.02392
    Example:
        >>> minimum_matching_distance([[1.0, 2.0], [3.0, 4.0]])
        2.0
    """
    return float(_smallest(_matrix(real_generated, "real_generated"), 1).mean(dtype=np.float64))


def nearest_neighbor_accuracy(
    real_real: ArrayLike, real_generated: ArrayLike, generated_generated: ArrayLike
) -> float:
    """Leave-one-out accuracy of a classifier that calls a cloud what its nearest neighbour is.

    0.5 where the samples cannot be told apart; near 1 where they can; near 0 where generated
    clouds lie closer to real ones than real ones to each other, as copies of them do. Copies of
    other real clouds, such as the training set's, pass as good ones. A cloud that is as close to
    its own sample as to the other counts one half.

    Args:
        real_real: Distances, shape (A, A); a cloud's distance to itself is not looked at.
        real_generated: Distances, shape (A, A): 0.5 needs samples of the same size.
        generated_generated: Distances, shape (A, A).
    Returns:
        Between 0 and 1.
    Raises:
        ValueError: If they are no matrices of numbers of one size, at least (2, 2).
    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017), arXiv:1610.06545
        | PointFlow: 3D Point Cloud Generation with Continuous Normalizing Flows (Yang et al.,
          2019), arXiv:1906.12320
    Example:
        >>> near, far = [[0.0, 1.0], [1.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]
        >>> nearest_neighbor_accuracy(near, far, near)
        1.0
        >>> nearest_neighbor_accuracy(near, near, near)  # copies
        0.0
    """
    matrices = {
        "real_real": real_real,
        "real_generated": real_generated,
        "generated_generated": generated_generated,
    }
    rr, rg, gg = (_matrix(matrix, name) for name, matrix in matrices.items())
    if not rr.shape == rg.shape == rg.T.shape == gg.shape or len(rg) < 2:
        raise ValueError(
            "matrices must all have one shape (A, A) with A of at least 2, "
            f"got {rr.shape}, {rg.shape} and {gg.shape}"
        )
    own = np.concatenate([_smallest(_without_diagonal(inside), 1) for inside in (rr, gg)])
    other = np.concatenate([_smallest(rg, 1), _smallest(rg, 0)])
    return _share_of_own(own, other)


def values(
    real_real: ArrayLike, real_generated: ArrayLike, generated_generated: ArrayLike
) -> Values:
    """All three metrics of two samples of the same size.

    Args:
        real_real: Distances, shape (A, A).
        real_generated: Distances, shape (A, A).
        generated_generated: Distances, shape (A, A).
    Raises:
        ValueError: If they are no matrices of numbers of one size, at least (2, 2).
    Example:
        >>> values([[0.0, 2.0], [2.0, 0.0]], [[1.0, 3.0], [4.0, 5.0]], [[0.0, 1.0], [1.0, 0.0]])
        Values(coverage=0.5, minimum_matching_distance=2.5, nearest_neighbor_accuracy=0.625)
    """
    return Values(
        coverage(real_generated),
        minimum_matching_distance(real_generated),
        nearest_neighbor_accuracy(real_real, real_generated, generated_generated),
    )


def resample(
    matrix: NDArray[np.floating], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    """All three metrics of each of R draws of clouds, from one matrix.

    One distance matrix serves every split and every standard error, since a draw only picks rows
    and columns. Draw without replacement: a cloud drawn twice is its own nearest neighbour, which
    adds 0.3 to the accuracy of equal samples. Over random halves of both samples the standard
    deviation of a mean is the standard error at full size, (s^2 / (n / 2)) (1 - 1 / 2) = s^2 / n.
    These metrics are no plain means, and halves err on the safe side: 1.1 to 1.35 times the true
    standard deviation (``benchmarks/half_samples.py``).

    Args:
        matrix: Distances between the clouds of all samples, shape (P, P), symmetric; pairs that
            no draw holds may be NaN.
        first: Clouds of each draw that stand for real ones, shape (R, n).
        second: Clouds that stand for generated ones, shape (R, n).
    Returns:
        Shape (R, 3), columns in the order of :class:`Values`.
    Raises:
        ValueError: If the shapes are wrong, or a drawn distance is NaN.
    Example:
        >>> matrix = np.array([[0.0, 2, 1, 3], [2, 0, 4, 5], [1, 4, 0, 1], [3, 5, 1, 0]])
        >>> resample(matrix, np.array([[0, 1]]), np.array([[2, 3]]))
        array([[0.5  , 2.5  , 0.625]])
    """
    matrix = _matrix(matrix, "matrix")
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"first and second must have one shape (R, n), got {first.shape} and {second.shape}"
        )
    to_first, to_second = _neighbor_lists(matrix, first, second)
    has_gaps = bool(np.isnan(matrix).any())
    draws = []
    for a, b in zip(first, second, strict=True):
        both = np.concatenate([a, b])
        if has_gaps or len(np.unique(both)) < len(both):  # lists know no cloud beside itself
            draws.append(_drawn(matrix, a, b))
            continue
        near_a, near_b = to_first.nearest(both, a), to_second.nearest(both, b)
        own = np.concatenate([near_a.distances[: len(a)], near_b.distances[len(a) :]])
        other = np.concatenate([near_b.distances[: len(a)], near_a.distances[len(a) :]])
        coverage = len(to_first.nearest(b, a).holders) / len(a)
        distance = float(other[: len(a)].mean(dtype=np.float64))
        draws.append(Values(coverage, distance, _share_of_own(own, other)))
    return np.array(draws)


def _share_of_own(own: NDArray[Any], other: NDArray[Any]) -> float:
    """Of clouds with these distances to the nearest of each sample; ties count one half."""
    return float(((own < other) + 0.5 * (own == other)).mean())


def _drawn(matrix: NDArray[Any], a: NDArray[np.intp], b: NDArray[np.intp]) -> Values:
    from_a = matrix[a]  # (n, P); whole rows first, since they lie together in memory
    return values(from_a[:, a], from_a[:, b], matrix[np.ix_(b, b)])


def _neighbor_lists(
    matrix: NDArray[Any], first: NDArray[np.intp], second: NDArray[np.intp]
) -> tuple[NeighborLists, NeighborLists]:
    """Of the clouds that the draws take for real, and for generated."""
    columns = np.unique(first), np.unique(second)
    lists = NeighborLists(matrix, columns[0])
    return lists, lists if np.array_equal(*columns) else NeighborLists(matrix, columns[1])


def _matrix(distances: ArrayLike, name: str) -> NDArray[Any]:
    matrix = np.asarray(distances)
    if matrix.ndim != 2 or matrix.size == 0 or matrix.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be a matrix of numbers, got {matrix.dtype} of shape {matrix.shape}"
        )
    return matrix


def _smallest(matrix: NDArray[Any], axis: int) -> NDArray[Any]:
    smallest = matrix.min(axis)
    if np.isnan(smallest).any():
        raise ValueError("distances must be numbers, got NaN")
    return smallest


def _without_diagonal(matrix: NDArray[Any]) -> NDArray[Any]:
    matrix = matrix.astype(np.result_type(matrix, np.float32))
    np.fill_diagonal(matrix, np.inf)
    return matrix
