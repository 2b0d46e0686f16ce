"""What a caller has set for torch (gradients, autocast, dtype), kept out of our results."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = ["Shared", "full_precision", "neutral"]

P = ParamSpec("P")
R = TypeVar("R")


class Shared:
    """A setting of the whole process, changed while at least one of our calls needs it.

    Several threads may need it at once. The first one notes what was set and the last one sets it
    again, in whatever order they end.

    Args:
        change: Sets what we need, and returns what sets the old value again.
    Example:
        >>> values = ["theirs"]
        >>> def ours():
        ...     values.append("ours")
        ...     return values.pop
        >>> setting = Shared(ours)
        >>> with setting.held(), setting.held():
        ...     values
        ['theirs', 'ours']
        >>> values
        ['theirs']
    """

    def __init__(self, change: Callable[[], Callable[[], Any]]) -> None:
        self._change, self._lock, self._users = change, threading.Lock(), 0
        self._restore: Callable[[], Any] = lambda: None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Ours inside the block; theirs after the last block of all threads."""
        with self._lock:
            if self._users == 0:
                self._restore = self._change()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._restore()


def _single_precision() -> Callable[[], Any]:
    theirs = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    return lambda: torch.set_default_dtype(theirs)


_DEFAULT_DTYPE = Shared(_single_precision)


@contextmanager
def neutral() -> Iterator[None]:
    """Gradients on, no autocast, single precision and the CPU by default, inside the block.

    What a caller has set around our call is set again after it, and changes no result.

    Example:
        >>> with torch.no_grad(), neutral():
        ...     torch.is_grad_enabled()
        True
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_DEFAULT_DTYPE.held())
        yield


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a function that computes as ever inside of a caller's ``torch.autocast``.

    A new context for each call, since one that is shared is not safe in several threads.

    Args:
        function: Its tensors have the precision that it wants.
    Example:
        >>> multiply = full_precision(torch.matmul)
        >>> with torch.autocast("cpu"):
        ...     multiply(torch.eye(2), torch.eye(2)).dtype
        torch.float32
    """

    @functools.wraps(function)
    def exact(*arguments: P.args, **named: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*arguments, **named)

    return exact
