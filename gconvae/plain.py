"""Numbers and texts of other packages as Python's own; standard library only."""

from __future__ import annotations

from typing import Any

__all__ = ["plain"]


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
