"""Warnings of other packages that only their makers can act on, ignored while a block runs."""

from __future__ import annotations

import re
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
    entries = [("ignore", re.compile(text, re.I), Warning, None, 0) for text in messages]
    # filterwarnings would move an entry that the user has too to the front
    ours = [entry for entry in entries if entry not in warnings.filters]
    for entry in ours:
        warnings.filterwarnings("ignore", entry[1].pattern)
    try:
        yield
    finally:
        for entry in ours:
            if entry in warnings.filters:
                warnings.filters.remove(entry)  # type: ignore[attr-defined]  # it is a list
