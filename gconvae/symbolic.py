"""Tensors that stand for others, as those that torch traces or transforms do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["flattened", "is_symbolic"]


def is_symbolic() -> bool:
    """Whether tensors of now may stand for others.

    So under ``torch.func`` (``grad``, ``jvp``, ``vmap``, ...), forward-mode differentiation,
    ``torch.compile``, ``torch.export``, ``make_fx`` and ``torch.jit.trace``: no value can be
    looked at then, an address says nothing, and what is not an operation of torch is not traced.

    Example:
        >>> is_symbolic()
        False
        >>> torch.func.vmap(lambda x: x + is_symbolic())(torch.zeros(2))
        tensor([1., 1.])
    """
    return (
        torch.compiler.is_compiling()
        # torch 2.9 to 2.15 have no public words for the next four
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )


def flattened(
    size: int, dims: Sequence[int | None], tensors: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Batches of batches as one batch, for what is done to each cloud by itself.

    Args:
        size: V, that ``torch.vmap`` works on side by side.
        dims: Where V stands in each tensor; None = it has no such axis.
        tensors: Shape (B, ...) beside that axis, or None.
    Returns:
        Shape (V B, ...) each.
    Example:
        >>> flattened(2, (0, None), (torch.zeros(2, 5, 3), torch.zeros(5)))[1].shape
        torch.Size([10])
    """
    found: list[Tensor | None] = []
    for dim, tensor in zip(dims, tensors, strict=True):
        if tensor is None:
            found.append(None)
            continue
        wide = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        found.append(wide.flatten(0, 1))
    return found
