"""The two sides of a loss: what is checked of them before nodes are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gconvae.cuda_graphs import recording
from gconvae.neighbors.operators import define, watched

__all__ = ["checked_pair", "checked_weight", "equal_counts", "mask_of_lengths", "without_empty"]

HALVES = (torch.float16, torch.bfloat16)
"""Dtypes in which squares of ordinary distances overflow or vanish."""


def checked_pair(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Both sides in one dtype, with 0 in masked places, where anything may stand.

    Two dtypes become the one that holds both, and half precision becomes float32.

    Raises:
        ValueError: If a side is no tensor of floats, devices or shapes do not match, or a cloud
            has no real node on one side.
    """
    target = _checked(target, target_mask, "target")
    output = _checked(output, output_mask, "output")
    if target.shape[0] != output.shape[0] or target.shape[2] != output.shape[2]:
        raise ValueError(
            "target and output must have the same number of clouds and features, got "
            f"{tuple(target.shape)} and {tuple(output.shape)}"
        )
    if target.device != output.device:
        raise ValueError(
            f"target and output must be on one device, got {target.device} and {output.device}"
        )
    if target.dtype == output.dtype and target.dtype not in HALVES:
        return target, output
    wide = torch.promote_types(target.dtype, output.dtype)
    wide = torch.float32 if wide in HALVES else wide
    return target.to(wide), output.to(wide)


