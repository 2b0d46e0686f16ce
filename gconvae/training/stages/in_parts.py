"""A loss of a batch as the sum over its parts, with their gradients found side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from gconvae.threads import parts, side_by_side

__all__ = ["Loss", "in_parts"]

Loss = Callable[[slice], tuple[Tensor, Sequence[Tensor]]]


def in_parts(
    loss: Loss, weights: Sequence[Tensor], rows: slice
) -> tuple[Tensor, Sequence[Tensor]]:
    r"""The loss of rows of a batch, which is a sum over them.

    .. math:: L = \sum_p L_p, \quad \nabla L = \sum_p \nabla L_p

    Forward and backward pass of each part (:func:`gconvae.threads.parts`) are one call on one
    thread; :meth:`backward` of the result hands on what was found. The bits do not depend on the
    number of threads.

    Args:
        loss: From some rows to their part of the loss, and numbers of each row to keep. It
            changes nothing, and no row depends on another one.
        weights: What it is differentiated by.
        rows: All rows.
    Returns:
        The loss, differentiable in the weights, and the numbers of all rows.
    Example:
        >>> weight, x = torch.ones(1, requires_grad=True), torch.arange(64.0)
        >>> def loss(rows):
        ...     each = weight * x[rows]
        ...     return each.sum(), [each.detach()]
        >>> total, (each,) = in_parts(loss, [weight], slice(0, 64))
        >>> total.backward()
        >>> total.item(), weight.grad.item(), len(each)
        (2016.0, 2016.0, 64)
    """
    start = rows.start
    pieces = [slice(start + p.start, start + p.stop) for p in parts(rows.stop - start)]
    if not torch.is_grad_enabled():
        results = side_by_side([functools.partial(loss, piece) for piece in pieces])
        values, kept = zip(*results, strict=True)
        return sum(values[1:], values[0]), _joined(kept)
    every: list[Sequence[Tensor]] = []
    total = _Sum.apply(loss, pieces, every, *weights)
    return total, _joined(every)


def _joined(kept: Iterable[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.cat(each) for each in zip(*kept, strict=True)]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: Loss, pieces: list[slice], kept: list[Sequence[Tensor]], *weights: Tensor
    ) -> Tensor:
        def part(piece: slice) -> tuple[Tensor, Sequence[Tensor], tuple[Tensor | None, ...]]:
            with torch.enable_grad():
                value, numbers = loss(piece)
                gradients = torch.autograd.grad(value, weights, allow_unused=True)
            return value.detach(), numbers, gradients

        results = side_by_side([functools.partial(part, piece) for piece in pieces])
        kept.extend(numbers for _, numbers, _ in results)
        total, _, gradients = results[0]
        for value, _, more in results[1:]:
            total = total + value
            gradients = tuple(map(_added, gradients, more))
        ctx.gradients = gradients
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        if upstream.is_cuda or upstream.item() != 1:
            gradients = tuple(None if each is None else upstream * each for each in gradients)
        return None, None, None, *gradients


def _added(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second  # autograd may have given one tensor to several weights
