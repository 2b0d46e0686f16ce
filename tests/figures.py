"""Clouds to draw, and what a figure shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from gconvae import metrics


def eights(num_clouds: int, seed: int = 0) -> Tensor:
    """Clouds (B, 25, 3) along a lying-8 curve set upright, in a 28 x 28 image."""
    rng, turn = np.random.default_rng(seed), np.linspace(0, 2 * np.pi, 25, endpoint=False)
    shift = rng.normal(size=(num_clouds, 1, 2))
    curve = np.stack([14 + 4 * np.sin(2 * turn), 14 + 8 * np.cos(turn)], axis=-1)
    intensity = rng.uniform(0.2, 1.0, size=(num_clouds, 25, 1))
    return torch.from_numpy(np.concatenate([curve + shift, intensity], axis=-1)).float()


def scatters(figure: Figure) -> list[PathCollection]:
    return [
        found for axes in figure.axes for found in axes.collections
        if isinstance(found, PathCollection)
    ]  # fmt: skip


def panels(figure: Figure) -> list[Axes]:
    return figure.axes[:-1]  # without the colour bar


def offsets(collection: PathCollection) -> NDArray[np.float64]:
    return np.asarray(collection.get_offsets())


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def make_report(*rows: metrics.Row) -> metrics.Report:
    return metrics.Report(rows, 10, 10, 10, 10, 2, 2, 0)


ROWS = (
    metrics.Row("x", "W1", "px", 0.4, 0.02, 0.04, 0.07),
    metrics.Row("intensity", "W1", "", 0.03, 0.001, 0.003, 0.005),
    metrics.Row("nodes", "W1", "nodes", 0.0, 0.0, 0.0, 0.0),
)


HISTORY = {
    "epoch": [1, 2, 3, 4],
    "train_loss": [90.0, 50.0, 40.0, 35.0],
    "train_rec": [85.0, 46.0, 36.0, 31.0],
    "train_kl": [5.0, 4.0, 4.0, 4.0],
    "valid_loss": [91.0, 60.0, 48.0, 55.0],
    "valid_rec": [86.0, 56.0, 43.0, 50.0],
    "valid_kl": [5.0, 4.0, 5.0, 5.0],
    "seconds": [1.0, 1.0, 1.0, 1.0],
}


def tried(*options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a sweep of these settings came to: 1, 2, 3, ... each with a tenth as error."""
    settings = [
        {"options": chosen, "mean": number, "error": number / 10, "floors": [0.25, 0.75]} | more
        for number, chosen in enumerate(options, start=1)
    ]
    return {"metric": "intensity W1", "settings": settings}


def compared(**means: float | None) -> dict[str, Any]:
    """A comparison by ``x W1`` and ``points AUC`` in which the first variant is the best."""
    rows = {
        "x W1": {"unit": "px", "better": "lower", "floor": 0.05, "floor_95": 0.08},
        "points AUC": {"unit": "", "better": "0.5", "floor": 0.49, "floor_95": 0.53},
    }
    tried = [
        {
            "name": name,
            "metrics": {}
            if mean is None
            else {row: {"mean": mean, "error": 0.02 if len(means) > 1 else None} for row in rows},
        }
        for name, mean in means.items()
    ]
    best = {"best": [next(iter(means))]}
    return {"metrics": {name: row | best for name, row in rows.items()}, "variants": tried}
