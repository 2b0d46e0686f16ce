"""The k nearest neighbours, between two sets and as graphs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gconvae.clouds import pack
from gconvae.neighbors import dense, trees
from gconvae.neighbors.backends import check_backend, check_norm, resolve_backend
from gconvae.neighbors.operators import define, watched
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
    check_backend(backend)
    search = torch.ops.gconvae.knn if watched(query, points) else _packed_indices
    index = search(query.detach(), points.detach(), *batches, k, norm, backend)  # (P_q, K)
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
    check_norm(norm)
    check_backend(backend)
    search = torch.ops.gconvae.knn_padded if watched(query, points) else _padded_indices
    masks = query_mask, points_mask
    index = search(query.detach(), points.detach(), *masks, k, norm, backend)  # (B, N, K)
    clouds, features = points.shape[0], points.shape[2]
    if points.shape[1] == 0:
        return Neighbors(query.new_full(index.shape, torch.inf), index)
    rows = index.clamp(min=0).flatten(1).unsqueeze(-1).expand(-1, -1, features)
    neighbors = points.gather(1, rows).view(clouds, *index.shape[1:], features)  # (B, N, K, F)
    return Neighbors(_gaps(query, neighbors, index, norm), index)


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


def _packed_indices(
    query: Tensor,
    points: Tensor,
    batch_query: Tensor,
    batch_points: Tensor,
    k: int,
    norm: int,
    backend: str,
) -> Tensor:
    packing = find_packing(query, points, batch_query, batch_points)
    chosen = resolve_backend(backend, query.device, query.dtype, packing.longest, k, graph=True)
    asked = min(k, packing.longest)
    indices = search_packed(*searchable(query, points), packing, asked, chosen, norm=norm)
    return dense.fit(indices, k)


def _padded_indices(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None,
    points_mask: Tensor | None,
    k: int,
    norm: int,
    backend: str,
) -> Tensor:
    check_masks(query, points, query_mask, points_mask)
    asks, gives = (
        side.new_ones(side.shape[:2], dtype=torch.bool) if mask is None else mask
        for side, mask in ((query, query_mask), (points, points_mask))
    )
    asking, batch_query = pack(query, asks)
    nodes, batch_points = pack(points, gives)
    indices = _packed_indices(asking, nodes, batch_query, batch_points, k, norm, backend)
    index = indices.new_full((*query.shape[:2], k), -1)
    if len(nodes):
        place = gives.nonzero()[:, 1]  # (P_p,), within its cloud
        index[asks] = torch.where(indices >= 0, place[indices.clamp(min=0)], -1)
    return index


def _distances(query: Tensor, points: Tensor, index: Tensor, norm: int) -> Tensor:
    """Of each query to its neighbours, differentiable, shape (P_q, K)."""
    if points.shape[0] == 0:
        return query.new_full(index.shape, torch.inf)
    return _gaps(query, points[index.clamp(min=0)], index, norm)


def _gaps(query: Tensor, neighbors: Tensor, index: Tensor, norm: int) -> Tensor:
    """Of queries (..., F) to what was found of each, (..., K, F); inf where nothing was."""
    query, neighbors = searchable(query, neighbors)
    if norm == 1:
        distance = (query.unsqueeze(-2) - neighbors).abs().sum(-1)
    else:
        distance = dense.squared_distance(query.unsqueeze(-2), neighbors)
    return distance.masked_fill(index < 0, torch.inf)


define(
    "knn",
    "(Tensor query, Tensor points, Tensor of_query, Tensor of_points, int k, int norm, "
    "str backend) -> Tensor",
    _packed_indices,
    lambda query, points, a, b, k, *_: query.new_empty(query.shape[0], k, dtype=torch.long),
    clouds_first=False,
)
define(
    "knn_padded",
    "(Tensor query, Tensor points, Tensor? query_mask, Tensor? points_mask, int k, int norm, "
    "str backend) -> Tensor",
    _padded_indices,
    lambda query, points, a, b, k, *_: query.new_empty(*query.shape[:2], k, dtype=torch.long),
)
