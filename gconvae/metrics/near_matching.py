r"""Exact matching distances of those pairs of clouds that can be nearest neighbours.

A matching costs at least what any duals of it say (:func:`chamfer_and_bound`). Where these are
above the distance of the farthest nearest neighbour that any resampling has, the matching itself
is never looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from gconvae.losses import assignment
from gconvae.metrics.distances import PackedNodes
from gconvae.metrics.neighbor_lists import NeighborLists
from gconvae.metrics.resampling import Draws

__all__ = ["chamfer_and_bound", "near_matrix"]

SEEDS = 24
"""Clouds of a side that are matched first, by their bounds. A random half holds one of them but in
2^24 cases, and one that is near: with 16, a fifth more pairs are matched in the end."""

SLACK = 1e-6
"""Share of a bound by which rounding may have lifted it, single precision included."""

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Matrix = NDArray[np.float32]


@np.errstate(all="ignore")  # of whichever thread; numbers that overflow have no bound
def chamfer_and_bound(nodes: Array, others: Array, starts: Index, *, missing_cost: float) -> Array:
    r"""Chamfer distance and a lower bound of the matching distance, from one table of nodes.

    The bound is that of feasible duals u, v of the assignment,

    .. math:: \min_\pi \sum_i c_{i \pi(i)} \ge \sum_i u_i + \sum_j v_j, \qquad
        u_i = \min_j c_{ij}, \quad v_j = \min_i (c_{ij} - u_i),

    and the same from the other side, whichever is larger. A smaller cloud is filled up with
    partners at ``missing_cost``, whose dual is that cost less the largest u. Of the bundled
    digits' matching distances it is 88 %, the nearest nodes alone 77 %. It is found in single
    precision, and lowered by what that may have lifted it.

    Args:
        nodes: One cloud, shape (N, F).
        others: Packed clouds, shape (P, F).
        starts: First node of each of them, shape (B,).
        missing_cost: Cost of a node without a partner.
    Returns:
        Shape (2, B), squared units and units.
    """
    sizes = np.diff(starts, append=len(others))
    # node by node and then cloud by cloud, so that minima run over whole rows; a cloud's first
    # node fills it up, which changes no minimum
    numbers = np.arange(sizes.max())[:, None]
    is_real = numbers < sizes  # (M, B)
    places = starts + np.where(is_real, numbers, 0)
    squared = cdist(nodes, others[places.ravel()], "sqeuclidean").reshape(-1, *places.shape)
    forward, backward = squared.min(1), squared.min(0)  # (N, B), (M, B)
    chamfer = forward.mean(0) + (backward * is_real).sum(0) / sizes
    costs = squared.astype(np.float32)
    np.sqrt(costs, out=costs)
    lifted = 8 * np.finfo(np.float32).eps * float(costs.max())
    more = sizes - len(nodes)
    u, v = np.sqrt(forward).astype(np.float32), np.sqrt(backward).astype(np.float32)
    left = (costs - u[:, None]).min(0)  # (M, B)
    from_rows = u.sum(0) + (left * is_real).sum(0) - more * (missing_cost - u.max(0))
    costs -= v
    from_columns = costs.min(1).sum(0) + (v * is_real).sum(0)
    from_columns += more * (missing_cost - v.max(0))
    # each way is for the larger cloud, whose nodes all have a partner or the cost of none
    bound = np.where(more > 0, from_columns, from_rows)
    bound = np.where(more == 0, np.maximum(from_rows, from_columns), bound)
    bound = bound / np.maximum(sizes, len(nodes)) - lifted
    return np.stack([chamfer, np.fmax(bound, 0.0)])  # (2, B); no number is no bound


def near_matrix(
    clouds: PackedNodes,
    bounds: Matrix,
    draws: Sequence[Draws],
    *,
    missing_cost: float,
    workers: int | None = None,
    advance: Callable[[float], None] = lambda share: None,
) -> Matrix:
    """Matching distances where a draw may look for a nearest cloud, and infinity elsewhere.

    Coverage, minimum matching distance and nearest-neighbour accuracy of each of the draws are
    those of the whole matrix, to the bit: they look at nearest clouds only.

    Args:
        clouds: P clouds.
        bounds: Lower bounds of their distances (:func:`chamfer_and_bound`), shape (P, P),
            symmetric; infinite for pairs that no draw holds.
        draws: The draws that the matrix is for.
        missing_cost: Cost of a node without a partner.
        workers: Threads that share the rows; None = as many as torch uses.
        advance: Hears of the shares of the work that are done.
    Returns:
        Shape (P, P), symmetric, zeros on the diagonal.
    """
    sides = [(np.unique(side), side, pair) for pair in draws for side in pair]
    matrix = np.full(bounds.shape, np.inf, dtype=np.float32)
    np.fill_diagonal(matrix, 0.0)
    seeds = np.zeros(bounds.shape, dtype=bool)
    for columns, _, pair in sides:
        rows = np.unique(np.concatenate([part.ravel() for part in pair]))
        listed = NeighborLists(bounds, columns, SEEDS).clouds[rows]
        seeds[rows[:, None], listed] = True
    match = partial(
        _match, matrix, clouds=clouds, missing_cost=missing_cost, workers=workers, advance=advance
    )
    match(seeds, share=0.25)
    limits = np.full(bounds.shape, -np.inf, dtype=np.float32)
    for columns, side, pair in sides:
        farthest = _farthest_nearest(NeighborLists(matrix, columns), side, pair)
        limits[:, columns] = np.maximum(limits[:, columns], farthest[:, None])
    limits = np.maximum(limits, limits.T)
    match((bounds * np.float32(1 - SLACK) <= limits) & ~seeds & ~seeds.T, share=0.75)
    return matrix


def _farthest_nearest(lists: NeighborLists, side: Index, pair: Draws) -> Matrix:
    """Of each cloud, the largest distance to its nearest in that side of any draw, shape (P,)."""
    farthest = np.full(lists.num_clouds, -np.inf, dtype=np.float32)
    for members, *both in zip(side, *pair, strict=True):
        drawn = np.concatenate(both)
        farthest[drawn] = np.maximum(farthest[drawn], lists.nearest(drawn, members).distances)
    return farthest


def _match(
    matrix: Matrix,
    wanted: NDArray[np.bool_],
    *,
    clouds: PackedNodes,
    missing_cost: float,
    workers: int | None,
    advance: Callable[[float], None],
    share: float,
) -> None:
    """Fills in distances that are wanted either way, both ways."""
    wanted = np.triu(wanted | wanted.T, 1)
    rows = np.flatnonzero(wanted.any(1))
    total = int(wanted.sum())
    if not total:
        advance(share)

    def row(i: int) -> tuple[Index, Array]:
        columns = np.flatnonzero(wanted[i])
        nodes, bounds = clouds.subset(columns)
        distances = assignment.distances(
            clouds.cloud(i), nodes, bounds[:-1], missing_cost=missing_cost
        )
        return columns, distances

    # scipy searches without holding the interpreter's lock
    with ThreadPoolExecutor(workers or torch.get_num_threads()) as pool:
        for i, (columns, values) in zip(rows, pool.map(row, rows), strict=True):
            matrix[i, columns] = matrix[columns, i] = values
            advance(share * len(columns) / total)
