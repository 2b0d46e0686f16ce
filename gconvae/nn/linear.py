"""A dense layer whose products run as fast as the machine has a way to."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Linear"]


LONG_SUM = 256
"""Features from which a GPU's processors should share each sum."""


class Linear(nn.Linear):
    r"""``torch.nn.Linear``, with its products in single precision given to whom they suit best.

    .. math:: y = W x + b

    torch gives them to MKL, which uses half of a vector register of AVX-512 on CPUs that are not
    its maker's, Intel's: on such an AMD EPYC a product of (100, 1216) and (1216, 1500) takes half
    the time with oneDNN, forward and backward (decision 0006). On a GPU it lets cuBLAS add the
    bias, which then does not share a sum between its processors: product and bias apart take half
    the time. On other CPUs, where torch has no oneDNN, where it is switched off
    (``torch.backends.mkldnn.flags``), or where the numbers are others, this is
    ``torch.nn.Linear``.

    Args:
        in_features: Features of x.
        out_features: Features of y.
        bias: Whether there is a b.
    Example:
        >>> Linear(3, 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Of features (..., ``in_features``): (..., ``out_features``)."""
        if hidden.dim() == 2 and _takes(hidden, self.weight):
            return _Product.apply(hidden, self.weight, self.bias)
        return super().forward(hidden)


def _takes(hidden: Tensor, weight: Tensor) -> bool:
    return bool(
        # a compiler of graphs has a choice of its own
        not torch.compiler.is_compiling()
        and hidden.dtype == weight.dtype == torch.float32
        and len(hidden) > 0
        and (_with_bias_apart(hidden) or _for_onednn(hidden))
        and not torch.is_autocast_enabled(hidden.device.type)
    )


def _with_bias_apart(hidden: Tensor) -> bool:
    return hidden.is_cuda and hidden.shape[1] >= LONG_SUM


def _for_onednn(hidden: Tensor) -> bool:
    return bool(
        _half_used()
        and hidden.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@functools.cache
def _half_used() -> bool:
    """Whether the CPU has registers that MKL leaves half empty."""
    info = Path("/proc/cpuinfo")
    maker = info.read_text() if info.is_file() else platform.processor()
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return wide and "GenuineIntel" not in maker


class _Product(torch.autograd.Function):
    """The three products of a dense layer, y = x W' + b."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return _product(hidden, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        hidden, weight = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _product(grad, weight.t()) if wants_hidden else None,
            _product(grad.t(), hidden.t()) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
        )


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """A b' + bias."""
    if torch.is_grad_enabled():  # somebody wants the gradient of the gradient
        return nn.functional.linear(a, b, bias)
    if a.is_cuda:
        product = torch.mm(a, b.t())
        return product if bias is None else product.add_(bias)
    # the operator that torch's own compiler puts into the place of a dense layer; private, so
    # _for_onednn looks whether it is there; it can go once torch's dense layer takes oneDNN here
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
