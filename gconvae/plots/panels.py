"""Samples as clouds, and grids of small panels without ticks in which they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

from gconvae import clouds, metrics
from gconvae.plots.style import Floats

__all__ = [
    "INTENSITY",
    "Frame",
    "Limits",
    "as_clouds",
    "as_samples",
    "place_blocks",
    "color_bar",
    "count_outside",
    "draw_image",
    "draw_nodes",
    "each",
    "nodes_of",
    "empty_panels",
    "rasterize",
]

Limits = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest x, then lowest and highest y."""

INTENSITY = 2
COLORMAP = "viridis"

BACKGROUND = "black"

_MARKER = 0.085
"""Diameter of a node in a panel's width: about one of 25 superpixels of a digit."""


class Frame(NamedTuple):
    """What all panels of a figure share.

    Attributes:
        limits: Ranges of x and y that are shown.
        norm: Intensities to colours.
    """

    limits: Limits
    norm: Normalize


def as_clouds(sample: Any, name: str, mask: Any = None) -> clouds.Clouds:
    """A checked sample that has an intensity.

    Raises:
        ValueError: If it is no sample, or has none.
    """
    if mask is None:
        checked = metrics.as_sample(sample, name)
    else:
        checked = clouds.as_clouds(sample, mask, name=name)
    if checked.points.shape[-1] <= INTENSITY:
        raise ValueError(
            f"{name} must have an intensity as third feature, "
            f"got {checked.points.shape[-1]} features a node"
        )
    return checked


def as_samples(samples: Mapping[str, Any]) -> dict[str, clouds.Clouds]:
    """Checked samples by name.

    Raises:
        ValueError: If there is none, or one is wrong.
    """
    if not isinstance(samples, Mapping) or not samples:
        raise ValueError(
            f"samples must map at least one name to clouds, got {type(samples).__name__}"
        )
    return {name: as_clouds(sample, name or "points") for name, sample in samples.items()}


def nodes_of(sample: clouds.Clouds) -> Floats:
    """All real nodes of a sample, shape (P, F)."""
    nodes: Floats = sample.points[sample.mask].detach().cpu().double().numpy()
    return nodes


def each(sample: clouds.Clouds) -> Iterator[Floats]:
    """The real nodes (N, F) of each cloud."""
    points, mask = (part.detach().cpu().numpy() for part in (sample.points, sample.mask))
    return (cloud[real].astype(np.float64) for cloud, real in zip(points, mask, strict=True))


def place_blocks(
    figure: Figure | None, headings: Sequence[str], height: float, width: float
) -> tuple[Figure, list[SubplotSpec], SubplotSpec]:
    """Places for grids of this size in inches, side by side, and for their colour bar."""
    gap, margin, bar_width, bar_text = 0.2, 0.1, 0.14, 0.55
    lines = max(heading.count("\n") + 1 if heading else 0 for heading in headings)
    number, head = len(headings), margin + 0.22 * lines
    if figure is None:
        total_width = 2 * margin + number * (width + gap) + bar_width + bar_text
        figure = Figure(figsize=(total_width, margin + height + head))
    total_width, total_height = (side / figure.dpi for side in figure.bbox.size)
    left, right, top = margin, total_width - margin - bar_text, total_height - head
    free = right - left - number * gap  # for the grids and the bar
    grid = figure.add_gridspec(
        1,
        number + 1,
        width_ratios=[*[(free - bar_width) / number] * number, bar_width],
        left=left / total_width,
        right=right / total_width,
        bottom=margin / total_height,
        top=top / total_height,
        wspace=gap * (number + 1) / free,
    )
    blocks = [grid[0, i] for i in range(number)]
    for block, heading in zip(blocks, headings, strict=True):
        place = block.get_position(figure)
        middle, above = (place.x0 + place.x1) / 2, place.y1 + 0.06 / total_height
        if heading:
            figure.text(middle, above, heading, ha="center", va="bottom", fontsize="large")
    return figure, blocks, grid[0, number]


def empty_panels(
    figure: Figure, block: SubplotSpec, rows: int, columns: int, frame: Frame
) -> Iterator[Axes]:
    """Empty panels without ticks, row after row; those that are never asked for do not exist."""
    grid = GridSpecFromSubplotSpec(rows, columns, block, wspace=0.05, hspace=0.05)
    for i in range(rows * columns):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        axes.set(xlim=frame.limits[0], ylim=frame.limits[1][::-1], xticks=[], yticks=[])
        axes.set(aspect="equal", facecolor=BACKGROUND)
        axes.spines[:].set_visible(False)
        yield axes


def draw_nodes(axes: Axes, nodes: Floats, frame: Frame, num_nodes: int) -> None:
    """Nodes (N, F) as dots, smaller where clouds have up to many."""
    extent = axes.get_window_extent()
    panel = 72 * min(extent.width, extent.height) / axes.figure.dpi  # points
    # more nodes are smaller, so that the area that they cover stays about the same
    diameter = panel * _MARKER * min(1.0, math.sqrt(25 / num_nodes))
    x, y, intensity = nodes[:, : INTENSITY + 1].T
    axes.scatter(x, y, c=intensity, s=diameter**2, cmap=COLORMAP, norm=frame.norm, linewidths=0)


def rasterize(nodes: Floats, image_size: int) -> Floats:
    """Image (image_size, image_size): each node's pixel, the brightest where several share one."""
    column, row = np.rint(nodes[:, :2]).astype(int).T
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < image_size)
    image = np.zeros((image_size, image_size))
    np.maximum.at(image, (row[inside], column[inside]), nodes[inside, INTENSITY])
    return image


def draw_image(axes: Axes, image: Floats, frame: Frame) -> None:
    """An image; 0 is left empty."""
    # 0 is background, as where a cloud has no node
    visible = np.ma.masked_equal(image, 0.0)
    axes.imshow(visible, cmap=COLORMAP, norm=frame.norm, interpolation="nearest")
    axes.set(xlim=frame.limits[0], ylim=frame.limits[1][::-1])


def count_outside(nodes: Floats, frame: Frame) -> int:
    """Nodes that a panel does not show."""
    (left, right), (top, bottom) = frame.limits
    low, high = np.array([left, top]), np.array([right, bottom])
    return int((~((nodes[:, :2] >= low) & (nodes[:, :2] <= high)).all(1)).sum())


def color_bar(figure: Figure, place: SubplotSpec, frame: Frame) -> None:
    """The colour bar of all panels."""
    axes = figure.add_subplot(place)
    bar = figure.colorbar(ScalarMappable(frame.norm, COLORMAP), cax=axes, label="intensity")
    bar.outline.set_visible(False)
