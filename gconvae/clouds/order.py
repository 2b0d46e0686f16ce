"""The canonical node order, which a schema says: nodes are a set, tensors need a first one."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.schema import CloudSchema, default_order_keys

__all__ = ["in_order", "sort_nodes"]

FEW = 64
"""Nodes of a cloud up to which a GPU orders them by comparing all pairs: one pass in place of four
sorts."""

Keys = tuple[tuple[int, bool], ...]
"""Columns and whether each descends, the most significant first."""


def sort_nodes(
    points: Tensor, mask: Tensor | None = None, schema: CloudSchema | None = None
) -> tuple[Tensor, Tensor]:
    """Puts nodes in the canonical order of a schema, masked nodes last.

    Args:
        points: Shape (B, N, F).
        mask: Shape (B, N), or None for all real.
        schema: Says the order; None = that of a schema with two positions that says none: by the
            first further feature, the largest first, ties by the second position, then the first,
            then the other features.
    Returns:
        The sorted points (masked nodes are 0) and the sorted mask.
    Example:
        >>> points = torch.tensor([[[5.0, 1.0, 0.2], [6.0, 3.0, 0.9], [7.0, 2.0, 0.9]]])
        >>> sort_nodes(points)[0][0, :, 0]
        tensor([7., 6., 5.])
    """
    if mask is None:
        mask = points.new_ones(points.shape[:2], dtype=torch.bool)
    features = points.shape[-1]
    keys = default_order_keys(features, min(2, features)) if schema is None else schema.order_keys
    order = _by_first_key(points, mask, keys)
    if order is None and points.is_cuda and points.shape[1] <= FEW:
        order = _by_comparison(points, mask, keys)
    if order is None:
        order = _by_all_keys(points, mask, keys)
    mask = mask.gather(1, order)
    points = points.gather(1, order.unsqueeze(-1).expand_as(points))
    return points.masked_fill(~mask.unsqueeze(-1), 0.0), mask


@torch.no_grad()
def in_order(
    points: Tensor, mask: Tensor | None = None, schema: CloudSchema | None = None
) -> Tensor:
    """Which clouds :func:`sort_nodes` would leave as they are; found without sorting.

    Args:
        points: Finite where a node is real, shape (B, N, F).
        mask: As in :func:`sort_nodes`.
        schema: Likewise.
    Returns:
        Shape (B,); True where no node stands before one that belongs before it.
    Example:
        >>> cloud = torch.tensor([[0.0, 0.0, 0.9], [1.0, 0.0, 0.2]])
        >>> in_order(torch.stack([cloud, cloud.flip(0)]))
        tensor([ True, False])
    """
    features = points.shape[-1]
    keys = default_order_keys(features, min(2, features)) if schema is None else schema.order_keys
    early, late = points[:, :-1], points[:, 1:]
    wrong = points.new_zeros(early.shape[:2], dtype=torch.bool)  # (B, N - 1)
    for column, descends in reversed(keys):  # the least significant first
        first, second = early[..., column], late[..., column]
        if descends:
            first, second = second, first
        wrong = (first > second) | ((first == second) & wrong)
    if mask is None:
        return ~wrong.any(1)
    # between real nodes the keys decide, and no real node may follow a masked one
    return ~torch.where(mask[:, :-1], wrong & mask[:, 1:], mask[:, 1:]).any(1)


def _values(points: Tensor, keys: Keys) -> list[Tensor]:
    """What is sorted upwards, the least significant first, each (B, N)."""
    return [
        -points[..., column] if descends else points[..., column]
        for column, descends in reversed(keys)
    ]


@torch.no_grad()
def _by_first_key(points: Tensor, mask: Tensor, keys: Keys) -> Tensor | None:
    """Places of the nodes by the first key alone, (B, N), or None where real nodes may tie."""
    if torch.compiler.is_compiling() or points.device.type != "cpu":
        return None  # waiting for the answer takes longer there than sorting
    key = _values(points, keys[:1])[0].masked_fill(~mask, torch.inf)
    key, order = key.sort(dim=1)
    apart = key[:, 1:] > key[:, :-1]  # False for what is no number
    return order if (apart | ~mask.gather(1, order)[:, 1:]).all() else None


@torch.no_grad()
def _by_comparison(points: Tensor, mask: Tensor, keys: Keys) -> Tensor:
    """:func:`_by_all_keys` for few nodes: each counts those before it, (B, N)."""
    place = torch.arange(points.shape[1], device=points.device)
    before = place.unsqueeze(0) < place.unsqueeze(1)  # (N, N), row i: the nodes before i
    for key in (*_values(points, keys), (~mask).to(points)):
        # what is no number stands with the infinite ones, so that all nodes have places
        key = torch.nan_to_num(key, nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        own, other = key.unsqueeze(2), key.unsqueeze(1)
        before = (other < own) | ((other == own) & before)  # (B, N, N)
    rank = before.sum(2)  # (B, N)
    return torch.empty_like(rank).scatter_(1, rank, place.expand_as(rank))


@torch.no_grad()
def _by_all_keys(points: Tensor, mask: Tensor, keys: Keys) -> Tensor:
    """Places of the nodes by all keys, (B, N)."""
    order = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    # least significant key first: each stable sort keeps the order of the ones before
    for key in (*_values(points, keys), (~mask).to(torch.uint8)):
        step = torch.argsort(key.gather(1, order), dim=1, stable=True)  # (B, N)
        order = order.gather(1, step)
    return order
