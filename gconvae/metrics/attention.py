"""The block of attention that the bundled classifiers of clouds are made of."""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["AttentionBlock", "mean_and_highest"]


class AttentionBlock(nn.Module):
    """Attention of every node to all real nodes, then a dense layer for each node.

    Args:
        width: W, numbers of a node.
        heads: H, of the attention.
    References:
        | On Layer Normalization in the Transformer Architecture (Xiong et al., 2020),
          arXiv:2002.04745
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm_attention, self.norm_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, nodes: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
        """Nodes (B, N, W) and mask (B, N) to nodes (B, N, W).

        Args:
            nodes: Of clouds.
            mask: True where a node is real.
            bias: Of the attention of a pair of nodes, shape (B, H, N, N); None = 0.
        """
        triple = self.queries_keys_values(self.norm_attention(nodes))  # (B, N, 3 W)
        triple = triple.unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = triple.unbind()  # (B, H, N, W / H) each
        shown = mask[:, None, None]
        if bias is not None:
            shown = bias.masked_fill(~shown, -math.inf)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, shown)
        nodes = nodes + self.out(seen.transpose(1, 2).flatten(2))
        return nodes + self.dense(self.norm_dense(nodes))


def mean_and_highest(nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and maximum over the real ones of nodes (B, N, W), shape (B, W) each."""
    is_masked = ~mask.unsqueeze(-1)  # (B, N, 1)
    mean = nodes.masked_fill(is_masked, 0.0).sum(1) / mask.sum(1, keepdim=True)
    return mean, nodes.masked_fill(is_masked, -math.inf).amax(1)
