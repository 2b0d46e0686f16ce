"""How often a progress bar is drawn: it moves where somebody looks, and spares a log file."""

from __future__ import annotations

import sys

__all__ = ["drawing_interval"]


def drawing_interval() -> float:
    """Seconds between two drawings of a bar on the error stream.

    A terminal and a notebook show a moving bar; a log file gets a line every 10 s. Bars are text,
    so a notebook needs no ipywidgets.

    Example:
        >>> drawing_interval() in (0.1, 10.0)
        True
    """
    # a notebook's stream is no terminal, but draws over a line as one
    is_notebook = type(sys.stderr).__module__.startswith("ipykernel.")
    return 0.1 if is_notebook or sys.stderr.isatty() else 10.0
