"""Nearest neighbours and kNN graphs inside each cloud, exact, with ties to the lowest index.

Three searches give the same indices: the k-d trees of torch-cluster, a dense search that compares
every pair, and one in C++ that is compiled at first use (:mod:`gconvae.neighbors`). All compare
distances summed from explicit differences, feature by feature: the product form
``a*a + b*b - 2*a*b`` loses all digits where far-away nodes lie close together.
"""

from __future__ import annotations

import functools
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gconvae.clouds import pack
from gconvae.cuda_graphs import recording
from gconvae.neighbors import native

__all__ = [
    "BACKENDS",
    "DenseSearchWarning",
    "knn_graph",
    "nearest",
    "nearest_both",
    "nearest_padded",
    "resolve_backend",
    "squared_distance",
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

CHUNK_ENTRIES = 2**18  # from 2**20 on, chunks leave the cache: up to 3 times slower
"""Distances that a dense search holds at a time (but at least those of one query)."""

TIE_TOLERANCE = 64
"""Relative gap of squared distances, in F * eps, below which a k-d tree may misjudge them.

A sum of F squares is off by about F * eps. Where a tree skips a branch it adds and subtracts one
square per level, so that its bound is off by some eps per level: 64 * F covers over 40 levels.
"""

_MAX_CUDA_NEIGHBORS = 100  # torch-cluster's CUDA kernel keeps its candidates in an array of 100


class DenseSearchWarning(UserWarning):
    """The search that was asked for cannot be used; the dense search does the work."""


class _Packing(NamedTuple):
    """Where the clouds of packed queries and points lie."""

    batch_query: Tensor  # (P_q,), ascending
    batch_points: Tensor  # (P_p,), ascending
    starts: Tensor  # (B,), first point of each cloud
    counts: Tensor  # (B,), points of each cloud
    longest: int  # points of the largest cloud


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


@torch.no_grad()
def nearest(
    query: Tensor,
    points: Tensor,
    batch_query: Tensor,
    batch_points: Tensor,
    backend: str = "torch-cluster",
) -> Tensor:
    r"""For each query node the nearest point of the same cloud.

    .. math:: \mathrm{index}_i = \arg\min_{j \in \mathrm{cloud}(i)} \lVert q_i - p_j \rVert^2

    Ties go to the lowest index, which torch-cluster alone does not promise: all that is as near as
    what it finds is looked at once more.

    Args:
        query: Packed nodes, shape (P_q, F).
        points: Packed nodes to choose from, shape (P_p, F), same dtype and device.
        batch_query: Cloud of each query, ascending, shape (P_q,).
        batch_points: Cloud of each point, ascending, shape (P_p,).
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
    _check_pair(query, points, dim=2)
    packing = _packing(query, points, batch_query, batch_points)
    chosen = resolve_backend(backend, query.device, query.dtype, packing.longest)
    if chosen == "native":
        asks = torch.bincount(packing.batch_query, minlength=len(packing.counts))  # (B,)
        starts = _starts(asks), _starts(packing.counts)
        return native.nearest_packed(query, points, *starts)
    return _search(*_searchable(query, points), packing, 1, chosen)[:, 0]


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
    _check_pair(query, points, dim=3)
    _check_masks(query, points, query_mask, points_mask)
    num_clouds, num_nodes, _ = query.shape
    if num_clouds == 0 or num_nodes == 0:
        return query.new_zeros((num_clouds, num_nodes), dtype=torch.long)
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
        index = _dense_padded(*_searchable(query, points), points_mask)
        return index if query_mask is None else index.masked_fill_(~query_mask, 0)
    if query_mask is None and points_mask is None:
        return _tree_full(*_searchable(query, points))
    return _tree_masked(query, points, query_mask, points_mask)


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
    _check_pair(a, b, dim=3)
    _check_masks(a, b, a_mask, b_mask)
    _check_masks(b, a, b_mask, a_mask)
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
    points: Tensor, k: int, batch: Tensor, loop: bool = False, backend: str = "torch-cluster"
) -> Tensor:
    """Edges to each node from its k nearest nodes of the same cloud.

    Args:
        points: Packed nodes, shape (P, F).
        k: Neighbours of a node, at least 1. A smaller cloud gives as many as it has.
        batch: Cloud of each node, ascending, shape (P,).
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
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
    _check_pair(points, points, dim=2)
    packing = _packing(points, points, batch, batch, ("points", "points", "batch", "batch"))
    k = min(k, packing.longest)
    chosen = resolve_backend(backend, points.device, points.dtype, packing.longest, k, graph=True)
    own = torch.arange(len(points), device=points.device)
    source = _search(
        *_searchable(points, points), packing, k, chosen, own=None if loop else own
    )  # (P, k)
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
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
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
    obstacle = _obstacle(device, dtype, k)
    if obstacle is None:
        return "torch-cluster"
    _say_once(f"torch-cluster {obstacle}")
    return "dense"


def _obstacle(device: torch.device, dtype: torch.dtype, k: int) -> str | None:
    """Why torch-cluster cannot do an exact search here, or None if it can."""
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


@functools.cache  # an exception is not cached: where warnings are errors, every call raises
def _say_once(obstacle: str) -> None:
    warnings.warn(
        f"{obstacle}; the exact dense search is used instead (same neighbours; "
        "backend='dense' asks for it without this warning)",
        DenseSearchWarning,
        stacklevel=4,
    )


def _check_pair(query: Tensor, points: Tensor, dim: int) -> None:
    shape = "(nodes, features)" if dim == 2 else "(clouds, nodes, features)"
    for name, nodes in (("query", query), ("points", points)):
        if nodes.dim() != dim or nodes.shape[-1] == 0:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(nodes.shape)}")
        if not nodes.is_floating_point():
            raise ValueError(f"{name} must hold floating-point numbers, got dtype {nodes.dtype}")
    if query.shape[-1] != points.shape[-1]:
        raise ValueError(
            "query and points must have the same features, "
            f"got {query.shape[-1]} and {points.shape[-1]}"
        )
    if query.dtype != points.dtype or query.device != points.device:
        raise ValueError(
            "query and points must have one dtype and device, "
            f"got {query.dtype} on {query.device} and {points.dtype} on {points.device}"
        )
    if dim == 3 and len(query) != len(points):
        raise ValueError(
            f"query and points must hold the same clouds, got {len(query)} and {len(points)}"
        )


