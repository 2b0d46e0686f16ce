"""A search by the k-d trees of torch-cluster, made exact: no other room imports torch-cluster.

Trees break ties as they like and misjudge near ones. What they may have misjudged is searched
again, by the compiled library on a CPU where there is one, else among all pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gconvae.clouds import pack
from gconvae.neighbors import dense, native
from gconvae.neighbors.packed import Packing, find_starts

__all__ = ["nearest_both", "nearest_packed", "nearest_padded", "obstacle"]

TIE_TOLERANCE = 64
"""Relative gap of squared distances, in F * eps, below which a k-d tree may misjudge them.

A sum of F squares is off by about F * eps. Where a tree skips a branch it adds and subtracts one
square per level, so that its bound is off by some eps per level: 64 * F covers over 40 levels.
"""

_MAX_CUDA_NEIGHBORS = 100  # torch-cluster's CUDA kernel keeps its candidates in an array of 100


def obstacle(device: torch.device, dtype: torch.dtype, k: int) -> str | None:
    """Why torch-cluster cannot find k neighbours exactly here, or None if it can."""
    if dtype not in (torch.float32, torch.float64):
        return f"would compare distances in {dtype}, which is not exact"
    try:
        import torch_cluster  # noqa: F401 - registers its operators, if it loads
    except ModuleNotFoundError as error:
        return f"is not installed (the README says how to compile it): {error}"
    except (ImportError, OSError, RuntimeError) as error:
        # its libraries are tied to one build of torch, and fail to load beside another
        return f"is installed but does not load: {error}"
    if device.type == "cuda":
        if torch.ops.torch_cluster.cuda_version() == -1:
            return "is built without CUDA and cannot search on a GPU"
        if k + 2 > _MAX_CUDA_NEIGHBORS:
            return f"finds at most {_MAX_CUDA_NEIGHBORS} neighbours on a GPU"
    elif device.type != "cpu":
        return f"cannot search on device {device.type}"
    return None


def nearest_packed(
    query: Tensor, points: Tensor, packing: Packing, k: int, own: Tensor | None = None
) -> Tensor:
    """The k nearest points of each query; those that trees may misjudge are searched densely.

    One candidate more than asked for shows whether the last one kept ties with the first dropped.

    Args:
        query: float32 or float64, shape (P_q, F), at least one.
        points: Likewise, shape (P_p, F).
        packing: Where the clouds lie.
        k: Neighbours of a query, at least 1.
        own: For each query a point that does not count, shape (P_q,); None = all count.
    Returns:
        Indices into ``points``, nearest first, -1 where a cloud has fewer, shape (P_q, k).
    """
    if k == 1 and own is None and _checked_in_cpp(query):
        return _checked(query, points, packing).unsqueeze(1)
    kept = k if own is None else k + 1
    candidates: _Candidates = _candidates(query, points, packing, min(kept + 1, packing.longest))
    distance, index = candidates.distances, candidates.indices
    if own is not None:
        # first in line, to be left out; only a tie with all candidates keeps it from being one
        distance = distance.masked_fill(index == own.unsqueeze(1), -1.0)
    if kept > 1:  # the tree's own order is wrong for near ties only, and of 2 those are redone
        distance, index = dense.in_order(distance, index)
    doubtful = _near_ties(distance, kept, points.shape[1])
    if candidates.counts is not None:
        counts = packing.counts[packing.batch_query]
        # torch-cluster leaves out points whose squared distance overflows
        doubtful = (doubtful & (counts > kept)) | (candidates.counts < counts.clamp(max=kept + 1))
    kept_distance, index = distance[:, kept - k : kept], index[:, kept - k : kept]
    doubtful |= _out_of_range(query, points, kept_distance, index)
    index = dense.fit(index, k)  # (P_q, k)
    rows = doubtful.nonzero()[:, 0]
    if len(rows):
        cloud, own = packing.batch_query[rows], None if own is None else own[rows]
        index[rows] = dense.nearest_packed(query[rows], points, cloud, packing, k, own)
    return index


def _checked_in_cpp(query: Tensor) -> bool:
    """Whether what torch-cluster finds is looked at once more by the library for CPUs."""
    return query.device.type == "cpu" and native.available(dtype=query.dtype)


def nearest_padded(
    query: Tensor, points: Tensor, query_mask: Tensor | None, points_mask: Tensor | None
) -> Tensor:
    """For each query the nearest point of the same cloud.

    Args:
        query: float32 or float64, shape (B, N, F), at least one.
        points: Likewise, shape (B, M, F); where a cloud has queries, it has a real point.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: Likewise, shape (B, M).
    Returns:
        Indices 0..M-1 of real points, ties to the lowest, shape (B, N); 0 for masked queries.
    """
    if query_mask is None and points_mask is None:
        return _every_node_real(query, points)
    return _with_masks(query, points, query_mask, points_mask)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch-cluster cannot be traced
def nearest_both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`nearest_padded` both ways, every node real: shapes (B, N) and (B, M)."""
    if not _checked_in_cpp(a):
        return _every_node_real(a, b), _every_node_real(b, a)
    # one look at both answers: a call costs as much as what it does in small clouds
    a, b = a.contiguous(), b.contiguous()
    return native.nearest_both(a, b, known=(_guess_padded(a, b), _guess_padded(b, a)))


