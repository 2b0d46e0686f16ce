"""A loop over tensors that stays one loop in an exported graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

__all__ = ["scan", "tensors_of", "with_tensors"]

T = TypeVar("T")

Body = Callable[[list[Tensor], list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]
"""From what is carried, slices of sequences, and constants: what is carried on, and results."""


def scan(
    body: Body,
    carried: Sequence[Tensor],
    sequences: Sequence[Tensor],
    constants: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    r"""Does the same for each slice of some tensors, one after another.

    .. math:: (c_{i + 1}, y_i) = f(c_i, x_i), \quad i = 0, \ldots, N - 1

    In Python a loop is written out when it is exported: a cloud of 25 nodes becomes 20,000
    operations. This one becomes an ONNX ``Scan``, or ``torch.ops.higher_order.scan``.

    Args:
        body: f, which changes nothing in place and uses no tensor that it is not handed.
        carried: c at the beginning.
        sequences: x, the first axis of each N long.
        constants: What every round is handed too.
    Returns:
        c at the end, and y of all rounds, the first axis N long.
    Example:
        >>> import torch
        >>> def add(carried, slices, constants):
        ...     total = carried[0] + constants[0] * slices[0]
        ...     return [total], [total.clone()]
        >>> end, sums = scan(add, [torch.zeros(1)], [torch.ones(3, 1)], [torch.full((1,), 2.0)])
        >>> end[0], sums[0].flatten()
        (tensor([6.]), tensor([2., 4., 6.]))
    """
    # torch's own scan() compiles its body, which knows no objects of ours, before it gets here
    from torch._higher_order_ops.scan import scan_op

    first, second = len(carried), len(carried) + len(sequences)

    def flat(*parts: Tensor) -> list[Tensor]:
        copies = list(parts)
        after, results = body(copies[:first], copies[first:second], copies[second:])
        return [*after, *results]

    # of its own: a loop refuses tensors that lie in the same memory, as views of a parameter do
    copies = [[each.clone() for each in some] for some in (carried, sequences, constants)]
    outputs = scan_op(flat, copies[0], copies[1], tuple(copies[2]))
    return list(outputs[:first]), list(outputs[first:])


def tensors_of(one: object) -> dict[str, Tensor]:
    """Tensors that an object holds, by the names of its attributes."""
    return {name: value for name, value in vars(one).items() if isinstance(value, Tensor)}


def with_tensors(one: T, tensors: Mapping[str, Tensor]) -> T:
    """A shallow copy of an object that holds other tensors.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> one = SimpleNamespace(name="a", weight=torch.zeros(1))
        >>> with_tensors(one, {"weight": torch.ones(1)})
        namespace(name='a', weight=tensor([1.]))
    """
    changed: Any = copy.copy(one)
    vars(changed).update(tensors)
    return changed
