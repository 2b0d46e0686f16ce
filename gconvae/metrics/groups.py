"""The groups of metrics of a comparison: the rows that each of them brings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae import clouds
from gconvae import schema as schemas
from gconvae.metrics import embeddings, expected, sets
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.geometry import bent, diameter, real_nodes
from gconvae.metrics.report import Row
from gconvae.metrics.resampling import (
    Array,
    Draws,
    Index,
    Pair,
    Statistic,
    bootstraps,
    evaluate,
    halves,
    splits,
    subsets,
)
from gconvae.metrics.samples import TOO_LARGE, Comparison, UnfitError
from gconvae.metrics.set_distances import set_distances
from gconvae.metrics.wasserstein import w1_statistic
from gconvae.schema import CloudSchema

__all__ = ["PARTS", "Part"]

_FEW = 20
"""Splits below which 95 % is not counted but taken from Student's t, with 0.5 for the mean."""


_ROWS = 64
"""Vectors whose distances to training clouds are held at a time."""


class _Label(NamedTuple):
    """What a row says of itself, as in :class:`~gconvae.metrics.Row`."""

    name: str
    metric: str
    unit: str = ""
    better: str = "lower"


class _Resampled(NamedTuple):
    """The resamplings that a row of the cut is made of."""

    value: Draws
    spread: Draws
    floor: Draws

    @property
    def number(self) -> int:
        return sum(len(draws.first) for draws in self)


def _w1_rows(c: Comparison) -> list[Row]:
    samples = [sample for name, sample in c.samples.items() if name != "training"]
    statistic = w1_statistic(samples)
    share = 1 / (2 * c.num_splits + c.num_bootstrap)

    def evaluated(pairs: Iterator[Pair]) -> Array:
        return evaluate(statistic, c.progress.followed(pairs, share))

    floor = evaluated(splits(c.pool, c.num_clouds, c.num_splits, c.stream(0)))
    parts = subsets(c.real, c.generated, c.num_clouds, c.num_splits, c.stream(1))
    value = evaluated(parts).mean(0)
    draws = bootstraps(c.real, c.generated, c.num_bootstrap, c.stream(2))
    error = evaluated(draws).std(0, ddof=1)
    labels = _labels(c.schema)
    columns = zip(labels, value, error, floor.T, strict=True)
    return [_row(*column, num_clouds=c.num_clouds) for column in columns]


def _set_rows(c: Comparison) -> list[Row]:
    c.require_clouds(4)  # a half has two
    (cut, _), (real, schema) = bent(c.cut, c.schema), bent(c.samples["real"], c.schema)
    nodes = real_nodes(real)
    factors = schemas.distance_factors(schema, nodes)
    farthest = diameter(schema, factors, nodes)
    if not math.isfinite(farthest * farthest):
        raise UnfitError(TOO_LARGE)
    draws = _resampled(c, halves)
    matrices = set_distances(
        cut, c.size, draws, factors=factors, missing_cost=farthest, progress=c.progress
    )
    unit, rows = c.schema.distance_unit, []
    for distance, power in (("chamfer", 2), ("matching", 1)):
        labels = [
            _Label(distance, "coverage", better="higher"),
            _Label(distance, "MMD", f"{unit}^2" if unit and power == 2 else unit),
            _Label(distance, "1-NNA", better="0.5"),
        ]
        rows += _rows(c, labels, partial(_set_values, matrices[distance]), draws)
    return rows


def _frechet_rows(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    c.require_clouds(4 * values.shape[1])  # fewer and the covariance of a half is singular

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.frechet_distance(values[first], values[second])])

    def limit(first: Index, second: Index) -> Estimate:
        pair = values[first], values[second]
        return embeddings.frechet_extrapolated(*pair, seed=c.seed)

    draws = _resampled(c, bootstraps)
    plain = _rows(c, [_Label(name, "Frechet")], _evaluation(c, distance, draws, 0.1), draws)
    label = _Label(name, "Frechet limit", better="0")
    return [*plain, _estimated_row(c, label, limit, 20, share=0.9)]


