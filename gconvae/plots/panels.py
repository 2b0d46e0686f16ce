"""Grids of small panels without ticks, in which clouds are drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec

from gconvae.plots.style import COLORS, Floats, NotebookFigure, robust_range
from gconvae.schema import CloudSchema, Feature

__all__ = [
    "Frame",
    "Limits",
    "color_bar",
    "count_outside",
    "draw_image",
    "draw_nodes",
    "empty_panels",
    "frame_of",
    "label_positions",
    "log_range",
    "name_panel",
    "place_blocks",
    "rasterize",
]

Limits = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest x, then lowest and highest y."""

COLORMAP = "viridis"

_MARKER = 0.085
"""Diameter of a node in a panel's width, where a cloud has 25."""

MOST_BELOW = 0.05
"""Share of values of a heavy tail that may be below 0 where it is drawn on a log scale."""

LABEL_ROOM, LABEL_GAP = 0.24, 0.05
"""Inches that the label of a position takes, and that lie between it and the panels."""

_SMALLEST, _LARGEST = 0.5, 1.5
"""Diameters between which a third position is drawn, in units of the usual one."""


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


def frame_of(nodes: Floats, schema: CloudSchema, limits: Limits | None = None) -> Frame:
    """The frame of a first sample, the yardstick of the others.

    The colour is the first feature that is no position, else a third position; beside such a
    feature, a third position is the size of a node.

    Args:
        nodes: Of the sample, shape (P, F).
        schema: What its features are.
        limits: Of the positions; None = those of the schema's picture, else a square around all
            but the outermost 1 % of the nodes.
    """
    positions = schema.num_positions
    further = positions if schema.num_features > positions else None
    color = 2 if further is None and positions > 2 else further
    size = None
    if further is not None and positions > 2:
        size = (2, *robust_range(nodes[:, 2]))
    norm = None if color is None else _norm(nodes[:, color], schema.features[color])
    frame = schema.picture.frame if limits is None else limits
    return Frame(frame or _square(nodes), norm, schema, color, size)


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


def place_blocks(
    figure: Figure | None, headings: Sequence[str], height: float, width: float, frame: Frame
) -> tuple[Figure, list[SubplotSpec], SubplotSpec]:
    """Places for grids of this size in inches, side by side, and for their colour bar.

    Beside and below them there is room for :func:`label_positions`. Below that stands what else
    the frame draws, and what it does not.
    """
    gap, margin, bar_width = 0.2, 0.1, 0.14
    bar_text, bar_top = np.maximum(_bar_text(frame, height), (0.55, 0.0)).tolist()
    lines = max(heading.count("\n") + 1 if heading else 0 for heading in headings)
    number, head = len(headings), max(margin + 0.22 * lines, bar_top)
    across, down = _position_labels(frame)
    left = margin + (LABEL_ROOM if down else 0.0)
    total_width = left + margin + number * (width + gap) + bar_width + bar_text
    if figure is not None:
        total_width = figure.bbox.width / figure.dpi
    remarks = _remarks(frame, total_width)
    bottom = margin + (LABEL_ROOM if across else 0.0) + 0.16 * len(remarks)
    if figure is None:
        figure = NotebookFigure(figsize=(total_width, bottom + height + head))
    total_width, total_height = (side / figure.dpi for side in figure.bbox.size)
    right, top = total_width - margin - bar_text, total_height - head
    free = right - left - number * gap  # for the grids and the bar
    grid = figure.add_gridspec(
        1,
        number + 1,
        width_ratios=[*[(free - bar_width) / number] * number, bar_width],
        left=left / total_width,
        right=right / total_width,
        bottom=bottom / total_height,
        top=top / total_height,
        wspace=gap * (number + 1) / free,
    )
    blocks = [grid[0, i] for i in range(number)]
    for block, heading in zip(blocks, headings, strict=True):
        place = block.get_position(figure)
        middle, above = (place.x0 + place.x1) / 2, place.y1 + 0.06 / total_height
        if heading:
            figure.text(middle, above, heading, ha="center", va="bottom", fontsize="large")
    if remarks:
        lowest = 0.6 * margin / total_height
        figure.text(0.5, lowest, "\n".join(remarks), ha="center", va="bottom", fontsize="small")
    return figure, blocks, grid[0, number]


