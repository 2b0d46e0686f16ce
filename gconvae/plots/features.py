"""Histograms of the features of all nodes, one sample against others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from gconvae import metrics
from gconvae.plots.frame import log_range
from gconvae.plots.samples import as_samples, nodes_of, schema_of
from gconvae.plots.style import COLORS, DASHES, Floats, check_positive, robust_range, spread
from gconvae.schema import CloudSchema, Feature

__all__ = [
    "feature_histograms",
]


MOST_COLUMNS = 4
"""Panels side by side."""


def feature_histograms(
    samples: Mapping[str, Any],
    *,
    features: Sequence[str] | None = None,
    schema: CloudSchema | None = None,
    bins: int = 32,
    figure: Figure | None = None,
) -> Figure:
    """Features of all nodes, the first sample filled, with W1 to it in the titles.

    The outermost bins also hold what lies beyond them. A heavy-tailed feature has logarithmic
    bins, positions with cells have one bin a cell.

    Args:
        samples: Name to clouds, the data first.
        features: Names of some features; None = all.
        schema: What the features are; None = that of the first sample that has one, else made
            from the numbers.
        bins: Number of bins of any other feature.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds are wrong, or there is no sample.
    Example:
        >>> import torch
        >>> figure = feature_histograms({"real": torch.rand(50, 25, 3)})
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['x', 'y', 'feature 3']
    """
    checked = as_samples(samples, schema)
    known = schema_of(checked)
    columns = [known.index(name) for name in (known.names if features is None else features)]
    check_positive(bins=bins, features=len(columns))
    reference, *others = checked
    distances = {name: metrics.feature_w1(checked[reference], checked[name]) for name in others}
    nodes = {name: nodes_of(sample) for name, sample in checked.items()}
    rows = math.ceil(len(columns) / MOST_COLUMNS)
    width = min(len(columns), MOST_COLUMNS)
    height = rows * (3.5 + 0.2 * max(0, len(others) - 2))  # a line of the title each
    figure = spread(figure, (0.6 + 3.5 * width, height))
    panels = list(figure.subplots(rows, width, squeeze=False).flat)
    for axes in panels[len(columns) :]:
        axes.remove()
    for axes, column in zip(panels, columns, strict=False):
        feature = known.features[column]
        cell = known.picture.cell if feature.position else None
        edges = _edges(nodes[reference][:, column], feature, cell, bins)
        for i, (name, values) in enumerate(nodes.items()):
            _draw_histogram(axes, values[:, column], edges, name, i)
        if cell is None and log_range(nodes[reference][:, column], feature, 0.1) is not None:
            _label_log(axes, edges[0], edges[-1])
        axes.set(xlabel=feature.label, xlim=(edges[0], edges[-1]))
        said = [f"{name}: {distances[name][column]:.2g}" for name in others]
        if said:
            axes.set_title("\n".join([f"W1 to {reference}", *said]), fontsize="small")
    panels[0].set_ylabel("share of nodes")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=min(len(samples), 3 * width),
        frameon=False,
        fontsize="small",
        columnspacing=1.0,
    )
    return figure


def _draw_histogram(axes: Axes, values: Floats, edges: Floats, name: str, number: int) -> None:
    kept = np.clip(values, edges[0], edges[-1])
    share = np.histogram(kept, edges)[0] / len(values)
    if number == 0:
        axes.stairs(share, edges, fill=True, color="0.8", label=name)
        return
    color, dash = COLORS[(number - 1) % len(COLORS)], DASHES[(number - 1) % len(DASHES)]
    axes.stairs(share, edges, color=color, linestyle=dash, linewidth=1.6, label=name)


def _edges(values: Floats, feature: Feature, cell: float | None, bins: int) -> Floats:
    """Edges of bins; cells are not split, since positions may lie on whole ones."""
    if feature.low is not None and feature.high is not None and cell is not None:
        count = round((feature.high - feature.low) / cell) + 1
        return feature.low + cell * (np.arange(count + 1, dtype=np.float64) - 0.5)
    tail_range = log_range(values, feature, 0.1)
    if tail_range is not None:
        return np.geomspace(*tail_range, bins + 1)
    if feature.low is not None and feature.high is not None:
        return np.linspace(feature.low, feature.high, bins + 1)
    return np.linspace(*robust_range(values), bins + 1)


def _label_log(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis whose labels do not overlap, however few decades it has."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if high >= 100 * low:
        return  # powers of ten are enough
    few = MaxNLocator(4) if high < 5 * low else LogLocator(subs=(1, 2, 5))
    axes.xaxis.set_major_locator(few)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
