"""The groups of metrics of a comparison: the rows that each of them brings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae import clouds
from gconvae import schema as schemas
from gconvae.metrics import embeddings, sets
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.geometry import bent, diameter, real_nodes
from gconvae.metrics.report import Row
from gconvae.metrics.resampling import (
    Array,
    Draws,
    Index,
    bootstraps,
    evaluate,
    halves,
    splits,
    subsets,
)
from gconvae.metrics.samples import TOO_LARGE, Comparison, UnfitError
from gconvae.metrics.wasserstein import w1_statistic
from gconvae.schema import CloudSchema

__all__ = ["PARTS"]

_FEW = 20
"""Splits below which 95 % is not counted but taken from Student's t, with 0.5 for the mean."""


class _Label(NamedTuple):
    """What a row says of itself, as in :class:`~gconvae.metrics.Row`."""

    name: str
    metric: str
    unit: str = ""
    better: str = "lower"


def _w1_rows(c: Comparison) -> list[Row]:
    samples = [sample for name, sample in c.samples.items() if name != "training"]
    statistic = w1_statistic(samples)
    floor = evaluate(statistic, splits(c.pool, c.num_clouds, c.num_splits, c.stream(0)))
    parts = subsets(c.real, c.generated, c.num_clouds, c.num_splits, c.stream(1))
    value = evaluate(statistic, parts).mean(0)
    draws = bootstraps(c.real, c.generated, c.num_bootstrap, c.stream(2))
    error = evaluate(statistic, draws).std(0, ddof=1)
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
    unit, rows = c.schema.distance_unit, []
    for distance, power in (("chamfer", 2), ("matching", 1)):
        labels = [
            _Label(distance, "coverage", better="higher"),
            _Label(distance, "MMD", f"{unit}^2" if unit and power == 2 else unit),
            _Label(distance, "1-NNA", better="0.5"),
        ]
        matrix = _distances(cut, c.size, distance, factors, farthest)
        rows += _rows(c, labels, partial(_set_values, matrix), halves)
    return rows


def _frechet_rows(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    c.require_clouds(4 * values.shape[1])  # fewer and the covariance of a half is singular

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.frechet_distance(values[first], values[second])])

    def limit(first: Index, second: Index) -> Estimate:
        pair = values[first], values[second]
        return embeddings.frechet_extrapolated(*pair, seed=c.seed)

    plain = _rows(c, [_Label(name, "Frechet")], partial(evaluate, distance), bootstraps)
    return [*plain, _estimated_row(c, _Label(name, "Frechet limit", better="0"), limit, 20)]


def _kernel_rows(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    c.require_clouds(4)  # a half has two

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.kernel_distance(values[first], values[second])])

    label = _Label(name, "kernel", better="0")
    return _rows(c, [label], partial(evaluate, distance), halves)


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

    if "training" not in c.samples:
        raise UnfitError("needs the training clouds, got no training")
    (name, embed), c, values = c.judged
    trained = embed(c.samples["training"])  # (T, E)
    nearest = np.concatenate([cdist(part[None], trained).min(1) for part in values])  # (3 size,)

    def closer(first: Index, second: Index) -> Array:
        signs = np.sign(nearest[first][:, None] - nearest[second])  # ties count half
        return np.array([0.5 + 0.5 * signs.mean()])

    label = _Label(name, "memorization", better="0.5")
    return _rows(c, [label], partial(evaluate, closer), bootstraps)


PARTS: dict[str, dict[str, Callable[[Comparison], list[Row]]]] = {
    "features": {"W1": _w1_rows},
    "sets": {"coverage, MMD, 1-NNA": _set_rows},
    "frechet": {"Frechet": _frechet_rows},
    "kernel": {"kernel": _kernel_rows},
    "classifier": {"AUC of embedding": _embedding_auc_row, "AUC of points": _points_auc_row},
    "memorization": {"memorization": _memorization_rows},
}
"""Group to its parts, each under the name by which a report leaves it out."""


def _rows(
    c: Comparison,
    labels: Sequence[_Label],
    statistic: Callable[[Draws], Array],
    resample: Callable[[Index, Index, int, np.random.Generator], Draws],
) -> list[Row]:
    """Rows of M metrics; ``statistic`` gives their values (R, M) for draws from the cut."""
    value = statistic(Draws(*(part[None] for part in c.sides)))[0]  # (M,)
    spread = statistic(resample(*c.sides, c.num_bootstrap, c.stream(2)))  # (R, M)
    floor = statistic(c.cut_splits(100))  # (R, M)
    columns = zip(labels, value, spread.std(0, ddof=1), floor.T, strict=True)
    return [_row(*column, num_clouds=c.size) for column in columns]


def _estimated_row(
    c: Comparison, label: _Label, estimate: Callable[[Index, Index], Estimate], splits: int
) -> Row:
    """Row of a metric that brings its own error."""
    value, error = estimate(*c.sides)
    draws = zip(*c.cut_splits(splits), strict=True)
    floor = np.array([estimate(*pair).value for pair in draws])
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


def _distances(
    cut: clouds.Clouds, size: int, distance: str, factors: Array, farthest: float
) -> NDArray[np.float32]:
    """Distances among the real clouds of a cut, and of half of them and generated ones, (P, P)."""
    real, generated = slice(0, 2 * size), slice(2 * size, 3 * size)
    parts = [cut.subset(part) for part in (real, generated)]
    half = cut.subset(slice(0, size))
    between = partial(sets.cross_matrix, distance=distance, factors=factors, missing_cost=farthest)
    matrix = np.full((3 * size, 3 * size), np.nan, dtype=np.float32)
    matrix[real, real] = between(parts[0])
    matrix[generated, generated] = between(parts[1])
    matrix[:size, generated] = between(half, parts[1])
    return matrix


def _labels(schema: CloudSchema) -> list[_Label]:
    labels = [
        _Label(name, "W1", unit) for name, unit in zip(schema.names, schema.units, strict=True)
    ]
    return [*labels, _Label("nodes", "W1", "nodes")]