def label_positions(axes: Axes, block: SubplotSpec, frame: Frame, *, first: bool) -> None:
    """Names and units of the drawn positions, below a grid and left of the first one.

    Args:
        axes: A panel of the grid; the labels are its own, in the middle of the grid's edges.
        block: Place of the grid.
        frame: What is drawn.
        first: Whether it is the leftmost grid.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    place = block.get_position(figure)
    gap_x, gap_y = (LABEL_GAP * figure.dpi / side for side in figure.bbox.size)
    across, down = _position_labels(frame)
    axes.set_xlabel(across)
    middle = (place.x0 + place.x1) / 2
    axes.xaxis.set_label_coords(middle, place.y0 - gap_y, transform=figure.transFigure)
    if first:
        axes.set_ylabel(down)
        middle = (place.y0 + place.y1) / 2
        axes.yaxis.set_label_coords(place.x0 - gap_x, middle, transform=figure.transFigure)


def name_panel(axes: Axes, name: str, frame: Frame) -> None:
    """Writes a name, such as that of a class, into the upper left corner of a panel."""
    color = "white" if frame.schema.picture.dark else "black"
    axes.text(
        0.04,
        0.95,
        name,
        transform=axes.transAxes,
        ha="left",
        va="top",
        size="x-small",
        color=color,
    )


def _position_labels(frame: Frame) -> tuple[str, str]:
    """Of the first and of the second position, empty where there is none."""
    if not frame.labelled:
        return "", ""
    labels = [feature.label for feature in frame.schema.features if feature.position]
    return labels[0], labels[1] if len(labels) > 1 else ""


def _remarks(frame: Frame, width: float) -> list[str]:
    """Which feature is the size of a node and which are not drawn; lines of a width in inches."""
    features = frame.schema.features
    drawn = {0, frame.color, *range(frame.schema.num_positions)[:2]}
    said = []
    if frame.size is not None:
        drawn.add(frame.size[0])
        said.append(f"size of a node: {features[frame.size[0]].label}")
    left = [feature.label for column, feature in enumerate(features) if column not in drawn]
    if left:
        said.append(f"not drawn: {', '.join(left)}")
    return textwrap.wrap("; ".join(said), max(10, int(width / 0.08)))


def empty_panels(
    figure: Figure, block: SubplotSpec, rows: int, columns: int, frame: Frame
) -> Iterator[Axes]:
    """Empty panels without ticks, row after row; those that are never asked for do not exist."""
    grid = GridSpecFromSubplotSpec(rows, columns, block, wspace=0.05, hspace=0.05)
    for i in range(rows * columns):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        _set_limits(axes, frame)
        picture = frame.schema.picture
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.set(facecolor="black" if picture.dark else "white")
        axes.spines[:].set(visible=not picture.dark, color="0.8")
        yield axes


def draw_nodes(axes: Axes, nodes: Floats, frame: Frame, num_nodes: int) -> None:
    """Nodes (N, F) as dots, smaller where clouds have up to many."""
    extent = axes.get_window_extent()
    panel = 72 * min(extent.width, extent.height) / axes.figure.dpi  # points
    # more nodes are smaller, so that the area that they cover stays about the same
    diameter = panel * _MARKER * min(1.0, math.sqrt(25 / num_nodes))
    sizes: Any = diameter**2
    if frame.size is not None:
        column, low, high = frame.size
        share = np.clip((nodes[:, column] - low) / max(high - low, 1e-300), 0, 1)
        sizes = (diameter * (_SMALLEST + (_LARGEST - _SMALLEST) * share)) ** 2
    second = nodes[:, 1] if frame.schema.num_positions > 1 else np.zeros(len(nodes))
    place = nodes[:, 0], second
    if frame.color is None:
        axes.scatter(*place, color=COLORS[0], s=sizes, linewidths=0)
        return
    values = nodes[:, frame.color]
    axes.scatter(*place, c=values, s=sizes, cmap=COLORMAP, norm=frame.norm, linewidths=0)


def rasterize(nodes: Floats, frame: Frame) -> Floats:
    """A raster of the frame's cells, each with the largest value of its nodes, 0 for none."""
    cell, color = frame.schema.picture.cell, frame.color
    assert cell is not None
    assert color is not None
    (left, right), (top, bottom) = frame.limits
    shape = round((bottom - top) / cell), round((right - left) / cell)
    column, row = np.floor((nodes[:, :2] - [left, top]) / cell).astype(int).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    image = np.zeros(shape)
    np.maximum.at(image, (row[inside], column[inside]), nodes[inside, color])
    return image


def draw_image(axes: Axes, image: Floats, frame: Frame) -> None:
    """A raster of cells; 0 is left empty."""
    # 0 is background, as where a cloud has no node
    visible = np.ma.masked_equal(image, 0.0)
    (left, right), (low, high) = frame.limits
    place = (left, right, high, low)
    axes.imshow(visible, cmap=COLORMAP, norm=frame.norm, interpolation="nearest", extent=place)
    _set_limits(axes, frame)


def _set_limits(axes: Axes, frame: Frame) -> None:
    low, high = frame.limits[1]
    axes.set(
        xlim=frame.limits[0], ylim=(high, low) if frame.schema.picture.y_down else (low, high)
    )


def count_outside(nodes: Floats, frame: Frame) -> int:
    """Nodes that a panel does not show."""
    (left, right), (top, bottom) = frame.limits
    low, high = np.array([left, top]), np.array([right, bottom])
    shown = nodes[:, : min(2, frame.schema.num_positions)]
    low, high = low[: shown.shape[1]], high[: shown.shape[1]]
    return int((~((shown >= low) & (shown <= high)).all(1)).sum())


def color_bar(figure: Figure, place: SubplotSpec, frame: Frame) -> None:
    """The colour bar of all panels, where there are colours."""
    if frame.color is None or frame.norm is None:
        return
    _fill_bar(figure.add_subplot(place), frame.norm, frame.schema.features[frame.color].label)


def _fill_bar(axes: Axes, norm: Normalize, label: str) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(ScalarMappable(norm, COLORMAP), cax=axes, label=label)
    bar.outline.set_visible(False)


def _bar_text(frame: Frame, height: float) -> tuple[float, float]:
    """Inches that ticks and label of a colour bar of this height need beside and above it."""
    if frame.color is None or frame.norm is None:
        return 0.0, 0.0
    trial = Figure(figsize=(1.0, height))
    axes = trial.add_axes((0.0, 0.0, 0.1, 1.0))
    _fill_bar(axes, frame.norm, frame.schema.features[frame.color].label)
    trial.draw_without_rendering()
    whole = axes.get_tightbbox()
    assert whole is not None
    # a power of ten of all ticks stands above the bar
    return float(whole.x1 - axes.bbox.x1) / trial.dpi, float(whole.y1 - axes.bbox.y1) / trial.dpi
