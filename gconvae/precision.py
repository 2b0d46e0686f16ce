"""Results that do not depend on what a caller of the library has switched on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

__all__ = ["full_precision"]

P = ParamSpec("P")
R = TypeVar("R")


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
    def exact(*given: P.args, **named: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*given, **named)

    return exact
