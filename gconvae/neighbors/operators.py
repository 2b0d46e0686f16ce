"""Operators for work on many clouds that torch cannot look into, and when they are needed.

Compiled code reads memory, which torch's transforms (``torch.func``), compilers and recorders
(``torch.compile``, ``torch.export``, ``make_fx``, ``torch.jit.trace``) do not see. Where one of
them is at work, the same function is called as an operator that they keep as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch import library as operators
from torch._ops import _len_torch_dispatch_stack_pre_dispatch
from torch.autograd import forward_ad

__all__ = ["define", "watched"]

_functions = torch._C._functorch
_PLAIN = Tensor.__torch_dispatch__


def watched(*tensors: Tensor) -> bool:
    """Whether what is done with some tensors is transformed, recorded or only pretended.

    Their values must not be looked at then, nor their memory. Torch has no public word for most
    of these; what is private here can go once it has (checked with torch 2.15).

    Args:
        tensors: Those that the work is done with.
    Example:
        >>> watched(torch.zeros(1)), watched(torch.zeros(1, device="meta"))
        (False, True)
        >>> torch.func.vmap(lambda row: row + watched(row))(torch.zeros(2))
        tensor([1., 1.])
    """
    if torch.compiler.is_compiling():  # torch.compile evaluates this alone
        return True
    if (
        _functions.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack()
        or _len_torch_dispatch_stack_pre_dispatch()
        or forward_ad._current_level >= 0
        or torch._C._is_tracing()
    ):
        return True
    for tensor in tensors:  # no generator: small losses are called often
        if (
            type(tensor).__torch_dispatch__ is not _PLAIN
            or tensor.is_meta
            or _functions.is_functorch_wrapped_tensor(tensor)
            or _functions.is_legacy_batchedtensor(tensor)  # several gradients at once
        ):
            return True
    return False


def define(
    name: str,
    schema: str,
    kernel: Callable[..., Any],
    shapes: Callable[..., Any],
    *,
    clouds_first: bool = True,
) -> None:
    """Defines ``torch.ops.gconvae.<name>``, an operator without gradients.

    Where all its tensors, also what it returns, begin with the axis of clouds, the axis that
    :func:`torch.func.vmap` maps over becomes further clouds.

    Args:
        name: Of the operator.
        schema: Of its arguments and results, as torch writes it.
        kernel: Does the work, on CPUs and GPUs.
        shapes: Same arguments; empty tensors of the shapes that result.
        clouds_first: Whether the tensors begin so; else they cannot be mapped over.
    """
    whole = f"gconvae::{name}"
    operators.define(whole, schema)
    for device in ("CPU", "CUDA"):
        operators.impl(whole, device, kernel)
    operators.register_fake(whole, shapes)
    if not clouds_first:
        return

    def mapped(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Any, Any]:
        size = info.batch_size
        folded = [
            _folded(part, dim, size) if isinstance(part, Tensor) else part
            for part, dim in zip(arguments, in_dims, strict=True)
        ]
        outputs = getattr(torch.ops.gconvae, name)(*folded)
        if isinstance(outputs, Tensor):
            return _unfolded(outputs, size), 0
        return tuple(_unfolded(part, size) for part in outputs), (0,) * len(outputs)

    operators.register_vmap(whole, mapped)


def _folded(part: Tensor, dim: int | None, size: int) -> Tensor:
    """Axes (V, B, ...) as one of clouds."""
    part = part.expand(size, *part.shape) if dim is None else part.movedim(dim, 0)
    return part.flatten(0, 1)


def _unfolded(part: Tensor, size: int) -> Tensor:
    return part.unflatten(0, (size, part.shape[0] // size))
