"""The groups of metrics of a comparison: the rows that each of them brings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gconvae import clouds
from gconvae import schema as schemas
from gconvae.metrics import embeddings, expected, sets
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.geometry import bent, diameter, real_nodes
from gconvae.metrics.jets.particles import are_jets
from gconvae.metrics.jets.rows import JET_PARTS
from gconvae.metrics.report import Row
from gconvae.metrics.resampling import (
    Array,
    Draws,
    Index,
    bootstraps,
    halves,
)
from gconvae.metrics.rows import (
    Label,
    Part,
    cut_pairs,
    cut_rows,
    estimated_row,
    evaluation,
    resampled,
    whole_rows,
)
from gconvae.metrics.samples import TOO_LARGE, Comparison, UnfitError
from gconvae.metrics.set_distances import set_distances
from gconvae.metrics.wasserstein import w1_statistic
from gconvae.schema import CloudSchema

__all__ = ["PARTS", "groups_of"]

_ROWS = 64
"""Vectors whose distances to training clouds are held at a time."""


def _w1_rows(c: Comparison) -> list[Row]:
    samples = [sample for name, sample in c.samples.items() if name != "training"]
    statistic = w1_statistic(samples)
    return whole_rows(c, _labels(c.schema), statistic)


def _set_rows(c: Comparison) -> list[Row]:
    c.require_clouds(4)  # a half has two
    (cut, _), (real, schema) = bent(c.cut, c.schema), bent(c.samples["real"], c.schema)
    nodes = real_nodes(real)
    factors = schemas.distance_factors(schema, nodes)
    farthest = diameter(schema, factors, nodes)
    if not math.isfinite(farthest * farthest):
        raise UnfitError(TOO_LARGE)
    draws = resampled(c, halves)
    matrices = set_distances(
        cut, c.size, draws, factors=factors, missing_cost=farthest, progress=c.progress
    )
    unit, rows = c.schema.distance_unit, []
    for distance, power in (("chamfer", 2), ("matching", 1)):
        labels = [
            Label(distance, "coverage", better="higher"),
            Label(distance, "MMD", f"{unit}²" if unit and power == 2 else unit),
            Label(distance, "1-NNA", better="0.5"),
        ]
        rows += cut_rows(c, labels, partial(_set_values, matrices[distance]), draws)
    return rows


def _frechet_rows(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    c.require_clouds(4 * values.shape[1])  # fewer and the covariance of a half is singular

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.frechet_distance(values[first], values[second])])

    def limit(first: Index, second: Index) -> Estimate:
        pair = values[first], values[second]
        return embeddings.frechet_extrapolated(*pair, seed=c.seed)

    draws = resampled(c, bootstraps)
    plain = cut_rows(c, [Label(name, "Frechet")], evaluation(c, distance, draws, 0.1), draws)
    label = Label(name, "Frechet limit", better="0")
    return [*plain, estimated_row(c, label, limit, cut_pairs(c, 20), share=0.9)]


def _kernel_rows(c: Comparison) -> list[Row]:
    (name, _), c, values = c.judged
    c.require_clouds(4)  # a half has two

    def distances(draws: Draws) -> Array:
        return embeddings.kernel_distances(values, *draws)[:, None]  # (R, 1)

    label = Label(name, "kernel", better="0")
    return cut_rows(c, [label], distances, resampled(c, halves))


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

    return [estimated_row(c, Label(name, "AUC", better="0.5"), auc, cut_pairs(c, 8))]


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

    label, draws = Label(name, "memorization", better="0.5"), resampled(c, bootstraps)
    return cut_rows(c, [label], evaluation(c, closer, draws, 0.1), draws)


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
    "jets": JET_PARTS,
}
"""Group to its parts, in the order of a report."""


def groups_of(schema: CloudSchema) -> tuple[str, ...]:
    """The groups of metrics that clouds of a schema have.

    Example:
        >>> from gconvae.schema import JETS, SUPERPIXELS
        >>> set(groups_of(JETS)) - set(groups_of(SUPERPIXELS))
        {'jets'}
    """
    return tuple(group for group in PARTS if group != "jets" or are_jets(schema))


def _set_values(matrix: NDArray[np.float32], draws: Draws) -> Array:
    return sets.resample(matrix, *draws)  # (R, 3)


def _some(values: Array) -> Iterator[Array]:
    """A few rows at a time, so that no table of distances grows large."""
    return (values[first : first + _ROWS] for first in range(0, len(values), _ROWS))


def _labels(schema: CloudSchema) -> list[Label]:
    labels = [
        Label(name, "W1", unit) for name, unit in zip(schema.names, schema.units, strict=True)
    ]
    return [*labels, Label("nodes", "W1", "nodes")]
