"""The two sides of a loss: what is checked of them before nodes are compared."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.cuda_graphs import recording
from gconvae.symbolic import is_symbolic

__all__ = ["checked_pair", "equal_counts"]

HALVES = (torch.float16, torch.bfloat16)


def checked_pair(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Both sides with 0 in masked places, where anything may stand that must not spread.

    Both in one dtype, the wider of the two, and at least single precision: the square of a
    difference of 300 is infinite in half precision.

    Raises:
        ValueError: If shapes or devices do not match, they hold no floating-point numbers, or a
            cloud has no real node on one side.
    """
    target = _checked(target, target_mask, "target")
    output = _checked(output, output_mask, "output")
    if target.device != output.device:
        raise ValueError(
            f"target and output must be on one device, got {target.device} and {output.device}"
        )
    if target.dtype != output.dtype or target.dtype in HALVES:
        wide = torch.promote_types(target.dtype, output.dtype)
        wide = torch.float32 if wide in HALVES else wide
        target, output = target.to(wide), output.to(wide)
    if target.shape[0] != output.shape[0] or target.shape[2] != output.shape[2]:
        raise ValueError(
            "target and output must have the same number of clouds and features, got "
            f"{tuple(target.shape)} and {tuple(output.shape)}"
        )
    return target, output


def equal_counts(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> Tensor:
    """The numbers of real nodes, shape (B,), which both sides must share.

    Raises:
        ValueError: If the two sides of a cloud have different numbers.
    """
    counts, others = _counts(target, target_mask), _counts(output, output_mask)
    if is_symbolic() or counts.is_meta:
        return counts
    unequal = (counts != others).nonzero()
    if len(unequal):
        cloud = int(unequal[0])
        raise ValueError(
            "target and output must have equal numbers of real nodes, "
            f"cloud {cloud} has {int(counts[cloud])} and {int(others[cloud])}"
        )
    return counts


def _checked(points: Tensor, mask: Tensor | None, name: str) -> Tensor:
    if not isinstance(points, Tensor):
        raise ValueError(
            f"{name} must be a tensor of shape (clouds, nodes, features), got "
            f"{type(points).__name__}"
        )
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
    if mask.dtype != torch.bool or mask.shape != points.shape[:2]:
        raise ValueError(
            f"{name}_mask must hold booleans of shape {tuple(points.shape[:2])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    if recording(mask) or is_symbolic() or mask.is_meta:
        return points.masked_fill(~mask.unsqueeze(-1), 0.0)
    empty = (~mask.any(1)).nonzero()
    if len(empty):
        raise ValueError(
            f"{name}_mask must leave a node in every cloud, cloud {int(empty[0])} has none"
        )
    return points.masked_fill(~mask.unsqueeze(-1), 0.0)


def _counts(points: Tensor, mask: Tensor | None) -> Tensor:
    """Number of real nodes of each cloud, shape (B,)."""
    if mask is None:
        return torch.full(points.shape[:1], points.shape[1], device=points.device)
    return mask.sum(1)
