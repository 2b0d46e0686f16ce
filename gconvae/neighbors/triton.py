"""Nearest nodes and Chamfer terms on a GPU, in Triton: one kernel where torch needs dozens.

Optional: Triton comes with torch's builds for GPUs, and where it is missing callers use torch
(:func:`gconvae.neighbors.obstacle`). A kernel compares every pair of nodes of a cloud, a tile at a
time, so that memory grows with the nodes alone. Every sum has one order: no atomic operations.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["gradients", "nearest", "nearest_packed", "terms"]

TILE = 32
"""Nodes of either side that a program holds at a time, and all of a small cloud."""

WIDE_TILE = 64
"""Likewise in clouds that fill it."""

SMALLEST = tl.constexpr(2.0**-100)
"""See ``dense.SMALLEST``."""

LARGEST = tl.constexpr(3.4028234663852886e38)
"""Of float32."""

Masks = tuple[Tensor | None, Tensor | None]


def nearest(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None = None,
    points_mask: Tensor | None = None,
) -> Tensor:
    """For each query the nearest point of the same cloud, see ``native.nearest``.

    Args:
        query: float32 or float64, shape (B, N, F).
        points: Likewise, shape (B, M, F); where a cloud has queries, it has a real point.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: Likewise, shape (B, M).
    Returns:
        Indices 0..M-1 of real points, ties to the lowest, shape (B, N); 0 for masked queries.
    """
    index = query.new_empty(query.shape[:2], dtype=torch.long)
    masks = _bytes(query_mask), _bytes(points_mask)
    _launch_search(query, points, masks, index, None, query.shape[2], 0.0)
    return index


def nearest_packed(
    query: Tensor, points: Tensor, starts_query: Tensor, starts_points: Tensor
) -> Tensor:
    """:func:`nearest` for packed clouds, see ``native.nearest_packed``.

    Args:
        query: float32 or float64, shape (P_q, F).
        points: Likewise, shape (P_p, F).
        starts_query: First query of each cloud, and P_q in the end, shape (B + 1,).
        starts_points: Likewise of the points.
    Returns:
        Places of points within their clouds, shape (P_q,).
    """
    index = query.new_empty(len(query), dtype=torch.long)
    if len(index) == 0:
        return index
    longest = int(starts_query.diff().max())
    rows = columns = _tile(longest)
    blocks = triton.cdiv(longest, rows)
    with torch.cuda.device_of(query):
        _search_kernel[((len(starts_query) - 1) * blocks,)](
            query, points, None, None, starts_query, starts_points, index, None,
            0, 0, blocks, 0, *query.stride(), 0, *points.stride(),
            FEATURES=query.shape[1], SEARCHED=query.shape[1], WEIGHT=0.0,
            ROWS=rows, COLUMNS=columns, num_warps=_warps(rows, columns), enable_fp_fusion=False,
        )  # fmt: skip
    return index


def terms(
    a: Tensor,
    b: Tensor,
    masks: Masks,
    searched: int,
    weight: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Partners and Chamfer terms of each node, see ``native.chamfer_terms``.

    Args:
        a: float32 or float64, shape (B, N, F).
        b: Likewise, shape (B, M, F).
        masks: Of a, (B, N), and of b, (B, M); None = all real.
        searched: Features that the search looks at, the first ones.
        weight: Factor of the others.
    Returns:
        Partners of a in b, (B, N), and of b in a, (B, M), then the terms of both.
    """
    to_b, to_a = (side.new_empty(side.shape[:2], dtype=torch.long) for side in (a, b))
    terms_a, terms_b = a.new_empty(a.shape[:2]), b.new_empty(b.shape[:2])
    known_a, known_b = _bytes(masks[0]), _bytes(masks[1])
    _launch_search(a, b, (known_a, known_b), to_b, terms_a, searched, weight)
    _launch_search(b, a, (known_b, known_a), to_a, terms_b, searched, weight)
    return to_b, to_a, terms_a, terms_b


def gradients(
    a: Tensor,
    b: Tensor,
    to_b: Tensor,
    to_a: Tensor,
    grad_a: Tensor,
    grad_b: Tensor,
    searched: int,
    weight: float,
) -> Tensor:
    """Gradient of :func:`terms` with respect to a, shape (B, N, F).

    Args:
        a: As in :func:`terms`.
        b: Likewise.
        to_b: Partners of a, shape (B, N).
        to_a: Partners of b, shape (B, M).
        grad_a: Gradients of the terms of a, shape (B, N).
        grad_b: Likewise of b, shape (B, M).
        searched: As in :func:`terms`.
        weight: Likewise.
    """
    clouds, nodes, features = a.shape
    others = b.shape[1]
    gradient = torch.empty_like(a, memory_format=torch.contiguous_format)
    if gradient.numel() == 0:
        return gradient
    rows, columns = _tile(nodes), _tile(others)
    blocks = triton.cdiv(nodes, rows)
    with torch.cuda.device_of(a):
        _gradient_kernel[(clouds * blocks,)](
            a, b, to_b, to_a, grad_a, grad_b, gradient,
            nodes, others, blocks,
            *a.stride(), *b.stride(), *grad_a.stride(), *grad_b.stride(),
            FEATURES=features, SEARCHED=searched, WEIGHT=weight, ROWS=rows, COLUMNS=columns,
            num_warps=_warps(rows, columns),
        )  # fmt: skip
    return gradient


