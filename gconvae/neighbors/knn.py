"""The k nearest neighbours, between two sets and as graphs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gconvae.clouds import pack
from gconvae.neighbors import dense, trees
from gconvae.neighbors.backends import check_norm, resolve_backend
from gconvae.neighbors.packed import (
    Packing,
    check_masks,
    check_pair,
    find_packing,
    one_cloud,
    searchable,
)
from gconvae.plain import plain

__all__ = ["Neighbors", "knn", "knn_graph", "knn_padded", "search_packed"]


class Neighbors(NamedTuple):
    """The k nearest points of each query, nearest first, ties to the lowest index."""

    distances: Tensor
    """Squared distances (norm 1: sums of absolute differences), shape (..., K); inf where there
    is no further point. They carry gradients, those of a tie to the lowest index."""
    indices: Tensor
    """Places of the points, shape (..., K); -1 where there is no further point."""


def knn(
    query: Tensor,
    points: Tensor,
    k: int,
    batch_query: Tensor | None = None,
    batch_points: Tensor | None = None,
    *,
    norm: int = 2,
    backend: str = "torch-cluster",
) -> Neighbors:
    r"""The k nearest points of the same cloud for each query, clouds packed.

    Args:
        query: Packed nodes, shape (P_q, F).
        points: Packed nodes to choose from, shape (P_p, F), same dtype and device.
        k: Neighbours of a query, at least 1.
        batch_query: Cloud of each query, ascending, shape (P_q,); None = all of one cloud.
        batch_points: Likewise of the points, shape (P_p,).
        norm: 2 = Euclidean distances, compared and given as squares; 1 = sums of absolute
            differences, of all pairs whatever the backend.
        backend: See :func:`gconvae.neighbors.nearest`.
    Returns:
        Distances and indices into ``points``, both of shape (P_q, K).
    Raises:
        ValueError: If ``k`` is below 1, shapes, dtypes or devices do not match, one batch is given
            without the other or not ascending, or a cloud has queries but no points.
    Example:
        >>> query, points = torch.tensor([[0.0], [5.0]]), torch.tensor([[4.0], [1.0], [7.0]])
        >>> knn(query, points, 2)
        Neighbors(distances=tensor([[ 1., 16.],
                [ 1.,  4.]]), indices=tensor([[1, 0],
                [0, 2]]))
    """
    k = _checked_k(k)
    check_norm(norm)
    check_pair(query, points, dim=2)
    batches = one_cloud(query, points, batch_query, batch_points)
    packing = find_packing(query, points, *batches)
    chosen = resolve_backend(backend, query.device, query.dtype, packing.longest, k, graph=True)
    asked = min(k, packing.longest)
    with torch.no_grad():
        pair = searchable(query.detach(), points.detach())
        index = dense.fit(search_packed(*pair, packing, asked, chosen, norm=norm), k)  # (P_q, K)
    return Neighbors(_distances(query, points, index, norm), index)


def knn_padded(
    query: Tensor,
    points: Tensor,
    k: int,
    query_mask: Tensor | None = None,
    points_mask: Tensor | None = None,
    *,
    norm: int = 2,
    backend: str = "torch-cluster",
) -> Neighbors:
    """:func:`knn` of padded clouds, with indices within each cloud.

    Args:
        query: Shape (B, N, F).
        points: Points to choose from, shape (B, M, F), same dtype and device.
        k: Neighbours of a query, at least 1.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: Likewise, shape (B, M).
        norm: As in :func:`knn`.
        backend: Likewise.
    Returns:
        Distances and indices 0..M-1, both of shape (B, N, K); inf and -1 for masked queries.
    Raises:
        ValueError: As :func:`knn` does.
    Example:
        >>> query, points = torch.zeros(1, 1, 1), torch.tensor([[[3.0], [1.0], [2.0]]])
        >>> knn_padded(query, points, 2).indices
        tensor([[[1, 2]]])
    """
    k = _checked_k(k)
    check_pair(query, points, dim=3)
    check_masks(query, points, query_mask, points_mask)
    every = query.new_ones(query.shape[:2], dtype=torch.bool)
    asks = every if query_mask is None else query_mask
    gives = points.new_ones(points.shape[:2], dtype=torch.bool)
    gives = gives if points_mask is None else points_mask
    asking, batch_query = pack(query, asks)
    nodes, batch_points = pack(points, gives)
    found = knn(asking, nodes, k, batch_query, batch_points, norm=norm, backend=backend)
    place = gives.nonzero()[:, 1]  # (P_p,)
    local = found.indices
    if len(place):
        local = torch.where(local >= 0, place[local.clamp(min=0)], -1)
    shape = *query.shape[:2], k
    indices = local.new_full(shape, -1)
    indices[asks] = local
    distances = query.new_full(shape, torch.inf).to(found.distances.dtype)
    return Neighbors(distances.index_put((asks,), found.distances), indices)


@torch.no_grad()
def knn_graph(
    points: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    backend: str = "torch-cluster",
) -> Tensor:
    """Edges to each node from its k nearest nodes of the same cloud.

    Args:
        points: Packed nodes, shape (P, F).
        k: Neighbours of a node, at least 1. A smaller cloud gives as many as it has.
        batch: Cloud of each node, ascending, shape (P,); None = all of one cloud.
        loop: Whether a node counts as a neighbour of its own.
        backend: One of :data:`BACKENDS`.
    Returns:
        ``edge_index`` of shape (2, E) as PyG takes it: row 0 the neighbour (source), row 1 the
        node (target). Edges are grouped by target, nearest first, ties to the lowest index.
    Raises:
        ValueError: If ``k`` is below 1, shapes do not match, or the batch is not ascending.
    Example:
        >>> knn_graph(torch.tensor([[0.0], [1.0], [3.0], [7.0]]), 1, torch.tensor([0, 0, 0, 1]))
        tensor([[1, 0, 1],
                [0, 1, 2]])
    """
    k = _checked_k(k)
    check_pair(points, points, dim=2)
    batch = one_cloud(points, points, batch, batch)[0]
    packing = find_packing(points, points, batch, batch, ("points", "points", "batch", "batch"))
    k = min(k, packing.longest)
    chosen = resolve_backend(backend, points.device, points.dtype, packing.longest, k, graph=True)
    own = torch.arange(len(points), device=points.device)
    source = search_packed(
        *searchable(points, points), packing, k, chosen, own=None if loop else own
    )  # (P, k)
    real = source >= 0
    return torch.stack([source[real], own.unsqueeze(1).expand_as(source)[real]])


def search_packed(
    query: Tensor,
    points: Tensor,
    packing: Packing,
    k: int,
    backend: str,
    own: Tensor | None = None,
    norm: int = 2,
) -> Tensor:
    """The k nearest points of each query, nearest first, -1 where a cloud has fewer: (P_q, k).

    ``own`` holds for each query a point that does not count, shape (P_q,).
    """
    if len(query) == 0 or k == 0:
        return packing.starts.new_empty((len(query), k))
    if backend == "torch-cluster" and norm == 2:
        return trees.nearest_packed(query, points, packing, k, own)
    return dense.nearest_packed(query, points, packing.batch_query, packing, k, own, norm)


def _checked_k(k: Any) -> int:
    k = plain(k)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
    return k


def _distances(query: Tensor, points: Tensor, index: Tensor, norm: int) -> Tensor:
    """Of each query to its neighbours, differentiable, shape (P_q, K)."""
    query, points = searchable(query, points)
    if len(points) == 0:
        return query.new_full(index.shape, torch.inf)
    missing = index < 0
    found = points[index.clamp(min=0)]  # (P_q, K, F)
    if norm == 1:
        distance = (query.unsqueeze(1) - found).abs().sum(-1)
    else:
        distance = dense.squared_distance(query.unsqueeze(1), found)
    return distance.masked_fill(missing, torch.inf)