def _check_masks(
    query: Tensor, points: Tensor, query_mask: Tensor | None, points_mask: Tensor | None
) -> None:
    for name, mask, nodes in (
        ("query_mask", query_mask, query),
        ("points_mask", points_mask, points),
    ):
        if mask is None:
            continue
        if (
            mask.dtype != torch.bool
            or mask.shape != nodes.shape[:2]
            or mask.device != nodes.device
        ):
            raise ValueError(
                f"{name} must hold booleans of shape {tuple(nodes.shape[:2])} on {nodes.device}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)} on {mask.device}"
            )
    if points_mask is None and points.shape[1] > 0:
        return  # without a mask no cloud can be empty
    asks = query.new_ones(query.shape[:2], dtype=torch.bool) if query_mask is None else query_mask
    gives = points.new_ones(points.shape[:2], dtype=torch.bool)
    gives = gives if points_mask is None else points_mask
    _check_no_cloud_empty(asks.any(1), gives.any(1))


def _check_no_cloud_empty(asks: Tensor, gives: Tensor) -> None:
    if recording(asks):
        return
    empty = (asks & ~gives).nonzero()
    if len(empty):
        raise ValueError(
            f"points must have a node in every cloud that has queries, cloud {int(empty[0])} "
            f"has none ({len(empty)} such clouds)"
        )


