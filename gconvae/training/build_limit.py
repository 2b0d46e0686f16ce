"""How large a model may become that is built from a description: as large as its weights say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["BuildLimit", "check_numbers", "limited"]

SLACK_NUMBERS = 2**24
"""Numbers that may be made beside the weights, such as masks and tables of positions: 64 MB."""

SLACK_STEPS = 20_000
"""Operations of a model of few weights."""

NUMBERS_PER_WEIGHT, STEPS_PER_WEIGHT = 16, 400
"""What building takes for each number, and for each tensor, of the weights; initial weights are
made in a few operations each, and masks of flows in some more."""

LEAST_LIMIT = 2**20
"""Options up to here may be larger than the weights: steps of a training, a seed."""


def check_numbers(options: Any, weights: int, name: str) -> None:
    """Refuses options of a part that are no sizes of a model with so many weights.

    Args:
        options: Of a part, however deep.
        weights: Numbers in all its tensors.
        name: Of the options, for messages.
    Raises:
        ValueError: If a whole number exceeds the weights (or a million), or a text or a list is
            longer than that.
    """
    most = max(weights, LEAST_LIMIT)
    waiting = [options]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, str | Sequence):
            if len(value) > most:
                raise ValueError(f"{name} must have no more than {most:,} entries a list")
            waiting += [] if isinstance(value, str) else value
        elif isinstance(value, int) and abs(value) > most:
            raise ValueError(
                f"{name} must be no larger than the weights, which are {weights:,} numbers, "
                f"got {str(value)[:40]}"
            )


@contextmanager
def limited(numbers: int, tensors: int) -> Iterator[None]:
    """Stops what is built in the block as soon as it outgrows its weights.

    Args:
        numbers: In all weights.
        tensors: How many weights are.
    Raises:
        ValueError: If more is made than weights of that size need.
    """
    most = SLACK_NUMBERS + NUMBERS_PER_WEIGHT * numbers
    with BuildLimit(most, SLACK_STEPS + STEPS_PER_WEIGHT * tensors):
        yield


class BuildLimit(TorchDispatchMode):
    """Counts the numbers that operations make, before they take memory where that is known.

    Args:
        numbers: The most, of all operations together.
        steps: The most operations.
    """

    def __init__(self, numbers: int, steps: int) -> None:
        super().__init__()
        self.most, self.left, self.steps = numbers, numbers, steps

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Of every operation."""
        kwargs = kwargs or {}
        self.steps -= 1
        if self.steps < 0:
            raise ValueError("it must be built in fewer steps: it has more layers than weights")
        inputs = [each for each in _flat((args, list(kwargs.values())))]
        tensors = [each for each in inputs if isinstance(each, torch.Tensor)]
        self._take(_num_requested(args) if not tensors else _joined(tensors))
        result = func(*args, **kwargs)
        known = {each.untyped_storage()._cdata for each in tensors}
        for each in _flat((result,)):
            if isinstance(each, torch.Tensor) and each.untyped_storage()._cdata not in known:
                self.left -= each.numel()
        self._take(0)
        return result

    def _take(self, numbers: int) -> None:
        if numbers > self.left:
            raise ValueError(
                f"its sizes must fit its weights, with which it may take {self.most:,} numbers"
            )


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _num_requested(args: Any) -> int:
    """Numbers that an operation without tensors is asked for: a shape, or a count."""
    if not args:
        return 0
    first = args[0]
    if isinstance(first, list | tuple):
        sizes = [size for size in first if isinstance(size, int)]
        if any(size < 0 for size in sizes):
            raise ValueError(f"its sizes must not be negative, got {sizes}")
        return math.prod(sizes)
    ends = [abs(each) for each in args[:3] if isinstance(each, int | float)]
    return int(max(ends, default=0)) if all(map(math.isfinite, ends)) else 0


def _joined(tensors: Sequence[torch.Tensor]) -> int:
    """Numbers of tensors that are laid over each other, or 0 where they do not fit."""
    if len(tensors) < 2:
        return 0
    try:
        return math.prod(torch.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    except RuntimeError:
        return 0
