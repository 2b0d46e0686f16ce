"""What each node adds to a Chamfer distance: how far the nearest node of the other side is."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.neighbors import native
from gconvae.neighbors.backends import check_norm, resolve_backend
from gconvae.neighbors.dense import squared_distance
from gconvae.neighbors.operators import watched
from gconvae.neighbors.search import nearest_both

__all__ = ["nearest_terms"]


def nearest_terms(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None,
    output_mask: Tensor | None,
    searched: int,
    weight: float,
    backend: str,
    norm: int = 2,
    squared: bool = True,
) -> tuple[Tensor, Tensor]:
    """Distance of each node to the nearest by its first features, (B, N) and (B, M).

    The features behind the searched ones count by ``weight``. Every search and kernel takes any
    number of either. Where two nodes are equally near, the one of the lowest index is the partner:
    it alone has the term's gradient.

    Args:
        target: Shape (B, N, F), one dtype and device.
        output: Shape (B, M, F).
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        searched: Features that tell which node is nearest.
        weight: Factor of the others.
        backend: Of the search.
        norm: 2 = squares are summed, 1 = absolute differences.
        squared: Whether the sum of squares is left as it is, or its root is taken.
    Raises:
        ValueError: If ``backend`` or ``norm`` is no choice.
    """
    if norm != 2:
        check_norm(norm)
    masks = target_mask, output_mask
    terms: tuple[Tensor, ...]
    if norm == 1 or watched(target, output):
        # the search alone is ours, and whoever looks has the rest
        sides = target[..., :searched], output[..., :searched]
        indices = nearest_both(*sides, *masks, backend=backend, norm=norm)
        terms = _both_ways(target, output, indices, searched, weight, norm)
    else:
        terms = _eager_terms(target, output, *masks, searched, weight, backend)
    if norm == 2 and not squared:
        terms = tuple(_root(part) for part in terms)
    return terms[0], terms[1]


def _eager_terms(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None,
    output_mask: Tensor | None,
    searched: int,
    weight: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    longest = max(target.shape[1], output.shape[1])
    chosen = resolve_backend(backend, target.device, target.dtype, longest)
    if chosen == "native":
        return native.chamfer_terms(target, output, target_mask, output_mask, searched, weight)
    sides = target[..., :searched], output[..., :searched]
    indices = nearest_both(*sides, target_mask, output_mask, backend=chosen)
    # the same bits whatever the search
    if target.device.type == "cpu" and native.available(dtype=target.dtype):
        return native.matched_terms(target, output, *indices, searched, weight)
    return _both_ways(target, output, indices, searched, weight, 2)


def _both_ways(
    target: Tensor,
    output: Tensor,
    indices: tuple[Tensor, Tensor],
    searched: int,
    weight: float,
    norm: int,
) -> tuple[Tensor, Tensor]:
    def one_way(a: Tensor, b: Tensor, index: Tensor) -> Tensor:
        matched = b.gather(1, index.unsqueeze(-1).expand(-1, -1, b.shape[-1]))  # (B, N, F)
        if norm == 1:
            return (a - matched).abs().sum(-1)
        terms = squared_distance(a[..., :searched], matched[..., :searched])
        if searched == a.shape[-1] or weight == 0:  # what weighs nothing may overflow
            return terms
        return terms + weight * squared_distance(a[..., searched:], matched[..., searched:])

    return one_way(target, output, indices[0]), one_way(output, target, indices[1])


def _root(squares: Tensor) -> Tensor:
    """Roots whose gradient at 0 is 0, in the middle of those on all sides."""
    zero = squares == 0
    return torch.where(zero, 1.0, squares).sqrt().masked_fill(zero, 0.0)
