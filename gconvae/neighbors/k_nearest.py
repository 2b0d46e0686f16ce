"""The k nearest points of packed clouds, by k-d trees or by comparing all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.cuda_graphs import recording
from gconvae.neighbors import dense, trees
from gconvae.neighbors.packed import Packing

__all__ = ["k_nearest", "looked_again"]


def k_nearest(
    query: Tensor,
    points: Tensor,
    packing: Packing,
    k: int,
    backend: str,
    own: Tensor | None = None,
) -> Tensor:
    """The k nearest points of each query, nearest first.

    Args:
        query: float32 or float64, shape (P_q, F).
        points: Likewise, shape (P_p, F).
        packing: Where the clouds lie.
        k: Neighbours of a query.
        backend: ``"torch-cluster"`` or ``"dense"``.
        own: For each query a point that does not count, shape (P_q,); None = all count.
    Returns:
        Indices into ``points``, -1 where a cloud has fewer, shape (P_q, k).
    """
    if len(query) == 0 or k == 0:
        return packing.starts.new_empty((len(query), k))
    if backend == "torch-cluster":
        return trees.nearest_packed(query, points, packing, k, own)
    return dense.nearest_packed(query, points, packing.batch_query, packing, k, own)


def looked_again(
    query: Tensor, points: Tensor, packing: Packing, index: Tensor, own: Tensor | None = None
) -> Tensor:
    """Neighbours, in double precision where single precision has no square of a distance.

    Args:
        query: Shape (P_q, F).
        points: Shape (P_p, F).
        packing: Where the clouds lie.
        index: From :func:`k_nearest`, shape (P_q, k); may be changed.
        own: As there.
    Returns:
        Shape (P_q, k).
    """
    if query.dtype == torch.float64 or not index.numel() or recording(query):
        return index
    found = points[index.clamp(min=0)].float()  # (P_q, k, F)
    again = dense.out_of_range(query.float().unsqueeze(1), found) & (index >= 0)
    rows = again.any(1).nonzero()[:, 0]
    if len(rows):
        given = query[rows].double(), points.double(), packing.batch_query[rows], packing
        left_out = None if own is None else own[rows]
        index[rows] = dense.nearest_packed(*given, index.shape[1], left_out)
    return index
