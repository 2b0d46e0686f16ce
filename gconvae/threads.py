"""Calls side by side, each on one thread and one core.

Torch shares every operation among all cores and lets each wait for the slowest, some hundred times
in a step of a small network. What waits spins, and where other programs use the cores too it takes
the time of those that it waits for. Whole calls side by side wait once, asleep.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

__all__ = ["alone", "parts", "separable", "side_by_side"]

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
        BaseException: The first of theirs, after those that had begun have ended.
    Example:
        >>> side_by_side([lambda: torch.ones(2).sum(), lambda: torch.zeros(3).sum()])
        [tensor(2.), tensor(0.)]
    """
    threads = _OWN.threads or torch.get_num_threads()
    if threads == 1:
        return [call() for call in calls]
    with_gradients = torch.is_grad_enabled()

    def run(call: Callable[[], T]) -> T:
        with torch.set_grad_enabled(with_gradients):
            return call()

    with _POOLS.lock:
        pool = _POOLS.of(threads)
        running = [pool.submit(run, call) for call in calls]
        wait(running)
    return [each.result() for each in running]


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block torch has one thread, and calls side by side have those that it had.

    For work that is mostly calls side by side: what is between them is too small to be shared.

    Example:
        >>> with alone():
        ...     torch.get_num_threads()
        1
    """
    before, threads = _OWN.threads, torch.get_num_threads()
    _OWN.threads = before or threads
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _OWN.threads = before


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


def separable(*parts: nn.Module) -> bool:
    """Whether clouds may go through parts of a model in several calls side by side.

    Each class says so itself, not one it stems from. One that says ``separable = True`` makes of
    each cloud what depends on that cloud alone, draws no random numbers, and changes nothing of
    itself; dropout and norms over a batch do not.

    Args:
        parts: Encoder, decoder and loss.
    Example:
        >>> class Own(nn.Module):
        ...     separable = True
        >>> separable(Own()), separable(Own(), nn.Linear(2, 2))
        (True, False)
    """
    return all("separable" in vars(type(part)) and part.separable for part in parts)


class _Pools:
    """The threads of this process; a forked one, which inherits none, makes its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._threads = 0
        os.register_at_fork(after_in_child=self._forget)

    def of(self, threads: int) -> ThreadPoolExecutor:
        if self._pool is None or self._threads != threads:
            if self._pool is not None:
                self._pool.shutdown()
            self._pool, self._threads = _pool(threads), threads
        return self._pool

    def _forget(self) -> None:
        self.lock, self._pool = threading.Lock(), None


def _pool(threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, "gconvae")
    together = threading.Barrier(threads)

    def alone() -> None:
        together.wait()  # else one thread might begin several times
        torch.get_num_threads()  # takes the number of the process, once, which would come later
        torch.set_num_threads(1)

    wait([pool.submit(alone) for _ in range(threads)])
    torch.set_num_threads(torch.get_num_threads())  # the number of the process again
    return pool


class _Own(threading.local):
    """What each thread of the caller has set; None = as torch says."""

    threads: int | None = None


_POOLS, _OWN = _Pools(), _Own()
