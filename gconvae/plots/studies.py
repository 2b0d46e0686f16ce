"""Figures of many trainings: the settings of a sweep, a leaderboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from gconvae.plots.style import COLORS, DASHES, spread

__all__ = ["leaderboard", "settings"]

_MOST_LINES = 12
"""That a reader tells apart."""

_TABLE = (
    *("x W1", "y W1", "intensity W1", "matching coverage", "matching 1-NNA"),
    *("embedding Frechet", "embedding AUC", "points AUC"),
)
"""Metrics of a comparison that are drawn where none are named."""

_MOST_PANELS = 4
"""Side by side."""


def settings(results: Mapping[str, Any], option: str, *, figure: Figure | None = None) -> Figure:
    """The metric of a sweep against one option, with errors over seeds; a line for the others.

    Args:
        results: What :meth:`gconvae.studies.Sweep.to_dict` gives, or a saved ``sweep.json`` holds.
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
    tried = [setting for setting in results["settings"] if setting["mean"] is not None]
    if not tried or any(option not in setting["options"] for setting in tried):
        raise ValueError(f"option must be one of a sweep with values, got {option!r}")
    figure = spread(figure, (6.4, 4.0))
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
            float(np.mean(floors)),
            color="0.45",
            linestyle="dashed",
            linewidth=1,
            label="real against real",
        )
    if is_number and min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
    if is_number and len(set(values)) <= _MOST_LINES:
        axes.set_xticks(sorted(set(values)), [f"{value:g}" for value in sorted(set(values))])
        axes.minorticks_off()
    axes.set(xlabel=option, ylabel=results["metric"])
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize="small")
    return figure


def leaderboard(
    results: Mapping[str, Any],
    metrics: Sequence[str] | None = None,
    *,
    figure: Figure | None = None,
) -> Figure:
    """Every variant of a leaderboard, a panel a metric: mean and standard error over seeds.

    A grey band reaches from the floor, what two real samples differ by, to what 95 % of these are
    no worse than. The best variant and those within one combined error of it are filled.

    Args:
        results: What :meth:`gconvae.studies.Leaderboard.to_dict` gives, or a ``leaderboard.json``
            holds.
        metrics: Panels; None = those of a table.
        figure: Figure to draw into; None = a new one.
    Raises:
        ValueError: If a metric is not in the leaderboard, or no variant has a value.
    Example:
        >>> rows = {"x W1": {"unit": "mm", "better": "lower", "floor": 0.05, "floor_95": 0.08,
        ...                  "best": ["b"]}}
        >>> tried = [{"name": name, "metrics": {"x W1": {"mean": mean, "error": 0.02}}}
        ...          for name, mean in (("a", 0.4), ("b", 0.2))]
        >>> figure = leaderboard({"metrics": rows, "variants": tried})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['a', 'b']
    """
    known = results["metrics"]
    names = [name for name in _TABLE if name in known] if metrics is None else list(metrics)
    tried = [variant for variant in results["variants"] if variant["metrics"]]
    if not names or not tried or any(name not in known for name in names):
        raise ValueError(
            f"metrics must be out of {', '.join(known) or 'none'}, with values, got {metrics}"
        )
    columns = min(len(names), _MOST_PANELS)
    rows = math.ceil(len(names) / columns)
    longest = max(len(variant["name"]) for variant in tried)
    size = (0.4 + 0.08 * longest + 2.3 * columns, 0.7 + rows * (0.75 + 0.2 * len(tried)))
    figure = spread(figure, size)
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


def _draw_variants(
    axes: Axes, name: str, metric: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]
) -> None:
    floor, worst, better = (metric[key] for key in ("floor", "floor_95", "better"))
    # 0.5 can be missed on either side
    first = 1 - worst if better == "0.5" else floor
    axes.axvspan(first, worst, color="0.88", label="real against real, 95 %")
    axes.axvline(
        floor, color="0.45", linestyle="dashed", linewidth=1, label="real against real, mean"
    )
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
