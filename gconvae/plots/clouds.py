"""Grids of clouds: real, reconstructed and generated side by side, and images beside clouds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

from gconvae.clouds import as_clouds
from gconvae.plots.frame import Frame, Limits, count_outside, frame_of
from gconvae.plots.panels import (
    add_scale,
    color_bar,
    draw_image,
    draw_nodes,
    empty_panels,
    label_positions,
    name_panel,
    place_blocks,
    rasterize,
)
from gconvae.plots.samples import as_samples, class_names, each, nodes_of, schema_of
from gconvae.plots.style import Floats, check_positive
from gconvae.schema import SUPERPIXELS, CloudSchema

__all__ = [
    "cloud_grid",
    "compare_grids",
    "images_and_clouds",
]


def cloud_grid(
    points: Any,
    mask: Any = None,
    *,
    rows: int = 10,
    columns: int = 10,
    title: str | None = None,
    schema: CloudSchema | None = None,
    limits: Limits | None = None,
    raster: bool = False,
    figure: Figure | None = None,
) -> Figure:
    """A grid of clouds with one colour bar and the same limits in all panels.

    The schema says the direction of y and the background. The colour of a node is its first
    feature that is no position; else, in space, its third position. Beside a feature, a third
    position is the size of the node. The first two positions are named at the edges, with their
    units, and a bar below says the scale. There stands too which feature is the size, and which
    are not drawn. Where clouds of several classes are drawn, each panel names its own.

    Args:
        points: Clouds, shape (B, N, F), or any other form that
            :func:`gconvae.metrics.compare` takes; the first ``rows * columns`` are drawn.
        mask: Real nodes, shape (B, N), where ``points`` is an array.
        rows: Rows of panels, fewer where there are fewer clouds.
        columns: Columns of panels, likewise.
        title: Heading of the grid; it also says how many drawn nodes lie outside the limits.
        schema: What the features are; None = that of the data set or the clouds, else made from
            the numbers.
        limits: ``((lowest x, highest x), (lowest y, highest y))``. None = the part of the
            schema's picture that the drawn nodes take, else a square around all but the outermost
            1 % of the nodes.
        raster: Draw the cells that nodes lie in, as on the slides, instead of nodes.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds are wrong, rows or columns are below 1, or ``raster`` is asked
            for clouds whose schema has no cells.
    Example:
        >>> import torch
        >>> len(cloud_grid(torch.rand(100, 25, 3)).axes)  # and the colour bar
        101
    """
    sample = points if mask is None else as_clouds(points, mask, schema=schema)
    return compare_grids(
        {title or "": sample},
        rows=rows,
        columns=columns,
        schema=schema,
        limits=limits,
        raster=raster,
        figure=figure,
    )


def compare_grids(
    samples: Mapping[str, Any],
    *,
    rows: int = 10,
    columns: int = 10,
    schema: CloudSchema | None = None,
    limits: Limits | None = None,
    raster: bool = False,
    figure: Figure | None = None,
) -> Figure:
    """Grids of several samples side by side, such as real, reconstructed, generated.

    Colours, and limits where there is no picture, are the first sample's, so that it is the
    yardstick of the others.

    Args:
        samples: Name to clouds (points, a pair ``(points, mask)``, a dataset, PyG graphs).
        rows: Rows of each grid.
        columns: Columns of each grid.
        schema: As in :func:`cloud_grid`; None = that of the first sample that has one.
        limits: As in :func:`cloud_grid`.
        raster: As in :func:`cloud_grid`.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: As :func:`cloud_grid`, or if there is no sample.
    Example:
        >>> import torch
        >>> real, generated = torch.rand(2, 9, 25, 3)
        >>> figure = compare_grids({"real": real, "generated": generated}, rows=3, columns=3)
        >>> [text.get_text() for text in figure.texts]
        ['real', 'generated']
    """
    checked = as_samples(samples, schema)
    check_positive(rows=rows, columns=columns)
    first = next(iter(checked.values()))
    limits = None if limits is None else _checked_limits(limits)
    most = max(len(sample.points) for sample in checked.values())
    columns = min(columns, most)
    rows = min(rows, math.ceil(most / columns))
    drawn = {name: list(islice(each(sample), rows * columns)) for name, sample in checked.items()}
    shown = np.concatenate([nodes for sample in drawn.values() for nodes in sample])
    frame = frame_of(nodes_of(first), schema_of(checked), limits, shown)
    if raster and (frame.schema.picture.cell is None or frame.color is None):
        raise ValueError(
            "raster must be False for clouds whose schema has no cells (picture.cell), got "
            f"{frame.schema.name or 'a schema made from numbers'}"
        )
    headings = [_heading(name, nodes, frame) for name, nodes in drawn.items()]
    panel = min(1.5, (6.2 if len(checked) == 1 else 12.6) / (columns * len(checked)), 9.0 / rows)
    figure, blocks, bar = place_blocks(figure, headings, rows * panel, columns * panel, frame)
    for block, sample, cloud_nodes in zip(blocks, checked.values(), drawn.values(), strict=True):
        panels = empty_panels(figure, block, rows, columns, frame)
        classes = class_names(sample, rows * columns)
        for number, (axes, nodes) in enumerate(zip(panels, cloud_nodes, strict=False)):
            if number == 0:
                label_positions(axes, block, frame, first=block is blocks[0])
            if block is blocks[0] and number == (len(cloud_nodes) - 1) // columns * columns:
                add_scale(axes, frame)
            if raster:
                draw_image(axes, rasterize(nodes, frame), frame)
            else:
                draw_nodes(axes, nodes, frame, sample.points.shape[1])
            if classes:
                name_panel(axes, classes[number], frame)
    color_bar(figure, bar, frame)
    return figure


def images_and_clouds(
    images: Any,
    points: Any,
    mask: Any = None,
    *,
    rows: int = 2,
    columns: int = 10,
    figure: Figure | None = None,
) -> Figure:
    """Images, each above its own cloud, in the same colours.

    Args:
        images: Grey images, shape (B, H, W), uint8 or floats in [0, 1].
        points: Their clouds, shape (B, N, F), in units of the images' cells; or any form of
            :func:`gconvae.metrics.compare`.
        mask: Real nodes, shape (B, N), where ``points`` is an array.
        rows: Rows of pairs.
        columns: Pairs in a row.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds or images are wrong, or their numbers differ.
    Example:
        >>> import numpy as np
        >>> images = np.zeros((3, 28, 28), dtype=np.uint8)
        >>> clouds = np.full((3, 25, 3), 0.5)
        >>> len(images_and_clouds(images, clouds).axes)
        7
    """
    clouds = points if mask is None else as_clouds(points, mask)
    sample = as_samples({"points": clouds})["points"]
    pictures = _as_images(images, len(sample.points))
    check_positive(rows=rows, columns=columns)
    height, width = pictures.shape[1:]
    if sample.points.shape[-1] < SUPERPIXELS.num_features:
        raise ValueError(
            f"points must have {', '.join(SUPERPIXELS.names)}, got {sample.points.shape[-1]} "
            "features a node"
        )
    limits = ((-0.5, width - 0.5), (-0.5, height - 0.5))  # cell i reaches from i - 0.5 on
    frame = frame_of(nodes_of(sample)[:, : SUPERPIXELS.num_features], SUPERPIXELS, limits)
    frame = frame._replace(labelled=False)  # images have no axes either
    columns = min(columns, len(pictures))
    rows = min(rows, math.ceil(len(pictures) / columns))
    panel = min(0.9, 10.0 / columns)
    grid_height = 2 * rows * panel * height / width
    figure, (block,), bar = place_blocks(figure, [""], grid_height, columns * panel, frame)
    pairs = GridSpecFromSubplotSpec(rows, 1, block, hspace=0.08)
    for row in range(rows):
        axes = list(empty_panels(figure, pairs[row], 2, columns, frame))
        chosen = slice(row * columns, (row + 1) * columns)
        for upper, picture in zip(axes, pictures[chosen], strict=False):
            draw_image(upper, picture, frame)
        for lower, nodes in zip(axes[columns:], list(each(sample))[chosen], strict=False):
            draw_nodes(lower, nodes, frame, sample.points.shape[1])
        for empty in (panel for panel in axes if not panel.has_data()):
            empty.remove()
    color_bar(figure, bar, frame)
    return figure


def _as_images(images: Any, number: int) -> Floats:
    array = np.asarray(images.cpu() if hasattr(images, "cpu") else images)
    if array.ndim != 3 or len(array) != number or array.size == 0:
        raise ValueError(
            f"images must have shape (clouds, height, width) with {number} clouds, "
            f"got {array.shape}"
        )
    scaled: Floats = array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64)
    if not (scaled.min() >= 0 and scaled.max() <= 1):
        raise ValueError(
            f"images must be uint8 or lie in [0, 1], got {array.dtype} from {scaled.min():.4g} "
            f"to {scaled.max():.4g}"
        )
    return scaled


def _checked_limits(limits: Limits) -> Limits:
    array = np.asarray(limits, dtype=float)
    if array.shape != (2, 2) or not np.isfinite(array).all() or (array[:, 0] >= array[:, 1]).any():
        raise ValueError(
            f"limits must be ((lowest x, highest x), (lowest y, highest y)), got {limits}"
        )
    (left, right), (top, bottom) = array.tolist()
    return (left, right), (top, bottom)


def _heading(name: str, drawn: Sequence[Floats], frame: Frame) -> str:
    """Name of a grid, and how many of its nodes its panels do not show."""
    outside = sum(count_outside(nodes, frame) for nodes in drawn)
    return "\n".join(part for part in (name, f"nodes outside: {outside}" * (outside > 0)) if part)
