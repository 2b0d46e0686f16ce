"""The figure of a comparison: every metric beside what two real samples differ by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gconvae import metrics
from gconvae.plots.style import COLORS, spread

__all__ = ["report"]

_BAND, _MEAN, _VALUE = "real against real, 95 %", "real against real, mean", "generated"
"""Entries of the legend."""

_GREY = "0.85"


def report(report: metrics.Report, *, figure: Figure | None = None) -> Figure:
    """Each metric of a comparison, beside what two real samples of the same size differ by.

    Above are distances, in units of what 95 % of pairs of real samples stay below: from 1 on they
    are larger than chance explains. The axis is linear to 1 and logarithmic beyond. Below are
    shares, as they are: coverage, accuracies and AUC. What lies in the grey bands could be a real
    sample's.

    Args:
        report: What :func:`gconvae.metrics.compare` found. Rows whose baseline has no width, such
            as that of a number of nodes that never changes, are left out.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If no row has a baseline with a width.
    Example:
        >>> import torch
        >>> real, generated = torch.rand(2, 50, 25, 3)
        >>> figure = report(metrics.compare(real, generated, metrics="features"))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['x W1', 'y W1', 'feature 3 W1']
    """
    rows = [row for row in report.rows if row.badness(row.floor_95) > row.badness(row.floor)]
    if not rows:
        raise ValueError("report must have a row whose floor has a width, got none")
    distances = [row for row in rows if row.better in ("lower", "0")]
    shares = [row for row in rows if row.better in ("higher", "0.5")]
    groups = [group for group in (distances, shares) if group]
    heights = [len(group) + 1.6 for group in groups]
    figure = spread(figure, (7.4, 0.5 + 0.3 * sum(heights)))
    panels = figure.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        if group is distances:
            _draw_distances(axes, group)
        else:
            _draw_shares(axes, group)
        _finish(axes, group)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize="small"
    )
    return figure


def _draw_distances(axes: Axes, rows: Sequence[metrics.Row]) -> None:
    unit = np.array([row.floor_95 for row in rows])
    mean, value, error = (
        np.array([getattr(row, name) for row in rows]) / unit
        for name in ("floor", "value", "error")
    )
    places = np.arange(len(rows))
    lowest = min(0.0, float((value - error).min()), float(mean.min()))
    axes.axvspan(-1.0 if lowest < 0 else 0.0, 1.0, color=_GREY, label=_BAND)
    axes.plot(mean, places, "|", color="0.4", markersize=11, label=_MEAN)
    axes.errorbar(value, places, xerr=error, fmt="o", color=COLORS[1], capsize=3, label=_VALUE)
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.7)
    axes.xaxis.set_minor_locator(NullLocator())
    most = max(2.0, float((value + error).max()))
    ticks = [-10.0, -1.0, 0.0, 1.0, *10.0 ** np.arange(1, 9)]
    shown = [tick for tick in ticks if 1.1 * lowest <= tick <= 1.3 * most]
    axes.set_xticks(shown, [f"{tick:,g}" for tick in shown])
    axes.set(
        xlim=(1.3 * lowest, 1.3 * most),
        xlabel="distance / what 95 % of pairs of real samples stay below",
    )


def _draw_shares(axes: Axes, rows: Sequence[metrics.Row]) -> None:
    places = np.arange(len(rows))
    # 0.5 can be missed on either side; of what is better the higher it is, one end says nothing
    ends = [
        sorted((row.floor_95, 1 - row.floor_95 if row.better == "0.5" else 1.0)) for row in rows
    ]
    low, high = np.array(ends).T
    axes.barh(places, high - low, left=low, height=0.8, color=_GREY, label=_BAND)
    axes.plot([row.floor for row in rows], places, "|", color="0.4", markersize=11, label=_MEAN)
    values, errors = [row.value for row in rows], [row.error for row in rows]
    axes.errorbar(values, places, xerr=errors, fmt="o", color=COLORS[1], capsize=3, label=_VALUE)
    axes.set(xlim=(-0.02, 1.02), xlabel="share")


def _finish(axes: Axes, rows: Sequence[metrics.Row]) -> None:
    """Names of the rows at the left, their values and units at the right."""
    arrows = {"lower": "", "0": "", "higher": " ↑", "0.5": " → 0.5"}
    for place, row in enumerate(rows):
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
    names = [f"{row.name} {row.metric}{arrows[row.better]}" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
