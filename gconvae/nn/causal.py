"""Attention in which each place of a sequence sees itself and the places before it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gconvae.registry import check_counts

__all__ = ["CausalBlock", "Reader", "folded", "normal"]

STRIDE = 16
"""Places by whose number a :class:`Reader` looks at more: products of fewer are slower."""


class CausalBlock(nn.Module):
    r"""Attention to this place and the ones before it, and a dense layer of each place beside it.

    .. math::
        h' = h + W_o A(\mathrm{LN}(h)) + W_2 \max(0, W_1 \mathrm{LN}(h)), \quad
        A_i = \sum_{j \le i} \mathrm{softmax}_j\left(\frac{q_i \cdot k_j}{\sqrt{d}}\right) v_j

    Each head has queries of its own; all have the same keys and values. Both halves read one norm,
    and add to one sum: fewer operations than one after the other, and in a small network
    operations are what takes the time. A sequence is read at once, as in training; a
    :class:`Reader` reads it place by place, as in drawing.

    Args:
        width: Features of a place, a multiple of ``heads``.
        heads: Attention heads.
    Raises:
        ValueError: If a number is below 1, or ``heads`` does not divide ``width``.
    References:
        | Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762
        | Fast Transformer Decoding: One Write-Head is All You Need (Shazeer, 2019),
          arXiv:1911.02150, on keys and values
        | PaLM (Chowdhery et al., 2022), arXiv:2204.02311, section 2, on both halves side by side
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
        self.heads, self.head_width = heads, width // heads
        self.norm = nn.LayerNorm(width)
        self.queries_key_value = nn.Linear(width, width + 2 * self.head_width)
        self.out = nn.Linear(width, width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Reads whole sequences, shape (B, N, width)."""
        read = self.norm(hidden)
        sizes = [hidden.shape[2], self.head_width, self.head_width]
        queries, key, value = self.queries_key_value(read).split(sizes, dim=2)
        # the heads of a place are rows: (B, N H, W / H) against (B, N, W / H)
        queries = queries.reshape(len(hidden), -1, self.head_width)
        later = hidden.new_full((hidden.shape[1], hidden.shape[1]), -math.inf).triu(1)
        later = later.repeat_interleave(self.heads, 0)
        scale = 1 / math.sqrt(self.head_width)
        scores = torch.baddbmm(later, queries, key.transpose(1, 2), alpha=scale)  # (B, N H, N)
        seen = (scores.softmax(-1) @ value).view(hidden.shape)
        inner = nn.functional.relu(self.inner(read))
        return hidden + self.out(seen) + self.outer(inner)


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
        self.queries = clouds, block.heads, block.head_width
        # what is not written yet has a weight of 0, but 0 times no number is none
        self.keys = like.new_zeros(clouds, block.head_width, places)
        self.values = like.new_zeros(clouds, places, block.head_width)
        self.later = like.new_full((places, places), -math.inf).triu(1)
        self.count = 0
        self.attended, self.attended_bias = folded(block.norm, block.queries_key_value)
        # queries by which keys need only be multiplied
        self.attended[:, :width] /= math.sqrt(block.head_width)
        self.attended_bias[:width] /= math.sqrt(block.head_width)
        self.inner, self.inner_bias = folded(block.norm, block.inner)
        self.out, self.out_bias = block.out.weight.T, block.out.bias
        self.outer = block.outer.weight.T

    def next(self, hidden: Tensor) -> Tensor:
        """The next place of each sequence, shape (B, width), as the block reads it."""
        read, queries, key, value = self._attention_inputs(hidden)
        place = self.count
        self.keys[:, :, place], self.values[:, place] = key, value
        self.count += 1
        looked = -(-self.count // STRIDE) * STRIDE
        known = self.keys[:, :, :looked], self.values[:, :looked], self.later[place, :looked]
        return self._attention_output(hidden, read, queries, *known)

    def read(
        self, hidden: Tensor, keys: Tensor, values: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """:meth:`next` as a function that changes nothing, for loops that are exported.

        Args:
            hidden: Shape (B, width).
            keys: Of the places before, 0 elsewhere, shape (B, D, N).
            values: Likewise, shape (B, N, D).
            place: Number of this place, shape ().
        Returns:
            What :meth:`next` gives, and keys and values with those of this place.
        """
        read, queries, key, value = self._attention_inputs(hidden)
        here = torch.arange(len(self.later), device=hidden.device) == place
        keys = torch.where(here, key.unsqueeze(2), keys)
        values = torch.where(here.unsqueeze(1), value.unsqueeze(1), values)
        later = self.later.index_select(0, place.reshape(1)).squeeze(0)
        return self._attention_output(hidden, read, queries, keys, values, later), keys, values

    def _attention_inputs(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normal features, queries of each head, key and value of a place."""
        read, width = normal(hidden), hidden.shape[1]
        triple = torch.addmm(self.attended_bias, read, self.attended)  # (B, W + 2 W / H)
        last = width + self.queries[2]
        queries = triple[:, :width].unflatten(1, self.queries[1:])  # (B, H, W / H)
        return read, queries, triple[:, width:last], triple[:, last:]

    def _attention_output(
        self,
        hidden: Tensor,
        read: Tensor,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        later: Tensor,
    ) -> Tensor:
        """What a place becomes that looks at the places so far, shape (B, W)."""
        scores = torch.baddbmm(later, queries, keys)  # (B, H, n)
        seen = (scores.softmax(-1) @ values).view(hidden.shape)
        inner = torch.addmm(self.inner_bias, read, self.inner).relu_()
        added = torch.addmm(hidden, seen, self.out).addmm_(inner, self.outer)
        return added.add_(self.out_bias)


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
