"""Figures of clouds, of their features, of a training and of a comparison.

Every function returns the :class:`matplotlib.figure.Figure` and draws into ``figure`` if one is
given. None shows a window, and none touches the global style or backend.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from gconvae import clouds, files, metrics
from gconvae.schema import SUPERPIXELS

__all__ = [
    "check_path",
    "cloud_grid",
    "compare_grids",
    "feature_histograms",
    "images_and_clouds",
    "intensity_histogram",
    "loss_curves",
    "report",
    "save",
    "settings",
    "variants",
]

Floats = NDArray[np.float64]
Limits = tuple[tuple[float, float], tuple[float, float]]
"""Lowest and highest x, then lowest and highest y."""

INTENSITY = 2
COLORMAP = "viridis"
BACKGROUND = "black"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours, which colour-blind readers tell apart."""

DASHES = ("solid", (0, (4, 1.5)), (0, (1, 1)))
"""Line styles, so that a figure can be read without colours too."""

_MARKER = 0.085
"""Diameter of a node in a panel's width: about one of 25 superpixels of a digit."""

_MOST_LINES = 12
"""That a reader tells apart."""

_INSIDE = 0.99
"""Share of nodes that must lie inside the image for clouds to count as an image's."""


_UNDATED: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""Formats, and the metadata that would make two files of one figure differ."""


class _Frame(NamedTuple):
    """What all panels of a figure share.

    Attributes:
        limits: Ranges of x and y that are shown.
        norm: Intensities to colours.
    """

    limits: Limits
    norm: Normalize


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
    sample = _as_clouds(points, "points", mask)
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
    checked = _as_samples(samples)
    _check_positive(rows=rows, columns=columns)
    first = next(iter(checked.values()))
    frame = _frame(_nodes(first), image_size, limits)
    if pixels and (image_size is None or frame.limits != _image_limits(image_size, image_size)):
        raise ValueError(
            "pixels must be False for clouds that do not lie in an image of image_size"
        )
    most = max(len(sample.points) for sample in checked.values())
    columns = min(columns, most)
    rows = min(rows, math.ceil(most / columns))
    drawn = {name: list(islice(_each(sample), rows * columns)) for name, sample in checked.items()}
    headings = [_heading(name, nodes, frame) for name, nodes in drawn.items()]
    panel = min(1.5, (6.2 if len(checked) == 1 else 12.6) / (columns * len(checked)), 9.0 / rows)
    figure, blocks, bar = _blocks(figure, headings, rows * panel, columns * panel)
    for block, sample, cloud_nodes in zip(blocks, checked.values(), drawn.values(), strict=True):
        panels = _panels(figure, block, rows, columns, frame)
        for axes, nodes in zip(panels, cloud_nodes, strict=False):
            if pixels and image_size is not None:
                _draw_image(axes, _rasterize(nodes, image_size), frame)
            else:
                _draw_nodes(axes, nodes, frame, sample.points.shape[1])
    _color_bar(figure, bar, frame)
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
    sample = _as_clouds(points, "points", mask)
    pictures = _as_images(images, len(sample.points))
    _check_positive(rows=rows, columns=columns)
    height, width = pictures.shape[1:]
    frame = _Frame(_image_limits(width, height), Normalize(0.0, 1.0))
    columns = min(columns, len(pictures))
    rows = min(rows, math.ceil(len(pictures) / columns))
    panel = min(0.9, 10.0 / columns)
    grid_height = 2 * rows * panel * height / width
    figure, (block,), bar = _blocks(figure, [""], grid_height, columns * panel)
    pairs = GridSpecFromSubplotSpec(rows, 1, block, hspace=0.08)
    for row in range(rows):
        axes = list(_panels(figure, pairs[row], 2, columns, frame))
        chosen = slice(row * columns, (row + 1) * columns)
        for upper, picture in zip(axes, pictures[chosen], strict=False):
            _draw_image(upper, picture, frame)
        for lower, nodes in zip(axes[columns:], list(_each(sample))[chosen], strict=False):
            _draw_nodes(lower, nodes, frame, sample.points.shape[1])
        for empty in (panel for panel in axes if not panel.has_data()):
            empty.remove()
    _color_bar(figure, bar, frame)
    return figure


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
    return _histograms(_as_samples(samples), [INTENSITY], None, bins, figure)


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
    checked = _as_samples(samples)
    features = range(next(iter(checked.values())).points.shape[-1])
    return _histograms(checked, features, image_size, bins, figure)


def loss_curves(history: Mapping[str, Sequence[float]], *, figure: Figure | None = None) -> Figure:
    """Losses against epochs: total and reconstruction on the left, KL on the right.

    Args:
        history: Column to values, one an epoch: ``epoch`` (None = counted from 1), and any of
            ``train_loss``, ``train_rec``, ``train_kl``, ``valid_loss``, ``valid_rec``,
            ``valid_kl``. Other columns are ignored.
        figure: Figure to draw into; None = a new one.
    Returns:
        A panel or two; a vertical line marks the epoch with the lowest ``valid_loss``.
    Raises:
        ValueError: If none of the columns is there, they are empty, or their lengths differ.
    Example:
        >>> history = {"epoch": [1, 2, 3], "train_loss": [9, 5, 4], "valid_loss": [9, 6, 7]}
        >>> loss_curves(history).axes[0].get_xlabel()
        'epoch'
    """
    curves = _as_curves(history)
    panels = [panel for panel in _PANELS if any(f"{s}_{t}" in curves for s, t in _lines(panel))]
    figure = _spread(figure, (4.5 * len(panels), 3.4))
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for split, term in _lines(panel):
            values = curves.get(f"{split}_{term}")
            if values is not None:
                axes.plot(
                    curves["epoch"],
                    values,
                    color=COLORS[_SPLITS.index(split)],
                    linestyle=DASHES[panel.terms.index(term)],
                    marker="o" if len(values) == 1 else None,  # one point makes no line
                    label=f"{split}, {_TERMS[term]}",
                )
        _finish_curves(axes, curves)
        axes.set(title=panel.title, ylabel=panel.label)
    return figure


def report(report: metrics.Report, *, figure: Figure | None = None) -> Figure:
    """Each figure of a comparison beside what two real samples differ by.

    The axis counts from the floor in units of the distance from there to the 95th percentile of
    real against real: what lies in the grey band could be a real sample's. It is logarithmic
    beyond the band. Rows whose floor has no width are left out.

    Args:
        report: What :func:`gconvae.metrics.compare` found.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If no row has a floor with a width.
    Example:
        >>> import torch
        >>> real, generated = torch.rand(2, 50, 25, 3)
        >>> figure = report(metrics.compare(real, generated, metrics="features"))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['x W1', 'y W1', 'intensity W1']
    """
    rows = [row for row in report.rows if row.badness(row.floor_95) > row.badness(row.floor)]
    if not rows:
        raise ValueError("report must have a row whose floor has a width, got none")
    floor = np.array([row.badness(row.floor) for row in rows])
    width = np.array([row.badness(row.floor_95) for row in rows]) - floor
    value = (np.array([row.badness(row.value) for row in rows]) - floor) / width
    error = np.array([row.error for row in rows]) / width
    places = np.arange(len(rows))
    figure = _spread(figure, (7.6, 1.3 + 0.32 * len(rows)))
    axes = figure.subplots()
    axes.axvspan(-1.0, 1.0, color="0.88", label="real against real")
    axes.axvline(0.0, color="0.45", linestyle="dashed", linewidth=1, label="floor (mean)")
    axes.errorbar(value, places, xerr=error, fmt="o", color=COLORS[1], capsize=3, label="value")
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    for place, row in zip(places, rows, strict=True):
        text = " ".join(f"{row.value:.3g} ± {row.error:.2g} {row.unit}".split())
        axes.annotate(
            text,
            (1.0, place),
            xytext=(6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.set_yticks(places, [f"{row.name} {row.metric}" for row in rows])
    axes.set(
        xlim=(
            1.3 * min(-2.0, float((value - error).min())),
            1.3 * max(2.0, float((value + error).max())),
        ),
        ylim=(len(rows) - 0.4, -0.6),
        xlabel="worse than the floor, in widths of the floor (mean to 95 %)",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    return figure


def settings(found: Mapping[str, Any], option: str, *, figure: Figure | None = None) -> Figure:
    """The metric of a sweep against one option, with errors over seeds; a line for the others.

    Args:
        found: What :meth:`gconvae.studies.Sweep.to_dict` gives, or a saved ``sweep.json`` holds.
        option: The option to draw against; numbers over a factor of 10 or more are drawn on a
            logarithmic axis, words in their order.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If there is no such option, or no setting has a value.
    Example:
        >>> tried = [{"options": {"beta": beta}, "mean": 0.02 * beta, "error": 0.01, "floors": []}
        ...          for beta in (0.1, 1.0)]
        >>> figure = settings({"metric": "intensity W1", "settings": tried}, "beta")
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_xscale()
        ('beta', 'log')
    """
    tried = [setting for setting in found["settings"] if setting["mean"] is not None]
    if not tried or any(option not in setting["options"] for setting in tried):
        raise ValueError(f"option must be one of a sweep with values, got {option!r}")
    figure = _spread(figure, (6.4, 4.0))
    axes = figure.subplots()
    values = [setting["options"][option] for setting in tried]
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    lines = _by_other_options(tried, option)
    for number, (label, line) in enumerate(lines.items()):
        if is_number:
            line = sorted(line, key=lambda setting: setting["options"][option])
        places = [setting["options"][option] for setting in line]
        axes.errorbar(
            places if is_number else [str(place) for place in places],
            [setting["mean"] for setting in line],
            yerr=[setting["error"] or 0.0 for setting in line],
            marker="o",
            linestyle=DASHES[number // len(COLORS) % len(DASHES)] if label else "none",
            color=COLORS[number % len(COLORS)],
            capsize=3,
            label=label or None,
        )
    floors = [floor for setting in tried for floor in setting["floors"]]
    if floors:
        axes.axhline(
            float(np.mean(floors)), color="0.45", linestyle="dashed", linewidth=1, label="floor"
        )
    if is_number and min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
    if is_number and len(set(values)) <= _MOST_LINES:
        axes.set_xticks(sorted(set(values)), [f"{value:g}" for value in sorted(set(values))])
        axes.minorticks_off()
    axes.set(xlabel=option, ylabel=found["metric"])
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    return figure


def variants(
    found: Mapping[str, Any],
    metrics: Sequence[str] | None = None,
    *,
    figure: Figure | None = None,
) -> Figure:
    """Every variant of a comparison, a panel a metric: mean and standard error over seeds.

    A grey band reaches from the floor, what two real samples differ by, to what 95 % of these are
    no worse than. The best variant and those within one combined error of it are filled.

    Args:
        found: What :meth:`gconvae.studies.Comparison.to_dict` gives, or a ``comparison.json``
            holds.
        metrics: Panels; None = those of a table.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If a metric is not in the comparison, or no variant has a value.
    Example:
        >>> rows = {"x W1": {"unit": "px", "better": "lower", "floor": 0.05, "floor_95": 0.08,
        ...                  "best": ["b"]}}
        >>> tried = [{"name": name, "metrics": {"x W1": {"mean": mean, "error": 0.02}}}
        ...          for name, mean in (("a", 0.4), ("b", 0.2))]
        >>> figure = variants({"metrics": rows, "variants": tried})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['a', 'b']
    """
    known = found["metrics"]
    names = [name for name in _TABLE if name in known] if metrics is None else list(metrics)
    tried = [variant for variant in found["variants"] if variant["metrics"]]
    if not names or not tried or any(name not in known for name in names):
        raise ValueError(
            f"metrics must be out of {', '.join(known) or 'none'}, with values, got {metrics}"
        )
    columns = min(len(names), _MOST_PANELS)
    rows = math.ceil(len(names) / columns)
    longest = max(len(variant["name"]) for variant in tried)
    size = (0.4 + 0.08 * longest + 2.3 * columns, 0.7 + rows * (0.75 + 0.2 * len(tried)))
    figure = _spread(figure, size)
    panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.remove()
    labelled: dict[str, Any] = {}
    for name, axes in zip(names, panels, strict=False):
        if any(name in variant["metrics"] for variant in tried):
            _draw_variants(axes, name, known[name], tried)
        handles, labels = axes.get_legend_handles_labels()
        labelled |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(labelled.values()),
        list(labelled),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize="small",
    )
    return figure


def check_path(path: Path) -> str:
    """The format that the suffix of a figure's path names: png, pdf or svg.

    Raises:
        ValueError: If the suffix is another.
    Example:
        >>> check_path(Path("clouds.png"))
        'png'
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in _UNDATED:
        raise ValueError(f"path must end in {', '.join(_UNDATED)}, got {path}")
    return suffix


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 120) -> None:
    """Writes a figure, whole or not at all, without the date: same figure, same file.

    Args:
        figure: The figure.
        path: File to write; its suffix (png, pdf, svg) names the format.
        dpi: Pixels an inch.
    Raises:
        FileNotFoundError: If the folder of ``path`` does not exist.
        ValueError: If the suffix is another.
    """
    path = Path(path)
    suffix = check_path(path)
    # else the ids of an svg are random
    with files.whole(path) as temporary, rc_context({"svg.hashsalt": "gconvae"}):
        figure.savefig(temporary, format=suffix, dpi=dpi, metadata=_UNDATED[suffix])


