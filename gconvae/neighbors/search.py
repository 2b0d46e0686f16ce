"""Nearest neighbours and kNN graphs inside each cloud, exact, with ties to the lowest index.

Three searches give the same indices: the k-d trees of torch-cluster (``trees``), one that compares
every pair (``dense``), and one that is compiled at first use, for a CPU or a GPU (``native``).
Which of them runs is decided here.
"""

from __future__ import annotations

import functools
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor

from gconvae.cuda_graphs import recording
from gconvae.neighbors import dense, k_nearest, native, operation, trees
from gconvae.neighbors.packed import (
    check_masks,
    check_pair,
    find_packing,
    find_starts,
    one_cloud,
    searchable,
)
from gconvae.plain import did_you_mean, plain
from gconvae.symbolic import is_symbolic

__all__ = [
    "BACKENDS",
    "DenseSearchWarning",
    "knn_graph",
    "nearest",
    "nearest_both",
    "nearest_padded",
    "resolve_backend",
]

BACKENDS = ("torch-cluster", "dense", "native", "auto")
"""Choices of the neighbour search; ``auto`` takes the fastest one that can run."""

Search = Literal["torch-cluster", "dense", "native"]

AUTO_CROSSING = 350
"""Nodes of a cloud from which ``auto`` prefers k-d trees, where nothing can be compiled.

Time of trees over time of dense, ``nearest_padded``, 8 and 100 uniform clouds, F = 2 and 3, one
core of an x86 CPU: 4 at 25 nodes, 2.5 at 100, 1.5 at 200, 0.8-1.4 at 300, 0.9-1.0 at 400, 0.5 at
1000. Where many queries tie exactly, and are searched twice, the crossing lies above 1000.
"""

WORTH_A_THREAD = 20_000
"""Queries from which k-d trees search both ways side by side."""


class DenseSearchWarning(UserWarning):
    """The search that was asked for cannot be used; the dense search does the work."""


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
    what it finds is looked at once more. Exact means: by squared distances as the dtype rounds
    them. Where single precision has no such square, from differences of :math:`10^{19}` on and
    below :math:`10^{-15}`, double precision looks again; where that has none
    (:math:`10^{154}`, :math:`10^{-154}`), all are a tie.

    Args:
        query: Packed nodes, shape (P_q, F).
        points: Packed nodes to choose from, shape (P_p, F), same dtype and device.
        batch_query: Cloud of each query, ascending, shape (P_q,); None = all of one.
        batch_points: Cloud of each point, ascending, shape (P_p,); likewise.
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
    batch_query, batch_points = one_cloud(query, batch_query), one_cloud(points, batch_points)
    packing = find_packing(query, points, batch_query, batch_points)
    chosen = resolve_backend(backend, query.device, query.dtype, packing.longest)
    if chosen == "native":
        asks = torch.bincount(packing.batch_query, minlength=len(packing.counts))  # (B,)
        starts = find_starts(asks), find_starts(packing.counts)
        index = native.nearest_packed(query, points, *starts)
    else:
        index = k_nearest.k_nearest(*searchable(query, points), packing, 1, chosen)[:, 0]
    return k_nearest.looked_again(query, points, packing, index.unsqueeze(1))[:, 0]


@torch.no_grad()
def nearest_padded(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None = None,
    points_mask: Tensor | None = None,
    backend: str = "torch-cluster",
) -> Tensor:
    """For each query node the nearest point of the same cloud, clouds padded.

    The same search as :func:`nearest`, but indices count within a cloud, as ``gather`` takes them.

    Args:
        query: Shape (B, N, F).
        points: Points to choose from, shape (B, M, F), same dtype and device.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: True = a real node, shape (B, M); None = all real.
        backend: One of :data:`BACKENDS`.
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
    check_masks(query, points, query_mask, points_mask)
    num_clouds, num_nodes, _ = query.shape
    if num_clouds == 0 or num_nodes == 0:
        return query.new_zeros((num_clouds, num_nodes), dtype=torch.long)
    chosen = resolve_backend(backend, query.device, query.dtype, points.shape[1])
    index = _nearest_padded(query, points, query_mask, points_mask, chosen)
    if query.dtype == torch.float64 or recording(query):
        return index
    # as k_nearest does, a cloud at a time
    found = points.gather(1, index.unsqueeze(-1).expand(-1, -1, points.shape[-1]))  # (B, N, F)
    again = dense.out_of_range(query.float(), found.float())  # (B, N)
    again = again if query_mask is None else again & query_mask
    rows = again.any(1).nonzero()[:, 0]
    if len(rows):
        mask = None if points_mask is None else points_mask[rows]
        better = dense.nearest_padded(query[rows].double(), points[rows].double(), mask)
        index[rows] = torch.where(again[rows], better, index[rows])
    return index


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
) -> tuple[Tensor, Tensor]:
    """:func:`nearest_padded` both ways, of a in b and of b in a, which costs less than two calls.

    Args:
        a: Shape (B, N, F).
        b: Shape (B, M, F), same dtype and device.
        a_mask: True = a real node, shape (B, N); None = all real.
        b_mask: Likewise, shape (B, M).
        backend: One of :data:`BACKENDS`.
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
    check_masks(a, b, a_mask, b_mask)
    check_masks(b, a, b_mask, a_mask)
    if is_symbolic() or a.is_meta:
        _check_backend(backend)
        return operation.nearest_both(a.detach(), b.detach(), a_mask, b_mask)
    if 0 in (len(a), a.shape[1], b.shape[1]):
        return (
            a.new_zeros(a.shape[:2], dtype=torch.long),
            b.new_zeros(b.shape[:2], dtype=torch.long),
        )
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


