"""Nearest neighbours and kNN graphs inside each cloud, exact, with ties to the lowest index.

Three searches give the same indices: the k-d trees of torch-cluster (``trees``), one that compares
every pair (``dense``), and one that is compiled at first use, for a CPU or a GPU (``native``).
Which of them runs is decided here.

Exact: distances are compared as their sums of squares are rounded, feature by feature, in the
dtype of the nodes (half precision: in float32). Where squares leave float32, for nodes nearer than
about 1e-15 or farther than about 1e19, the same is done in float64, so that float32 is right
everywhere. In float64 itself squares are right for distances from 1e-150 to 1e150.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from gconvae.neighbors import dense, native, trees
from gconvae.neighbors.backends import Search, check_backend, check_norm, resolve_backend
from gconvae.neighbors.knn import search_packed
from gconvae.neighbors.operators import define, watched
from gconvae.neighbors.packed import (
    check_masks,
    check_pair,
    find_packing,
    find_starts,
    one_cloud,
    searchable,
)

__all__ = ["nearest", "nearest_both", "nearest_padded"]

WORTH_A_THREAD = 20_000
"""Queries from which k-d trees search both ways side by side."""


@torch.no_grad()
def nearest(
    query: Tensor,
    points: Tensor,
    batch_query: Tensor | None = None,
    batch_points: Tensor | None = None,
    backend: str = "torch-cluster",
) -> Tensor:
    r"""For each query node the nearest point of the same cloud.

    .. math:: \mathrm{index}_i = \arg\min_{j \in \mathrm{cloud}(i)} \lVert q_i - p_j \rVert^2

    Ties go to the lowest index, which torch-cluster alone does not promise: all that is as near as
    what it finds is looked at once more.

    Args:
        query: Packed nodes, shape (P_q, F).
        points: Packed nodes to choose from, shape (P_p, F), same dtype and device.
        batch_query: Cloud of each query, ascending, shape (P_q,); None = all of one cloud.
        batch_points: Cloud of each point, ascending, shape (P_p,); None where the other is.
        backend: One of :data:`BACKENDS`.
    Returns:
        Indices into ``points``, shape (P_q,).
    Raises:
        ValueError: If shapes, dtypes or devices do not match, a batch is not ascending, or a cloud
            has queries but no points (finiteness is checked once, where data enters).
    Example:
        >>> query = torch.tensor([[0.0, 0.0], [2.0, 2.0], [5.0, 5.0]])
        >>> points = torch.tensor([[2.0, 0.0], [0.0, 2.0], [4.0, 4.0]])
        >>> nearest(query, points, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
        tensor([0, 0, 2])
    """
    check_pair(query, points, dim=2)
    batch_query, batch_points = one_cloud(query, points, batch_query, batch_points)
    if watched(query, points):
        check_backend(backend)
        return torch.ops.gconvae.nearest(
            query.detach(), points.detach(), batch_query, batch_points, backend
        )
    return _nearest(query, points, batch_query, batch_points, backend)


def _nearest(
    query: Tensor, points: Tensor, batch_query: Tensor, batch_points: Tensor, backend: str
) -> Tensor:
    packing = find_packing(query, points, batch_query, batch_points)
    chosen = resolve_backend(backend, query.device, query.dtype, packing.longest)
    if chosen == "native":
        asks = torch.bincount(packing.batch_query, minlength=len(packing.counts))  # (B,)
        starts = find_starts(asks), find_starts(packing.counts)
        return native.nearest_packed(query, points, *starts)
    return search_packed(*searchable(query, points), packing, 1, chosen)[:, 0]


@torch.no_grad()
def nearest_padded(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None = None,
    points_mask: Tensor | None = None,
    backend: str = "torch-cluster",
    *,
    norm: int = 2,
) -> Tensor:
    """For each query node the nearest point of the same cloud, clouds padded.

    The same search as :func:`nearest`, but indices count within a cloud, as ``gather`` takes them.

    Args:
        query: Shape (B, N, F).
        points: Points to choose from, shape (B, M, F), same dtype and device.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: True = a real node, shape (B, M); None = all real.
        backend: One of :data:`BACKENDS`.
        norm: 2 = Euclidean distances; 1 = sums of absolute differences, which only ``"dense"``
            searches: all pairs are compared whatever the backend.
    Returns:
        Indices 0..M-1 of real points, shape (B, N); 0 for masked queries.
    Raises:
        ValueError: If shapes, dtypes or devices do not match, or a cloud has queries but no
            points.
    Example:
        >>> query = torch.tensor([[[0.0, 0.0], [3.0, 3.0]]])
        >>> points = torch.tensor([[[9.0, 9.0], [2.0, 2.0], [1.0, 1.0]]])
        >>> nearest_padded(query, points)
        tensor([[2, 1]])
        >>> nearest_padded(query, points, points_mask=torch.tensor([[True, True, False]]))
        tensor([[1, 1]])
    """
    check_pair(query, points, dim=3)
    # the dense search alone is made of operations that every runtime has
    if watched(query, points) and not (torch.compiler.is_exporting() and backend == "dense"):
        check_backend(backend)
        return torch.ops.gconvae.nearest_padded(
            query.detach(), points.detach(), query_mask, points_mask, backend, norm
        )
    return _checked_padded(query, points, query_mask, points_mask, backend, norm)


def _checked_padded(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None,
    points_mask: Tensor | None,
    backend: str,
    norm: int,
) -> Tensor:
    check_norm(norm)
    check_masks(query, points, query_mask, points_mask)
    num_clouds, num_nodes, _ = query.shape
    if num_clouds == 0 or num_nodes == 0:
        return query.new_zeros((num_clouds, num_nodes), dtype=torch.long)
    if norm == 1:
        return _nearest_by_sum(query, points, query_mask, points_mask)
    chosen = resolve_backend(backend, query.device, query.dtype, points.shape[1])
    return _nearest_padded(query, points, query_mask, points_mask, chosen)


def _nearest_padded(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None,
    points_mask: Tensor | None,
    chosen: Search,
) -> Tensor:
    if chosen == "native":
        return native.nearest(query, points, query_mask, points_mask)
    if chosen == "dense":
        index = dense.nearest_padded(*searchable(query, points), points_mask)
        return index if query_mask is None else index.masked_fill_(~query_mask, 0)
    return trees.nearest_padded(*searchable(query, points), query_mask, points_mask)


@torch.no_grad()
def nearest_both(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None = None,
    b_mask: Tensor | None = None,
    backend: str = "torch-cluster",
    *,
    norm: int = 2,
) -> tuple[Tensor, Tensor]:
    """:func:`nearest_padded` both ways, of a in b and of b in a, which costs less than two calls.

    Args:
        a: Shape (B, N, F).
        b: Shape (B, M, F), same dtype and device.
        a_mask: True = a real node, shape (B, N); None = all real.
        b_mask: Likewise, shape (B, M).
        backend: One of :data:`BACKENDS`.
        norm: As in :func:`nearest_padded`.
    Returns:
        For each node of a an index 0..M-1, shape (B, N), and for each of b one 0..N-1, (B, M).
    Raises:
        ValueError: As :func:`nearest_padded` does.
    Example:
        >>> a, b = torch.tensor([[[0.0], [5.0]]]), torch.tensor([[[4.0], [6.0], [1.0]]])
        >>> nearest_both(a, b)
        (tensor([[2, 0]]), tensor([[1, 1, 0]]))
    """
    check_pair(a, b, dim=3)
    if watched(a, b):
        check_backend(backend)
        return torch.ops.gconvae.nearest_both(
            a.detach(), b.detach(), a_mask, b_mask, backend, norm
        )
    return _nearest_both(a, b, a_mask, b_mask, backend, norm)


def _nearest_both(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None,
    b_mask: Tensor | None,
    backend: str,
    norm: int,
) -> tuple[Tensor, Tensor]:
    check_norm(norm)
    check_masks(a, b, a_mask, b_mask)
    check_masks(b, a, b_mask, a_mask)
    if 0 in (len(a), a.shape[1], b.shape[1]):
        return (
            a.new_zeros(a.shape[:2], dtype=torch.long),
            b.new_zeros(b.shape[:2], dtype=torch.long),
        )
    if norm == 1:
        to_b = _nearest_by_sum(a, b, a_mask, b_mask)
        return to_b, _nearest_by_sum(b, a, b_mask, a_mask)
    chosen = resolve_backend(backend, a.device, a.dtype, max(a.shape[1], b.shape[1]))
    if chosen == "native":
        return native.nearest_both(a, b, a_mask, b_mask)
    a, b = a.detach(), b.detach()
    if chosen == "dense" or not _worth_a_thread(a):
        if chosen == "torch-cluster" and a_mask is None and b_mask is None:
            return trees.nearest_both(*searchable(a, b))
        to_b = _nearest_padded(a, b, a_mask, b_mask, chosen)
        return to_b, _nearest_padded(b, a, b_mask, a_mask, chosen)
    # torch-cluster searches on one core, and lets go of the interpreter's lock
    with ThreadPoolExecutor(1) as other:
        to_a = other.submit(_nearest_padded, b, a, b_mask, a_mask, chosen)
        return _nearest_padded(a, b, a_mask, b_mask, chosen), to_a.result()


def _nearest_by_sum(
    query: Tensor, points: Tensor, query_mask: Tensor | None, points_mask: Tensor | None
) -> Tensor:
    """Nearest by the sum of absolute differences: (B, N)."""
    pair = searchable(query.detach(), points.detach())
    index = dense.nearest_padded(*pair, points_mask, norm=1)
    return index if query_mask is None else index.masked_fill_(~query_mask, 0)


def _worth_a_thread(nodes: Tensor) -> bool:
    several = nodes.device.type == "cpu" and torch.get_num_threads() > 1
    return several and nodes[..., 0].numel() >= WORTH_A_THREAD


def _places(of: Tensor) -> Tensor:
    """A place for each node of padded clouds, shape (B, N)."""
    return of.new_empty(of.shape[:2], dtype=torch.long)


_SIDES = "Tensor a, Tensor b, Tensor? a_mask, Tensor? b_mask, str backend, int norm"
define(
    "nearest_both",
    f"({_SIDES}) -> (Tensor, Tensor)",
    _nearest_both,
    lambda a, b, *_: (_places(a), _places(b)),
)
define("nearest_padded", f"({_SIDES}) -> Tensor", _checked_padded, lambda a, *_: _places(a))
define(
    "nearest",
    "(Tensor query, Tensor points, Tensor of_query, Tensor of_points, str backend) -> Tensor",
    _nearest,
    lambda query, *_: query.new_empty(query.shape[:1], dtype=torch.long),
    clouds_first=False,
)
