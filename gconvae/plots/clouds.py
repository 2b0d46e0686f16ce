"""Grids of clouds: real, reconstructed and generated side by side, and images beside clouds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

from gconvae.plots.panels import (
    INTENSITY,
    Frame,
    Limits,
    as_clouds,
    as_samples,
    color_bar,
    count_outside,
    draw_image,
    draw_nodes,
    each,
    empty_panels,
    nodes_of,
    place_blocks,
    rasterize,
)
from gconvae.plots.style import Floats, check_positive, robust_range

__all__ = [
    "cloud_grid",
    "compare_grids",
    "images_and_clouds",
]

_INSIDE = 0.99
"""Share of nodes that must lie inside the image for clouds to count as an image's."""


def cloud_grid(
    points: Any,
    mask: Any = None,
    *,
    rows: int = 10,
    columns: int = 10,
    title: str | None = None,
    image_size: int | None = 28,
    limits: Limits | None = None,
    pixels: bool = False,
    figure: Figure | None = None,
) -> Figure:
    """A grid of clouds with one colour bar, y downwards, the same limits in all panels.

    Args:
        points: Clouds, shape (B, N, F), F at least 3, or any other form that
            :func:`gconvae.metrics.compare` takes; the first ``rows * columns`` are drawn.
        mask: Real nodes, shape (B, N), where ``points`` is an array.
        rows: Rows of panels, fewer where there are fewer clouds.
        columns: Columns of panels, likewise.
        title: Heading of the grid; it also says how many drawn nodes lie outside the limits.
        image_size: Side of the image in pixels; None = the clouds do not come from images.
        limits: ``((lowest x, highest x), (lowest y, highest y))``. None = the image if the nodes
            lie in it, else a square around all but the outermost 1 % of the nodes.
        pixels: Draw images as on the slides, each node one pixel, instead of nodes.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If the clouds are wrong or have no intensity, rows or columns are below 1, or
            ``pixels`` is asked for clouds that are not an image's.
    Example:
        >>> import torch
        >>> clouds = torch.rand(100, 25, 3) * torch.tensor([28.0, 28.0, 1.0])
        >>> len(cloud_grid(clouds).axes)  # and the colour bar
        101
    """
    sample = as_clouds(points, "points", mask)
    return compare_grids(
        {title or "": sample},
        rows=rows,
        columns=columns,
        image_size=image_size,
        limits=limits,
        pixels=pixels,
        figure=figure,
    )


def compare_grids(
    samples: Mapping[str, Any],
    *,
    rows: int = 10,
    columns: int = 10,
    image_size: int | None = 28,
    limits: Limits | None = None,
    pixels: bool = False,
    figure: Figure | None = None,
) -> Figure:
    """Grids of several samples side by side, such as real, reconstructed, generated.

    Limits and colours are the first sample's, so that it is the yardstick of the others.

    Args:
        samples: Name to clouds (points, a pair ``(points, mask)``, a dataset, PyG graphs).
        rows: Rows of each grid.
        columns: Columns of each grid.
        image_size: As in :func:`cloud_grid`.
        limits: As in :func:`cloud_grid`.
        pixels: As in :func:`cloud_grid`.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: As :func:`cloud_grid`, or if there is no sample.
    Example:
        >>> import torch
        >>> real, generated = torch.rand(2, 9, 25, 3) * torch.tensor([28.0, 28.0, 1.0])
        >>> figure = compare_grids({"real": real, "generated": generated}, rows=3, columns=3)
        >>> [text.get_text() for text in figure.texts]
        ['real', 'generated']
    """
    checked = as_samples(samples)
    check_positive(rows=rows, columns=columns)
    first = next(iter(checked.values()))
    frame = _frame(nodes_of(first), image_size, limits)
    if pixels and (image_size is None or frame.limits != _image_limits(image_size, image_size)):
        raise ValueError(
            "pixels must be False for clouds that do not lie in an image of image_size"
        )
    most = max(len(sample.points) for sample in checked.values())
    columns = min(columns, most)
    rows = min(rows, math.ceil(most / columns))
    drawn = {name: list(islice(each(sample), rows * columns)) for name, sample in checked.items()}
    headings = [_heading(name, nodes, frame) for name, nodes in drawn.items()]
    panel = min(1.5, (6.2 if len(checked) == 1 else 12.6) / (columns * len(checked)), 9.0 / rows)
    figure, blocks, bar = place_blocks(figure, headings, rows * panel, columns * panel)
    for block, sample, cloud_nodes in zip(blocks, checked.values(), drawn.values(), strict=True):
        panels = empty_panels(figure, block, rows, columns, frame)
        for axes, nodes in zip(panels, cloud_nodes, strict=False):
            if pixels and image_size is not None:
                draw_image(axes, rasterize(nodes, image_size), frame)
            else:
                draw_nodes(axes, nodes, frame, sample.points.shape[1])
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
        points: Their clouds, shape (B, N, F), in pixels; or any form of
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
    sample = as_clouds(points, "points", mask)
    pictures = _as_images(images, len(sample.points))
    check_positive(rows=rows, columns=columns)
    height, width = pictures.shape[1:]
    frame = Frame(_image_limits(width, height), Normalize(0.0, 1.0))
    columns = min(columns, len(pictures))
    rows = min(rows, math.ceil(len(pictures) / columns))
    panel = min(0.9, 10.0 / columns)
    grid_height = 2 * rows * panel * height / width
    figure, (block,), bar = place_blocks(figure, [""], grid_height, columns * panel)
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


def _image_limits(width: int, height: int) -> Limits:
    # pixel i reaches from i - 0.5 to i + 0.5
    return (-0.5, width - 0.5), (-0.5, height - 0.5)


def _in_image(positions: Floats, image_size: int | None) -> bool:
    if image_size is None:
        return False
    inside = ((positions >= -0.5) & (positions <= image_size - 0.5)).all(1).mean()
    # positions in [0, 1] would lie in the image too, all in its corner
    return bool(inside >= _INSIDE and np.percentile(positions, 99) >= image_size / 4)


def _frame(nodes: Floats, image_size: int | None, limits: Limits | None) -> Frame:
    positions, intensity = nodes[:, :2], nodes[:, INTENSITY]
    in_image = _in_image(positions, image_size)
    unit = ((intensity >= 0) & (intensity <= 1)).mean() >= _INSIDE
    norm = Normalize(0.0, 1.0) if in_image and unit else Normalize(*robust_range(intensity))
    if limits is not None:
        return Frame(_checked_limits(limits), norm)
    if in_image and image_size is not None:
        return Frame(_image_limits(image_size, image_size), norm)
    ranges = [robust_range(values) for values in positions.T]
    half = 0.58 * max(high - low for low, high in ranges)
    (x, y) = ((low + high) / 2 for low, high in ranges)
    return Frame(((x - half, x + half), (y - half, y + half)), norm)


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
