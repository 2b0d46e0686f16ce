"""Attention in which each place of a sequence sees itself and the places before it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconvae.registry import check_counts

__all__ = ["CausalBlock", "Past"]


class Past(NamedTuple):
    """What a block keeps of the places that it has seen.

    Attributes:
        keys: Shape (B, heads, places, width / heads).
        values: Likewise.
    """

    keys: Tensor
    values: Tensor


class CausalBlock(nn.Module):
    r"""Attention to this place and the ones before it, then a dense layer for each place.

    .. math::
        h' &= h + W_o A(\mathrm{LN}(h)), \quad
        A_i = \sum_{j \le i} \mathrm{softmax}_j\left(\frac{q_i \cdot k_j}{\sqrt{d}}\right) v_j \\
        h'' &= h' + W_2 \, g(W_1 \, \mathrm{LN}(h'))

    with g the Gaussian error linear unit. A sequence is read at once, as in training, or continued
    place by place, as in drawing: the block then keeps keys and values, so that a new place costs
    one place.

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
        >>> whole, _ = block(hidden)
        >>> _, past = block(hidden[:, :3])
        >>> fourth, _ = block(hidden[:, 3:4], past)
        >>> torch.allclose(fourth, whole[:, 3:4], atol=1e-5)
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
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Reads places.

        Args:
            hidden: Shape (B, N, width); one place, N = 1, where there is a past.
            past: What the call for the places before kept; None = these are the first.
        Returns:
            What was made of the places, shape (B, N, width), and what to hand over next time.
        """
        triple = self.queries_keys_values(self.norm_attention(hidden))  # (B, N, 3 W)
        triple = triple.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = triple.unbind()  # (B, H, N, W / H) each
        if past is not None:
            key, value = torch.cat([past.keys, key], 2), torch.cat([past.values, value], 2)
        seen = nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=past is None
        )
        hidden = hidden + self.out(seen.transpose(1, 2).flatten(2))
        return hidden + self.dense(self.norm_dense(hidden)), Past(key, value)
