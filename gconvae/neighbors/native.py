"""Nearest nodes and Chamfer terms, compiled at first use: in C++ on a CPU, by Triton on a GPU.

Optional: where there is no compiler, :func:`available` is False and callers use torch. The
library for a CPU and its compiler are in ``library``, the kernels for a GPU in ``triton``. The
environment variable ``GCONVAE_COMPILED=0`` switches both off.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any

import torch
from torch import Tensor

from gconvae.neighbors import library
from gconvae.neighbors.operators import watched
from gconvae.neighbors.sides import Packed, Padded

__all__ = [
    "available",
    "chamfer_terms",
    "matched_terms",
    "nearest",
    "nearest_both",
    "nearest_packed",
    "obstacle",
]

MET = 512
"""Points of a large cloud that a query is compared with, roughly."""

MET_KNOWN = 64
"""Likewise where a near one is known."""


def available(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> bool:
    """Whether the library can be used; the first call of a process loads or compiles it.

    Args:
        device: Of the clouds.
        dtype: Of the clouds.
    Example:
        >>> available(dtype=torch.bfloat16)
        False
    """
    return obstacle(device, dtype) is None


def obstacle(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> str | None:
    """Why the library cannot be used, or None if it can; arguments as :func:`available`."""
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        return f"cannot search on device {device}"
    if dtype not in library.DTYPES:
        return f"cannot compare distances in {dtype}"
    return _missing(dtype) if kind == "cpu" else _missing_for_gpus()


# a compiler of graphs need not look at how it is loaded; torch's decorators have no types
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch types it not
def _missing_for_gpus() -> str | None:
    """Why there are no kernels for GPUs, or None."""
    loaded = _fused()
    return loaded if isinstance(loaded, str) else None


@functools.cache
def _fused() -> Any:
    """The module of the GPU's kernels, or why there is none."""
    if os.environ.get(library.SWITCH) == "0":
        return f"is switched off by {library.SWITCH}=0"
    try:
        from gconvae.neighbors import triton
    except ModuleNotFoundError as error:
        return f"needs Triton on a GPU: {error}"
    if torch.cuda.is_available():
        try:
            point = torch.zeros(1, 1, 1, device="cuda")
            triton.nearest(point, point)
        # Triton has no class for what it raises without a compiler or on an old card
        except Exception as error:
            reason = f"fails on this GPU: {error}"
            warnings.warn(f"the compiled search {reason}", stacklevel=2)
            return reason
    return triton


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # as above
def _missing(dtype: torch.dtype) -> str | None:
    """Why there is no library, or None."""
    loaded = library.load(dtype)
    return loaded if isinstance(loaded, str) else None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # not traced, but called
