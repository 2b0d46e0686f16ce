"""Histograms of the features of all nodes, one sample against others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gconvae import clouds, metrics
from gconvae.plots.clouds import _in_image
from gconvae.plots.panels import INTENSITY, as_samples, nodes_of
from gconvae.plots.style import COLORS, DASHES, Floats, check_positive, robust_range, spread
from gconvae.schema import SUPERPIXELS

__all__ = [
    "feature_histograms",
    "intensity_histogram",
]


def intensity_histogram(
    samples: Mapping[str, Any], *, bins: int = 32, figure: Figure | None = None
) -> Figure:
    r"""The slides' intensity comparison: intensities of all nodes, the first sample filled.

    Args:
        samples: Name to clouds, the data first.
        bins: Number of bins over the range of the first sample ([0, 1] if it lies in it).
        figure: Figure to draw into; None = a new one.
    Returns:
        The histograms, with W1 to the first sample in the title.
    Raises:
        ValueError: If the clouds are wrong or have no intensity, or there is no sample.
    Example:
        >>> import torch
        >>> real = torch.rand(50, 25, 3)
        >>> samples = {"real": real, "generated": real + torch.tensor([0.0, 0.0, 0.25])}
        >>> intensity_histogram(samples).axes[0].get_title()
        'W1 to real\ngenerated: 0.25'
    """
    return _histograms(as_samples(samples), [INTENSITY], None, bins, figure)


def feature_histograms(
    samples: Mapping[str, Any],
    *,
    image_size: int | None = 28,
    bins: int = 32,
    figure: Figure | None = None,
) -> Figure:
    """Every feature of all nodes, the first sample filled, with W1 to it in the titles.

    The outermost bins also hold what lies beyond them.

    Args:
        samples: Name to clouds, the data first.
        image_size: Side of the image in pixels, one bin a pixel where the clouds lie in it; None
            = the clouds do not come from images.
        bins: Number of bins of any other feature.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds are wrong, or there is no sample.
    Example:
        >>> import torch
        >>> figure = feature_histograms({"real": torch.rand(50, 25, 3)})
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['x', 'y', 'intensity']
    """
    checked = as_samples(samples)
    features = range(next(iter(checked.values())).points.shape[-1])
    return _histograms(checked, features, image_size, bins, figure)


def _histograms(
    samples: dict[str, clouds.Clouds],
    features: Sequence[int],
    image_size: int | None,
    bins: int,
    figure: Figure | None,
) -> Figure:
    check_positive(bins=bins)
    reference, *others = samples
    distances = {name: metrics.feature_w1(samples[reference], samples[name]) for name in others}
    nodes = {name: nodes_of(sample) for name, sample in samples.items()}
    in_image = _in_image(nodes[reference][:, :2], image_size)
    height = 3.5 + 0.2 * max(0, len(others) - 2)  # a line of the title each
    figure = spread(figure, (0.6 + 3.5 * len(features), height))
    panels = figure.subplots(1, len(features), squeeze=False)[0]
    for axes, feature in zip(panels, features, strict=True):
        edges = _edges(
            nodes[reference][:, feature], feature, image_size if in_image else None, bins
        )
        for i, (name, values) in enumerate(nodes.items()):
            _draw_histogram(axes, values[:, feature], edges, name, i)
        axes.set(xlabel=_label(feature, in_image), xlim=(edges[0], edges[-1]))
        found = [f"{name}: {distances[name][feature]:.2g}" for name in others]
        if found:
            axes.set_title("\n".join([f"W1 to {reference}", *found]), fontsize="small")
    panels[0].set_ylabel("share of nodes")
    handles, labels = panels[0].get_legend_handles_labels()
    columns = min(len(samples), 3 * len(features))
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns,
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


def _edges(values: Floats, feature: int, image_size: int | None, bins: int) -> Floats:
    """Edges of bins; pixels are not split, since positions may be whole pixels."""
    if image_size is not None and feature < INTENSITY:
        return np.arange(image_size + 1, dtype=np.float64) - 0.5
    if feature == INTENSITY and values.min() >= 0 and values.max() <= 1:
        return np.linspace(0.0, 1.0, bins + 1)
    low, high = robust_range(values)
    return np.linspace(low, high, bins + 1)


def _label(feature: int, in_image: bool) -> str:
    if feature > INTENSITY:
        return f"feature {feature}"
    unit = " (px)" if in_image and feature < INTENSITY else ""
    return SUPERPIXELS.names[feature] + unit
