"""Places of nodes on the lattices of their features, and what a network sees of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "CONTINUOUS_STEPS",
    "FEWEST_STEPS",
    "FINE",
    "OCTAVES",
    "Places",
    "last_place",
    "spread_in_cells",
    "waves",
]

FEWEST_STEPS = 255
"""Steps of a lattice below which each is split in two, again and again."""

CONTINUOUS_STEPS = 4095
"""Last place of a feature that lies on no lattice: 4,096 cells, which hold similar numbers of
training nodes; those at both ends are half as wide."""

MOST_STEPS = 2**20
"""Of a lattice: what a network sees of each place lies in a table."""

FINE = 16
"""Steps of the fine lattice in one of the coarse one."""

OCTAVES = 6
"""Waves by which a network sees a number where nobody says; the shortest is 1/32 of its range."""


def waves(octaves: int) -> int:
    """Numbers that stand for one: itself, and a sine and a cosine of each octave."""
    return 1 + 2 * octaves


class Places:
    r"""The places 0 to S of each feature, and tables of what a network sees of them.

    .. math:: p = \operatorname{round}(S \, x) = 16 \, c + r, \quad 0 \le r < 16

    A lattice has a few hundred places, a batch thousands of nodes: what is a function of a place
    is computed for each place once, and looked up.

    Args:
        steps: S of each feature.
        like: Says dtype and device of the tables.
        octaves: Waves by which a network sees a place, beside which of the 16 fine digits it has.
        amounts: What each place of a feature is in data units, shapes (S + 1,); None = not known.
    Attributes:
        steps: As given.
        waves: W, numbers that stand for one as waves.
        cells: Largest c of each feature.
        single: Whether that is 0, shape (F,).
        bounded: Whether a feature lies on no lattice, so that its cells end where the training
            nodes do, shape (F,).
        any_bounded: Whether one of them does.
        first_adds_up: Whether the first feature is never negative, so that a sum over nodes is at
            least any part of it; False where amounts are not known.
    Example:
        >>> places = Places([432, 255], torch.zeros(1))
        >>> place = places.of(torch.tensor([[0.5, 1.0]]))
        >>> place, places.seen(place).shape
        (tensor([[216, 255]]), torch.Size([1, 2, 29]))
    """

    def __init__(
        self,
        steps: Sequence[int],
        like: Tensor,
        octaves: int = OCTAVES,
        amounts: Sequence[Tensor] | None = None,
    ) -> None:
        self.steps, self.waves = tuple(steps), waves(octaves)
        self.cells = tuple(count // FINE for count in self.steps)
        tables = [_table(count, octaves) for count in self.steps]
        self._seen = torch.cat([seen for seen, _ in tables]).to(like)  # (P, W + 16)
        self._missing = torch.cat([missing for _, missing in tables]).to(like)  # (P, 16)
        self._amounts = None if amounts is None else torch.cat(list(amounts)).to(like)  # (P,)
        self.first_adds_up = amounts is not None and amounts[0].min().item() >= 0
        ends = torch.tensor(self.steps, device="cpu")
        starts = torch.cumsum(ends + 1, 0) - ends - 1
        stops = starts + ends + 1
        pairs = zip(starts.tolist(), stops.tolist(), strict=True)
        self._rows = [slice(*pair) for pair in pairs]
        self._ends, self._starts = ends.to(like), starts.to(like.device)
        cells = torch.tensor(self.cells, device="cpu")
        self._cells = cells.clamp(min=1).to(like)
        self.single = (cells == 0).to(like.device)
        bounded = [count == CONTINUOUS_STEPS for count in self.steps]
        self.bounded, self.any_bounded = torch.tensor(bounded, device=like.device), any(bounded)

    def fits(self, steps: Sequence[int], like: Tensor) -> bool:
        """Whether these are the places of given steps, in dtype and on the device of a tensor."""
        seen = self._seen
        return self.steps == tuple(steps) and (seen.dtype, seen.device) == (
            like.dtype,
            like.device,
        )

    def of(self, values: Tensor) -> Tensor:
        """Numbers as places, those beyond [0, 1] as the first or last one, shape (..., F)."""
        values = torch.nan_to_num(values, nan=0.0).clamp(0, 1)
        return torch.round(values * self._ends).long()

    def values(self, place: Tensor) -> Tensor:
        """Places as numbers in [0, 1], shape (..., F)."""
        return place.to(self._ends) / self._ends

    def half_steps(self) -> Tensor:
        """Half of what one place is in [0, 1], shape (F,)."""
        return 0.5 / self._ends

    def amounts(self, place: Tensor) -> Tensor:
        """Places in data units, shape (..., F)."""
        assert self._amounts is not None
        return _looked_up(self._amounts, place + self._starts)

    def amount(self, column: int, place: Tensor) -> Tensor:
        """Places of one feature in data units, any shape."""
        return _looked_up(self._amounts_of(column), place)

    def highest(self, column: int, most: Tensor) -> Tensor:
        """The last place of a feature that is not above a number in data units, else the first."""
        place: Tensor = (
            torch.searchsorted(self._amounts_of(column), most.contiguous(), right=True) - 1
        )
        return place.clamp(min=0)

    def lowest(self, column: int, least: Tensor) -> Tensor:
        """The first place of a feature that is not below a number in data units, else the last."""
        place: Tensor = torch.searchsorted(self._amounts_of(column), least.contiguous())
        return place.clamp(max=self.steps[column])

    def seen_along(self, place: Tensor, free: Tensor | None) -> Tensor:
        """Waves of places, through which a gradient flows to the numbers that they are.

        Args:
            place: Shape (..., F).
            free: Those numbers, in [0, 1], before they were rounded; None = no gradient.
        Returns:
            Shape (..., F, W), the same with and without a gradient.
        """
        seen = self.seen(place)[..., : self.waves]
        return seen if free is None else seen + _slope_alone(_waves_of(free, self.waves // 2))

    def values_along(self, place: Tensor, free: Tensor | None) -> Tensor:
        """:meth:`values`, likewise."""
        values = self.values(place)
        return values if free is None else values + _slope_alone(free)

    def seen(self, place: Tensor) -> Tensor:
        """Waves and fine digit of places, shape (..., F) to (..., F, W + 16)."""
        return _looked_up(self._seen, place + self._starts)

    def cell(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is known with the coarse digit alone, of places of shape (..., F).

        Returns:
            The coarse digit as a number in [0, 1], shape (..., F); waves of the first place of
            the cell, shape (..., F, W); and 0 for each fine digit that there is in it, minus
            infinity for the others, shape (..., F, 16).
        """
        first = place - place % FINE
        rows = first + self._starts
        waves = _looked_up(self._seen, rows)[..., : self.waves]
        return first / (FINE * self._cells), waves, _looked_up(self._missing, rows)

    def coarse_steps(self) -> Tensor:
        """Steps of the coarse digit, at least 1, shape (F,)."""
        return self._cells

    def every(self, column: int) -> Tensor:
        """What is seen of each place of a feature, shape (S + 1, W + 16)."""
        return self._seen[self._rows[column]]

    def every_cell(self, column: int) -> tuple[Tensor, Tensor]:
        """Of each cell of a feature the waves, shape (C, W), and digits that are missing."""
        return self.every(column)[::FINE, : self.waves], self._missing[self._rows[column]][::FINE]

    def _amounts_of(self, column: int) -> Tensor:
        """What the places of a feature are in data units, which grows with them, (S + 1,)."""
        assert self._amounts is not None
        return self._amounts[self._rows[column]]


