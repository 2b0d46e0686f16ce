"""A map of the unit interval after which the nodes of training clouds lie more evenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gconvae.likelihoods.atoms import distinct

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

EVEN_VALUES = 0.05
"""Of the map of a feature that takes few values, the share that all values have alike."""

KNOTS = 1024
"""Pieces of the map, each a straight line."""


class EqualCells(nn.Module):
    r"""Maps continuous features so that cells of one length hold similar numbers of nodes.

    .. math:: w(u) = \frac{F(u) + g(u)}{2}

    F is the cumulative distribution of the training nodes; g(u) = u but for positions, of which it
    is a straight line over all but the outermost thousandth at either end, and a tenth of that
    further, and then flatter.
    A feature that takes few values has a piece for each of them, which ends half way to the next,
    and g is an equal share for each value: as likely as a value is, so many cells are its own.
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
    edges: Tensor
    heights: Tensor

    def __init__(self, num_features: int, positions: int = 0) -> None:
        super().__init__()
        self.positions = positions
        even = torch.linspace(0, 1, KNOTS + 1, device="cpu")
        self.register_buffer("knots", even.expand(num_features, -1).clone())
        self.register_buffer("is_mapped", torch.zeros(num_features, dtype=torch.bool))
        # of features that take few values: where pieces end, and at which height; filled up with 1
        self.register_buffer("edges", torch.ones(num_features, 0))
        self.register_buffer("heights", torch.ones(num_features, 0))
        self.mapped: tuple[int, ...] = ()
        self.listed: dict[int, int] = {}  # and how many ends they have

    def fit(self, nodes: Tensor, continuous: Tensor, few: Sequence[int] = ()) -> None:
        """Looks at training nodes.

        Args:
            nodes: In the unit interval, shape (P, F).
            continuous: Which features to map, shape (F,).
            few: Numbers of those that take few values.
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
        lines = {feature: _of_values(nodes[:, feature].double()) for feature in few}
        most = max((len(edges) for edges, _ in lines.values()), default=0)
        tables = torch.ones(2, len(self.knots), most, dtype=torch.float64, device=nodes.device)
        for feature, line in lines.items():
            tables[:, feature, : len(line[0])] = torch.stack(line)
        self.edges, self.heights = (table.to(self.knots) for table in tables)
        self._look()

    def forward(self, unit: Tensor) -> Tensor:
        """Numbers in [0, 1] to numbers in [0, 1], shape (..., F); beyond, to the nearer end."""
        return self._each(unit, self._mapped, lambda edges, heights: (edges, heights))

    def back(self, mapped: Tensor) -> Tensor:
        """The inverse of :meth:`forward`."""
        return self._each(mapped, self._unmapped, lambda edges, heights: (heights, edges))

    def log_slope(self, unit: Tensor) -> Tensor:
        """Logarithm of the map's derivative, shape (..., F)."""

        def slope(values: Tensor, knots: Tensor) -> Tensor:
            piece = _piece(values, knots)
            width = (knots[piece + 1] - knots[piece]).clamp(min=_smallest(knots))
            return -torch.log(width * KNOTS)

        every = [torch.zeros_like(values) for values in unit.unbind(-1)]
        for feature in self.mapped:
            every[feature] = slope(unit[..., feature], self.knots[feature].to(unit))
        for feature in self.listed:
            edges, heights = self._line(feature, unit)
            piece = _piece(unit[..., feature], edges)
            width = (edges[piece + 1] - edges[piece]).clamp(min=_smallest(edges))
            every[feature] = torch.log((heights[piece + 1] - heights[piece]) / width)
        return torch.stack(every, dim=-1)

    def _each(self, numbers: Tensor, map_of: Any, ends: Any) -> Tensor:
        if not self.mapped:
            return numbers
        columns = list(numbers.unbind(-1))
        for feature in self.mapped:
            if feature in self.listed:
                line = self._line(feature, numbers)
                columns[feature] = _along(columns[feature], *ends(*line))
            else:
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

    def _line(self, feature: int, like: Tensor) -> tuple[Tensor, Tensor]:
        count = self.listed[feature]
        return self.edges[feature, :count].to(like), self.heights[feature, :count].to(like)

    def _look(self) -> None:
        self.mapped = tuple(self.is_mapped.nonzero().flatten().tolist())
        ends = (self.edges < 1).sum(1).tolist()
        self.listed = {feature: count + 1 for feature, count in enumerate(ends) if count}

    def _load_from_state_dict(self, state: Any, prefix: str, *arguments: Any) -> None:
        for name in ("edges", "heights"):  # models of before have none
            saved = state.setdefault(prefix + name, getattr(self, name)[:, :0])
            setattr(self, name, torch.empty_like(saved).to(self.knots))
        super()._load_from_state_dict(state, prefix, *arguments)
        self._look()


def _of_values(nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pieces of values end, 0 and 1 among them, and the heights there; (K + 1,)."""
    values, counts = distinct(nodes.clamp(0, 1))
    share = EVEN_VALUES / len(values) + (1 - EVEN_VALUES) * counts / counts.sum()
    zero, one = nodes.new_zeros(1), nodes.new_ones(1)
    edges = torch.cat([zero, (values[1:] + values[:-1]) / 2, one])
    return edges, torch.cat([zero, share.cumsum(0)[:-1], one])


def _along(values: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Numbers on a broken line from one side to the other."""
    values = torch.nan_to_num(values, nan=0.0).clamp(0, 1)
    piece = _piece(values, starts)
    low = starts[piece]
    width = (starts[piece + 1] - low).clamp(min=_smallest(starts))
    return torch.lerp(ends[piece], ends[piece + 1], ((values - low) / width).clamp(0, 1))


def _piece(values: Tensor, knots: Tensor) -> Tensor:
    """The piece of the map in which each value lies."""
    index = torch.searchsorted(knots, values.contiguous(), right=True) - 1
    return index.clamp(0, len(knots) - 2)


def _smallest(knots: Tensor) -> float:
    """What a piece is wide at least: many nodes with one value make pieces of no width."""
    return torch.finfo(knots.dtype).tiny
