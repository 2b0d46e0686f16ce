"""Small layers between numbers, the places that they have, and what a network knows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconvae.likelihoods.places import FINE

__all__ = ["Value", "two_layers"]


class Value(nn.Module):
    """What a value adds to what is known: by its waves, and by its fine digit.

    Args:
        seen: Waves of a value.
        width: W.
    Example:
        >>> Value(13, 8)(torch.zeros(4, 13 + 16)).shape
        torch.Size([4, 8])
    """

    def __init__(self, seen: int, width: int) -> None:
        super().__init__()
        self.waves = nn.Linear(seen, width)
        self.digit = nn.Embedding(FINE, width)

    def forward(self, seen: Tensor) -> Tensor:
        """Shape (..., waves + 16) to (..., W)."""
        weight = torch.cat([self.waves.weight, self.digit.weight.T], dim=1)  # (W, waves + 16)
        return nn.functional.linear(seen, weight, self.waves.bias)


def two_layers(inputs: int, width: int) -> nn.Sequential:
    """A dense network with one hidden layer.

    Example:
        >>> two_layers(3, 8)(torch.zeros(4, 3)).shape
        torch.Size([4, 8])
    """
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
