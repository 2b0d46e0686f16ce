"""1-Wasserstein distances of pooled node features, many resamplings from one sorting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.clouds import Clouds, as_sample
from gconvae.metrics.geometry import check_alike, resolved, wrapped
from gconvae.metrics.resampling import Array, Index, Statistic

__all__ = ["feature_w1", "values_w1_statistic", "w1_statistic"]

CHUNK = 2**16
"""Nodes whose weights are summed at a time: they stay in the cache, and memory stays small."""


def feature_w1(first: Any, second: Any) -> Array:
    """1-Wasserstein distance of each pooled node feature, without floor and error.

    Args:
        first: Clouds, in any form that :func:`gconvae.metrics.compare` takes.
        second: Clouds, likewise; the number of clouds may differ.
    Returns:
        Shape (F,), in the units of the features; periodic features as in
        :func:`gconvae.metrics.compare`.
    Raises:
        ValueError: If a sample is not made of finite clouds, or the features differ.
    Example:
        >>> feature_w1([[[0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]], [[[3.0, 0.0, 0.5], [2.0, 0.0, 0.5]]])
        array([2., 0., 0.])
    """
    from scipy.stats import wasserstein_distance

    samples = {"first": as_sample(first, "first"), "second": as_sample(second, "second")}
    check_alike(samples)
    near = wrapped(samples, resolved(samples))
    columns = (_nodes(sample).T for sample in near.values())
    return np.array([wasserstein_distance(*pair) for pair in zip(*columns, strict=True)])


def w1_statistic(samples: Sequence[Clouds]) -> Statistic:
    """W1 of each node feature and of the number of nodes, between clouds of all samples.

    Args:
        samples: Clouds, numbered one sample after another.
    Returns:
        A function of two index arrays, values (F + 1,) in the units of the features and in nodes.
    """
    counts = np.concatenate([sample.mask.sum(1).cpu().numpy() for sample in samples])  # (B,)
    cloud = np.arange(len(counts)).repeat(counts)  # (P,)
    nodes = np.concatenate([_nodes(sample) for sample in samples])  # (P, F)
    columns = [_Column(values, cloud) for values in nodes.T]
    sizes = _Column(counts.astype(np.float64), np.arange(len(counts)))

    def statistic(first: Index, second: Index) -> Array:
        a, b = (np.bincount(part, minlength=len(counts)) for part in (first, second))
        # every node of `first` weighs 1 / nodes of first: in whole numbers, so that nothing rounds
        weights = a * (b @ counts) - b * (a @ counts)  # (B,)
        scale = float(a @ counts) * float(b @ counts)
        per_feature = [column.absolute_area(weights) / scale for column in columns]
        area = sizes.absolute_area(a * len(second) - b * len(first))
        return np.array([*per_feature, area / (float(len(first)) * len(second))])

    return statistic


def values_w1_statistic(values: Array) -> Statistic:
    """W1 of each of K numbers that a cloud has, between clouds of all samples.

    Args:
        values: One row a cloud, numbered one sample after another, shape (B, K).
    Returns:
        A function of two index arrays, values (K,) in the units of the numbers.
    Example:
        >>> statistic = values_w1_statistic(np.array([[0.0], [1.0], [5.0]]))
        >>> statistic(np.array([0, 1]), np.array([2]))
        array([4.5])
    """
    clouds = np.arange(len(values))
    columns = [_Column(column, clouds) for column in values.T]

    def statistic(first: Index, second: Index) -> Array:
        a, b = (np.bincount(part, minlength=len(clouds)) for part in (first, second))
        weights = a * len(second) - b * len(first)  # in whole numbers, so that nothing rounds
        scale = float(len(first)) * len(second)
        return np.array([column.absolute_area(weights) / scale for column in columns])

    return statistic


class _Column:
    """Values of clouds, sorted once, so that each resampling costs one cumulative sum.

    Args:
        values: Shape (P,).
        cloud: The cloud that each value belongs to, shape (P,).
    """

    def __init__(self, values: Array, cloud: Index) -> None:
        order = np.argsort(values, kind="stable")
        self._cloud = cloud[order][:-1]
        self._gaps = np.diff(values[order])  # (P - 1,)

    def absolute_area(self, weights: NDArray[np.integer]) -> float:
        """Integral of the absolute cumulative weight, clouds weighing ``weights`` (B,) a value."""
        area, before = 0.0, 0.0  # the cumulative weight up to the chunk
        # whole numbers below 2^53, of which nothing is lost, and whose products are faster
        exact = weights.astype(np.float64)
        for first in range(0, len(self._gaps), CHUNK):
            chunk = slice(first, first + CHUNK)
            cumulative = exact.take(self._cloud[chunk]).cumsum()
            cumulative += before
            before = cumulative[-1]
            np.abs(cumulative, out=cumulative)
            # a product by BLAS wakes all threads for it, and takes 20 times as long
            area += float(np.einsum("i,i", cumulative, self._gaps[chunk]))
        return area


def _nodes(sample: Clouds) -> Array:
    nodes: Array = sample.points[sample.mask].detach().cpu().double().numpy()
    return nodes  # (P, F)
