"""A search that compares every pair of nodes, a chunk at a time, and the distance of all searches.

Distances are summed from explicit differences, feature by feature: the product form
``a*a + b*b - 2*a*b`` loses all digits where far-away nodes lie close together.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from gconvae.cuda_graphs import recording
from gconvae.neighbors.packed import Packing

__all__ = [
    "CHUNK_ENTRIES",
    "SMALLEST",
    "fit",
    "in_order",
    "nearest_packed",
    "nearest_padded",
    "squared_distance",
]

CHUNK_ENTRIES = 2**18  # from 2**20 on, chunks leave the cache: up to 3 times slower
"""Distances that a dense search holds at a time (but at least those of one query)."""

SMALLEST = 2.0**-100
"""Squared distance in float32 below which the squares in it may have lost digits.

A query whose nearest points are as near, without being the same, or so far that the distance
overflows, is asked again in float64. Every search does so.
"""


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    r"""Squared Euclidean distance, summed from explicit differences, feature by feature.

    .. math:: d(a, b) = \sum_f (a_f - b_f)^2

    A pair has the same bits in whatever batch or layout it is computed, so that ties stay ties.
    Differentiable, with gradient 0 (not NaN, as a root would have) at distance 0.

    Args:
        a: Shape (..., F).
        b: Shape (..., F); the leading axes broadcast.
    Returns:
        Shape (...), units of feature squared.
    Raises:
        ValueError: If the last axes differ or are empty.
    Example:
        >>> squared_distance(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([3.0, 4.0]))
        tensor([25., 13.])
    """
    if a.dim() == 0 or b.dim() == 0 or a.shape[-1] != b.shape[-1] or a.shape[-1] == 0:
        raise ValueError(
            "a and b must have the same features (at least 1) in their last axis, "
            f"got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    difference = a - b
    # two operations, never a fused one, and no .sum(-1), whose order depends on the layout
    return functools.reduce(torch.add, (difference * difference).unbind(-1))


def nearest_padded(
    query: Tensor, points: Tensor, points_mask: Tensor | None, norm: int = 2
) -> Tensor:
    """Nearest points among all pairs, a block of clouds and queries at a time: (B, N)."""
    query, points = _features_apart(query), _features_apart(points)
    num_nodes, size = query.shape[1], points.shape[1]
    rows = min(num_nodes, max(1, CHUNK_ENTRIES // size))
    clouds = max(1, CHUNK_ENTRIES // (rows * size))
    blocks = []
    for first in range(0, len(query), clouds):
        block = slice(first, first + clouds)
        absent = None if points_mask is None else ~points_mask[block].unsqueeze(1)
        parts = [
            _nearest_of_all(query[block, part : part + rows], points[block], absent, norm)
            for part in range(0, num_nodes, rows)
        ]
        blocks.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def nearest_packed(
    query: Tensor,
    points: Tensor,
    cloud: Tensor,
    packing: Packing,
    k: int,
    own: Tensor | None,
    norm: int = 2,
) -> Tensor:
    """The k nearest points of each query, among all pairs.

    Args:
        query: float32 or float64, shape (T, F), at least one, any of the queries.
        points: Likewise, shape (P_p, F).
        cloud: Cloud of each query, ascending, shape (T,).
        packing: Where the clouds lie.
        k: Neighbours of a query, at least 1.
        own: For each query a point that does not count, shape (T,); None = all count.
        norm: 2 or 1.
    Returns:
        Indices into ``points``, nearest first, -1 where a cloud has fewer, shape (T, k).
    """
    query, points = _features_apart(query), _features_apart(points)
    step = max(1, CHUNK_ENTRIES // packing.longest)
    indices = []
    for first in range(0, len(query), step):
        rows = slice(first, first + step)
        start, count = packing.starts[cloud[rows]], packing.counts[cloud[rows]]
        own_column = None if own is None else own[rows] - start
        local = _chunk(query[rows], points, start, count, k, own_column, norm)  # (T, k)
        indices.append(torch.where(local < 0, local, local + start.unsqueeze(1)))
    return torch.cat(indices)


def in_order(distance: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (T, K) sorted by (distance, index)."""
    index, order = index.sort(dim=-1)
    distance, order = distance.gather(-1, order).sort(dim=-1, stable=True)
    return distance, index.gather(-1, order)


def fit(index: Tensor, k: int) -> Tensor:
    """Widens (T, <= k) to (T, k) with -1."""
    if index.shape[1] == k:
        return index
    return nn.functional.pad(index, (0, k - index.shape[1]), value=-1)


def _nearest_of_all(query: Tensor, points: Tensor, absent: Tensor | None, norm: int) -> Tensor:
    distance = _pair_distance(query.unsqueeze(2), points.unsqueeze(1), norm)  # (B, N, M)
    if absent is not None:
        _hide(distance, absent)
    nearest, index = distance.min(-1)  # the first one; three times argmin's speed
    if norm == 1:  # sums without squares leave the range only with the nodes themselves
        return index
    return _in_double_precision(query, points, absent, nearest, index)