_SPLITS = ("train", "valid")
_TERMS = {"loss": "total", "rec": "reconstruction", "kl": "KL"}


class _Panel(NamedTuple):
    """A panel of the loss curves."""

    title: str
    label: str
    terms: tuple[str, ...]


_PANELS = (
    _Panel("Loss", "mean over clouds", ("loss", "rec")),
    _Panel("KL divergence", "mean over clouds (nats)", ("kl",)),
)


_TABLE = (
    *("x W1", "y W1", "intensity W1", "matching coverage", "matching 1-NNA"),
    *("embedding Frechet", "embedding AUC", "points AUC"),
)
"""Metrics of a comparison that are drawn where none are named."""

_MOST_PANELS = 4
"""Side by side."""


def _draw_variants(
    axes: Axes, name: str, metric: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]
) -> None:
    floor, worst, better = (metric[key] for key in ("floor", "floor_95", "better"))
    # 0.5 can be missed on either side
    first = 1 - worst if better == "0.5" else floor
    axes.axvspan(first, worst, color="0.88", label="real against real")
    axes.axvline(floor, color="0.45", linestyle="dashed", linewidth=1, label="floor (mean)")
    drawn = [
        (place, variant["metrics"][name], variant["name"] in metric["best"])
        for place, variant in enumerate(tried)
        if name in variant["metrics"]
    ]
    for place, value, is_best in drawn:
        color = COLORS[1] if is_best else COLORS[0]
        axes.errorbar(
            value["mean"],
            place,
            xerr=value["error"] or 0.0,
            fmt="o",
            color=color,
            markerfacecolor=color if is_best else "white",
            markersize=5,
            capsize=2,
            label="best, or within an error of it" if is_best else None,
        )
    axes.xaxis.set_major_locator(MaxNLocator(4))
    means = np.array([value["mean"] for _, value, _ in drawn])
    if better == "lower" and min(floor, means.min()) > 0 and means.max() > 4 * np.median(means):
        axes.set_xscale("log")  # one bad variant would hide what the others differ by
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    arrow = {"lower": "↓", "higher": "↑", "0": "→ 0", "0.5": "→ 0.5"}[better]
    axes.set_title(f"{name}{unit} {arrow}", fontsize="small")
    axes.set_yticks(range(len(tried)), [variant["name"] for variant in tried], fontsize="small")
    axes.set_ylim(len(tried) - 0.4, -0.6)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _by_other_options(
    tried: Sequence[Mapping[str, Any]], option: str
) -> dict[str, list[Mapping[str, Any]]]:
    """A line for each setting of the other options; no lines where these were drawn at random."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for setting in tried:
        others = [f"{name} {v}" for name, v in setting["options"].items() if name != option]
        lines.setdefault(", ".join(others) or option, []).append(setting)
    return lines if len(lines) <= _MOST_LINES else {"": list(tried)}


def _lines(panel: _Panel) -> list[tuple[str, str]]:
    return [(split, term) for split in _SPLITS for term in panel.terms]


def _spread(figure: Figure | None, size: tuple[float, float]) -> Figure:
    """A figure whose labels do not overlap: a new one of this size, or the one given."""
    if figure is None:
        return Figure(figsize=size, layout="constrained")
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    return figure


def _as_clouds(sample: Any, name: str, mask: Any = None) -> clouds.Clouds:
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


def _as_samples(samples: Mapping[str, Any]) -> dict[str, clouds.Clouds]:
    if not isinstance(samples, Mapping) or not samples:
        raise ValueError(
            f"samples must map at least one name to clouds, got {type(samples).__name__}"
        )
    return {name: _as_clouds(sample, name or "points") for name, sample in samples.items()}


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


def _as_curves(history: Mapping[str, Sequence[float]]) -> dict[str, Floats]:
    names = [f"{split}_{term}" for split in _SPLITS for term in _TERMS]
    curves = {name: np.array(history[name], dtype=float) for name in names if name in history}
    if not curves or not all(len(values) for values in curves.values()):
        raise ValueError(
            f"history must have an epoch and one of {', '.join(names)}, "
            f"got {', '.join(history) or 'no column'}"
        )
    length = len(next(iter(curves.values())))
    epochs = history.get("epoch")
    curves["epoch"] = np.arange(1.0, length + 1) if epochs is None else np.array(epochs, float)
    lengths = {name: len(values) for name, values in curves.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"history must have columns of one length, got {lengths}")
    return curves


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def _nodes(sample: clouds.Clouds) -> Floats:
    nodes: Floats = sample.points[sample.mask].detach().cpu().double().numpy()
    return nodes  # (P, F)


def _each(sample: clouds.Clouds) -> Iterator[Floats]:
    """The real nodes (N, F) of each cloud."""
    points, mask = (part.detach().cpu().numpy() for part in (sample.points, sample.mask))
    return (cloud[real].astype(np.float64) for cloud, real in zip(points, mask, strict=True))


def _image_limits(width: int, height: int) -> Limits:
    # pixel i reaches from i - 0.5 to i + 0.5
    return (-0.5, width - 0.5), (-0.5, height - 0.5)


def _in_image(positions: Floats, image_size: int | None) -> bool:
    if image_size is None:
        return False
    inside = ((positions >= -0.5) & (positions <= image_size - 0.5)).all(1).mean()
    # positions in [0, 1] would lie in the image too, all in its corner
    return bool(inside >= _INSIDE and np.percentile(positions, 99) >= image_size / 4)


def _robust_range(values: Floats) -> tuple[float, float]:
    """Where all but the outermost 1 % of the values lie, never empty."""
    low = float(np.percentile(values, 0.5, method="lower"))
    high = float(np.percentile(values, 99.5, method="higher"))
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _frame(nodes: Floats, image_size: int | None, limits: Limits | None) -> _Frame:
    positions, intensity = nodes[:, :2], nodes[:, INTENSITY]
    in_image = _in_image(positions, image_size)
    unit = ((intensity >= 0) & (intensity <= 1)).mean() >= _INSIDE
    norm = Normalize(0.0, 1.0) if in_image and unit else Normalize(*_robust_range(intensity))
    if limits is not None:
        return _Frame(_checked_limits(limits), norm)
    if in_image and image_size is not None:
        return _Frame(_image_limits(image_size, image_size), norm)
    ranges = [_robust_range(values) for values in positions.T]
    half = 0.58 * max(high - low for low, high in ranges)
    (x, y) = ((low + high) / 2 for low, high in ranges)
    return _Frame(((x - half, x + half), (y - half, y + half)), norm)


def _checked_limits(limits: Limits) -> Limits:
    array = np.asarray(limits, dtype=float)
    if array.shape != (2, 2) or not np.isfinite(array).all() or (array[:, 0] >= array[:, 1]).any():
        raise ValueError(
            f"limits must be ((lowest x, highest x), (lowest y, highest y)), got {limits}"
        )
    (left, right), (top, bottom) = array.tolist()
    return (left, right), (top, bottom)


def _heading(name: str, drawn: Sequence[Floats], frame: _Frame) -> str:
    """Name of a grid, and how many of its nodes its panels do not show."""
    outside = sum(_count_outside(nodes, frame) for nodes in drawn)
    return "\n".join(part for part in (name, f"nodes outside: {outside}" * (outside > 0)) if part)


def _blocks(
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


def _panels(
    figure: Figure, block: SubplotSpec, rows: int, columns: int, frame: _Frame
) -> Iterator[Axes]:
    """Empty panels without ticks, row after row; those that are never asked for do not exist."""
    grid = GridSpecFromSubplotSpec(rows, columns, block, wspace=0.05, hspace=0.05)
    for i in range(rows * columns):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        axes.set(xlim=frame.limits[0], ylim=frame.limits[1][::-1], xticks=[], yticks=[])
        axes.set(aspect="equal", facecolor=BACKGROUND)
        axes.spines[:].set_visible(False)
        yield axes


def _draw_nodes(axes: Axes, nodes: Floats, frame: _Frame, num_nodes: int) -> None:
    extent = axes.get_window_extent()
    panel = 72 * min(extent.width, extent.height) / axes.figure.dpi  # points
    # more nodes are smaller, so that the area that they cover stays about the same
    diameter = panel * _MARKER * min(1.0, math.sqrt(25 / num_nodes))
    x, y, intensity = nodes[:, : INTENSITY + 1].T
    axes.scatter(x, y, c=intensity, s=diameter**2, cmap=COLORMAP, norm=frame.norm, linewidths=0)


def _rasterize(nodes: Floats, image_size: int) -> Floats:
    """Image (image_size, image_size): each node's pixel, the brightest where several share one."""
    column, row = np.rint(nodes[:, :2]).astype(int).T
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < image_size)
    image = np.zeros((image_size, image_size))
    np.maximum.at(image, (row[inside], column[inside]), nodes[inside, INTENSITY])
    return image


