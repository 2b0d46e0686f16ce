"""Curves of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from gconvae.plots.style import COLORS, DASHES, Floats, spread

__all__ = ["loss_curves"]

_SPLITS = ("train", "valid")

_TERMS = {"loss": "total", "rec": "reconstruction", "kl": "KL"}


class _Panel(NamedTuple):
    """A panel of the loss curves."""

    title: str
    label: str
    terms: tuple[str, ...]


_PANELS = (
    _Panel("loss", "mean over clouds", ("loss", "rec")),
    _Panel("KL divergence", "mean over clouds (nats)", ("kl",)),
)


def loss_curves(history: Mapping[str, Sequence[Any]], *, figure: Figure | None = None) -> Figure:
    """Losses against epochs: total and reconstruction, then KL; for each stage by itself.

    Args:
        history: Column to values, one an epoch: ``stage`` (None = one stage), ``epoch`` (None =
            counted from 1), and any of ``train_loss``, ``train_rec``, ``train_kl``,
            ``valid_loss``, ``valid_rec``, ``valid_kl``, with None where a stage has no such
            number. Other columns are ignored.
        figure: Figure to draw into; None = a new one.
    Returns:
        A panel or two for each stage, two in a row; in each a vertical line marks the stage's
        epoch with the lowest ``valid_loss``.
    Raises:
        ValueError: If none of the columns is there, they are empty, or their lengths differ.
    Example:
        >>> history = {"epoch": [1, 2, 3], "train_loss": [9, 5, 4], "valid_loss": [9, 6, 7]}
        >>> loss_curves(history).axes[0].get_xlabel()
        'epoch'
    """
    drawn = [
        (stage, panel, curves)
        for stage, curves in _stages(history)
        for panel in _PANELS
        if any(f"{split}_{term}" in curves for split, term in _lines(panel))
    ]
    columns = min(2, max(1, len(drawn)))
    rows = max(1, math.ceil(len(drawn) / columns))
    figure = spread(figure, (4.5 * columns, 3.4 * rows))
    for number, (stage, panel, curves) in enumerate(drawn, start=1):
        axes = figure.add_subplot(rows, columns, number)
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
        title = panel.title if stage is None else f"{stage}: {panel.title}"
        axes.set(title=title[0].upper() + title[1:], ylabel=panel.label)
    return figure


def _lines(panel: _Panel) -> list[tuple[str, str]]:
    return [(split, term) for split in _SPLITS for term in panel.terms]


def _stages(history: Mapping[str, Sequence[Any]]) -> list[tuple[str | None, dict[str, Floats]]]:
    """Each stage's name, None where there is one alone, and its curves."""
    curves, stages = _as_curves(history), list(history.get("stage", []))
    names = list(dict.fromkeys(stages))
    if len(names) < 2:
        return [(None, curves)]
    rows = [np.array([stage == name for stage in stages]) for name in names]
    parts = [{key: values[own] for key, values in curves.items()} for own in rows]
    # what a stage does not have is no number in any of its epochs
    return [
        (name, {key: values for key, values in part.items() if np.isfinite(values).any()})
        for name, part in zip(names, parts, strict=True)
    ]


def _as_curves(history: Mapping[str, Sequence[Any]]) -> dict[str, Floats]:
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
    if "stage" in history:
        lengths["stage"] = len(history["stage"])
    if len(set(lengths.values())) > 1:
        raise ValueError(f"history must have columns of one length, got {lengths}")
    return curves


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