def _launch_search(
    query: Tensor,
    points: Tensor,
    masks: Masks,
    index: Tensor,
    written: Tensor | None,
    searched: int,
    weight: float,
) -> None:
    clouds, nodes, features = query.shape
    others = points.shape[1]
    if index.numel() == 0:
        return
    rows, columns = _tile(nodes), _tile(others)
    blocks = triton.cdiv(nodes, rows)
    with torch.cuda.device_of(query):
        _search_kernel[(clouds * blocks,)](
            query, points, *masks, None, None, index, written,
            nodes, others, blocks, *query.stride(), *points.stride(),
            FEATURES=features, SEARCHED=searched, WEIGHT=weight, ROWS=rows, COLUMNS=columns,
            num_warps=_warps(rows, columns),
            enable_fp_fusion=False,  # distances have the bits of torch's, so that ties stay ties
        )  # fmt: skip


def _tile(nodes: int) -> int:
    return TILE if nodes <= TILE else WIDE_TILE


def _warps(rows: int, columns: int) -> int:
    return 1 if rows * columns <= TILE**2 else 4


def _bytes(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else mask.contiguous().view(torch.uint8)


@triton.jit
def _search_kernel(
    query, points, query_mask, points_mask, query_starts, points_starts, index, written,
    nodes, others, blocks,
    query_cloud, query_node, query_feature, points_cloud, points_node, points_feature,
    FEATURES: tl.constexpr, SEARCHED: tl.constexpr, WEIGHT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    # one program: some queries of one cloud against all of its points
    cloud = (tl.program_id(0) // blocks).to(tl.int64)
    row = (tl.program_id(0) % blocks) * ROWS + tl.arange(0, ROWS)
    index += cloud * nodes
    if query_starts is not None:  # packed: clouds begin anywhere, and have their own lengths
        begin = tl.load(query_starts + cloud)
        nodes = (tl.load(query_starts + cloud + 1) - begin).to(tl.int32)
        query += begin * query_node
        index += begin
        begin = tl.load(points_starts + cloud)
        others = (tl.load(points_starts + cloud + 1) - begin).to(tl.int32)
        points += begin * points_node
    real = row < nodes
    query += cloud * query_cloud + row * query_node
    points += cloud * points_cloud
    first = tl.load(query, mask=real, other=0.0)
    best = tl.full((ROWS,), float("inf"), first.dtype)
    nearest_place = tl.full((ROWS,), -1, tl.int32)
    for start in range(0, others, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        there = column < others
        if points_mask is not None:
            there &= tl.load(points_mask + cloud * others + column, mask=there, other=0) != 0
        distance = tl.zeros((ROWS, COLUMNS), first.dtype)
        for feature in tl.static_range(SEARCHED):
            q = tl.load(query + feature * query_feature, mask=real, other=0.0)
            p = tl.load(
                points + column * points_node + feature * points_feature, mask=there, other=0.0
            )
            gap = q[:, None] - p[None, :]
            distance += gap * gap
        # in two steps, since the lowest place among equal distances is wanted
        distance = tl.where(there[None, :], distance, float("inf"))
        least = tl.min(distance, axis=1)
        at_least = (distance == least[:, None]) & there[None, :]
        place = tl.min(tl.where(at_least, column[None, :], others), axis=1)
        # the first of all even where its distance overflows
        nearer = ((least < best) | (nearest_place < 0)) & (place < others)
        nearest_place = tl.where(nearer, place, nearest_place)
        best = tl.where(nearer, least, best)
    nearest_place = tl.maximum(nearest_place, 0)
    if first.dtype == tl.float32:
        best, nearest_place = _in_double_precision(
            query, points, points_mask, cloud, others, real, best, nearest_place,
            query_feature, points_node, points_feature, SEARCHED, ROWS, COLUMNS,
        )  # fmt: skip
    if query_mask is not None:
        asked = tl.load(query_mask + cloud * nodes + row, mask=real, other=0) != 0
        nearest_place = tl.where(asked, nearest_place, 0)
    tl.store(index + row, nearest_place.to(tl.int64), mask=real)
    if written is not None:
        rest = tl.zeros((ROWS,), first.dtype)
        for feature in tl.static_range(SEARCHED, FEATURES):
            q = tl.load(query + feature * query_feature, mask=real, other=0.0)
            p = tl.load(points + nearest_place * points_node + feature * points_feature)
            rest += (q - p) * (q - p)
        if SEARCHED < FEATURES and WEIGHT != 0:
            best += WEIGHT * rest
        tl.store(written + cloud * nodes + row, best, mask=real)


@triton.jit
def _in_double_precision(
    query, points, points_mask, cloud, others, real, best, nearest_place,
    query_feature, points_node, points_feature,
    SEARCHED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    # in float64 where the best distance has left the range of float32, and is of another place
    fine = (best >= SMALLEST) & (best <= LARGEST)
    other = tl.zeros((ROWS,), tl.int32)
    for feature in tl.static_range(SEARCHED):
        q = tl.load(query + feature * query_feature, mask=real, other=0.0)
        p = tl.load(
            points + nearest_place * points_node + feature * points_feature, mask=real, other=0.0
        )
        other |= (q != p).to(tl.int32)
    doubtful = real & (other != 0) & (fine == 0)
    if tl.max(doubtful.to(tl.int32), axis=0) > 0:
        nearest = tl.full((ROWS,), float("inf"), tl.float64)
        again = nearest_place
        for start in range(0, others, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            there = column < others
            if points_mask is not None:
                there &= tl.load(points_mask + cloud * others + column, mask=there, other=0) != 0
            distance = tl.zeros((ROWS, COLUMNS), tl.float64)
            for feature in tl.static_range(SEARCHED):
                q = tl.load(query + feature * query_feature, mask=real, other=0.0)
                p = tl.load(
                    points + column * points_node + feature * points_feature, mask=there, other=0.0
                )
                gap = q.to(tl.float64)[:, None] - p.to(tl.float64)[None, :]
                distance += gap * gap
            distance = tl.where(there[None, :], distance, float("inf"))
            least = tl.min(distance, axis=1)
            at_least = (distance == least[:, None]) & there[None, :]
            place = tl.min(tl.where(at_least, column[None, :], others), axis=1)
            nearer = (least < nearest) & (place < others)
            again = tl.where(nearer, place, again)
            nearest = tl.where(nearer, least, nearest)
        nearest_place = tl.where(doubtful, again, nearest_place)
        short = tl.zeros((ROWS,), tl.float32)
        for feature in tl.static_range(SEARCHED):
            q = tl.load(query + feature * query_feature, mask=real, other=0.0)
            p = tl.load(
                points + nearest_place * points_node + feature * points_feature,
                mask=real,
                other=0.0,
            )
            short += (q - p) * (q - p)
        best = tl.where(doubtful, short, best)
    return best, nearest_place


@triton.jit
def _gradient_kernel(
    a, b, to_b, to_a, grad_a, grad_b, gradient,
    nodes, others, blocks,
    a_cloud, a_node, a_feature, b_cloud, b_node, b_feature,
    grad_a_cloud, grad_a_node, grad_b_cloud, grad_b_node,
    FEATURES: tl.constexpr, SEARCHED: tl.constexpr, WEIGHT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    # one program: some nodes of a, each with its partner, and with all nodes of b whose partner
    # it is, in their order
    cloud = (tl.program_id(0) // blocks).to(tl.int64)
    row = (tl.program_id(0) % blocks) * ROWS + tl.arange(0, ROWS)
    real = row < nodes
    a += cloud * a_cloud + row * a_node
    b += cloud * b_cloud
    partner = tl.load(to_b + cloud * nodes + row, mask=real, other=0)
    own = tl.load(grad_a + cloud * grad_a_cloud + row * grad_a_node, mask=real, other=0.0)
    for feature in tl.static_range(FEATURES):
        x = tl.load(a + feature * a_feature, mask=real, other=0.0)
        y = tl.load(b + partner * b_node + feature * b_feature, mask=real, other=0.0)
        total = own * (x - y)
        for start in range(0, others, COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            there = column < others
            chosen = tl.load(to_a + cloud * others + column, mask=there, other=-1)
            incoming = tl.load(
                grad_b + cloud * grad_b_cloud + column * grad_b_node, mask=there, other=0.0
            )
            its = tl.load(b + column * b_node + feature * b_feature, mask=there, other=0.0)
            parts = incoming[None, :] * (x[:, None] - its[None, :])  # (ROWS, COLUMNS)
            total += tl.sum(tl.where(chosen[None, :] == row[:, None], parts, 0.0), axis=1)
        if feature >= SEARCHED:
            total *= WEIGHT
        tl.store(gradient + (cloud * nodes + row) * FEATURES + feature, 2 * total, mask=real)
