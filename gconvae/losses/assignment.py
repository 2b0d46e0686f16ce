"""Exact one-to-one assignment of the nodes of two clouds, and the distance that it defines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from gconvae import clouds

__all__ = ["distance", "distances", "match"]

Nodes = NDArray[np.float64]
"""Real nodes of one cloud or of several, cloud after cloud, shape (P, F)."""


def match(target: Any, output: Any, target_mask: Any = None, output_mask: Any = None) -> Tensor:
    r"""The pairs of nodes whose distances have the smallest sum, each node in one pair at most.

    .. math:: \pi = \arg\min_\pi \sum_i |p_i - q_{\pi(i)}|

    Distances are Euclidean, not squared, in the units of the features; they and the search
    (:func:`scipy.optimize.linear_sum_assignment`) are in double precision on the CPU. Where the
    numbers of real nodes differ, every node of the smaller cloud gets a partner.

    Args:
        target: Clouds p, shape (B, N, F), finite.
        output: Clouds q, shape (B, M, F), in the same units.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
    Returns:
        For each target node the index of its partner among the M output nodes, shape (B, N), on
        the device of ``target``; -1 where the node is masked or left over.
    Raises:
        ValueError: If clouds are not finite, shapes do not match, or a cloud has no real node.
    References:
        | A Point Set Generation Network for 3D Object Reconstruction from a Single Image
          (Fan, Su and Guibas, 2017), arXiv:1612.00603
    Example:
        >>> target = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]]])
        >>> output = torch.tensor([[[1.0, 1.0], [0.0, 1.0]]])
        >>> match(target, output)
        tensor([[ 1,  0, -1]])
    """
    p, q = _checked_pair(target, output, target_mask, output_mask)
    index = torch.full(p.mask.shape, -1, device="cpu")
    for cloud, (a, b) in enumerate(_pairs(p, q)):
        rows, columns = linear_sum_assignment(cdist(a, b))
        places, partners = (side.mask[cloud].nonzero()[:, 0].cpu() for side in (p, q))
        index[cloud, places[rows]] = partners[columns]
    return index.to(p.points.device)


def distance(
    target: Any,
    output: Any,
    target_mask: Any = None,
    output_mask: Any = None,
    *,
    missing_cost: float | None = None,
) -> Tensor:
    r"""Exact matching (earth mover's) distance of each pair of clouds.

    .. math:: d(p, q) = \frac{1}{N} \left( \min_\pi \sum_{i=1}^{M} |p_{\pi(i)} - q_i|
              + c \, (N - M) \right), \quad N \ge M

    The mean over nodes of the distance to the partner, Euclidean and not squared. With equal
    numbers of nodes this is the earth mover's distance of the two uniform distributions, and the
    sum of Achlioptas et al. divided by N.

    With unequal numbers each node of the smaller cloud gets a partner of its own, and each node
    left over costs c = ``missing_cost``. This is the metric of Schuhmacher, Vo and Vo (order 1),
    so symmetric, zero iff both are the same multiset, and with the triangle inequality, wherever
    no two nodes are farther apart than c. The earth mover's distance of uniform distributions is
    not taken there: it is blind to the number of nodes (every node twice costs nothing), and no
    assignment but a linear program for every pair. With a c below the distances that occur a
    model could gain by leaving out nodes that it cannot place. The default is the diagonal of the
    box around all nodes of both samples, which none exceeds: values of two calls can be compared
    where a c is given to both.

    Args:
        target: Clouds p, shape (B, N, F), finite.
        output: Clouds q, shape (B, M, F), in the same units.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        missing_cost: Cost c of a node without a partner, in the units of the features; None =
            the diagonal of the box around all nodes.
    Returns:
        Shape (B,), in the units of the features, without a gradient.
    Raises:
        ValueError: If clouds are not finite, shapes do not match, a cloud has no real node, or
            ``missing_cost`` is below 0 or not finite.
    References:
        | Learning Representations and Generative Models for 3D Point Clouds (Achlioptas et al.,
          2018), arXiv:1707.02392
        | A Consistent Metric for Performance Evaluation of Multi-Object Filters (Schuhmacher, Vo
          and Vo, 2008), IEEE Transactions on Signal Processing 56, 3447
    Example:
        >>> target = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
        >>> distance(target, target + torch.tensor([3.0, 4.0]))
        tensor([5.])
        >>> distance(target, torch.tensor([[[0.0, 1.0]]]), missing_cost=10)  # (1 + 10) / 2
        tensor([5.5000])
    """
    if missing_cost is not None:
        _check_missing_cost(missing_cost)
    p, q = _checked_pair(target, output, target_mask, output_mask)
    if missing_cost is None:
        missing_cost = _diagonal(p, q)
    means = [_matched_mean(cdist(a, b), missing_cost) for a, b in _pairs(p, q)]
    return p.points.new_tensor(means)


def distances(
    nodes: Nodes, others: Nodes, starts: NDArray[np.intp], *, missing_cost: float
) -> NDArray[np.float64]:
    """:func:`distance` of one cloud to each of many, in packed form.

    Args:
        nodes: The one cloud, shape (N, F).
        others: Nodes of the others, cloud after cloud, shape (P, F).
        starts: First node of each of the others, ascending from 0, shape (B,).
        missing_cost: Cost of a node without a partner, in the units of the features.
    Returns:
        Shape (B,), in the units of the features.
    Raises:
        ValueError: If ``missing_cost`` is below 0 or not finite.
    Example:
        >>> others, starts = np.array([[3.0, 4.0], [0, 1], [0, 2]]), np.array([0, 1])
        >>> distances(np.zeros((2, 2)), others, starts, missing_cost=10)  # (5 + 10) / 2
        array([7.5, 1.5])
    """
    _check_missing_cost(missing_cost)
    blocks = np.split(cdist(nodes, others), starts[1:], axis=1)
    return np.array([_matched_mean(block, missing_cost) for block in blocks])


def _matched_mean(costs: NDArray[np.float64], missing_cost: float) -> float:
    rows, columns = linear_sum_assignment(costs)
    fewer, more = sorted(costs.shape)
    return float(costs[rows, columns].sum() + missing_cost * (more - fewer)) / more


def _checked_pair(
    target: Any, output: Any, target_mask: Any, output_mask: Any
) -> tuple[clouds.Clouds, clouds.Clouds]:
    p = clouds.as_clouds(target, target_mask, name="target")
    q = clouds.as_clouds(output, output_mask, name="output")
    if len(p.points) != len(q.points) or p.points.shape[-1] != q.points.shape[-1]:
        raise ValueError(
            "target and output must have the same clouds and features, "
            f"got shapes {tuple(p.points.shape)} and {tuple(q.points.shape)}"
        )
    return p, q


def _diagonal(p: clouds.Clouds, q: clouds.Clouds) -> float:
    """No two nodes of the two samples are farther apart."""
    nodes = np.concatenate([*_real_nodes(p), *_real_nodes(q)])  # (P, F)
    return float(np.linalg.norm(nodes.max(0) - nodes.min(0)))


def _check_missing_cost(missing_cost: float) -> None:
    if not 0 <= missing_cost < math.inf:
        raise ValueError(f"missing_cost must be finite and at least 0, got {missing_cost}")


def _pairs(p: clouds.Clouds, q: clouds.Clouds) -> Iterator[tuple[Nodes, Nodes]]:
    """Real nodes (N, F) and (M, F) of each pair of clouds."""
    return zip(_real_nodes(p), _real_nodes(q), strict=True)


def _real_nodes(sample: clouds.Clouds) -> list[Nodes]:
    points, mask = sample.points.detach().cpu().double().numpy(), sample.mask.cpu().numpy()
    return [cloud[real] for cloud, real in zip(points, mask, strict=True)]
