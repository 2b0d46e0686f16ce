"""Numbers and texts of other packages as Python's own, and the nearest of known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["closest", "did_you_mean", "plain"]

CLOSENESS = 0.6
"""Least share of letters that a wrong name has in common with the one that is proposed."""


def plain(value: Any) -> Any:
    """Numbers and texts of numpy, pandas or torch as Python's, in lists too; all else as it is.

    Example:
        >>> import numpy
        >>> plain(numpy.float64(0.5)), plain((numpy.int64(3), 4)), plain(numpy.array([2, 3]))
        (0.5, (3, 4), [2, 3])
    """
    if hasattr(value, "tolist") and getattr(value, "ndim", None) in (0, 1):
        return value.tolist()
    if type(value) in (list, tuple):
        return type(value)(plain(entry) for entry in value)
    return value


def closest(name: Any, known: Iterable[str]) -> str | None:
    """The known name that a wrong one was probably meant to be; upper and lower case are the same.

    Args:
        name: As it was written.
        known: All names that there are.
    Returns:
        None if none is close.
    Example:
        >>> closest("Gausian", ["mean", "gaussian"]), closest("x", ["mean", "gaussian"])
        ('gaussian', None)
    """
    names = {each.lower(): each for each in reversed([*known])}  # of two, the first one counts
    matches = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=CLOSENESS)
    return names[matches[0]] if matches else None


def did_you_mean(name: Any, known: Iterable[str], before: str = "") -> str:
    """The end of a message about a wrong name: which one was probably meant; empty if none.

    Args:
        name: As it was written.
        known: All names that there are.
        before: What stands before all of them, and says nothing about how close they are.
    Example:
        >>> f"got 'trian'{did_you_mean('trian', ['train', 'sample'])}"
        "got 'trian'; did you mean 'train'?"
    """
    match = closest(name, known)
    return "" if match is None else f"; did you mean {before + match!r}?"