def _packing(
    query: Tensor,
    points: Tensor,
    batch_query: Tensor,
    batch_points: Tensor,
    names: tuple[str, str, str, str] = ("query", "points", "batch_query", "batch_points"),
) -> _Packing:
    """Checks the batches and finds the clouds in them."""
    _check_batch(batch_query, query, names[2], names[0])
    _check_batch(batch_points, points, names[3], names[1])
    batch_query, batch_points = batch_query.long(), batch_points.long()
    num_clouds = 1 + max((int(b[-1]) for b in (batch_query, batch_points) if len(b)), default=-1)
    count = torch.bincount(batch_points, minlength=num_clouds)  # (B,)
    asks = torch.bincount(batch_query, minlength=num_clouds)  # (B,)
    _check_no_cloud_empty(asks > 0, count > 0)
    longest = int(count.max()) if num_clouds else 0
    return _Packing(batch_query, batch_points, count.cumsum(0) - count, count, longest)


def _check_batch(batch: Tensor, nodes: Tensor, name: str, of: str) -> None:
    if batch.is_floating_point() or batch.is_complex() or batch.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got dtype {batch.dtype}")
    if batch.shape != (len(nodes),):
        raise ValueError(
            f"{name} must have one cloud number for each of the {len(nodes)} nodes of {of}, "
            f"got shape {tuple(batch.shape)}"
        )
    if batch.device != nodes.device:
        raise ValueError(f"{name} must be on {nodes.device} like {of}, got {batch.device}")
    if len(batch) and (bool((batch[1:] < batch[:-1]).any()) or int(batch[0]) < 0):
        raise ValueError(f"{name} must be ascending from 0, so that a cloud's nodes lie together")


