"""Progress bars: how often they are drawn; that of a comparison, with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ["Progress", "drawing_interval"]

DELAY = 2.0
"""Seconds of work before there is a bar: what is done by then needs none."""

FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"

STEPS = 10_000
"""Of the bar: whole numbers, of which no rounding makes too many."""

T = TypeVar("T")


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


class Progress:
    """How much of a row of parts is done, as a bar on the error stream.

    A part counts by the seconds that it is expected to take, of which only the ratios matter, so
    that the time left is right within a part too. Parts report shares of their own work.

    Args:
        shown: Whether there is a bar, from 2 s on.
    Example:
        >>> progress = Progress(shown=False)
        >>> with progress.over({"features": 1.0, "sets": 20.0}):
        ...     progress.begin("sets")
        ...     sum(progress.followed([1, 2, 3], share=0.1))  # 30 % of the part
        6
    """

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown
        self._expected: Mapping[str, float] = {}
        self._total = self._part = self._left = self._done = 0.0
        self._bar: tqdm[Any] | None = None

    @contextmanager
    def over(self, expected: Mapping[str, float]) -> Iterator[None]:
        """While there is a bar.

        Args:
            expected: Seconds of each part, by its name.
        """
        bar = tqdm(
            total=STEPS,
            disable=not self.shown,
            delay=DELAY,
            mininterval=drawing_interval(),
            miniters=0,
            smoothing=0.0,  # parts are weighed already, so the mean speed says what is left
            bar_format=FORMAT,
            dynamic_ncols=True,
        )
        with bar:
            self._bar, self._expected = bar, expected
            self._total = sum(expected.values()) or 1.0
            self._part = self._left = self._done = 0.0
            yield
            bar.update(STEPS - bar.n)

    def begin(self, part: str) -> None:
        """The part before is done, or given up; this one begins."""
        assert self._bar is not None
        self._count(self._left)
        self._bar.set_description_str(part, refresh=False)
        self._part = self._left = self._expected[part]

    def advance(self, share: float) -> None:
        """A share of the present part is done, 1 being all of it."""
        self._count(min(share * self._part, self._left))

    def followed(self, items: Iterable[T], share: float) -> Iterator[T]:
        """Items one after another, each a share of the present part."""
        for item in items:
            yield item
            self.advance(share)

    def _count(self, seconds: float) -> None:
        """Work of the present part that is done."""
        assert self._bar is not None
        self._left -= seconds
        self._done += seconds
        steps = min(STEPS, int(STEPS * self._done / self._total))
        self._bar.update(steps - self._bar.n)
