"""Draws of whole clouds behind floors and errors: splits, subsets, bootstraps, halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Draws",
    "Index",
    "Statistic",
    "bootstraps",
    "evaluate",
    "halves",
    "splits",
    "subsets",
]

Index = NDArray[np.intp]
Array = NDArray[np.float64]
Statistic = Callable[[Index, Index], Array]
"""Values of M metrics, shape (M,), between the clouds of two index arrays (n,)."""


class Draws(NamedTuple):
    """Resamplings: the clouds that each of them compares, numbered over all samples.

    Attributes:
        first: Indices of clouds, shape (R, n).
        second: Indices of clouds, shape (R, m).
    """

    first: Index
    second: Index


def evaluate(statistic: Statistic, draws: Draws) -> Array:
    """A statistic of every draw, shape (R, M)."""
    return np.stack([statistic(*pair) for pair in zip(*draws, strict=True)])


def splits(pool: Index, size: int, number: int, rng: np.random.Generator) -> Draws:
    """Two disjoint random parts of ``size`` clouds each, of one pool, shapes (number, size)."""
    drawn = _without_replacement(pool, 2 * size, number, rng)
    return Draws(drawn[:, :size], drawn[:, size:])


def subsets(
    real: Index, generated: Index, size: int, number: int, rng: np.random.Generator
) -> Draws:
    """Random parts of both samples; one is enough where both have no more clouds."""
    if len(real) == len(generated) == size:
        number = 1  # every subset is the whole
    return Draws(
        _without_replacement(real, size, number, rng),
        _without_replacement(generated, size, number, rng),
    )


def bootstraps(real: Index, generated: Index, number: int, rng: np.random.Generator) -> Draws:
    """Both samples at full size, drawn with replacement."""
    return Draws(
        rng.choice(real, (number, len(real))), rng.choice(generated, (number, len(generated)))
    )


def halves(real: Index, generated: Index, number: int, rng: np.random.Generator) -> Draws:
    """Half of both samples: the spread of these is the error of the whole."""
    return Draws(
        *(_without_replacement(part, len(part) // 2, number, rng) for part in (real, generated))
    )


def _without_replacement(
    numbers: Index, size: int, number: int, rng: np.random.Generator
) -> Index:
    return np.stack([rng.choice(numbers, size, replace=False) for _ in range(number)])
