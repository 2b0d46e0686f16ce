"""Calls side by side, each on one thread and one core.

Torch shares every operation among all cores and lets each wait for the slowest, some hundred times
in a step of a small network. What waits spins, and where other programs use the cores too it takes
the time of those that it waits for. Whole calls side by side wait once, asleep.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

__all__ = ["parts", "side_by_side"]

T = TypeVar("T")

SMALLEST = 32
"""Rows of a part at least: with fewer, a call takes as long for what does not depend on them."""


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What calls return, in their order.

    Each call has one thread of torch's, however many there are and wherever it runs, so that its
    bits depend on nothing else. As many run at once as torch has threads
    (``torch.get_num_threads``); with one, one after another.

    Args:
        calls: Functions that change nothing which another one reads. Gradients are on in them as
            they are where this is called.
    Raises:
        BaseException: The first of theirs, after all have ended.
    Example:
        >>> side_by_side([lambda: torch.ones(2).sum(), lambda: torch.zeros(3).sum()])
        [tensor(2.), tensor(0.)]
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [call() for call in calls]
    with_gradients = torch.is_grad_enabled()

    def run(call: Callable[[], T]) -> T:
        with torch.set_grad_enabled(with_gradients):
            return call()

    pool = _POOLS.of(threads)
    running = [pool.submit(run, call) for call in calls]
    wait(running)
    return [each.result() for each in running]


def parts(count: int) -> list[slice]:
    """A number of rows in parts of equal size, 32 rows at least, whatever the number of threads.

    Args:
        count: Rows, at least 1.
    Returns:
        1, 2, 4, ... slices, so that as many cores have the same to do.
    Example:
        >>> parts(100)
        [slice(0, 50, None), slice(50, 100, None)]
    """
    number = 1
    while 2 * number * SMALLEST <= count:
        number *= 2
    ends = [count * part // number for part in range(number + 1)]
    return [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]


class _Pools:
    """The threads of this process; a forked one, which inherits none, makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._made_for = (0, 0)

    def of(self, threads: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._made_for != (os.getpid(), threads):
                if self._pool is not None and self._made_for[0] == os.getpid():
                    self._pool.shutdown()
                self._pool, self._made_for = _pool(threads), (os.getpid(), threads)
            return self._pool


def _pool(threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, "gconvae")
    together = threading.Barrier(threads)

    def alone() -> None:
        together.wait()  # else one thread might begin several times
        torch.set_num_threads(1)

    wait([pool.submit(alone) for _ in range(threads)])
    torch.set_num_threads(threads)  # of threads that somebody else begins later
    return pool


_POOLS = _Pools()