def _searchable(query: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes in a dtype that can tell distances apart."""
    if query.dtype in (torch.float32, torch.float64):
        return query, points
    return query.float(), points.float()


def _features_apart(nodes: Tensor) -> Tensor:
    # an inner loop over 2 or 3 features is slow; the shape stays, only the strides change
    return nodes.movedim(-1, 0).contiguous().movedim(0, -1)


def _search(
    query: Tensor,
    points: Tensor,
    packing: _Packing,
    k: int,
    backend: str,
    own: Tensor | None = None,
) -> Tensor:
    """The k nearest points of each query, nearest first, -1 where a cloud has fewer: (P_q, k).

    ``own`` holds for each query a point that does not count, shape (P_q,).
    """
    if len(query) == 0 or k == 0:
        return packing.starts.new_empty((len(query), k))
    if backend == "torch-cluster":
        return _tree_search(query, points, packing, k, own)
    return _dense_search(query, points, packing.batch_query, packing, k, own)


def _checked_in_cpp(query: Tensor) -> bool:
    """Whether what torch-cluster finds is looked at once more by the library for CPUs."""
    return query.device.type == "cpu" and native.available(dtype=query.dtype)


def _tree_full(query: Tensor, points: Tensor) -> Tensor:
    """Nearest points by k-d trees, every node real: (B, N)."""
    num_clouds, num_nodes, features = query.shape
    size = points.shape[1]
    if _checked_in_cpp(query):
        clouds = torch.arange(num_clouds + 1)
        nodes = query.reshape(-1, features), points.reshape(-1, features)
        known = _tree_guess(*nodes, clouds * num_nodes, clouds * size)
        return native.nearest(query, points, known=known.view(num_clouds, num_nodes))
    cloud = torch.arange(num_clouds, device=query.device)
    packing = _Packing(
        batch_query=cloud.repeat_interleave(num_nodes),
        batch_points=cloud.repeat_interleave(size),
        starts=cloud * size,
        counts=torch.full_like(cloud, size),
        longest=size,
    )
    index = _tree_search(query.reshape(-1, features), points.reshape(-1, features), packing, 1)
    return index.view(num_clouds, num_nodes) - packing.starts.unsqueeze(1)


def _tree_masked(
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
    packing = _Packing(batch_query, batch_points, count.cumsum(0) - count, count, points.shape[1])
    found = _search(*_searchable(asking, nodes), packing, 1, "torch-cluster")[:, 0]
    column = points_mask.nonzero()[:, 1]  # (P_p,), the place in its cloud of each packed point
    index = query.new_zeros(query.shape[:2], dtype=torch.long)
    index[query_mask] = column[found]
    return index


def _tree_search(
    query: Tensor, points: Tensor, packing: _Packing, k: int, own: Tensor | None = None
) -> Tensor:
    """As :func:`_search`, by k-d trees; queries that they may misjudge are searched densely.

    One candidate more than asked for shows whether the last one kept ties with the first dropped.
    """
    if k == 1 and own is None and _checked_in_cpp(query):
        return _checked_trees(query, points, packing).unsqueeze(1)
    kept = k if own is None else k + 1
    candidates = _tree_candidates(query, points, packing, min(kept + 1, packing.longest))
    distance, index = candidates.distances, candidates.indices
    if own is not None:
        # first in line, to be left out; only a tie with all candidates keeps it from being one
        distance = distance.masked_fill(index == own.unsqueeze(1), -1.0)
    if kept > 1:  # the tree's own order is wrong for near ties only, and of 2 those are redone
        distance, index = _in_order(distance, index)
    doubtful = _near_ties(distance, kept, points.shape[1])
    if candidates.found is not None:
        counts = packing.counts[packing.batch_query]
        # torch-cluster leaves out points whose squared distance overflows
        doubtful = (doubtful & (counts > kept)) | (candidates.found < counts.clamp(max=kept + 1))
    index = _fit(index[:, kept - k : kept], k)  # (P_q, k)
    rows = doubtful.nonzero()[:, 0]
    if len(rows):
        cloud, own = packing.batch_query[rows], None if own is None else own[rows]
        index[rows] = _dense_search(query[rows], points, cloud, packing, k, own)
    return index


def _checked_trees(query: Tensor, points: Tensor, packing: _Packing) -> Tensor:
    """What k-d trees find, after a look at all that is as near: (P_q,).

    A second candidate, which would show ties, costs the trees more than this look.
    """
    num_clouds = len(packing.starts)
    asks = torch.bincount(packing.batch_query, minlength=num_clouds)  # (B,)
    starts = _starts(asks), _starts(packing.counts)
    known = _tree_guess(query, points, *starts)
    return native.nearest_packed(query, points, *starts, known)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch-cluster cannot be traced
def _tree_guess(query: Tensor, points: Tensor, *starts: Tensor) -> Tensor:
    """What k-d trees alone find, places within the clouds, -1 where nothing: (P_q,)."""
    import torch_cluster  # noqa: F401 - its knn() counts the nodes of each cloud once more

    starts_query, starts_points = (s.contiguous() for s in starts)
    row, column = torch.ops.torch_cluster.knn(
        points.contiguous(), query.contiguous(), starts_points, starts_query, 1, False, 1
    )
    first = starts_points[:-1].repeat_interleave(starts_query.diff())  # (P_q,)
    if len(row) == len(query):
        return column - first
    # points whose squared distance overflows are left out
    return column.new_full((len(query),), -1).index_copy_(0, row, column - first[row])


def _starts(counts: Tensor) -> Tensor:
    """First node of each cloud, and the number of nodes in the end: (B + 1,)."""
    return nn.functional.pad(counts.cumsum(0), (1, 0))


class _Candidates(NamedTuple):
    """What k-d trees find, nearest first by their own rounding."""

    distances: Tensor  # (P_q, K), inf where there is no candidate
    indices: Tensor  # (P_q, K), -1 where there is no candidate
    found: Tensor | None  # candidates of each query, (P_q,); None = all K


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch-cluster cannot be traced
def _tree_candidates(query: Tensor, points: Tensor, packing: _Packing, k: int) -> _Candidates:
    from torch_cluster import knn  # its nearest() is wrong on CPU

    row, column = knn(
        points,
        query,
        k,
        packing.batch_points,
        packing.batch_query,
        batch_size=len(packing.starts),
    )
    distance = squared_distance(points.index_select(0, column), query.index_select(0, row))
    if len(row) == k * len(query):
        return _Candidates(distance.view(-1, k), column.view(-1, k), None)
    found = torch.bincount(row, minlength=len(query))  # (P_q,)
    place = torch.arange(len(row), device=row.device) - (found.cumsum(0) - found)[row]
    index = row.new_full((len(query), k), -1)
    index[row, place] = column
    every = distance.new_full((len(query), k), torch.inf)
    # behind all others, but ahead of the missing ones, where the distance overflows
    every[row, place] = distance.clamp(max=torch.finfo(distance.dtype).max)
    return _Candidates(every, index, found)


def _near_ties(distance: Tensor, kept: int, features: int) -> Tensor:
    """Where the last distance kept and the first one dropped agree within rounding: (P_q,)."""
    if distance.shape[1] <= kept:
        return distance.new_zeros(len(distance), dtype=torch.bool)
    last, dropped = distance[:, kept - 1], distance[:, kept]
    scale = torch.finfo(distance.dtype)
    margin = last * (TIE_TOLERANCE * features * scale.eps) + 4 * features * scale.tiny
    return ~(dropped - last > margin)  # so written, the NaN of inf - inf is a tie


def _in_order(distance: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (T, K) sorted by (distance, index)."""
    index, order = index.sort(dim=-1)
    distance, order = distance.gather(-1, order).sort(dim=-1, stable=True)
    return distance, index.gather(-1, order)


def _dense_padded(query: Tensor, points: Tensor, points_mask: Tensor | None) -> Tensor:
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
            _nearest_of_all(query[block, part : part + rows], points[block], absent)
            for part in range(0, num_nodes, rows)
        ]
        blocks.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _nearest_of_all(query: Tensor, points: Tensor, absent: Tensor | None) -> Tensor:
    distance = _pair_distance(query.unsqueeze(2), points.unsqueeze(1))  # (B, N, M)
    if absent is not None:
        _hide(distance, absent)
    return _smallest(distance, 1)[..., 0]


