"""A map of the unit interval after which the nodes of training clouds lie more evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["EVEN", "FAR", "FAR_PLACES", "KNOTS", "MARGIN", "EqualCells"]

EVEN = 0.5
"""Share of the map that does not look where nodes are, so that sparse tails keep cells too."""

FAR = 1e-3
"""Share of the nodes, at each end, that may lie far from all others. That is of positions: the
thousandth of most weight is of the first nodes of clouds, which decide much."""

MARGIN = 0.1
"""How far beyond all but those a node is not far yet, in widths of all but those."""

FAR_PLACES = 0.01
"""What far ones get of that share of the map: one node must not take the cells of all."""

KNOTS = 1024
"""Pieces of the map, each a straight line."""


class EqualCells(nn.Module):
    r"""Maps continuous features so that cells of one length hold similar numbers of nodes.

    .. math:: w(u) = \frac{F(u) + g(u)}{2}

    F is the cumulative distribution of the training nodes; g(u) = u but for positions, of which it
    is a straight line over all but the outermost thousandth at either end, and a tenth of that
    further, and then flatter.
    Where most nodes lie, cells get small: the particles of a jet crowd around its axis, and their
    pT spans three decades. Lattice features stay as they are, to the bit.

    Args:
        num_features: F.
        positions: How many of the first features are positions.
    Attributes:
        is_mapped: Which features are mapped, shape (F,); none before :meth:`fit`.
    Example:
        >>> cells = EqualCells(1)
        >>> unit = torch.linspace(0, 1, 101)[:, None] ** 4
        >>> cells.fit(unit, torch.tensor([True]))
        >>> mapped = cells(unit)
        >>> round(mapped[50].item(), 2), torch.allclose(cells.back(mapped), unit, atol=1e-6)
        (0.28, True)
    """

    knots: Tensor
    is_mapped: Tensor

    def __init__(self, num_features: int, positions: int = 0) -> None:
        super().__init__()
        self.positions = positions
        even = torch.linspace(0, 1, KNOTS + 1, device="cpu")
        self.register_buffer("knots", even.expand(num_features, -1).clone())
        self.register_buffer("is_mapped", torch.zeros(num_features, dtype=torch.bool))
        self.mapped: tuple[int, ...] = ()

    def fit(self, nodes: Tensor, continuous: Tensor) -> None:
        """Looks at training nodes.

        Args:
            nodes: In the unit interval, shape (P, F).
            continuous: Which features to map, shape (F,).
        """
        places = np.linspace(0, 1, KNOTS + 1)
        self.is_mapped.copy_(continuous)
        for feature in continuous.nonzero().flatten().tolist():
            values = nodes[:, feature].double().cpu().numpy()
            values = np.sort(np.clip(values, 0, 1))
            below = (np.arange(len(values)) + 0.5) / len(values)
            mapped = (1 - EVEN) * below + EVEN * self._even(feature, values)
            mapped = np.concatenate([[0.0], mapped, [1.0]])
            ends = np.concatenate([[0.0], values, [1.0]])
            knots = np.interp(places, mapped, ends)
            self.knots[feature] = torch.from_numpy(knots).to(self.knots)
        self.mapped = tuple(self.is_mapped.nonzero().flatten().tolist())

    def forward(self, unit: Tensor) -> Tensor:
        """Numbers in [0, 1] to numbers in [0, 1], shape (..., F); beyond, to the nearer end."""
        return self._each(unit, self._mapped)

    def back(self, mapped: Tensor) -> Tensor:
        """The inverse of :meth:`forward`."""
        return self._each(mapped, self._unmapped)

    def log_slope(self, unit: Tensor) -> Tensor:
        """Logarithm of the map's derivative, shape (..., F)."""

        def slope(values: Tensor, knots: Tensor) -> Tensor:
            piece = _piece(values, knots)
            width = (knots[piece + 1] - knots[piece]).clamp(min=_smallest(knots))
            return -torch.log(width * KNOTS)

        every = [
            slope(values, self.knots[feature].to(values))
            if feature in self.mapped
            else torch.zeros_like(values)
            for feature, values in enumerate(unit.unbind(-1))
        ]
        return torch.stack(every, dim=-1)

    def _each(self, numbers: Tensor, map_of: Any) -> Tensor:
        if not self.mapped:
            return numbers
        columns = list(numbers.unbind(-1))
        for feature in self.mapped:
            columns[feature] = map_of(columns[feature], self.knots[feature].to(numbers))
        return torch.stack(columns, dim=-1)

    @staticmethod
    def _mapped(values: Tensor, knots: Tensor) -> Tensor:
        values = torch.nan_to_num(values, nan=0.0).clamp(0, 1)
        piece = _piece(values, knots)
        low = knots[piece]
        width = (knots[piece + 1] - low).clamp(min=_smallest(knots))
        return (piece + ((values - low) / width).clamp(0, 1)) / KNOTS

    @staticmethod
    def _unmapped(mapped: Tensor, knots: Tensor) -> Tensor:
        places = mapped.clamp(0, 1) * KNOTS
        piece = places.floor().clamp(max=KNOTS - 1)
        index = piece.long()
        return torch.lerp(knots[index], knots[index + 1], places - piece)

    def _even(self, feature: int, values: np.ndarray) -> np.ndarray:
        """A line that ends where nodes are far from all others; those on little room."""
        low, high = np.quantile(values, [FAR, 1 - FAR])
        if feature >= self.positions or low >= high:
            return values
        margin = MARGIN * (high - low)
        low, high = max(low - margin, 0.0), min(high + margin, 1.0)
        ends = {0.0: 0.0, low: FAR_PLACES * (low > 0), high: 1 - FAR_PLACES * (high < 1), 1.0: 1.0}
        return np.interp(values, list(ends), list(ends.values()))

    def _load_from_state_dict(self, *given: Any, **further: Any) -> None:
        super()._load_from_state_dict(*given, **further)
        self.mapped = tuple(self.is_mapped.nonzero().flatten().tolist())


def _piece(values: Tensor, knots: Tensor) -> Tensor:
    """The piece of the map in which each value lies."""
    found = torch.searchsorted(knots, values.contiguous(), right=True) - 1
    return found.clamp(0, KNOTS - 1)


def _smallest(knots: Tensor) -> float:
    """What a piece is wide at least: many nodes with one value make pieces of no width."""
    return torch.finfo(knots.dtype).tiny