def nearest(
    query: Tensor,
    points: Tensor,
    query_mask: Tensor | None = None,
    points_mask: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """For each query the nearest point of the same cloud, see ``neighbors.nearest_padded``.

    Args:
        query: On a CPU or GPU, float32 or float64, shape (B, N, F).
        points: Likewise, shape (B, M, F); where a cloud has queries, it has a real point.
        query_mask: True = a real node, shape (B, N); None = all real.
        points_mask: Likewise, shape (B, M).
        known: Places of points that are near already, or -1, shape (B, N): only what is as near or
            nearer has to be looked at; None = nothing is known.
    Returns:
        Indices 0..M-1 of real points, ties to the lowest, shape (B, N); 0 for masked queries.
    Raises:
        RuntimeError: If the library is not available.
    Example:
        >>> nearest(torch.zeros(1, 1, 2), torch.ones(1, 2, 2)) if available() else "no compiler"
        tensor([[0]])
    """
    if query.is_cuda:
        indices: Tensor = _on_gpu().nearest(query, points, query_mask, points_mask)
        return indices
    index = torch.zeros(query.shape[:2], dtype=torch.long, device="cpu")
    _search(Padded(query, query_mask), Padded(points, points_mask), index, None, known)
    return index


def nearest_both(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None = None,
    b_mask: Tensor | None = None,
    known: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`nearest` both ways: of each node of a in b, (B, N), and of b in a, (B, M).

    ``known`` is that of both ways, for clouds on a CPU.
    """
    if a.is_cuda:
        nearest = _on_gpu().nearest
        return nearest(a, b, a_mask, b_mask), nearest(b, a, b_mask, a_mask)
    # all are written where none is masked
    to_b = (torch.empty if a_mask is None else torch.zeros)(
        a.shape[:2], dtype=torch.long, device=a.device
    )
    to_a = (torch.empty if b_mask is None else torch.zeros)(
        b.shape[:2], dtype=torch.long, device=b.device
    )
    _search(Padded(a, a_mask), Padded(b, b_mask), to_b, to_a, *(known or (None, None)))
    return to_b, to_a


@torch.compiler.disable  # type: ignore[untyped-decorator]  # not traced, but called
def nearest_packed(
    query: Tensor,
    points: Tensor,
    starts_query: Tensor,
    starts_points: Tensor,
    known: Tensor | None = None,
) -> Tensor:
    """:func:`nearest` for packed clouds.

    Args:
        query: On a CPU or GPU, float32 or float64, shape (P_q, F).
        points: Likewise, shape (P_p, F); where a cloud has queries, it has a point.
        starts_query: First query of each cloud, and P_q in the end, shape (B + 1,).
        starts_points: Likewise of the points.
        known: Places within their clouds of points that are near already, or -1, shape (P_q,):
            only what is as near or nearer has to be looked at; None = nothing is known.
    Returns:
        Indices into ``points``, shape (P_q,).
    Raises:
        RuntimeError: If the library is not available.
    Example:
        >>> query, points, starts = torch.zeros(2, 1), torch.ones(2, 1), torch.tensor([0, 1, 2])
        >>> nearest_packed(query, points, starts, starts) if available() else "no compiler"
        tensor([0, 1])
    """
    if query.is_cuda:
        index = _on_gpu().nearest_packed(query, points, starts_query, starts_points)
    else:
        index = torch.zeros(len(query), dtype=torch.long, device="cpu")
        _search(Packed(query, starts_query), Packed(points, starts_points), index, None, known)
    counts = starts_query[1:] - starts_query[:-1]  # (B,)
    return index + starts_points[:-1].repeat_interleave(counts)


def chamfer_terms(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None,
    b_mask: Tensor | None,
    searched: int,
    weight: float,
) -> tuple[Tensor, Tensor]:
    r"""What each node adds to a Chamfer distance, differentiable.

    .. math:: t_i = \sum_{f < s} (a_{if} - b_{k(i)f})^2
        + w \sum_{f \ge s} (a_{if} - b_{k(i)f})^2, \quad
        k(i) = \arg\min_j \sum_{f < s} (a_{if} - b_{jf})^2

    Args:
        a: On a CPU or GPU, float32 or float64, shape (B, N, F); every cloud has a real node.
        b: Likewise, shape (B, M, F).
        a_mask: True = a real node, shape (B, N); None = all real.
        b_mask: Likewise, shape (B, M).
        searched: Features s that the search looks at.
        weight: Factor w of the others.
    Returns:
        Terms of a, shape (B, N), and of b, shape (B, M); without meaning at masked nodes.
    Raises:
        RuntimeError: If the library is not available.
    Example:
        >>> a, b = torch.zeros(1, 1, 3), torch.ones(1, 2, 3)
        >>> chamfer_terms(a, b, None, None, 2, 0.5)[0] if available() else "no compiler"
        tensor([[2.5000]])
    """
    if not a.is_cuda:
        a, b = a.contiguous(), b.contiguous()
    return _Terms.apply(a, b, None, (a_mask, b_mask), searched, weight)


def matched_terms(
    a: Tensor, b: Tensor, to_b: Tensor, to_a: Tensor, searched: int, weight: float
) -> tuple[Tensor, Tensor]:
    """:func:`chamfer_terms` of partners that are known.

    Args:
        a: On the CPU, float32 or float64, shape (B, N, F).
        b: Likewise, shape (B, M, F).
        to_b: Partner of each node of a, 0..M-1, shape (B, N).
        to_a: Partner of each node of b, 0..N-1, shape (B, M).
        searched: Features s that count as they are.
        weight: Factor w of the others.
    Returns:
        Terms of a, shape (B, N), and of b, shape (B, M).
    Raises:
        RuntimeError: If the library is not available.
    Example:
        >>> a, b, none = torch.zeros(1, 1, 3), torch.ones(1, 1, 3), torch.zeros(1, 1).long()
        >>> matched_terms(a, b, none, none, 2, 0.5)[0] if available() else "no compiler"
        tensor([[2.5000]])
    """
    return _Terms.apply(a.contiguous(), b.contiguous(), (to_b, to_a), None, searched, weight)


class _Terms(torch.autograd.Function):
    """Terms of matched nodes forward, after a search if need be; closed-form gathers backward."""

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        indices: tuple[Tensor, Tensor] | None,
        masks: tuple[Tensor | None, Tensor | None] | None,
        searched: int,
        weight: float,
    ) -> tuple[Tensor, Tensor]:
        ctx.searched, ctx.weight = searched, weight
        if a.is_cuda:
            assert indices is None
            on_gpu = _on_gpu().terms(a, b, masks or (None, None), searched, weight)
            ctx.save_for_backward(a, b, *on_gpu[:2])
            return on_gpu[2:]
        if indices is None:
            # views: rows of all features, of which the search reads the first
            sides = (a, b) if searched == a.shape[2] else (a[..., :searched], b[..., :searched])
            indices = nearest_both(*sides, *(masks or (None, None)))
        terms = a.new_empty(a.shape[:2]), b.new_empty(b.shape[:2])
        shape = (a.shape[2], searched, weight)
        arguments = *_sizes(a, b), *shape, *map(Tensor.data_ptr, (*indices, *terms))
        library.call("terms", a.dtype, arguments, library.share_out(len(a), a.numel() + b.numel()))
        ctx.save_for_backward(a, b, *indices)
        return terms

    @staticmethod
    def backward(ctx: Any, grad_a_terms: Tensor, grad_b_terms: Tensor) -> tuple[Any, ...]:
        a, b, to_b, to_a = ctx.saved_tensors
        # somebody wants the gradient of the gradient, or several gradients at once
        if torch.is_grad_enabled() or watched(grad_a_terms, grad_b_terms):
            grads = _differentiable_backward(ctx, grad_a_terms, grad_b_terms)
            return *grads, None, None, None, None
        if a.is_cuda:
            gradients = _gradients_on_gpu(ctx, grad_a_terms, grad_b_terms)
            return *gradients, None, None, None, None
        wanted = [
            torch.zeros_like(side) if needed else None
            for side, needed in zip((a, b), ctx.needs_input_grad, strict=False)
        ]
        incoming = [grad.contiguous() for grad in (grad_a_terms, grad_b_terms)]
        shape = (a.shape[2], ctx.searched, ctx.weight)
        pointers = [None if part is None else part.data_ptr() for part in wanted]
        arguments = (
            *_sizes(a, b),
            *shape,
            *map(Tensor.data_ptr, (to_b, to_a, *incoming)),
            *pointers,
        )
        library.call(
            "terms_backward", a.dtype, arguments, library.share_out(len(a), a.numel() + b.numel())
        )
        return *wanted, None, None, None, None


def _on_gpu() -> Any:
    loaded = _fused()
    if isinstance(loaded, str):
        raise RuntimeError(f"the compiled search {loaded}")
    return loaded


def _gradients_on_gpu(
    ctx: Any, grad_a_terms: Tensor, grad_b_terms: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    a, b, to_b, to_a = ctx.saved_tensors
    shape = ctx.searched, ctx.weight
    gradients = _on_gpu().gradients
    return (
        gradients(a, b, to_b, to_a, grad_a_terms, grad_b_terms, *shape)
        if ctx.needs_input_grad[0]
        else None,
        gradients(b, a, to_a, to_b, grad_b_terms, grad_a_terms, *shape)
        if ctx.needs_input_grad[1]
        else None,
    )


def _differentiable_backward(
    ctx: Any, grad_a_terms: Tensor, grad_b_terms: Tensor
) -> tuple[Tensor, Tensor]:
    a, b, to_b, to_a = ctx.saved_tensors
    factor = a.new_ones(a.shape[2])
    factor[ctx.searched :] = ctx.weight
    rows_b, rows_a = (index.unsqueeze(-1).expand(-1, -1, a.shape[2]) for index in (to_b, to_a))
    own_a = 2 * factor * grad_a_terms.unsqueeze(-1) * (a - b.gather(1, rows_b))  # (B, N, F)
    own_b = 2 * factor * grad_b_terms.unsqueeze(-1) * (b - a.gather(1, rows_a))  # (B, M, F)
    return own_a.scatter_add(1, rows_a, -own_b), own_b.scatter_add(1, rows_b, -own_a)


def _sizes(a: Tensor, b: Tensor) -> tuple[int, int, int, int]:
    return a.data_ptr(), a.shape[1], b.data_ptr(), b.shape[1]


def _search(
    query: Padded | Packed,
    points: Padded | Packed,
    to: Tensor,
    back: Tensor | None = None,
    known: Tensor | None = None,
    known_back: Tensor | None = None,
) -> None:
    """Writes the places of the nearest points, and of the nearest queries if wanted."""
    features = query.points.shape[-1]
    # kept, as those of a side
    known, known_back = (k if k is None else k.contiguous() for k in (known, known_back))
    pointers = (
        None if part is None else part.data_ptr() for part in (to, back, known, known_back)
    )
    arguments = *query.arguments(), *points.arguments(), features, *pointers
    nodes = points.points.numel() // max(1, features * points.clouds)
    pairs = to.numel() * min(MET if known is None else MET_KNOWN, nodes)
    shares = library.share_out(points.clouds, pairs)
    if len(shares) > 1 and points.clouds < len(shares):
        blocks = [(0, points.clouds, part, len(shares)) for part in range(len(shares))]
    else:
        blocks = [(*share, 0, 1) for share in shares]
    library.call("nearest", query.points.dtype, arguments, blocks)
