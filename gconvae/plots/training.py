"""Curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
    _Panel("Loss", "mean over clouds", ("loss", "rec")),
    _Panel("KL divergence", "mean over clouds (nats)", ("kl",)),
)


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
    figure = spread(figure, (4.5 * len(panels), 3.4))
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


def _lines(panel: _Panel) -> list[tuple[str, str]]:
    return [(split, term) for split in _SPLITS for term in panel.terms]


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
