"""What all panels of a figure share: limits, colours, and what is drawn of a node."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from matplotlib.colors import LogNorm, Normalize, SymLogNorm

from gconvae.plots.style import Floats, robust_range
from gconvae.schema import CloudSchema, Feature

__all__ = ["Frame", "Limits", "count_outside", "frame_of", "log_range"]

Limits = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest x, then lowest and highest y."""

_MARGIN = 0.04
"""Between the outermost nodes and the edge of a panel, in the width of what they take."""

_LEAST = 0.5
"""Of a picture's width that is shown at least."""

MOST_BELOW = 0.05
"""Share of values of a heavy tail that may be below 0 where it is drawn on a log scale."""


class Frame(NamedTuple):
    """What all panels of a figure share.

    Attributes:
        limits: Ranges of the first two positions that are shown.
        norm: Values of the coloured feature to colours; None = one colour.
        schema: What the features are.
        color: Column of the coloured feature; None = there is none.
        size: Column of the position that is drawn as the size of a node, and its range; None =
            all nodes have one size.
        labelled: Whether the positions are named beside the grids.
    """

    limits: Limits
    norm: Normalize | None
    schema: CloudSchema
    color: int | None
    size: tuple[int, float, float] | None = None
    labelled: bool = True


def frame_of(
    nodes: Floats,
    schema: CloudSchema,
    limits: Limits | None = None,
    shown: Floats | None = None,
) -> Frame:
    """The frame of a first sample, the yardstick of the others.

    The colour is the first feature that is no position, else a third position; beside such a
    feature, a third position is the size of a node.

    Args:
        nodes: Of the sample, shape (P, F).
        schema: What its features are.
        limits: Of the positions; None = the part of the schema's picture that the shown nodes
            take, else a square around all but the outermost 1 % of the sample's nodes.
        shown: Nodes of all panels, shape (P, F); None = those of the sample.
    """
    positions = schema.num_positions
    further = positions if schema.num_features > positions else None
    color = 2 if further is None and positions > 2 else further
    size = None
    if further is not None and positions > 2:
        size = (2, *robust_range(nodes[:, 2]))
    norm = None if color is None else _norm(nodes[:, color], schema.features[color])
    if limits is None:
        whole = schema.picture.frame
        shown = nodes if shown is None else shown
        limits = _square(nodes) if whole is None else _taken(shown, whole, schema.picture.cell)
    return Frame(limits, norm, schema, color, size)


def log_range(values: Floats, feature: Feature, lowest: float) -> tuple[float, float] | None:
    """Where a heavy tail lies, for a logarithmic axis or colours.

    Args:
        values: Of the feature, shape (P,); any of them may be 0, and up to 5 % below, as some
            that a model makes of a feature that is never below 0.
        feature: What they are.
        lowest: Percentile of the positive values to begin at.
    Returns:
        Lowest value, above 0, and highest, the percentile 99.9; None where the tail is not heavy,
        both are the same, or values have both signs.
    Example:
        >>> from gconvae.schema import JETS
        >>> log_range(np.array([0.0, *np.geomspace(1e-4, 1, 41)]), JETS.features[2], 0)[0]
        0.0001
    """
    positive = values[values > 0]
    if feature.tail is None or not len(positive) or (values < 0).mean() > MOST_BELOW:
        return None
    low, high = np.percentile(positive, [lowest, 99.9]).tolist()
    return (low, high) if low < high else None


def _norm(values: Floats, feature: Feature) -> Normalize:
    """Colours over a known range, else over the values; logarithmic for a heavy tail."""
    tail_range = log_range(values, feature, 1)
    if tail_range is not None:
        # what is 0 or less has the lowest colour: without one it would not be drawn
        return LogNorm(*tail_range, clip=True)
    if feature.tail is not None and values.min() < values.max():
        low, high = np.percentile(values, [0.1, 99.9]).tolist()
        size = np.abs(values[values != 0])
        if low < high:
            return SymLogNorm(float(np.median(size)), vmin=low, vmax=high, clip=True)
    if feature.low is not None and feature.high is not None:
        return Normalize(feature.low, feature.high)
    return Normalize(*robust_range(values))


def _square(nodes: Floats) -> Limits:
    """Limits of equal length around the first two positions, or around the only one."""
    ranges = [robust_range(values) for values in nodes[:, :2].T][:2]
    ranges = ranges if nodes.shape[1] > 1 else [ranges[0], (-1.0, 1.0)]
    half = 0.58 * max(high - low for low, high in ranges)
    (x, y) = ((low + high) / 2 for low, high in ranges)
    return (x - half, x + half), (y - half, y + half)


def _taken(nodes: Floats, whole: Limits, cell: float | None) -> Limits:
    """The square of a picture that holds its nodes, in whole cells where it has such."""
    ranges = [
        np.clip([values.min(), values.max()], *ends)
        for values, ends in zip(nodes[:, :2].T, whole, strict=True)
    ]
    widths = [high - low for low, high in whole]
    unit = cell or min(widths) / 100
    side = (1 + 2 * _MARGIN) * max(high - low for low, high in ranges)
    side = unit * max(math.ceil(side / unit) + 1, round(_LEAST * min(widths) / unit))
    taken = []
    for (low, high), (start, end), width in zip(ranges, whole, widths, strict=True):
        first = start + unit * round(((low + high - side) / 2 - start) / unit)
        first = min(max(start, first), max(start, end - side))
        taken.append((float(first), float(first + min(side, width))))
    return taken[0], taken[1]


def count_outside(nodes: Floats, frame: Frame) -> int:
    """Nodes that a panel does not show."""
    (left, right), (top, bottom) = frame.limits
    low, high = np.array([left, top]), np.array([right, bottom])
    shown = nodes[:, : min(2, frame.schema.num_positions)]
    low, high = low[: shown.shape[1]], high[: shown.shape[1]]
    return int((~((shown >= low) & (shown <= high)).all(1)).sum())
