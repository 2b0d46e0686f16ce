"""One number of a node: its name, unit, range, lattice, period and tail; how clouds are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from gconvae.plain import plain

__all__ = ["Feature", "Picture", "Tail", "is_number"]


@dataclass(frozen=True)
class Tail:
    r"""The invertible transform that a heavy-tailed feature is scaled by.

    .. math:: t(x) = \mathrm{sign}(x) \log(1 + |x| / s) \quad \text{or} \quad
        t(x) = \mathrm{sign}(x) \, |x|^s

    Attributes:
        kind: ``"log"`` or ``"power"``.
        scale: s: of a log the size, in data units, at which it begins to bend; of a power the
            exponent, between 0 and 1.
    Raises:
        ValueError: If the kind is unknown or the scale out of range.
    Example:
        >>> Tail("log", 0.01)
        Tail(kind='log', scale=0.01)
    """

    kind: Literal["log", "power"]
    scale: float

    def __post_init__(self) -> None:
        """Refuses what is no transform; numbers of numpy become Python's."""
        object.__setattr__(self, "scale", plain(self.scale))
        if self.kind not in ("log", "power"):
            raise ValueError(f"kind of a tail must be 'log' or 'power', got {self.kind!r}")
        most = 1.0 if self.kind == "power" else math.inf
        if not is_number(self.scale) or not 0 < self.scale < most:
            raise ValueError(
                f"scale of a {self.kind} must be above 0 and below {most:g}, got {self.scale!r}"
            )


@dataclass(frozen=True)
class Feature:
    """One number of a node.

    Attributes:
        name: As axes, tables and errors call it.
        unit: Such as ``"mm"``; empty for a pure number.
        position: Whether it is a coordinate. Positions come first in a tensor.
        low: The smallest value that is possible; None = not known, then the training clouds say.
        high: The largest, likewise; both are known or neither.
        step: Of the lattice that values lie on, in data units; 0 = continuous, None = not known,
            then a likelihood looks for one.
        period: Length after which the feature repeats itself, such as 2 pi; None = it does not.
        tail: The transform of a heavy-tailed feature; None = it has no heavy tail.
        offset: Taken away in float64 before anything is float32, for data far from 0.
    Raises:
        ValueError: If a value is out of its range.
    Example:
        >>> Feature("phi", "rad", position=True, period=6.283).label
        'phi (rad)'
    """

    name: str
    unit: str = ""
    position: bool = False
    low: float | None = None
    high: float | None = None
    step: float | None = None
    period: float | None = None
    tail: Tail | None = None
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuses what is no feature; numbers of numpy become Python's."""
        for entry in ("position", "low", "high", "step", "period", "offset"):
            object.__setattr__(self, entry, plain(getattr(self, entry)))
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name of a feature must be a text, got {self.name!r}")
        if not isinstance(self.unit, str):
            raise ValueError(f"unit of {self.name} must be a text, got {self.unit!r}")
        if not isinstance(self.position, bool):
            raise ValueError(
                f"position of {self.name} must be True or False, got {self.position!r:.100}"
            )
        if self.tail is not None and not isinstance(self.tail, Tail):
            raise ValueError(f"tail of {self.name} must be a Tail or None, got {self.tail!r:.100}")
        if (self.low is None) != (self.high is None):
            raise ValueError(
                f"low and high of {self.name} must both be known or neither, "
                f"got {self.low!r} and {self.high!r}"
            )
        ends = [end for end in (self.low, self.high) if end is not None]
        if ends and not (all(map(is_number, ends)) and ends[0] < ends[1]):
            raise ValueError(f"low of {self.name} must be below high, got {ends[0]} and {ends[1]}")
        if self.step is not None and not (is_number(self.step) and self.step >= 0):
            raise ValueError(f"step of {self.name} must be at least 0, got {self.step!r}")
        if self.period is not None and not (is_number(self.period) and self.period > 0):
            raise ValueError(f"period of {self.name} must be above 0, got {self.period!r}")
        if not is_number(self.offset):
            raise ValueError(f"offset of {self.name} must be finite, got {self.offset!r}")

    @property
    def label(self) -> str:
        """Name and unit, as on an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Picture:
    """How clouds are drawn.

    Attributes:
        frame: Limits of the first and of the second position; None = the clouds say.
        y_down: Whether the second position points down, as in images.
        cell: Side of a cell where clouds can be drawn as a raster of cells; None = as nodes only.
        dark: Whether the background is dark, as that of images.
    Raises:
        ValueError: If a limit is not below the other, or the cell has no side.
    """

    frame: tuple[tuple[float, float], tuple[float, float]] | None = None
    y_down: bool = False
    cell: float | None = None
    dark: bool = False

    def __post_init__(self) -> None:
        """Refuses what cannot be drawn."""
        for entry in ("y_down", "dark"):
            object.__setattr__(self, entry, plain(getattr(self, entry)))
            if not isinstance(getattr(self, entry), bool):
                raise ValueError(
                    f"{entry} must be True or False, got {getattr(self, entry)!r:.100}"
                )
        for limits in self.frame or ():
            if len(limits) != 2 or not all(map(is_number, limits)) or limits[0] >= limits[1]:
                raise ValueError(f"frame must have limits (low, high) twice, got {self.frame!r}")
        if self.frame is not None and len(self.frame) != 2:
            raise ValueError(f"frame must have limits of two positions, got {self.frame!r}")
        if self.cell is not None and not (is_number(self.cell) and self.cell > 0):
            raise ValueError(f"cell must be above 0, got {self.cell!r}")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return is_number and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
