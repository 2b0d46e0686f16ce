"""Attention in which each place of a sequence sees itself and the places before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gconvae.registry import check_counts

__all__ = ["CausalBlock", "Reader", "folded", "normal"]


class CausalBlock(nn.Module):
    r"""Attention to this place and the ones before it, then a dense layer for each place.

    .. math::
        h' &= h + W_o A(\mathrm{LN}(h)), \quad
        A_i = \sum_{j \le i} \mathrm{softmax}_j\left(\frac{q_i \cdot k_j}{\sqrt{d}}\right) v_j \\
        h'' &= h' + W_2 \, g(W_1 \, \mathrm{LN}(h'))

    with g the Gaussian error linear unit. A sequence is read at once, as in training; a
    :class:`Reader` reads it place by place, as in drawing.

    Args:
        width: Features of a place, a multiple of ``heads``.
        heads: Attention heads.
    Raises:
        ValueError: If a number is below 1, or ``heads`` does not divide ``width``.
    References:
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762
        | On Layer Normalization in the Transformer Architecture (Xiong et al., 2020),
          arXiv:2002.04745
    Example:
        >>> block, hidden = CausalBlock(width=8, heads=2), torch.randn(4, 5, 8)
        >>> with torch.no_grad():
        ...     whole, reader = block(hidden), Reader(block, hidden)
        ...     single = [reader.next(hidden[:, place]) for place in range(5)]
        >>> torch.allclose(torch.stack(single, dim=1), whole, atol=1e-5)
        True
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_counts(width=width, heads=heads)
        if width % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        self.heads = heads
        self.norm_attention, self.norm_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Reads whole sequences, shape (B, N, width)."""
        triple = self.queries_keys_values(self.norm_attention(hidden))  # (B, N, 3 W)
        triple = triple.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = triple.unbind()  # (B, H, N, W / H) each
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.out(seen.transpose(1, 2).flatten(2))
        inner = nn.functional.gelu(self.inner(self.norm_dense(hidden)))
        return hidden + self.outer(inner)


class Reader:
    """A block that reads its sequences place by place and keeps keys and values, in drawing.

    What is the same for every place is worked out once: scale and shift of normal features become
    part of the product behind them. No gradient flows through it.

    Args:
        block: Which is read with; its weights must not change meanwhile.
        like: Sequences of the shape (B, N, width) that will be read.
    """

    def __init__(self, block: CausalBlock, like: Tensor) -> None:
        clouds, places, width = like.shape
        self.shape = clouds, block.heads, width // block.heads
        self.seen = like.new_empty(places, 2, *self.shape)  # keys and values
        self.count = 0
        self.weight, self.bias = folded(block.norm_attention, block.queries_keys_values)
        # queries by which keys need only be multiplied
        self.weight[:, :width] /= math.sqrt(self.shape[2])
        self.bias[:width] /= math.sqrt(self.shape[2])
        self.out = block.out
        self.inner, self.inner_bias = folded(block.norm_dense, block.inner)
        self.outer = block.outer

    def next(self, hidden: Tensor) -> Tensor:
        """The next place of each sequence, shape (B, width), as the block reads it."""
        width = hidden.shape[1]
        triple = torch.addmm(self.bias, normal(hidden), self.weight)  # (B, 3 W)
        query = triple[:, :width].view(self.shape)
        both = triple[:, width:].view(len(hidden), 2, *self.shape[1:])
        self.seen[self.count] = both.transpose(0, 1)
        self.count += 1
        keys, values = self.seen[: self.count].unbind(1)  # (n, B, H, D)
        # with one query each, sums of products are faster than products of matrices
        share = (keys * query).sum(-1).softmax(0)  # (n, B, H)
        seen = (share.unsqueeze(-1) * values).sum(0)  # (B, H, D)
        hidden = hidden + self.out(seen.view(len(hidden), width))
        inner = torch.addmm(self.inner_bias, normal(hidden), self.inner)
        return hidden + self.outer(nn.functional.gelu(inner))


def normal(hidden: Tensor) -> Tensor:
    """Features with mean 0 and variance 1 in each row, shape (B, W)."""
    return nn.functional.layer_norm(hidden, hidden.shape[1:])


def folded(norm: nn.LayerNorm, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """A norm and the layer behind it as one product, (in, out) and (out,), after :func:`normal`.

    Example:
        >>> norm, layer, hidden = nn.LayerNorm(3), nn.Linear(3, 2), torch.randn(4, 3)
        >>> weight, bias = folded(norm, layer)
        >>> torch.allclose(normal(hidden) @ weight + bias, layer(norm(hidden)), atol=1e-6)
        True
    """
    return (layer.weight * norm.weight).T.contiguous(), layer.bias + layer.weight @ norm.bias
