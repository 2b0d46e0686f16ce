"""Warnings of other packages that only their makers can act on, ignored while a block runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ignoring"]


@contextmanager
def ignoring(*messages: str) -> Iterator[None]:
    """Ignores these warnings inside the block; no other filter is changed.

    ``warnings.catch_warnings`` would also take back the filters that a package sets for itself
    while it is imported in the block.

    Args:
        messages: Regular expressions that the message begins with.
    Example:
        >>> with ignoring("old"):
        ...     warnings.warn("old things")
        ...     warnings.simplefilter("ignore", ResourceWarning)
        >>> warnings.filters[0][:3]
        ('ignore', None, <class 'ResourceWarning'>)
    """
    before = list(warnings.filters)
    for message in messages:
        warnings.filterwarnings("ignore", message)
    ours = [entry for entry in warnings.filters if entry not in before]
    try:
        yield
    finally:
        for entry in ours:
            if entry in warnings.filters:
                warnings.filters.remove(entry)  # type: ignore[attr-defined]  # it is a list
