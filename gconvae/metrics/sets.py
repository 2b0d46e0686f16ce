"""How two samples of clouds compare as sets: coverage, matching distance, neighbour accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from gconvae import clouds
from gconvae import schema as schemas
from gconvae.losses import assignment
from gconvae.metrics.geometry import bent, check_alike, diameter, real_nodes, resolved
from gconvae.schema import CloudSchema

__all__ = [
    "DISTANCES",
    "Values",
    "coverage",
    "cross_matrix",
    "minimum_matching_distance",
    "nearest_neighbor_accuracy",
    "resample",
    "values",
]

DISTANCES = ("chamfer", "matching")
"""What :func:`cross_matrix` can put between two clouds."""

CHUNK_ENTRIES = 2**20
"""Distances of nodes that a thread holds at a time: 8 MB."""

Vector = NDArray[np.float64]
Measure = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]], NDArray[np.float64]
]
"""Distances (B,) of one cloud (N, F) to packed clouds (P, F) that begin at (B,)."""


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


def cross_matrix(
    first: clouds.Clouds,
    second: clouds.Clouds | None = None,
    distance: str = "chamfer",
    *,
    factors: ArrayLike | None = None,
    missing_cost: float | None = None,
    workers: int | None = None,
) -> NDArray[np.float32]:
    r"""Distances between all clouds of two samples, features times their factors.

    - ``"chamfer"``: squared, a mean over the nodes of each side,

      .. math:: \frac{1}{N} \sum_i \min_j |p_i - q_j|^2 + \frac{1}{M} \sum_j \min_i |p_i - q_j|^2,

      in squared units. Blind to the density of nodes, to their number, and no metric.
    - ``"matching"``: the mean distance of matched nodes, not squared, see
      :func:`gconvae.losses.distance`, also for clouds with unequal numbers of nodes.

    Threads share the rows; an entry has the same bits with any number of them. Entries are rounded
    to single precision, which lets distances tie that differ only by the order of their sums.

    Args:
        first: A clouds in data units.
        second: B clouds; None = ``first`` against itself, each pair computed once.
        distance: One of ``DISTANCES``.
        factors: Of the features, shape (F,); None = those of the schema of the samples, which
            is made from the numbers of ``first`` where they have none
            (:func:`gconvae.schema.distance_factors`). Where that schema says no factors either,
            heavy-tailed features are bent (:class:`gconvae.schema.Tail`) before.
        missing_cost: Cost of a node without a partner, for ``"matching"``; None = the largest
            distance that the ranges of that schema, or the nodes of ``first``, allow.
        workers: Threads; None = as many as torch uses.
    Returns:
        Shape (A, B); symmetric with zeros on the diagonal where ``second`` is None.
    Raises:
        ValueError: If a sample is not made of finite clouds, the numbers of features differ, or
            an option is wrong.
    References:
        | PointFlow: 3D Point Cloud Generation with Continuous Normalizing Flows (Yang et al.,
          2019), arXiv:1906.12320
    Example:
        >>> from gconvae.schema import points as schema_of
        >>> points = torch.tensor([[[0.0, 0.0, 0.0]], [[3.0, 4.0, 0.0]], [[0.0, 0.0, 1.0]]])
        >>> schema = schema_of("x y", "charge").replace(distance=(1, 1, 10))
        >>> sample = clouds.as_clouds(points, schema=schema)
        >>> cross_matrix(sample, distance="matching")[0]
        array([ 0.,  5., 10.], dtype=float32)
        >>> cross_matrix(sample)[0]  # twice the square
        array([  0.,  50., 200.], dtype=float32)
    """
    if distance not in DISTANCES:
        raise ValueError(f"distance must be one of {DISTANCES}, got {distance!r}")
    threads = _checked_workers(workers)
    samples = {
        name: clouds.as_clouds(sample.points, sample.mask, name=name, schema=sample.schema)
        for name, sample in (("first", first), ("second", second))
        if sample is not None
    }
    check_alike(samples)
    schema = resolved(samples)
    if factors is None:
        units = {name: bent(sample, schema) for name, sample in samples.items()}
        samples = {name: sample for name, (sample, _) in units.items()}
        schema = units["first"][1]
    first = samples["first"]
    scale = _checked_factors(factors, schema, first)
    if missing_cost is None:
        missing_cost = diameter(schema, scale, real_nodes(first))
    measures: dict[str, Measure] = {
        "chamfer": _chamfer,
        "matching": partial(assignment.distances, missing_cost=missing_cost),
    }
    rows = _nodes(first, scale)
    columns = rows if second is None else _nodes(samples["second"], scale)
    packed = np.concatenate(columns)  # (P, F)
    bounds = np.cumsum([0, *map(len, columns)])  # (B + 1,)

    def row(i: int) -> NDArray[np.float32]:
        found = np.zeros(len(columns))
        for part in _parts(bounds, i + 1 if second is None else 0, CHUNK_ENTRIES // len(rows[i])):
            low, high = bounds[part.start], bounds[part.stop]
            starts = bounds[part] - low
            found[part] = measures[distance](rows[i], packed[low:high], starts)
        with np.errstate(over="ignore"):  # of a thread, so not the caller's
            return found.astype(np.float32)

    # scipy searches without holding the interpreter's lock
    with ThreadPoolExecutor(threads) as pool:
        matrix = np.stack(list(pool.map(row, range(len(rows)))))
    return matrix + matrix.T if second is None else matrix


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
    return float(((own < other) + 0.5 * (own == other)).mean())


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
    return np.array([_drawn(matrix, a, b) for a, b in zip(first, second, strict=True)])


def _drawn(matrix: NDArray[Any], a: NDArray[np.intp], b: NDArray[np.intp]) -> Values:
    from_a = matrix[a]  # (n, P); whole rows first, since they lie together in memory
    return values(from_a[:, a], from_a[:, b], matrix[np.ix_(b, b)])


def _nodes(sample: clouds.Clouds, factors: Vector) -> list[NDArray[np.float64]]:
    """Scaled real nodes (N, F) of each cloud."""
    points = sample.points.detach().cpu().double().numpy() * factors
    mask = sample.mask.cpu().numpy()
    return [cloud[real] for cloud, real in zip(points, mask, strict=True)]


def _checked_factors(
    factors: ArrayLike | None, schema: CloudSchema, first: clouds.Clouds
) -> Vector:
    """Of the features, shape (F,)."""
    features = first.points.shape[-1]
    if factors is None:
        return schemas.distance_factors(schema, real_nodes(first))
    checked = np.asarray(factors, dtype=np.float64)
    if checked.shape != (features,) or not ((checked > 0) & (checked < math.inf)).all():
        raise ValueError(f"factors must be {features} finite numbers above 0, got {factors!r}")
    return checked


def _parts(bounds: NDArray[np.intp], first: int, limit: int) -> Iterator[slice]:
    """Cuts the clouds from ``first`` on into parts of at most ``limit`` nodes or one cloud."""
    while first < len(bounds) - 1:
        last = int(np.searchsorted(bounds, bounds[first] + limit, side="right")) - 1
        yield slice(first, max(last, first + 1))
        first = max(last, first + 1)


def _chamfer(
    nodes: NDArray[np.float64], others: NDArray[np.float64], starts: NDArray[np.intp]
) -> NDArray[np.float64]:
    squared = cdist(nodes, others, "sqeuclidean")  # (N, P)
    sizes = np.diff(starts, append=len(others))
    forward = np.minimum.reduceat(squared, starts, axis=1).mean(0)
    return forward + np.add.reduceat(squared.min(0), starts) / sizes  # (B,)


def _checked_workers(workers: int | None) -> int:
    if workers is None:
        return torch.get_num_threads()
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be an integer of at least 1 or None, got {workers!r}")
    return workers


def _matrix(given: ArrayLike, name: str) -> NDArray[Any]:
    matrix = np.asarray(given)
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
