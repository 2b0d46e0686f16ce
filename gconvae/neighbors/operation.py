"""The search both ways as one operation of torch, for what traces or transforms a loss.

``torch.func``, ``torch.compile``, ``torch.export``, ``make_fx`` and ``torch.jit.trace`` see what
is made of tensors by operations of torch only. All searches find the same nodes, so that one of
them serves here whatever the backend.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import library as operators

from gconvae.neighbors import dense, native
from gconvae.neighbors.packed import searchable
from gconvae.symbolic import flattened

__all__ = ["nearest_both"]


def nearest_both(
    a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Nearest nodes both ways, see :func:`gconvae.neighbors.search.nearest_both`.

    Args:
        a: Shape (B, N, F).
        b: Shape (B, M, F).
        a_mask: True = a real node, shape (B, N); None = all real.
        b_mask: Likewise, shape (B, M).
    Returns:
        Of each node of a, shape (B, N), and of b, (B, M).
    Example:
        >>> nearest_both(torch.zeros(1, 1, 2), torch.ones(1, 2, 2), None, None)[1]
        tensor([[0, 0]])
    """
    found: tuple[Tensor, Tensor] = torch.ops.gconvae.nearest_both(a, b, a_mask, b_mask)
    return found


def _search(
    a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    if native.available(a.device, a.dtype):
        return native.nearest_both(a, b, a_mask, b_mask)
    a, b = searchable(a, b)
    to_b, to_a = dense.nearest_padded(a, b, b_mask), dense.nearest_padded(b, a, a_mask)
    to_b = to_b if a_mask is None else to_b.masked_fill(~a_mask, 0)
    return to_b, to_a if b_mask is None else to_a.masked_fill(~b_mask, 0)


operators.define(
    "gconvae::nearest_both",
    "(Tensor a, Tensor b, Tensor? a_mask, Tensor? b_mask) -> (Tensor, Tensor)",
)
operators.impl("gconvae::nearest_both", ("cpu", "cuda"), _search)


@operators.register_fake("gconvae::nearest_both")  # type: ignore[untyped-decorator]  # torch types it not
def _shapes(
    a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape[:2], dtype=torch.long), b.new_empty(b.shape[:2], dtype=torch.long)


@operators.register_vmap("gconvae::nearest_both")  # type: ignore[untyped-decorator]  # likewise
def _of_many(
    info: Any, dims: tuple[int | None, ...], *sides: Tensor | None
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    to_b, to_a = torch.ops.gconvae.nearest_both(*flattened(info.batch_size, dims, sides))
    size = (info.batch_size, -1)
    return (to_b.unflatten(0, size), to_a.unflatten(0, size)), (0, 0)
