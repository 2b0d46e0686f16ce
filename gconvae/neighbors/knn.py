"""The k nearest points of another cloud, clouds padded: indices and distances."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gconvae.clouds import pack
from gconvae.neighbors.dense import squared_distance
from gconvae.neighbors.k_nearest import k_nearest, looked_again
from gconvae.neighbors.packed import check_masks, check_pair, find_packing, searchable
from gconvae.neighbors.search import resolve_backend
from gconvae.registry import check_counts

__all__ = ["Neighbors", "knn"]


class Neighbors(NamedTuple):
    """The k nearest points of each query.

    Attributes:
        distances: Squared, nearest first, shape (B, N, k); infinite where there is none.
        indices: Places in the cloud of points, shape (B, N, k); -1 where there is none.
    """

    distances: Tensor
    indices: Tensor


def knn(
    query: Tensor,
    points: Tensor,
    k: int,
    query_mask: Tensor | None = None,
    points_mask: Tensor | None = None,
    *,
    backend: str = "torch-cluster",
) -> Neighbors:
    r"""For each query node its k nearest points of the same cloud, from another set of nodes.

    .. math:: d_{ij} = |q_i - p_j|^2

    Distances have a gradient; indices are found without one. Ties go to the lowest index.

    Args:
        query: Shape (B, N, F).
        points: Points to choose from, shape (B, M, F), same dtype and device.
        k: Neighbours of a query, at least 1; of a cloud with fewer points there are fewer.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: True = a real node, shape (B, M); None = all real.
        backend: One of :data:`gconvae.neighbors.BACKENDS`; graphs and k above 1 are not searched
            by the compiled one.
    Returns:
        Distances and indices, (B, N, k) each.
    Raises:
        ValueError: If ``k`` is below 1, shapes, dtypes or devices do not match, or a cloud has
            queries but no points.
    Example:
        >>> query = torch.tensor([[[0.0], [5.0]]])
        >>> points = torch.tensor([[[4.0], [6.0], [1.0]]])
        >>> knn(query, points, k=2)
        Neighbors(distances=tensor([[[ 1., 16.],
                 [ 1.,  1.]]]), indices=tensor([[[2, 0],
                 [0, 1]]]))
    """
    check_counts(k=k)
    check_pair(query, points, dim=3)
    check_masks(query, points, query_mask, points_mask)
    indices = _indices(query, points, k, query_mask, points_mask, backend)
    chosen = indices.clamp(min=0).flatten(1).unsqueeze(-1).expand(-1, -1, points.shape[-1])
    found = points.gather(1, chosen).unflatten(1, indices.shape[1:])  # (B, N, k, F)
    distances = squared_distance(query.unsqueeze(2), found)
    return Neighbors(distances.masked_fill(indices < 0, torch.inf), indices)


@torch.no_grad()
def _indices(
    query: Tensor,
    points: Tensor,
    k: int,
    query_mask: Tensor | None,
    points_mask: Tensor | None,
    backend: str,
) -> Tensor:
    (clouds, nodes), size = query.shape[:2], points.shape[1]
    indices = torch.full((clouds, nodes, k), -1, device=query.device)
    asking, batch_query = pack(*searchable(query, query)[:1], query_mask)
    given, batch_points = pack(*searchable(points, points)[:1], points_mask)
    if not len(asking):
        return indices
    packing = find_packing(asking, given, batch_query, batch_points)
    most = min(k, packing.longest)
    chosen = resolve_backend(backend, query.device, asking.dtype, size, most, graph=True)
    found = k_nearest(asking, given, packing, most, chosen)  # (P_q, most)
    found = looked_again(asking, given, packing, found)
    if points_mask is None:
        place = found - (batch_query * size).unsqueeze(1)
    else:
        place = points_mask.nonzero()[:, 1][found.clamp(min=0)]
    place = place.masked_fill(found < 0, -1)
    real = torch.ones_like(query[..., 0], dtype=torch.bool) if query_mask is None else query_mask
    indices[..., :most][real] = place
    return indices
