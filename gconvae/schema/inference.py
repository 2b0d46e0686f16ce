"""A schema from numbers alone: what can be seen in clouds that nobody described."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.schema.cloud_schema import CHANGES, CloudSchema
from gconvae.schema.feature import Feature, Tail

__all__ = ["distance_factors", "findings", "from_numbers", "with_offsets"]

HEAVY = 8.0
"""How many times farther than 95 % the farthest value of a heavy tail lies, from the median. Of
100,000 numbers it is 3 for a Gaussian, 5 for an exponential, 19 for a log-normal distribution."""

FEWEST = 100
"""Values below which a tail cannot be told."""

MIDDLE, MIDDLE_WIDTH = (0.05, 0.95), 3.28970725390294
"""Quantiles between which a spread is measured, and how far they lie apart in a Gaussian of
standard deviation 1: up to 5 % of outliers on either side change little."""

COARSE = 1e-4
"""Error of float32, as a share of a feature's spread, from which an offset is kept in float64."""


def from_numbers(nodes: NDArray[Any], num_positions: int = 2) -> CloudSchema:
    """The schema of nodes that nobody described.

    The first two features are positions, or the only one is, if nobody says another number; what
    else there is has a number for a name. Ranges and lattices are left to the training clouds. A
    heavy tail gets a log (:class:`~gconvae.schema.Tail`), values far from 0 an offset.

    Args:
        nodes: Real nodes of all clouds, shape (P, F).
        num_positions: How many of the first features are positions.
    Example:
        >>> nodes = np.random.default_rng(0).normal(size=(1000, 3))
        >>> from_numbers(nodes).names
        ('x', 'y', 'feature 3')
    """
    count = nodes.shape[1]
    positions = min(num_positions, count)
    names = [
        *"xyz"[:positions],
        *(f"feature {n}" for n in range(min(3, positions) + 1, count + 1)),
    ]
    features = tuple(
        Feature(name, position=column < positions, tail=_tail(values - offset), offset=offset)
        for column, (name, values) in enumerate(zip(names, nodes.T, strict=True))
        for offset in (_offset(values),)
    )
    changes = CHANGES if positions == 2 else ()
    schema = CloudSchema(features, changes=changes)
    if any(feature.tail is not None for feature in features):
        return schema  # distances bend a tail where the schema has no factors in data units
    return schema.replace(distance=tuple(distance_factors(schema, nodes).tolist()))


def with_offsets(schema: CloudSchema, nodes: NDArray[Any]) -> CloudSchema:
    """A schema with the offsets that these nodes need, see :func:`from_numbers`."""
    pairs = zip(schema.features, nodes.T, strict=True)
    features = tuple(replace(feature, offset=_offset(values)) for feature, values in pairs)
    return schema.replace(features=features)


def findings(schema: CloudSchema) -> list[str]:
    """What was found, in sentences for whoever handed over the numbers.

    Example:
        >>> nodes = np.random.default_rng(0).pareto(1.0, size=(1000, 3))
        >>> findings(from_numbers(nodes))[0]
        'x, y, feature 3 have a heavy tail and are scaled by a log; a schema says otherwise'
    """
    said = []
    tails = [feature.name for feature in schema.features if feature.tail is not None]
    far = [feature for feature in schema.features if feature.offset]
    if tails:
        verb, pronoun = ("have", "are") if len(tails) > 1 else ("has", "is")
        said.append(
            f"{', '.join(tails)} {verb} a heavy tail and {pronoun} scaled by a log; a schema says "
            "otherwise"
        )
    if far:
        said.append(
            "float32 cannot tell nodes apart in "
            + ", ".join(f"{feature.name} near {feature.offset:g}" for feature in far)
            + ": such clouds stay in float64, and a model works relative to these offsets"
        )
    return said


def distance_factors(schema: CloudSchema, nodes: NDArray[Any]) -> NDArray[np.float64]:
    r"""Factor of each feature in distances between clouds.

    Those of the schema; where it has none, 1 / the spread in these nodes, which positions of one
    unit share,

    .. math:: s = \sqrt{\frac{1}{D} \sum_d
        \left( \frac{q_{0.95, d} - q_{0.05, d}}{3.29} \right)^2},

    the standard deviation of a Gaussian, that single nodes far off do not stretch. Where both
    quantiles are the same, as those of a flag that one node in a hundred has, it is the standard
    deviation; 1 for a feature that never changes.

    Args:
        schema: What the features are.
        nodes: Real nodes, shape (P, F).
    Returns:
        Shape (F,), each 1 / the unit of its feature.
    Example:
        >>> from gconvae.schema import points
        >>> nodes = np.random.default_rng(0).normal(scale=0.5, size=(9999, 1))
        >>> nodes[0] = 1e5
        >>> distance_factors(points("x"), nodes).round(1)
        array([2.])
    """
    if schema.distance is not None:
        return np.array(schema.distance)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.quantile(nodes.astype(np.float64), MIDDLE, axis=0)  # (F,) each
        robust = _shared(schema, ((high - low) / MIDDLE_WIDTH) ** 2)
        # relative to the first node: else the variance of a constant is not quite 0
        plain = _shared(schema, (nodes.astype(np.float64) - nodes[0]).var(0))
    variances = np.where(_is_usable(robust), robust, plain)
    return 1.0 / np.sqrt(np.where(_is_usable(variances), variances, 1.0))


def _shared(schema: CloudSchema, variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances (F,), those of positions of one unit replaced by their mean."""
    groups = [("position", f.unit) if f.position else ("further", f.name) for f in schema.features]
    pairs = list(zip(groups, variances, strict=True))
    return np.array([np.mean([v for g, v in pairs if g == mine]) for mine in groups])


def _is_usable(variances: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (variances > 0) & np.isfinite(variances)


def _tail(values: NDArray[Any]) -> Tail | None:
    """A log for values of which some lie far beyond all others; None for others."""
    if len(values) < FEWEST:
        return None
    values = values.astype(np.float64)
    lowest, few, middle, most, highest = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    is_heavy = highest - middle > HEAVY * (most - middle) > 0 or (
        middle - lowest > HEAVY * (middle - few) > 0
    )
    size = np.abs(values)
    size = size[size > 0]
    return Tail("log", float(np.median(size))) if is_heavy and len(size) else None


def _offset(values: NDArray[Any]) -> float:
    """A whole number near values that float32 would blur; 0 for others."""
    spread = float(values.max()) - float(values.min())
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(values.astype(np.float32).astype(np.float64) - values).max()
    if values.dtype != np.float64 or spread == 0 or error <= COARSE * spread:
        return 0.0
    return float(np.floor(values.mean()))
