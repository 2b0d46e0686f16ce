"""Distances between whole clouds: Chamfer, and exact one-to-one matching."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

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
    "Measure",
    "PackedNodes",
    "chamfer",
    "chunks",
    "cross_matrix",
    "packed_nodes",
    "rows_of",
]

DISTANCES = ("chamfer", "matching")
"""What :func:`cross_matrix` can put between two clouds."""

CHUNK_ENTRIES = 2**17
"""Distances of nodes that a thread holds at a time: 1 MB, which stays in the cache."""

Array = NDArray[np.float64]
Measure = Callable[[Array, Array, NDArray[np.intp]], Array]
"""M numbers (M, B), or one (B,), of a cloud (N, F) and packed clouds (P, F) that begin at (B,)."""


class PackedNodes(NamedTuple):
    """Scaled real nodes of many clouds.

    Attributes:
        nodes: Cloud after cloud, shape (P, F).
        bounds: Where clouds begin, and the end of the last one, shape (B + 1,).
    """

    nodes: Array
    bounds: NDArray[np.intp]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Nodes of each cloud, shape (B,)."""
        return np.diff(self.bounds)

    def cloud(self, i: int) -> Array:
        """Nodes of one cloud, shape (N, F)."""
        return self.nodes[self.bounds[i] : self.bounds[i + 1]]

    def subset(self, rows: NDArray[np.intp]) -> PackedNodes:
        """Some of the clouds."""
        sizes = self.sizes[rows]
        bounds = np.concatenate([[0], sizes.cumsum()])
        places = np.arange(bounds[-1]) + (self.bounds[rows] - bounds[:-1]).repeat(sizes)
        return PackedNodes(self.nodes[places], bounds)


def packed_nodes(sample: clouds.Clouds, factors: ArrayLike) -> PackedNodes:
    """Real nodes of all clouds, features times their factors (F,)."""
    nodes = sample.points[sample.mask].detach().cpu().double().numpy()  # (P, F)
    counts = sample.mask.sum(1).cpu().numpy()
    return PackedNodes(nodes * np.asarray(factors), np.concatenate([[0], counts.cumsum()]))


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
        "chamfer": chamfer,
        "matching": partial(assignment.distances, missing_cost=missing_cost),
    }
    rows = packed_nodes(first, scale)
    columns = rows if second is None else packed_nodes(samples["second"], scale)
    number = len(columns.sizes)
    spans = [range(i + 1 if second is None else 0, number) for i in range(len(rows.sizes))]
    matrix = np.zeros((len(spans), number), dtype=np.float32)
    computed = rows_of(rows, columns, spans, measures[distance], threads)
    for i, (span, values) in enumerate(zip(spans, computed, strict=True)):
        matrix[i, span.start : span.stop] = values
    return matrix + matrix.T if second is None else matrix


def rows_of(
    rows: PackedNodes,
    columns: PackedNodes,
    spans: Sequence[range],
    measure: Measure,
    workers: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """What a measure says of each row and of the columns of its span.

    Args:
        rows: A clouds.
        columns: Clouds that they are measured with.
        spans: Columns of each row, one after another, A of them.
        measure: Of one cloud and packed others.
        workers: Threads that share the rows; None = as many as torch uses.
    Returns:
        Row after row, shape (columns of the span,), or (M, columns) for a measure of M numbers.
    """

    def row(i: int) -> NDArray[np.float32]:
        nodes, span = rows.cloud(i), spans[i]
        values = [
            measure(nodes, columns.nodes[low:high], columns.bounds[part] - low)
            for part in chunks(columns.bounds, span, CHUNK_ENTRIES // len(nodes))
            for low, high in ((columns.bounds[part.start], columns.bounds[part.stop]),)
        ]
        with np.errstate(over="ignore"):  # of a thread, so not the caller's
            return np.concatenate(values, axis=-1, dtype=np.float32, casting="same_kind")

    filled = [i for i, span in enumerate(spans) if len(span)]
    empty: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
    # scipy searches without holding the interpreter's lock
    with ThreadPoolExecutor(workers or torch.get_num_threads()) as pool:
        values = pool.map(row, filled)
        for span in spans:
            yield next(values) if len(span) else empty


def chunks(bounds: NDArray[np.intp], span: range, limit: int) -> Iterator[slice]:
    """Cuts the clouds of a span into parts of at most ``limit`` nodes or one cloud."""
    first = span.start
    while first < span.stop:
        last = int(np.searchsorted(bounds, bounds[first] + limit, side="right")) - 1
        last = min(max(last, first + 1), span.stop)
        yield slice(first, last)
        first = last


def chamfer(nodes: Array, others: Array, starts: NDArray[np.intp]) -> Array:
    """Chamfer distance of one cloud (N, F) to packed clouds (P, F), shape (B,)."""
    squared = cdist(nodes, others, "sqeuclidean")  # (N, P)
    sizes = np.diff(starts, append=len(others))
    forward = np.minimum.reduceat(squared, starts, axis=1).mean(0)
    return forward + np.add.reduceat(squared.min(0), starts) / sizes  # (B,)


def _checked_factors(
    factors: ArrayLike | None, schema: CloudSchema, first: clouds.Clouds
) -> Array:
    """Of the features, shape (F,)."""
    features = first.points.shape[-1]
    if factors is None:
        return schemas.distance_factors(schema, real_nodes(first))
    checked = np.asarray(factors, dtype=np.float64)
    if checked.shape != (features,) or not ((checked > 0) & (checked < math.inf)).all():
        raise ValueError(f"factors must be {features} finite numbers above 0, got {factors!r}")
    return checked


def _checked_workers(workers: int | None) -> int:
    if workers is None:
        return torch.get_num_threads()
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be an integer of at least 1 or None, got {workers!r}")
    return workers
