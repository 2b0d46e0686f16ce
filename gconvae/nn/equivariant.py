"""The layer on sets that gives each node a new vector and does not see the order of nodes."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gconvae.registry import check_counts

__all__ = ["SetLayer"]

NOWHERE = -1e9
"""Score of a masked node: its weight in the softmax is exactly 0, and no infinities meet."""


class SetLayer(nn.Module):
    r"""Attention among the nodes of a set and a dense layer of each node, side by side.

    .. math::
        h_i' = h_i + W_o A_i + W_2 \, \mathrm{gelu}(W_1 g_i), \quad
        g_i = \mathrm{LN}(h_i + U u), \quad
        A_i = \sum_j \mathrm{softmax}_j\left(\frac{q_i \cdot k_j}{\sqrt{d}}\right) v_j

    with queries, keys and values of g, and a vector u of the whole set, added to all nodes.
    Permuting nodes permutes the result (equivariance); masked nodes are heard by nobody. Each head
    has queries of its own, all have the same keys and values, as in
    :class:`gconvae.nn.causal.CausalBlock`.

    Args:
        width: W, features of a node, a multiple of ``heads``.
        heads: Attention heads.
    Raises:
        ValueError: If a number is below 1, or ``heads`` does not divide ``width``.
    References:
        | Set Transformer (Lee et al., 2019), arXiv:1810.00825
        | Fast Transformer Decoding: One Write-Head is All You Need (Shazeer, 2019),
          arXiv:1911.02150, on keys and values
    Example:
        >>> import torch
        >>> layer, nodes, real = SetLayer(8, heads=2), torch.randn(4, 5, 8), torch.ones(4, 1, 5)
        >>> result = layer(nodes, torch.randn(4, 8), real)
        >>> result.shape
        torch.Size([4, 5, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_counts(width=width, heads=heads)
        if width % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        self.head_width = width // heads
        self.of_set = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.queries_key_value = nn.Linear(width, width + 2 * self.head_width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width, bias=False)

    def forward(self, nodes: Tensor, vector: Tensor, real: Tensor) -> Tensor:
        """New vectors of the nodes.

        Args:
            nodes: Shape (B, N, W).
            vector: u, shape (B, W).
            real: 1 where a node is real and 0 elsewhere, shape (B, 1, N).
        Returns:
            Shape (B, N, W).
        """
        read = self.norm(nodes + self.of_set(vector).unsqueeze(1))
        sizes = [nodes.shape[2], self.head_width, self.head_width]
        queries, key, value = self.queries_key_value(read).split(sizes, dim=2)
        # the heads of a node are rows: (B, N H, W / H) against (B, N, W / H)
        queries = queries.reshape(len(nodes), -1, self.head_width)
        scale = 1 / math.sqrt(self.head_width)
        hidden = (1 - real) * NOWHERE  # (B, 1, N)
        scores = hidden.baddbmm(queries, key.transpose(1, 2), alpha=scale)  # (B, N H, N)
        heard = (scores.softmax(-1) @ value).view(nodes.shape)
        inner = nn.functional.gelu(self.inner(read))
        return nodes + self.out(heard) + self.outer(inner)