def _dense_search(
    query: Tensor,
    points: Tensor,
    cloud: Tensor,
    packing: _Packing,
    k: int,
    own: Tensor | None,
) -> Tensor:
    """As :func:`_search`, among all pairs, for queries (T, F) of the clouds (T,): (T, k)."""
    query, points = _features_apart(query), _features_apart(points)
    step = max(1, CHUNK_ENTRIES // packing.longest)
    found = []
    for first in range(0, len(query), step):
        rows = slice(first, first + step)
        start, count = packing.starts[cloud[rows]], packing.counts[cloud[rows]]
        own_column = None if own is None else own[rows] - start
        local = _dense_chunk(query[rows], points, start, count, k, own_column)  # (T, k)
        found.append(torch.where(local < 0, local, local + start.unsqueeze(1)))
    return torch.cat(found)


def _dense_chunk(
    query: Tensor,
    points: Tensor,
    start: Tensor,
    count: Tensor,
    k: int,
    own_column: Tensor | None,
) -> Tensor:
    """Places within their clouds of the k nearest points, -1 where a cloud has fewer: (T, k)."""
    fewest, most = (int(size) for size in count.aminmax())
    column = torch.arange(most, device=query.device)  # (M,)
    if start[0] == start[-1]:  # one cloud serves all queries, without a copy for each
        candidates = points[int(start[0]) : int(start[0]) + most]  # (M, F)
    else:
        index = (start.unsqueeze(1) + column).clamp_(max=len(points) - 1)
        candidates = _take(points, index)  # (T, M, F)
    distance = _pair_distance(query.unsqueeze(1), candidates)  # (T, M)
    if fewest == most and own_column is None:
        return _fit(_smallest(distance, min(k, most)), k)
    absent = column >= count.unsqueeze(1)  # (T, M)
    if own_column is not None:
        absent |= column == own_column.unsqueeze(1)
    _hide(distance, absent)
    local = _smallest(distance, min(k, most))
    return _fit(local.masked_fill_(absent.gather(1, local), -1), k)


def _pair_distance(query: Tensor, points: Tensor) -> Tensor:
    """:func:`squared_distance` to the bit, with a third of the memory and no gradient."""
    total = None
    for a, b in zip(query.unbind(-1), points.unbind(-1), strict=True):
        difference = a - b
        square = difference.mul_(difference)
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
    index = _in_order(values, index)[1][:, :k]
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


def _fit(index: Tensor, k: int) -> Tensor:
    """Widens (T, <= k) to (T, k) with -1."""
    if index.shape[1] == k:
        return index
    return nn.functional.pad(index, (0, k - index.shape[1]), value=-1)
