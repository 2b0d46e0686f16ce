"""How clouds are measured: their common schema, periodic features, the farthest two nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gconvae import schema as schemas
from gconvae.clouds import Clouds
from gconvae.schema import CloudSchema, Feature, Tail

__all__ = [
    "bent",
    "check_alike",
    "diameter",
    "real_nodes",
    "resolved",
    "tailed",
    "wrapped",
    "wrapping",
]


def check_alike(samples: Mapping[str, Clouds], schema: CloudSchema | None = None) -> None:
    """Refuses samples whose nodes are not of one kind.

    Args:
        samples: Name to clouds; the first one with a schema is the one to agree with.
        schema: What all of them must agree with; None = each other only.
    Raises:
        ValueError: If the numbers of features or the schemas differ; it names what differs.
    """
    model, *_ = samples
    wanted = samples[model].points.shape[-1]
    for name, sample in samples.items():
        if sample.points.shape[-1] != wanted:
            raise ValueError(
                f"{name} must have {wanted} features a node like {model}, "
                f"got {sample.points.shape[-1]}"
            )
    known = {name: sample.schema for name, sample in samples.items()}
    known = known if schema is None else {"schema": schema, **known}
    first, common = next(((n, s) for n, s in known.items() if s is not None), ("", None))
    for name, own in known.items():
        difference = "" if own is None or common is None else common.difference(own)
        if difference:
            raise ValueError(f"{name} must have the same nodes as {first}: {difference}")


def resolved(samples: Mapping[str, Clouds]) -> CloudSchema:
    """The first schema that a sample brings, else one made from the nodes of the first sample."""
    known = [sample.schema for sample in samples.values() if sample.schema is not None]
    return known[0] if known else schemas.from_numbers(real_nodes(next(iter(samples.values()))))


def real_nodes(sample: Clouds) -> NDArray[np.floating]:
    """Real nodes of all clouds, shape (P, F), in the dtype that they came in."""
    nodes: NDArray[np.floating] = sample.points[sample.mask].detach().cpu().numpy()
    return nodes


def wrapped(samples: Mapping[str, Clouds], schema: CloudSchema) -> dict[str, Clouds]:
    """All samples by :func:`wrapping` of the first of them.

    Args:
        samples: Name to clouds; the first ones are the real ones.
        schema: Says which features have which period.
    Returns:
        The samples under the same names, with the schema.
    """
    wrap = wrapping(next(iter(samples.values())), schema)
    return {name: wrap(sample) for name, sample in samples.items()}


def wrapping(real: Clouds, schema: CloudSchema) -> Callable[[Clouds], Clouds]:
    r"""Periodic features near the circular mean m of those of real clouds.

    .. math:: x \mapsto x - P \left\lceil \frac{x - m}{P} - \frac12 \right\rceil
        \in \left(m - \tfrac P2, m + \tfrac P2\right], \qquad
        m = \frac{P}{2 \pi} \arg \sum_i e^{2 \pi i x_i / P},

    so that two nodes on either side of the seam are near each other. Values that lie there
    already keep their bits.

    Args:
        real: Real clouds.
        schema: Says which features have which period.
    Returns:
        A function of clouds, the same ones with the schema.
    """
    middles = []
    for column, feature in enumerate(schema.features):
        if feature.period is not None:
            angles = real.points[real.mask][:, column].double() * (2 * math.pi / feature.period)
            middle = torch.atan2(angles.sin().mean(), angles.cos().mean()).item()
            centre = middle * feature.period / (2 * math.pi)
            middles.append((column, feature.period, centre))

    def wrap(sample: Clouds) -> Clouds:
        sample = sample._replace(schema=schema)
        for middle in middles:
            sample = _turned(sample, *middle)
        return sample

    return wrap


def _turned(sample: Clouds, column: int, period: float, centre: float) -> Clouds:
    points = sample.points.clone()
    values = points[..., column].double()
    rounds = torch.ceil((values - centre) / period - 0.5)
    moved = torch.where(rounds == 0, values, values - period * rounds).to(points)
    points[..., column] = moved.masked_fill(~sample.mask, 0.0)
    return sample._replace(points=points)


def bent(sample: Clouds, schema: CloudSchema) -> tuple[Clouds, CloudSchema]:
    """Clouds in the units that distances between them are in, and the schema in these.

    A heavy tail is bent by the transform of its feature: else a distance is that of the farthest
    few nodes. The factors of a schema that says some are for data units, so that it keeps these.

    Args:
        sample: Clouds in data units.
        schema: What their features are.
    Returns:
        Clouds in float64 with heavy-tailed features bent, and a schema of their bent ranges,
        without tails; both as they are where the schema says factors or has no tail.
    Example:
        >>> from gconvae.schema import Feature, Tail
        >>> schema = CloudSchema((Feature("x", position=True), Feature("E", tail=Tail("log", 1))))
        >>> sample = Clouds(torch.tensor([[[5.0, 0.0], [5.0, math.e - 1]]]), torch.ones(1, 2) > 0)
        >>> bent(sample, schema)[0].points.round(decimals=3).tolist()
        [[[5.0, 0.0], [5.0, 1.0]]]
    """
    tails = [(column, f) for column, f in enumerate(schema.features) if f.tail is not None]
    if schema.distance is not None or not tails:
        return sample, schema
    points, features = sample.points.detach().cpu().double(), list(schema.features)
    points = points.clone()
    for column, feature in tails:
        values = points[..., column].masked_fill(~sample.mask.cpu(), feature.offset).numpy()
        points[..., column] = torch.from_numpy(_bent_values(values, feature))
        low, high = feature.low, feature.high
        if low is not None and high is not None:
            low, high = _bent_values(np.array([low, high]), feature).tolist()
        features[column] = replace(feature, low=low, high=high, offset=0.0, tail=None)
    schema = schema.replace(features=tuple(features))
    return Clouds(points, sample.mask.cpu(), schema=schema), schema


def tailed(values: NDArray[np.float64], tail: Tail) -> NDArray[np.float64]:
    """What :class:`~gconvae.schema.Tail` makes of values.

    Example:
        >>> tailed(np.array([-4.0, 9.0]), Tail("power", 0.5))
        array([-2.,  3.])
    """
    size = np.abs(values)
    is_log = tail.kind == "log"
    scaled: NDArray[np.float64] = np.log1p(size / tail.scale) if is_log else size**tail.scale
    return np.sign(values) * scaled


def _bent_values(values: NDArray[np.float64], feature: Feature) -> NDArray[np.float64]:
    assert feature.tail is not None
    return tailed(values - feature.offset, feature.tail)


def diameter(schema: CloudSchema, factors: ArrayLike, nodes: NDArray[np.floating]) -> float:
    """The largest distance of two nodes: that of opposite corners of their box.

    Args:
        schema: Says the ranges of the features; what it leaves open is that of ``nodes``.
        factors: Of the features in distances, shape (F,).
        nodes: Real nodes, shape (P, F).
    Returns:
        In units of the distance; 1 where all nodes are the same.
    Example:
        >>> from gconvae.schema import points
        >>> diameter(points("x y"), [1.0, 2.0], np.array([[0.0, 1.0], [3.0, 3.0]]))
        5.0
    """
    nodes = nodes.astype(np.float64)
    ends = zip(schema.features, nodes.min(0), nodes.max(0), strict=True)
    lengths = np.array(
        [
            feature.high - feature.low
            if feature.low is not None and feature.high is not None
            else feature.period or high - low
            for feature, low, high in ends
        ]
    )
    sides = lengths * np.asarray(factors)
    # the longest side outside of the root keeps the bits of a cube's diagonal
    longest = float(sides.max())
    return longest * math.sqrt(float(((sides / longest) ** 2).sum())) if longest > 0 else 1.0
