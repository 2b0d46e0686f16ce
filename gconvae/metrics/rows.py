"""Rows of a comparison: a value, its error, and the floor that stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.report import Row
from gconvae.metrics.resampling import (
    Array,
    Draws,
    Index,
    Pair,
    Statistic,
    bootstraps,
    evaluate,
    splits,
    subsets,
)
from gconvae.metrics.samples import Comparison

__all__ = [
    "Label",
    "Part",
    "Resampled",
    "cut_pairs",
    "cut_rows",
    "estimated_row",
    "evaluation",
    "floor_row",
    "resampled",
    "whole_rows",
]

_FEW = 20
"""Splits below which 95 % is not counted but taken from Student's t, with 0.5 for the mean."""


class Label(NamedTuple):
    """What a row says of itself, as in :class:`~gconvae.metrics.Row`."""

    name: str
    metric: str
    unit: str = ""
    better: str = "lower"


class Part(NamedTuple):
    """Rows that are computed together.

    Attributes:
        name: What a report calls them if they are left out.
        rows: Computes them.
        seconds: How long that takes, about, on one core.
    """

    name: str
    rows: Callable[[Comparison], list[Row]]
    seconds: Callable[[Comparison], float]


class Resampled(NamedTuple):
    """The resamplings that a row of the cut is made of."""

    value: Draws
    spread: Draws
    floor: Draws

    @property
    def number(self) -> int:
        """Of all draws."""
        return sum(len(draws.first) for draws in self)


def resampled(
    c: Comparison,
    resample: Callable[[Index, Index, int, np.random.Generator], Iterator[Pair]],
) -> Resampled:
    """Both sides of the cut, resamplings of them, and splits of its real clouds."""
    return Resampled(
        Draws.of([c.sides]),
        Draws.of(resample(*c.sides, c.num_bootstrap, c.stream(2))),
        c.cut_splits(100),
    )


def evaluation(
    c: Comparison, statistic: Statistic, draws: Resampled, share: float
) -> Callable[[Draws], Array]:
    """A statistic of many draws; all of ``draws`` are a share of the part."""
    each = share / draws.number
    return lambda part: evaluate(statistic, c.progress.followed(part.pairs, each))


def cut_rows(
    c: Comparison,
    labels: Sequence[Label],
    statistic: Callable[[Draws], Array],
    draws: Resampled,
) -> list[Row]:
    """Rows of M metrics; ``statistic`` gives their values (R, M) for draws from the cut."""
    value = statistic(draws.value)[0]  # (M,)
    spread = statistic(draws.spread)  # (R, M)
    floor = statistic(draws.floor)  # (R, M)
    columns = zip(labels, value, spread.std(0, ddof=1), floor.T, strict=True)
    return [floor_row(*column, num_clouds=c.size) for column in columns]


def whole_rows(
    c: Comparison, labels: Sequence[Label], statistic: Statistic, share: float = 1.0
) -> list[Row]:
    """Rows of M metrics of all clouds; ``statistic`` takes clouds numbered over all samples."""
    step = share / (2 * c.num_splits + c.num_bootstrap)

    def evaluated(pairs: Iterator[Pair]) -> Array:
        return evaluate(statistic, c.progress.followed(pairs, step))

    floor = evaluated(splits(c.pool, c.num_clouds, c.num_splits, c.stream(0)))
    parts = subsets(c.real, c.generated, c.num_clouds, c.num_splits, c.stream(1))
    value = evaluated(parts).mean(0)
    draws = bootstraps(c.real, c.generated, c.num_bootstrap, c.stream(2))
    error = evaluated(draws).std(0, ddof=1)
    columns = zip(labels, value, error, floor.T, strict=True)
    return [floor_row(*column, num_clouds=c.num_clouds) for column in columns]


def cut_pairs(c: Comparison, most: int) -> list[Pair]:
    """Both sides of the cut, and at most ``most`` splits of its real clouds."""
    return [c.sides, *c.cut_splits(most).pairs]


def estimated_row(
    c: Comparison,
    label: Label,
    estimate: Callable[[Index, Index], Estimate],
    pairs: Sequence[Pair],
    share: float = 1.0,
) -> Row:
    """Row of a metric that brings its own error: of the first pair, the others are the floor."""
    estimates = [estimate(*pair) for pair in c.progress.followed(pairs, share / len(pairs))]
    value, error = estimates[0]
    floor = np.array([estimate.value for estimate in estimates[1:]])
    return floor_row(label, value, error, floor, num_clouds=len(pairs[0][0]))


def floor_row(label: Label, value: float, error: float, floor: Array, *, num_clouds: int) -> Row:
    """A row whose floor is what real pairs have, shape (R,)."""
    from scipy.stats import t

    if label.better == "0.5" and len(floor) < _FEW:
        worst = 0.5 + t.ppf(0.975, len(floor)) * np.sqrt(np.mean((floor - 0.5) ** 2))
    elif label.better == "0.5":
        worst = 0.5 + np.percentile(np.abs(floor - 0.5), 95)
    else:
        worst = np.percentile(floor, 5 if label.better == "higher" else 95)
    return Row(
        name=label.name,
        metric=label.metric,
        unit=label.unit,
        value=float(value),
        error=float(error),
        floor=float(floor.mean()),
        floor_95=float(worst),
        better=label.better,
        num_clouds=num_clouds,
        num_splits=len(floor),
    )
