"""What all figures share: colours, their size, and how they are written."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gconvae import files

__all__ = [
    "COLORS",
    "DASHES",
    "Floats",
    "NotebookFigure",
    "check_path",
    "check_positive",
    "robust_range",
    "save",
    "spread",
]

Floats = NDArray[np.float64]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours, which colour-blind readers tell apart."""

DASHES = ("solid", (0, (4, 1.5)), (0, (1, 1)))
"""Line styles, so that a figure can be read without colours too."""

_UNDATED: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""Formats, and the metadata that would make two files of one figure differ."""


class NotebookFigure(Figure):
    """A figure that shows itself as the last value of a notebook's cell.

    Notebooks show a plain one only after pyplot was imported, and ours are made without it: they
    are nobody's current figure, and are not shown twice.
    """

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=self.dpi)
        return picture.getvalue()


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
        path: File to write, ``~`` the home; its suffix (png, pdf, svg) names the format.
        dpi: Dots an inch.
    Raises:
        FileNotFoundError: If the folder of ``path`` does not exist.
        ValueError: If the suffix is another.
    """
    path = Path(path).expanduser()
    suffix = check_path(path)
    # else the ids of an svg are random
    with files.whole(path) as temporary, rc_context({"svg.hashsalt": "gconvae"}):
        figure.savefig(temporary, format=suffix, dpi=dpi, metadata=_UNDATED[suffix])


def spread(figure: Figure | None, size: tuple[float, float]) -> Figure:
    """A figure whose labels do not overlap: a new one of this size, or the one given."""
    if figure is None:
        return NotebookFigure(figsize=size, layout="constrained")
    if figure.get_layout_engine() is None:
        figure.set_layout_engine("constrained")
    return figure


def check_positive(**numbers: int) -> None:
    """Refuses numbers below 1.

    Raises:
        ValueError: If one is.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")


def robust_range(values: Floats) -> tuple[float, float]:
    """Where all but the outermost 1 % of the values lie, never empty."""
    low = float(np.percentile(values, 0.5, method="lower"))
    high = float(np.percentile(values, 99.5, method="higher"))
    return (low, high) if low < high else (low - 0.5, high + 0.5)