def _kernel_rows(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    c.require_clouds(4)  # a half has two

    def distances(draws: Draws) -> Array:
        return embeddings.kernel_distances(values, *draws)[:, None]  # (R, 1)

    label = _Label(name, "kernel", better="0")
    return _rows(c, [label], distances, _resampled(c, halves))


def _embedding_auc_row(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    return _auc_row(c, name, values)


def _points_auc_row(c: Comparison) -> list[Row]:
    nodes, _ = clouds.sort_nodes(c.cut.points, c.cut.mask, c.schema)
    return _auc_row(c, "points", nodes.flatten(1).numpy())


def _auc_row(c: Comparison, name: str, values: Array) -> list[Row]:
    c.require_clouds(embeddings.FEWEST_ROWS)

    def auc(first: Index, second: Index) -> Estimate:
        return embeddings.classifier_auc(values[first], values[second], seed=c.seed)

    return [_estimated_row(c, _Label(name, "AUC", better="0.5"), auc, 8)]


def _memorization_rows(c: Comparison) -> list[Row]:
    from scipy.spatial.distance import cdist

    if c.training is None:
        raise UnfitError("needs the training clouds, got no training")
    (name, embed), c, values = c.judged
    nearest = np.full(len(values), np.inf)  # (3 size,)
    for piece in c.training_pieces(share=0.9):
        trained = embed(piece)  # (T, E)
        part = np.concatenate([cdist(rows, trained).min(1) for rows in _some(values)])
        nearest = np.minimum(nearest, part)

    def closer(first: Index, second: Index) -> Array:
        ordered = np.sort(nearest[first])
        below, up_to = (ordered.searchsorted(nearest[second], s) for s in ("left", "right"))
        return np.array([1.0 - (below + up_to).mean() / (2 * len(ordered))])  # ties count half

    label, draws = _Label(name, "memorization", better="0.5"), _resampled(c, bootstraps)
    return _rows(c, [label], _evaluation(c, closer, draws, 0.1), draws)


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


PARTS: dict[str, tuple[Part, ...]] = {
    "features": (Part("W1", _w1_rows, expected.features),),
    "sets": (Part("coverage, MMD, 1-NNA", _set_rows, expected.sets),),
    "frechet": (Part("Frechet", _frechet_rows, expected.frechet),),
    "kernel": (Part("kernel", _kernel_rows, expected.kernel),),
    "classifier": (
        Part("AUC of embedding", _embedding_auc_row, expected.classifier),
        Part("AUC of points", _points_auc_row, expected.classifier),
    ),
    "memorization": (Part("memorization", _memorization_rows, expected.memorization),),
}
"""Group to its parts."""


def _resampled(
    c: Comparison,
    resample: Callable[[Index, Index, int, np.random.Generator], Iterator[Pair]],
) -> _Resampled:
    """Both sides of the cut, resamplings of them, and splits of its real clouds."""
    return _Resampled(
        Draws.of([c.sides]),
        Draws.of(resample(*c.sides, c.num_bootstrap, c.stream(2))),
        c.cut_splits(100),
    )


def _evaluation(
    c: Comparison, statistic: Statistic, draws: _Resampled, share: float
) -> Callable[[Draws], Array]:
    """A statistic of many draws; all of ``draws`` are a share of the part."""
    each = share / draws.number
    return lambda part: evaluate(statistic, c.progress.followed(part.pairs, each))


def _rows(
    c: Comparison,
    labels: Sequence[_Label],
    statistic: Callable[[Draws], Array],
    draws: _Resampled,
) -> list[Row]:
    """Rows of M metrics; ``statistic`` gives their values (R, M) for draws from the cut."""
    value = statistic(draws.value)[0]  # (M,)
    spread = statistic(draws.spread)  # (R, M)
    floor = statistic(draws.floor)  # (R, M)
    columns = zip(labels, value, spread.std(0, ddof=1), floor.T, strict=True)
    return [_row(*column, num_clouds=c.size) for column in columns]


def _estimated_row(
    c: Comparison,
    label: _Label,
    estimate: Callable[[Index, Index], Estimate],
    splits: int,
    share: float = 1.0,
) -> Row:
    """Row of a metric that brings its own error."""
    pairs = [c.sides, *c.cut_splits(splits).pairs]
    found = [estimate(*pair) for pair in c.progress.followed(pairs, share / len(pairs))]
    value, error = found[0]
    floor = np.array([estimate.value for estimate in found[1:]])
    return _row(label, value, error, floor, num_clouds=c.size)


def _row(label: _Label, value: float, error: float, floor: Array, *, num_clouds: int) -> Row:
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


def _set_values(matrix: NDArray[np.float32], draws: Draws) -> Array:
    return sets.resample(matrix, *draws)  # (R, 3)


def _some(values: Array) -> Iterator[Array]:
    """A few rows at a time, so that no table of distances grows large."""
    return (values[first : first + _ROWS] for first in range(0, len(values), _ROWS))


def _labels(schema: CloudSchema) -> list[_Label]:
    labels = [
        _Label(name, "W1", unit) for name, unit in zip(schema.names, schema.units, strict=True)
    ]
    return [*labels, _Label("nodes", "W1", "nodes")]