def _every_node_real(query: Tensor, points: Tensor) -> Tensor:
    """Nearest points by k-d trees, every node real: (B, N)."""
    num_clouds, num_nodes, features = query.shape
    size = points.shape[1]
    if _checked_in_cpp(query):
        return native.nearest(query, points, known=_guess_padded(query, points))
    cloud = torch.arange(num_clouds, device=query.device)
    packing = Packing(
        batch_query=cloud.repeat_interleave(num_nodes),
        batch_points=cloud.repeat_interleave(size),
        starts=cloud * size,
        counts=torch.full_like(cloud, size),
        longest=size,
    )
    index = nearest_packed(query.reshape(-1, features), points.reshape(-1, features), packing, 1)
    return index.view(num_clouds, num_nodes) - packing.starts.unsqueeze(1)


def _with_masks(
    query: Tensor, points: Tensor, query_mask: Tensor | None, points_mask: Tensor | None
) -> Tensor:
    """Nearest points by k-d trees, among the real nodes: (B, N)."""
    if query_mask is None:
        query_mask = query.new_ones(query.shape[:2], dtype=torch.bool)
    if points_mask is None:
        points_mask = points.new_ones(points.shape[:2], dtype=torch.bool)
    asking, batch_query = pack(query, query_mask)
    nodes, batch_points = pack(points, points_mask)
    count = points_mask.sum(1)  # (B,)
    packing = Packing(batch_query, batch_points, count.cumsum(0) - count, count, points.shape[1])
    index = query.new_zeros(query.shape[:2], dtype=torch.long)
    if len(asking) == 0:
        return index
    indices = nearest_packed(asking, nodes, packing, 1)[:, 0]
    column = points_mask.nonzero()[:, 1]  # (P_p,), the place in its cloud of each packed point
    index[query_mask] = column[indices]
    return index


def _checked(query: Tensor, points: Tensor, packing: Packing) -> Tensor:
    """What k-d trees find, after a look at all that is as near: (P_q,).

    A second candidate, which would show ties, costs the trees more than this look.
    """
    num_clouds = len(packing.starts)
    asks = torch.bincount(packing.batch_query, minlength=num_clouds)  # (B,)
    starts = find_starts(asks), find_starts(packing.counts)
    known = _guess(query, points, *starts) - starts[1][:-1].repeat_interleave(asks)
    return native.nearest_packed(query, points, *starts, known)


def _guess_padded(query: Tensor, points: Tensor) -> Tensor:
    """What k-d trees alone find, places within the clouds, below 0 where nothing: (B, N)."""
    (clouds, nodes, features), size = query.shape, points.shape[1]
    starts_query, starts_points = (
        torch.arange(0, clouds * count + 1, count, device="cpu") for count in (nodes, size)
    )
    flat = query.reshape(-1, features), points.reshape(-1, features)
    index = _guess(*flat, starts_query, starts_points)
    return index.view(clouds, nodes) - starts_points[:-1].unsqueeze(1)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch-cluster cannot be traced
def _guess(query: Tensor, points: Tensor, starts_query: Tensor, starts_points: Tensor) -> Tensor:
    """What k-d trees alone find, indices into ``points``, -1 where nothing: (P_q,)."""
    import torch_cluster  # noqa: F401 - its knn() counts the nodes of each cloud once more

    row, column = torch.ops.torch_cluster.knn(
        points.contiguous(), query.contiguous(), starts_points, starts_query, 1, False, 1
    )
    if len(row) == len(query):
        return column
    # points whose squared distance overflows are left out
    return column.new_full((len(query),), -1).index_copy_(0, row, column)


class _Candidates(NamedTuple):
    """What k-d trees find, nearest first by their own rounding."""

    distances: Tensor  # (P_q, K), inf where there is no candidate
    indices: Tensor  # (P_q, K), -1 where there is no candidate
    counts: Tensor | None  # candidates of each query, (P_q,); None = all K


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch-cluster cannot be traced
def _candidates(query: Tensor, points: Tensor, packing: Packing, k: int) -> _Candidates:
    from torch_cluster import knn  # its nearest() is wrong on CPU

    row, column = knn(
        points,
        query,
        k,
        packing.batch_points,
        packing.batch_query,
        batch_size=len(packing.starts),
    )
    distance = dense.squared_distance(points.index_select(0, column), query.index_select(0, row))
    if len(row) == k * len(query):
        return _Candidates(distance.view(-1, k), column.view(-1, k), None)
    counts = torch.bincount(row, minlength=len(query))  # (P_q,)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    index = row.new_full((len(query), k), -1)
    index[row, place] = column
    every = distance.new_full((len(query), k), torch.inf)
    # behind all others, but ahead of the missing ones, where the distance overflows
    every[row, place] = distance.clamp(max=torch.finfo(distance.dtype).max)
    return _Candidates(every, index, counts)


def _out_of_range(query: Tensor, points: Tensor, distance: Tensor, index: Tensor) -> Tensor:
    """Where a point is so near, without being the query, that squares lose digits: (P_q,)."""
    near = (distance < dense.SMALLEST) & (index >= 0)  # (P_q, k)
    if query.dtype != torch.float32 or not near.any():
        return near.new_zeros(len(near))
    return (near & (points[index.clamp(min=0)] != query.unsqueeze(1)).any(-1)).any(1)


def _near_ties(distance: Tensor, kept: int, features: int) -> Tensor:
    """Where the last distance kept and the first one dropped agree within rounding: (P_q,)."""
    if distance.shape[1] <= kept:
        return distance.new_zeros(len(distance), dtype=torch.bool)
    last, dropped = distance[:, kept - 1], distance[:, kept]
    scale = torch.finfo(distance.dtype)
    margin = last * (TIE_TOLERANCE * features * scale.eps) + 4 * features * scale.tiny
    return ~(dropped - last > margin)  # so written, the NaN of inf - inf is a tie
