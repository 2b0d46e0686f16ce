"""Grids of small panels without ticks, in which clouds are drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from gconvae.plots.frame import Frame
from gconvae.plots.style import COLORS, Floats, NotebookFigure

__all__ = [
    "add_scale",
    "color_bar",
    "draw_image",
    "draw_nodes",
    "empty_panels",
    "label_positions",
    "name_panel",
    "place_blocks",
    "rasterize",
]

DARK = colormaps["viridis"]
"""Colours on a dark background: the larger the brighter."""

LIGHT = ListedColormap(DARK(np.linspace(0.96, 0.0, 256)), "viridis from dark to light")
"""Colours on white: the larger the darker, as ink is; the lightest can still be seen."""

_MARKER = 0.1
"""Diameter of a node in a panel's width, where a cloud has 25."""

_EDGE = "0.35", 0.25
"""Colour and width in points of a node's outline on white."""

LABEL_ROOM, LABEL_GAP = 0.24, 0.05
"""Inches that the label of a position takes, and that lie between it and the panels."""

_SMALLEST, _LARGEST = 0.5, 1.5
"""Diameters between which a third position is drawn, in units of the usual one."""


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


def add_scale(axes: Axes, frame: Frame) -> None:
    """A bar below a panel whose length in units of the first position is written beside it."""
    if not frame.labelled:
        return
    low, high = frame.limits[0]
    length = _round_length((high - low) / 3)
    text = f"{length:g} {frame.schema.features[0].unit}".rstrip()
    place: Any = {"bbox_to_anchor": (0.0, 0.0), "bbox_transform": axes.transAxes}
    looks: Any = {"frameon": False, "pad": 0.0, "borderpad": 0.3, "sep": 2, "label_top": False}
    bar = AnchoredSizeBar(
        axes.transData,
        length,
        text,
        "upper left",
        size_vertical=0.0,
        fontproperties={"size": "x-small"},
        **looks,
        **place,
    )
    axes.add_artist(bar)


def _round_length(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not longer.

    Example:
        >>> _round_length(7.3), _round_length(0.04)
        (5.0, 0.02)
    """
    power = 10.0 ** math.floor(math.log10(length))
    return next(factor for factor in (5, 2, 1) if factor * power <= length * (1 + 1e-9)) * power


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
    """Nodes (N, F) as dots, smaller where clouds have up to many, the largest values on top."""
    if frame.color is not None:
        nodes = nodes[np.argsort(nodes[:, frame.color], kind="stable")]
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
    colors: dict[str, Any] = {
        "c": nodes[:, frame.color],
        "cmap": _colormap(frame),
        "norm": frame.norm,
    }
    edge, width = ("none", 0.0) if frame.schema.picture.dark else _EDGE
    axes.scatter(*place, s=sizes, edgecolors=edge, linewidths=width, **colors)


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
    colors: Any = {"cmap": _colormap(frame), "norm": frame.norm}
    axes.imshow(visible, interpolation="nearest", extent=place, **colors)
    _set_limits(axes, frame)


def _set_limits(axes: Axes, frame: Frame) -> None:
    low, high = frame.limits[1]
    axes.set(
        xlim=frame.limits[0], ylim=(high, low) if frame.schema.picture.y_down else (low, high)
    )


def color_bar(figure: Figure, place: SubplotSpec, frame: Frame) -> None:
    """The colour bar of all panels, where there are colours."""
    if frame.color is None or frame.norm is None:
        return
    _fill_bar(figure.add_subplot(place), frame)


def _colormap(frame: Frame) -> Colormap:
    return DARK if frame.schema.picture.dark else LIGHT


def _fill_bar(axes: Axes, frame: Frame) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    assert frame.color is not None
    colors = ScalarMappable(frame.norm, _colormap(frame))
    bar = figure.colorbar(colors, cax=axes, label=frame.schema.features[frame.color].label)
    bar.outline.set_visible(False)


def _bar_text(frame: Frame, height: float) -> tuple[float, float]:
    """Inches that ticks and label of a colour bar of this height need beside and above it."""
    if frame.color is None or frame.norm is None:
        return 0.0, 0.0
    trial = Figure(figsize=(1.0, height))
    axes = trial.add_axes((0.0, 0.0, 0.1, 1.0))
    _fill_bar(axes, frame)
    trial.draw_without_rendering()
    whole = axes.get_tightbbox()
    assert whole is not None
    # a power of ten of all ticks stands above the bar
    return float(whole.x1 - axes.bbox.x1) / trial.dpi, float(whole.y1 - axes.bbox.y1) / trial.dpi