def _in_double_precision(
    query: Tensor, points: Tensor, absent: Tensor | None, nearest: Tensor, index: Tensor
) -> Tensor:
    """The index (B, N), in float64 where the nearest distance has left the range of float32."""
    if query.dtype != torch.float32:
        return index
    largest, looked_at = torch.finfo(nearest.dtype).max, not recording(query)
    if looked_at:
        low, high = nearest.aminmax()
        if low >= SMALLEST and high < largest:
            return index
    gathered = points.gather(1, index.unsqueeze(-1).expand(-1, -1, points.shape[-1]))
    doubtful = ~((nearest >= SMALLEST) & (nearest < largest)) & (gathered != query).any(-1)
    if not looked_at:  # in a recorded step nothing may depend on a value
        again = _pair_distance(query.double().unsqueeze(2), points.double().unsqueeze(1))
        if absent is not None:
            _hide(again, absent)
        return torch.where(doubtful, again.min(-1).indices, index)
    cloud, node = doubtful.nonzero(as_tuple=True)
    step = max(1, CHUNK_ENTRIES // points.shape[1])
    for rows in zip(cloud.split(step), node.split(step), strict=True):
        asked, candidates = query[rows].double(), points[rows[0]].double()  # (T, F), (T, M, F)
        again = _pair_distance(asked.unsqueeze(1), candidates)
        if absent is not None:
            _hide(again, absent[rows[0], 0])
        index[rows] = again.min(-1).indices
    return index


def _chunk(
    query: Tensor,
    points: Tensor,
    start: Tensor,
    count: Tensor,
    k: int,
    own_column: Tensor | None,
    norm: int,
) -> Tensor:
    """Places within their clouds of the k nearest points, -1 where a cloud has fewer: (T, k)."""
    fewest, most = (int(size) for size in count.aminmax())
    column = torch.arange(most, device=query.device)  # (M,)
    if start[0] == start[-1]:  # one cloud serves all queries, without a copy for each
        candidates = points[int(start[0]) : int(start[0]) + most]  # (M, F)
    else:
        index = (start.unsqueeze(1) + column).clamp_(max=len(points) - 1)
        candidates = _take(points, index)  # (T, M, F)
    distance = _pair_distance(query.unsqueeze(1), candidates, norm)  # (T, M)
    if fewest == most and own_column is None:
        local = _smallest(distance, min(k, most))
        if norm == 2:
            local = _all_in_double_precision(query, candidates, None, distance, local)
        return fit(local, k)
    absent = column >= count.unsqueeze(1)  # (T, M)
    if own_column is not None:
        absent |= column == own_column.unsqueeze(1)
    _hide(distance, absent)
    local = _smallest(distance, min(k, most))
    if norm == 2:
        local = _all_in_double_precision(query, candidates, absent, distance, local)
    return fit(local.masked_fill_(absent.gather(1, local), -1), k)


def _all_in_double_precision(
    query: Tensor, candidates: Tensor, absent: Tensor | None, distance: Tensor, local: Tensor
) -> Tensor:
    """The places (T, k), in float64 where a distance has left the range of float32."""
    if query.dtype != torch.float32:
        return local
    kept = distance.gather(1, local)
    doubtful = ~((kept >= SMALLEST) & (kept < torch.finfo(kept.dtype).max))  # (T, k)
    if absent is not None:
        doubtful &= ~absent.gather(1, local)
    rows = doubtful.any(1).nonzero()[:, 0]
    if len(rows) == 0:
        return local
    of_all = candidates.dim() == 2
    nearest = candidates[local[rows]] if of_all else candidates[rows.unsqueeze(1), local[rows]]
    others = doubtful[rows] & (nearest != query[rows].unsqueeze(1)).any(-1)  # (T, k)
    rows = rows[others.any(1)]
    again = _pair_distance(
        query[rows].double().unsqueeze(1), (candidates if of_all else candidates[rows]).double()
    )
    if absent is not None:
        _hide(again, absent[rows])
    local[rows] = _smallest(again, local.shape[1])
    return local


def _features_apart(nodes: Tensor) -> Tensor:
    # an inner loop over 2 or 3 features is slow; the shape stays, only the strides change
    return nodes.movedim(-1, 0).contiguous().movedim(0, -1)


def _pair_distance(query: Tensor, points: Tensor, norm: int = 2) -> Tensor:
    """:func:`squared_distance` to the bit, with a third of the memory and no gradient.

    With norm 1 the sum of absolute differences.
    """
    total = None
    for a, b in zip(query.unbind(-1), points.unbind(-1), strict=True):
        difference = a - b
        square = difference.mul_(difference) if norm == 2 else difference.abs_()
        total = square if total is None else total.add_(square)
    assert total is not None  # there is at least one feature
    return total


def _smallest(distance: Tensor, k: int) -> Tensor:
    """Places of the k smallest along the last axis, smallest first, ties to the lowest place."""
    if k == 1:
        return distance.min(-1).indices.unsqueeze(-1)  # the first one; three times argmin's speed
    if k == distance.shape[-1]:
        return distance.sort(dim=-1, stable=True).indices
    # topk is 70 times faster than sorting long rows, but any of equal distances may stay out
    values, index = distance.topk(k + 1, largest=False)
    index = in_order(values, index)[1][:, :k]
    cut = (values[:, k] == values[:, k - 1]).nonzero()[:, 0]
    if len(cut):
        index[cut] = distance[cut].sort(dim=-1, stable=True).indices[:, :k]
    return index


def _take(points: Tensor, index: Tensor) -> Tensor:
    """Points (P, F), features apart in memory, at an index of any shape: (*index.shape, F)."""
    taken = points.t().index_select(1, index.reshape(-1))
    return taken.view(-1, *index.shape).movedim(0, -1)


def _hide(distance: Tensor, absent: Tensor) -> None:
    """Puts absent pairs behind all others, those included whose distance overflows (in place)."""
    distance.clamp_(max=torch.finfo(distance.dtype).max).masked_fill_(absent, torch.inf)
