"""Features that take few values on no lattice, such as means of a handful of whole numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FEWEST_NODES", "MOST_ATOMS", "Atoms", "distinct"]

MOST_ATOMS = 16384
"""Values that a feature may take to be drawn from these alone."""

FEWEST_NODES = 8
"""Nodes for each of them, on average: continuous values seldom come twice."""


FEW = 64
"""Values up to which they count, however likely they are: charges and classes are such."""

NEXT, MUCH, UNEVEN = 8, 4.0, 0.1
"""Else a tenth of the nodes must take values that are four times as likely as the eight on either
side: numbers that were only written with few digits are a continuous feature."""


class Atoms(nn.Module):
    r"""The values :math:`a_1 < a_2 < \ldots` of a feature, where it takes few.

    Means over 2, 3, ... whole numbers are halves, thirds, ...: on no lattice, but each comes many
    times, and a classifier of nodes knows it. So they are treated as a lattice is: in training a
    value is spread evenly over the numbers that are nearer to it than to any other,

    .. math:: x' \sim U\left[\frac{a_{k-1} + a_k}{2}, \frac{a_k + a_{k+1}}{2}\right)
        \text{ for } x = a_k,

    and what is drawn is moved to the nearest value. Other features stay as they are, to the bit.

    Args:
        num_features: F.
    Attributes:
        values: In data units, in order, filled up with infinity, shape (F, K).
    Example:
        >>> atoms, thirds = Atoms(1), torch.tensor([0.0, 0.5, 0.6667]).repeat(20)
        >>> atoms.find(thirds[None, :, None], torch.ones(1, 60, dtype=torch.bool), [True])
        >>> atoms.nearest(torch.tensor([[[0.4], [0.9]]])).flatten()
        tensor([0.5000, 0.6667])
    """

    values: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.full((num_features, 0), torch.inf))
        self.columns: tuple[int, ...] = ()
        self._found: tuple[int, ...] = ()  # how many values each of them takes

    @property
    def counts(self) -> list[int]:
        """How many values each feature takes; 0 = it is free."""
        counts: list[int] = self.values.isfinite().sum(1).tolist()
        return counts

    def find(self, points: Tensor, mask: Tensor, wanted: list[bool]) -> None:
        """Looks for features that take few values.

        Args:
            points: Training clouds in data units, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
            wanted: Which features to look at, F of them.
        """
        nodes = points[mask]
        columns = zip(nodes.unbind(1), wanted, strict=True)
        repeated = [
            _repeated(values) if is_wanted else values[:0] for values, is_wanted in columns
        ]
        most = max(map(len, repeated))
        table = points.new_full((len(repeated), most), torch.inf)
        for row, values in zip(table, repeated, strict=True):
            row[: len(values)] = values
        self.values = table.to(self.values)
        self._look()

    def nearest(self, points: Tensor) -> Tensor:
        """Numbers as the nearest of the values, shape (..., F)."""
        return self._each(points, lambda column, values, _: _of(values, _index(column, values)))

    def spread(self, points: Tensor, uniform: Tensor) -> Tensor:
        """Values spread over what is nearest to them.

        Args:
            points: Data units, shape (..., F).
            uniform: In [0, 1), of the same shape.
        """

        def spread(column: Tensor, values: Tensor, share: Tensor) -> Tensor:
            index = _index(column, values)
            edges = (values[1:] + values[:-1]) / 2
            edges = torch.cat([values[:1], edges, values[-1:]])
            low, high = _of(edges, index), _of(edges[1:], index)
            spread = low + share * (high - low)
            # rounding may put a draw on the edge, which belongs to the next one
            return torch.where(_index(spread, values) == index, spread, column)

        return self._each(points, spread, uniform)

    def _each(self, points: Tensor, change: Any, uniform: Tensor | None = None) -> Tensor:
        if not self.columns:
            return points
        columns = list(points.unbind(-1))
        for column, count in zip(self.columns, self._found, strict=True):
            values = self.values[column, :count].to(points)
            share = None if uniform is None else uniform[..., column]
            columns[column] = change(columns[column], values, share)
        return torch.stack(columns, dim=-1)

    def _look(self) -> None:
        self.columns = tuple(column for column, count in enumerate(self.counts) if count)
        self._found = tuple(count for count in self.counts if count)

    def _load_from_state_dict(self, state: Any, prefix: str, *arguments: Any) -> None:
        # models of before have none, and others as many as they found
        saved = state.setdefault(f"{prefix}values", self.values[:, :0])
        self.values = saved.new_empty(saved.shape).to(self.values)
        super()._load_from_state_dict(state, prefix, *arguments)
        self._look()


def distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """The different values, in order, and how many nodes have each; shapes (K,).

    Example:
        >>> distinct(torch.tensor([0.5, 0.25, 0.5]))
        (tensor([0.2500, 0.5000]), tensor([1, 2]))
    """
    unique, counts = values.unique(return_counts=True)  # in order
    if not len(unique):
        return unique, counts
    # rounding takes one value apart
    apart = 1e-6 * float(unique.abs().max())
    number = torch.cat([counts.new_zeros(1), (unique.diff() > apart).cumsum(0)])
    counts = counts.new_zeros(int(number[-1]) + 1).index_add_(0, number, counts)
    return unique[torch.cat([number.new_ones(1), number.diff()]) > 0], counts


def _repeated(values: Tensor) -> Tensor:
    """The different values, in order, if there are few, or some are much likelier; else none."""
    unique, counts = distinct(values)
    fits = len(unique) <= MOST_ATOMS and len(values) >= FEWEST_NODES * len(unique)
    if not fits or not (1 < len(unique) <= FEW or _unevenness(counts) > UNEVEN):
        return unique[:0]
    return unique


def _unevenness(counts: Tensor) -> float:
    """Share of the nodes at values that are much likelier than those next to them."""
    sums = nn.functional.pad(counts.double().cumsum(0), (1, 0))
    places = torch.arange(len(counts), device=counts.device)
    low, high = (places - NEXT).clamp(min=0), (places + NEXT + 1).clamp(max=len(counts))
    others = (sums[high] - sums[low] - counts) / (high - low - 1).clamp(min=1)
    return float(counts[counts > MUCH * others].sum() / counts.sum())


def _index(column: Tensor, values: Tensor) -> Tensor:
    """Number of the nearest value."""
    edges = (values[1:] + values[:-1]) / 2
    return torch.searchsorted(edges, column.contiguous(), right=True)


def _of(values: Tensor, index: Tensor) -> Tensor:
    return values.index_select(0, index.flatten()).view(index.shape)
