"""The order of nodes by their places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["order_of_places"]

MOST_RANKED = 7
"""Features that order the nodes; with more, their rank would be no whole number of 64 bits."""


def order_of_places(
    place: Tensor, mask: Tensor, steps: Sequence[int], descends: Sequence[bool]
) -> Tensor:
    """Numbers of the nodes in order, masked ones last.

    Nodes at one place follow their further features, so that no order of the input counts.

    Args:
        place: Shape (B, N, F).
        mask: True where a node is real, shape (B, N).
        steps: Last place of each feature.
        descends: Whether the nodes descend in it.
    Returns:
        Shape (B, N).
    Example:
        >>> place = torch.tensor([[[3, 1], [5, 0], [3, 2]]])
        >>> mask = torch.tensor([[True, True, True]])
        >>> order_of_places(place, mask, [9, 9], [True, False])
        tensor([[1, 0, 2]])
    """
    rank = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
    base = max(steps) + 1
    ranked = min(MOST_RANKED, int(63 * math.log(2) / math.log(base)))  # whole in 64 bits
    for feature in range(min(ranked, place.shape[-1])):
        each, last = place[..., feature], steps[feature]
        rank = rank * base + (last - each if descends[feature] else each)
    rank = rank.masked_fill(~mask, torch.iinfo(torch.long).max)
    return rank.argsort(dim=1, stable=True)