def _worth_a_thread(nodes: Tensor) -> bool:
    several = nodes.device.type == "cpu" and torch.get_num_threads() > 1
    return several and nodes[..., 0].numel() >= WORTH_A_THREAD


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
        batch: Cloud of each node, ascending, shape (P,); None = all of one.
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
    k = plain(k)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
    check_pair(points, points, dim=2)
    batch = one_cloud(points, batch)
    packing = find_packing(points, points, batch, batch, ("points", "points", "batch", "batch"))
    k = min(k, packing.longest)
    chosen = resolve_backend(backend, points.device, points.dtype, packing.longest, k, graph=True)
    own = torch.arange(len(points), device=points.device)
    source = k_nearest.k_nearest(
        *searchable(points, points), packing, k, chosen, own=None if loop else own
    )  # (P, k)
    source = k_nearest.looked_again(points, points, packing, source, own=None if loop else own)
    real = source >= 0
    return torch.stack([source[real], own.unsqueeze(1).expand_as(source)[real]])


def resolve_backend(
    backend: str,
    device: torch.device | str,
    dtype: torch.dtype,
    num_nodes: int | None = None,
    k: int = 1,
    graph: bool = False,
) -> Search:
    """The search that is used for a choice of backend.

    Where torch-cluster or the compiled search is wanted and cannot run exactly, the dense search
    stands in, and a :class:`DenseSearchWarning` says why, once a process for each reason. Graphs
    are not searched by the compiled one: ``"native"`` and ``"auto"`` take one of the others.

    Args:
        backend: One of :data:`BACKENDS`.
        device: Device of the clouds.
        dtype: Dtype of the clouds.
        num_nodes: Nodes of the largest cloud, which ``auto`` looks at; None = many.
        k: Neighbours of a node.
        graph: Whether it is for :func:`knn_graph`.
    Returns:
        ``"torch-cluster"``, ``"dense"`` or ``"native"``.
    Raises:
        ValueError: If ``backend`` is no choice.
    Example:
        >>> resolve_backend("auto", "cpu", torch.float32, num_nodes=25, graph=True)
        'dense'
    """
    _check_backend(backend)
    if backend == "dense":
        return "dense"
    device = torch.device(device)
    if backend in ("native", "auto") and not graph:
        obstacle = native.obstacle(device, dtype)
        if obstacle is None:
            return "native"
        if backend == "native":
            _say_once(f"the compiled search {obstacle}")
            return "dense"
    if backend != "torch-cluster" and (
        # on a GPU torch-cluster compares every pair too, one query a thread
        device.type != "cpu" or (num_nodes is not None and num_nodes < AUTO_CROSSING)
    ):
        return "dense"
    obstacle = trees.obstacle(device, dtype, k)
    if obstacle is None:
        return "torch-cluster"
    _say_once(f"torch-cluster {obstacle}")
    return "dense"


def _check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        hint = did_you_mean(backend, BACKENDS)
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}{hint}")


@functools.cache  # an exception is not cached: where warnings are errors, every call raises
def _say_once(obstacle: str) -> None:
    warnings.warn(
        f"{obstacle}; the exact dense search is used instead (same neighbours; "
        "backend='dense' asks for it without this warning)",
        DenseSearchWarning,
        stacklevel=4,
    )
