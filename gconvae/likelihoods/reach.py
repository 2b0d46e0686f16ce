"""How far from the centre of its cloud a node lies at most, by its weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BINS", "Reach"]

BINS = 32
"""Of the places of the weight."""


class Reach(nn.Module):
    r"""The farthest training node of each weight or above it.

    .. math:: r_b = \max_{w_i \ge b} |x_i - c|

    A soft particle may lie beyond the edge of a jet, a hard one never does. A smooth mixture gives
    that a small share all the same, and one such particle in a thousand jets changes what all of
    them add up to.

    Attributes:
        farthest: Data units, not increasing, infinite before :meth:`fit`, shape (32,).
    Example:
        >>> reach = Reach()
        >>> place = torch.tensor([[4000, 100, 100]])
        >>> reach.fit(place, torch.tensor([[0.5, 0.9, 0.7]]), torch.tensor([[True] * 3]), 4095)
        >>> reach(torch.tensor([4000, 2000, 120]), 4095)
        tensor([0.5000, 0.5000, 0.9000])
    """

    farthest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("farthest", torch.full((BINS,), torch.inf))

    def fit(self, place: Tensor, apart: Tensor, mask: Tensor, steps: int) -> None:
        """Looks at training nodes.

        Args:
            place: Of their weights, shape (B, N).
            apart: How far they lie from the centres of their clouds, shape (B, N).
            mask: True where a node is real, shape (B, N).
            steps: Last place of a weight.
        """
        bins, apart = _bin(place[mask], steps), apart[mask]
        heaviest = int(bins.max())  # nothing is known of what is heavier still
        for number in range(BINS):
            self.farthest[number] = apart[bins >= min(number, heaviest)].max()

    def forward(self, place: Tensor, steps: int) -> Tensor:
        """The largest distance of nodes, of whose weights the places are known, any shape."""
        return self.farthest[_bin(place, steps)]


def _bin(place: Tensor, steps: int) -> Tensor:
    return place * BINS // (steps + 1)
