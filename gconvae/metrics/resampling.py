"""Draws of whole clouds behind floors and errors: splits, subsets, bootstraps, halves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Draws",
    "Index",
    "Pair",
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


Pair = tuple[Index, Index]
"""The clouds that one resampling compares, numbered over all samples, shapes (n,) and (m,)."""


class Draws(NamedTuple):
    """Resamplings, all at once.

    Attributes:
        first: Indices of clouds, shape (R, n).
        second: Indices of clouds, shape (R, m).
    """

    first: Index
    second: Index

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Draws:
        """Pairs of one size, stacked."""
        return cls(*map(np.stack, zip(*pairs, strict=True)))

    @property
    def pairs(self) -> list[Pair]:
        """One resampling after another."""
        return list(zip(*self, strict=True))


def evaluate(statistic: Statistic, pairs: Iterable[Pair]) -> Array:
    """A statistic of every resampling, shape (R, M)."""
    return np.stack([statistic(*pair) for pair in pairs])


def splits(pool: Index, size: int, number: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Two disjoint random parts of ``size`` clouds each, of one pool."""
    for _ in range(number):
        drawn = rng.choice(pool, 2 * size, replace=False)
        yield drawn[:size], drawn[size:]


def subsets(
    real: Index, generated: Index, size: int, number: int, rng: np.random.Generator
) -> Iterator[Pair]:
    """Random parts of both samples; one is enough where both have no more clouds."""
    if len(real) == len(generated) == size:
        number = 1  # every subset is the whole
    return _parts(real, generated, (size, size), number, rng)


def bootstraps(
    real: Index, generated: Index, number: int, rng: np.random.Generator
) -> Iterator[Pair]:
    """Both samples at full size, drawn with replacement."""
    for _ in range(number):
        yield rng.choice(real, len(real)), rng.choice(generated, len(generated))


def halves(real: Index, generated: Index, number: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Half of both samples: the spread of these is the error of the whole."""
    return _parts(real, generated, (len(real) // 2, len(generated) // 2), number, rng)


def _parts(
    real: Index, generated: Index, sizes: tuple[int, int], number: int, rng: np.random.Generator
) -> Iterator[Pair]:
    for _ in range(number):
        yield (
            rng.choice(real, sizes[0], replace=False),
            rng.choice(generated, sizes[1], replace=False),
        )
