"""Random changes of the clouds that a likelihood learns from; it is conditioned on some."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gconvae.datasets import transforms

__all__ = ["AUGMENTED_AT_LAST", "augmented", "share_at"]

AUGMENTED_AT_LAST = 1 / 3
"""Of the share of changed clouds in the first step, what is left in the last."""


def augmented(
    unit: Tensor,
    mask: Tensor,
    centre: Tensor,
    random: torch.Generator,
    changes: Sequence[str] = (),
    symmetries: Sequence[str] = (),
    *,
    share: float,
) -> tuple[Tensor, Tensor]:
    """Clouds that are changed as a schema allows it, and how.

    Args:
        unit: Clouds in the unit interval, shape (B, N, F).
        mask: True where a node is real, shape (B, N).
        centre: Of the first two positions, shape (2,).
        random: The only source of random numbers.
        changes: Those that make other clouds, which the learner is conditioned on.
        symmetries: Those that make clouds as likely as before, of which nobody needs to know; all
            clouds get them, mirrored or not as often as not.
        share: Of the clouds that get ``changes``.
    Returns:
        Clouds, shape (B, N, F), and the changes to condition on, shape (B, 6).
    Example:
        >>> unit, mask = torch.rand(8, 5, 3), torch.ones(8, 5, dtype=torch.bool)
        >>> random, middle = torch.Generator().manual_seed(0), torch.tensor([0.5, 0.5])
        >>> options = {"share": 0.9, "symmetries": ["mirror"]}
        >>> mirrored, changed = augmented(unit, mask, middle, random, **options)
        >>> changed.any().item(), torch.equal((mirrored - 0.5).abs(), (unit - 0.5).abs())
        (False, True)
    """
    changed = unit.new_zeros(len(unit), transforms.NUM_CHANGES)
    if symmetries:
        unit = transforms.affine(unit, centre, random, share=1.0, kinds=symmetries).points
    if changes:
        unit, changed = transforms.affine(unit, centre, random, share=share, kinds=changes)
    if symmetries or changes:
        unit = unit.clamp(0, 1).masked_fill(~mask.unsqueeze(-1), 0.0)
    return unit, changed


def share_at(first: float, done: float) -> float:
    """Of the clouds that are changed, which falls to a third: unchanged ones are drawn.

    Args:
        first: In the first step.
        done: Share of the steps that lie behind, in [0, 1).
    Example:
        >>> share_at(0.9, 0.0), round(share_at(0.9, 0.5), 2)
        (0.9, 0.6)
    """
    return first * (1 - done * (1 - AUGMENTED_AT_LAST))