def last_place(step: float, width: float) -> int:
    """S of a feature: the steps of its lattice or of finer ones, 4,095 without a lattice.

    Args:
        step: Of the lattice in data units, 0 = none.
        width: Of the feature's range; one that never varies has two places.
    Raises:
        ValueError: If the lattice has more than :data:`MOST_STEPS`.
    Example:
        >>> last_place(1.0, 30.0), last_place(0.0, 30.0), last_place(0.0, 0.0)
        (480, 4095, 1)
    """
    if width <= 0:
        return 1
    if step <= 0:
        return CONTINUOUS_STEPS
    if width / step > MOST_STEPS:
        raise ValueError(
            f"lattice must have at most {MOST_STEPS} steps in a feature's range, got "
            f"{width / step:.3g} of {step:g}; lattice=None takes the feature as continuous"
        )
    steps = max(1, round(width / step))
    while steps < FEWEST_STEPS:
        steps *= 2
    return steps


def spread_in_cells(nodes: Tensor, noise: Tensor, steps: Tensor, is_continuous: Tensor) -> Tensor:
    """Continuous features anywhere in their cells, in which the density is constant.

    Args:
        nodes: On places, in [0, 1], shape (B, N, F).
        noise: The uniform numbers by which places were drawn, in double precision, shape (B, N,
            F): draws in single precision do not use their last digits.
        steps: Last place of each feature, shape (F,).
        is_continuous: Which features lie on no lattice, shape (F,).
    Returns:
        Shape (B, N, F), those on a lattice as they were.
    """
    steps = steps.to(nodes)
    place = torch.round(nodes * steps)
    low, high = (place - 0.5).clamp(min=0.0), torch.minimum(place + 0.5, steps)
    share = ((noise * 2**24) % 1.0).to(nodes)
    return torch.where(is_continuous, (low + share * (high - low)) / steps, nodes)


def _slope_alone(values: Tensor) -> Tensor:
    """Zeros with the gradient of the values."""
    return values - values.detach()


def _waves_of(values: Tensor, octaves: int) -> Tensor:
    """What is seen of numbers in [0, 1], shape (...) to (..., 1 + 2 octaves)."""
    centred = 2 * values.unsqueeze(-1) - 1
    phases = centred * math.pi * 2.0 ** torch.arange(octaves, device=values.device).to(values)
    return torch.cat([centred, phases.sin(), phases.cos()], dim=-1)


def _table(steps: int, octaves: int) -> tuple[Tensor, Tensor]:
    """What is seen of each place, and the digits that are missing in its cell."""
    place = torch.arange(steps + 1, device="cpu").unsqueeze(1)
    centred = 2 * place.double() / steps - 1  # (P, 1)
    phases = centred * math.pi * 2.0 ** torch.arange(octaves, device="cpu")
    digits = torch.arange(FINE, device="cpu")
    seen = torch.cat([centred, phases.sin(), phases.cos(), (place % FINE == digits).double()], 1)
    missing = torch.zeros(len(place), FINE, dtype=torch.float64, device="cpu")
    return seen, missing.masked_fill(place - place % FINE + digits > steps, -math.inf)


def _looked_up(table: Tensor, rows: Tensor) -> Tensor:
    # index_select is faster than an index of several dimensions
    return table.index_select(0, rows.flatten()).unflatten(0, rows.shape)