def equal_counts(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> Tensor:
    """The numbers of real nodes, shape (B,), which both sides must share.

    Raises:
        ValueError: If the two sides of a cloud have different numbers.
    """
    if target_mask is None and output_mask is None and target.shape[1] == output.shape[1]:
        return _counts(target, None)
    real, others = _real(target, target_mask), _real(output, output_mask)
    if watched(real, others):
        counts: Tensor = torch.ops.gconvae.equal_counts(real, others)
        return counts
    return _equal_counts(real, others)


def without_empty(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """:func:`checked_pair` and masks where clouds may have no real node on a side.

    Such a cloud becomes one node at 0 on both sides: loss and gradient are 0.
    """
    sides = [_with_a_node(target, target_mask), _with_a_node(output, output_mask)]
    if sides[0][1] is None and sides[1][1] is None:
        return *checked_pair(target, output, None, None), None, None
    (target, known), (output, others) = sides
    real, other_real = _real(target, known), _real(output, others)
    if real.dim() == 2 and other_real.dim() == 2 and len(real) == len(other_real):
        there = (real.any(1) & other_real.any(1)).unsqueeze(1)  # (B, 1)
        sides_real = []
        for points, mask in ((target, real), (output, other_real)):
            first = torch.arange(points.shape[1], device=mask.device) == 0
            sides_real.append((mask & there, first))
        target = target.masked_fill(~sides_real[0][0].unsqueeze(-1), 0.0)
        output = output.masked_fill(~sides_real[1][0].unsqueeze(-1), 0.0)
        real, other_real = (mask | (first & ~there) for mask, first in sides_real)
    return *checked_pair(target, output, real, other_real), real, other_real


def checked_weight(weight: Any, mask: Tensor | None, terms: Tensor, name: str) -> Tensor:
    """A weight of each node, 0 where it is masked, or of each cloud.

    Args:
        weight: Shape of ``terms``, with anything in masked places.
        mask: True = a real node, shape (B, N); None = all real.
        terms: What is to be weighed, shape (B, N) or (B,).
        name: What messages call the weight.
    Raises:
        ValueError: If it is no tensor of this shape, or below 0 somewhere.
    """
    if not isinstance(weight, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(weight).__name__}")
    if weight.shape != terms.shape:
        raise ValueError(f"{name} must have shape {tuple(terms.shape)}, got {tuple(weight.shape)}")
    if mask is not None:
        weight = weight.masked_fill(~mask, 0.0)
    if watched(weight):
        # added, since what nobody uses may be left out of a graph
        zero = torch.ops.gconvae.zero_where_positive(weight.detach(), name)
        return weight + zero.view(-1, *[1] * (weight.dim() - 1))
    if not recording(weight):
        _zero_where_positive(weight, name)
    return weight


def mask_of_lengths(
    points: Tensor, lengths: Tensor | None, mask: Tensor | None, name: str
) -> Tensor | None:
    """The mask of clouds whose first nodes are real, where numbers of nodes are given.

    Args:
        points: Shape (B, N, F).
        lengths: Numbers of real nodes, integers 0..N, shape (B,); None = see ``mask``.
        mask: True = a real node, shape (B, N), which counts beside the lengths; None = all real.
        name: Of the side.
    Raises:
        ValueError: If lengths are no integers 0..N, or have another shape.
    """
    if lengths is None:
        return mask
    if not isinstance(lengths, Tensor) or lengths.is_floating_point() or lengths.is_complex():
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise ValueError(f"{name}_lengths must be a tensor of integers, got {got}")
    if lengths.dtype == torch.bool or lengths.shape != points.shape[:1]:
        raise ValueError(
            f"{name}_lengths must have shape {tuple(points.shape[:1])} and be integers, "
            f"got {lengths.dtype} of shape {tuple(lengths.shape)}"
        )
    size = points.shape[1]
    if watched(points, lengths):
        lengths = torch.ops.gconvae.numbers_of_nodes(lengths, size, name)
    elif not recording(lengths):
        _numbers_of_nodes(lengths, size, name)
    known = torch.arange(size, device=points.device) < lengths.to(points.device).unsqueeze(1)
    return known if mask is None else known & mask


def _checked(points: Any, mask: Any, name: str) -> Tensor:
    if not isinstance(points, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(points).__name__}")
    if points.dim() != 3:
        raise ValueError(
            f"{name} must have shape (clouds, nodes, features), got {tuple(points.shape)}"
        )
    if not points.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got dtype {points.dtype}")
    if points.shape[1] == 0 and points.shape[0] > 0:
        raise ValueError(f"{name} must have at least one node, got shape {tuple(points.shape)}")
    if mask is None:
        return points
    if not isinstance(mask, Tensor):
        raise ValueError(f"{name}_mask must be a tensor, got {type(mask).__name__}")
    if mask.dtype != torch.bool or mask.shape != points.shape[:2]:
        raise ValueError(
            f"{name}_mask must hold booleans of shape {tuple(points.shape[:2])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    if watched(points, mask):
        mask = torch.ops.gconvae.mask_with_nodes(mask, name)
    elif not recording(mask):
        _check_no_cloud_empty(mask, name)
    return points.masked_fill(~mask.unsqueeze(-1), 0.0)


def _with_a_node(points: Any, mask: Tensor | None) -> tuple[Any, Tensor | None]:
    """Clouds of size 0 as clouds of one node that is masked."""
    if not isinstance(points, Tensor) or points.dim() != 3 or points.shape[1] > 0:
        return points, mask
    points = points.new_zeros(points.shape[0], 1, points.shape[2]) + points.sum(1, keepdim=True)
    return points, points.new_zeros(points.shape[:2], dtype=torch.bool)


def _check_no_cloud_empty(mask: Tensor, name: str) -> None:
    empty = (~mask.any(1)).nonzero()
    if len(empty):
        raise ValueError(
            f"{name}_mask must leave a node in every cloud, cloud {int(empty[0])} has none"
        )


def _mask_with_nodes(mask: Tensor, name: str) -> Tensor:
    if not recording(mask):
        _check_no_cloud_empty(mask, name)
    return mask.clone()


def _equal_counts(real: Tensor, others: Tensor) -> Tensor:
    counts, other_counts = real.sum(1), others.sum(1)
    unequal = (counts != other_counts).nonzero()
    if len(unequal):
        cloud = int(unequal[0])
        raise ValueError(
            "target and output must have equal numbers of real nodes, "
            f"cloud {cloud} has {int(counts[cloud])} and {int(other_counts[cloud])}"
        )
    return counts


def _zero_where_positive(weight: Tensor, name: str) -> Tensor:
    if not recording(weight) and not (weight >= 0).all():
        worst = weight[~(weight >= 0)][0]
        raise ValueError(f"{name} must be at least 0 everywhere, got {float(worst):g}")
    return weight.new_zeros(len(weight))


def _numbers_of_nodes(lengths: Tensor, size: int, name: str) -> Tensor:
    if not recording(lengths):
        wrong = ((lengths < 0) | (lengths > size)).nonzero()
        if len(wrong):
            cloud = int(wrong[0])
            raise ValueError(
                f"{name}_lengths must be from 0 to {size}, cloud {cloud} has {int(lengths[cloud])}"
            )
    return lengths.clone()


def _real(points: Tensor, mask: Tensor | None) -> Tensor:
    return points.new_ones(points.shape[:2], dtype=torch.bool) if mask is None else mask


def _counts(points: Tensor, mask: Tensor | None) -> Tensor:
    """Number of real nodes of each cloud, shape (B,)."""
    if mask is None:
        return torch.full(points.shape[:1], points.shape[1], device=points.device)
    return mask.sum(1)


define(
    "mask_with_nodes",
    "(Tensor mask, str name) -> Tensor",
    _mask_with_nodes,
    lambda mask, name: torch.empty_like(mask),
)
define(
    "equal_counts",
    "(Tensor real, Tensor others) -> Tensor",
    _equal_counts,
    lambda real, others: real.new_empty(real.shape[:1], dtype=torch.long),
)
define(
    "zero_where_positive",
    "(Tensor weight, str name) -> Tensor",
    _zero_where_positive,
    lambda weight, name: weight.new_empty(weight.shape[:1]),
)
define(
    "numbers_of_nodes",
    "(Tensor lengths, int size, str name) -> Tensor",
    _numbers_of_nodes,
    lambda lengths, size, name: torch.empty_like(lengths),
)