def _draw_image(axes: Axes, image: Floats, frame: _Frame) -> None:
    # 0 is background, as where a cloud has no node
    visible = np.ma.masked_equal(image, 0.0)
    axes.imshow(visible, cmap=COLORMAP, norm=frame.norm, interpolation="nearest")
    axes.set(xlim=frame.limits[0], ylim=frame.limits[1][::-1])


def _count_outside(nodes: Floats, frame: _Frame) -> int:
    (left, right), (top, bottom) = frame.limits
    low, high = np.array([left, top]), np.array([right, bottom])
    return int((~((nodes[:, :2] >= low) & (nodes[:, :2] <= high)).all(1)).sum())


def _color_bar(figure: Figure, place: SubplotSpec, frame: _Frame) -> None:
    axes = figure.add_subplot(place)
    bar = figure.colorbar(ScalarMappable(frame.norm, COLORMAP), cax=axes, label="intensity")
    bar.outline.set_visible(False)


def _histograms(
    samples: dict[str, clouds.Clouds],
    features: Sequence[int],
    image_size: int | None,
    bins: int,
    figure: Figure | None,
) -> Figure:
    _check_positive(bins=bins)
    reference, *others = samples
    distances = {name: metrics.feature_w1(samples[reference], samples[name]) for name in others}
    nodes = {name: _nodes(sample) for name, sample in samples.items()}
    in_image = _in_image(nodes[reference][:, :2], image_size)
    height = 3.5 + 0.2 * max(0, len(others) - 2)  # a line of the title each
    figure = _spread(figure, (0.6 + 3.5 * len(features), height))
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
    low, high = _robust_range(values)
    return np.linspace(low, high, bins + 1)


def _label(feature: int, in_image: bool) -> str:
    if feature > INTENSITY:
        return f"feature {feature}"
    unit = " (px)" if in_image and feature < INTENSITY else ""
    return SUPERPIXELS.names[feature] + unit


def _finish_curves(axes: Axes, curves: Mapping[str, Floats]) -> None:
    """Scale, best epoch and legend of a panel of loss curves."""
    drawn = np.concatenate([line.get_ydata() for line in axes.lines] or [np.array([np.nan])])
    finite = drawn[np.isfinite(drawn)]
    if len(finite) and finite.min() > 0 and finite.max() > 5 * np.median(finite):
        axes.set_yscale("log")  # the first epochs would hide all others
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    valid = curves.get("valid_loss")
    if valid is not None and np.isfinite(valid).any():
        best = curves["epoch"][np.nanargmin(valid)]
        axes.axvline(
            best, color="0.5", linewidth=1, linestyle="dotted", label=f"best epoch ({best:.0f})"
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
