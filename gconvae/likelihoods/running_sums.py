"""What the nodes so far add up to, and what is missing to what the whole cloud does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconvae.likelihoods.value_layers import two_layers

__all__ = ["RunningSums"]

SMALLEST_SPREAD = 1e-6
"""Of a sum over the training clouds, as a share of its largest size before any node, so that units
do not matter: of one that varies less nothing is to be learned."""

SMALLEST_WEIGHT = 1e-6
"""That something is divided by, as a share of what the first nodes weigh on average."""

BOUND = 5.0
"""Standard deviations beyond which a sum tells no more: tails are long."""


class RunningSums(nn.Module):
    r"""Tells each node what the nodes before it add up to, and what those to come must.

    .. math:: \sum_{j<i} w_j, \quad \sum_{j<i} w_j \, x_j, \quad \sum_{j<i} w_j \, x_j^2

    with the latter divided by the first; and over j >= i, with the latter divided by w of the node
    before, which is about what the next one weighs: by how much it would have to lie aside to make
    up for all before it. Once w of a node is known, they are divided by that.

    w is the feature that weighs the nodes, such as the pT of particles, x are the others, all in
    data units. So the last nodes of a cloud can balance the first ones, as momentum wants it;
    attention alone sees means of nodes, and loses the small differences of large sums.

    Each sum is standardized by what it is in training clouds before the same node.

    Args:
        num_points: N, the most nodes of a cloud.
        num_features: F.
        width: W, numbers that a node gets.
    Attributes:
        weight: Column of w.
    Example:
        >>> sums = RunningSums(4, 3, 8)
        >>> nodes = torch.tensor([[[0.5, 0.1, 0.2], [0.25, 0.0, -0.4]]])
        >>> so_far = sums.totals(nodes)
        >>> so_far[0, 1]
        tensor([0.7500, 0.0500, 0.0000, 0.0050, 0.0600])
        >>> sums(sums.summary(so_far, so_far[:, -1:], nodes), slice(2)).shape
        torch.Size([1, 2, 8])
    """

    mean: Tensor
    spread: Tensor
    own_mean: Tensor
    own_spread: Tensor

    def __init__(self, num_points: int, num_features: int, width: int) -> None:
        super().__init__()
        self.weight = 0
        number = 2 + 8 * (num_features - 1)
        self.register_buffer("mean", torch.zeros(num_points, number))
        self.register_buffer("spread", torch.ones(num_points, number))
        self.inner, self.outer = nn.Linear(number, 2 * width), nn.Linear(2 * width, width)
        shape = num_points, 2 * num_features - 2
        self.register_buffer("own_mean", torch.zeros(shape))
        self.register_buffer("own_spread", torch.ones(shape))
        self.own = nn.ModuleList(two_layers(shape[1], width) for _ in range(num_features - 1))

    def terms(self, nodes: Tensor) -> Tensor:
        """What each node adds, shape (..., F) to (..., 2 F - 1)."""
        weight = self.weight
        own = nodes[..., weight : weight + 1]
        others = torch.cat([nodes[..., :weight], nodes[..., weight + 1 :]], dim=-1)
        moments = own * others
        return torch.cat([own, moments, moments * others], dim=-1)

    def totals(self, nodes: Tensor) -> Tensor:
        """Sums up to and with each node, shape (B, N, F) to (B, N, 2 F - 1)."""
        return self.terms(nodes).cumsum(1)

    def summary(self, totals: Tensor, whole: Tensor, nodes: Tensor) -> Tensor:
        """What a node is conditioned on of the nodes up to one, shape (..., F) to (..., M).

        Args:
            totals: From :meth:`totals` of the node before, shape (..., 2 F - 1).
            whole: What all nodes add up to, likewise.
            nodes: That node, shape (..., F).
        """
        left = whole - totals
        shares = totals[..., 1:] / self._divisor(totals[..., :1])
        last = self._divisor(nodes[..., self.weight : self.weight + 1])
        return torch.cat([totals, shares, left, left[..., 1:] / last], dim=-1)

    def needed(self, left: Tensor, nodes: Tensor) -> Tensor:
        """Where a node would lie, and its squares, if it were the last one, (..., 2 F - 2).

        Args:
            left: What it and those behind it must add up to, shape (..., 2 F - 1).
            nodes: Of which w is known, shape (..., F).
        """
        return left[..., 1:] / self._divisor(nodes[..., self.weight : self.weight + 1])

    def own_features(self, left: Tensor, nodes: Tensor, place: int | slice) -> dict[int, Tensor]:
        """What a node is conditioned on before each feature behind w, by number, shapes (..., W).

        Arguments as those of :meth:`needed` and :meth:`forward`.
        """
        standard = (self.needed(left, nodes) - self.own_mean[place]) / self.own_spread[place]
        standard = standard.clamp(-BOUND, BOUND)
        behind = range(self.weight + 1, nodes.shape[-1])
        return {feature: self.own[feature - 1](standard) for feature in behind}

    @torch.no_grad()
    def fit(self, whole: Tensor, nodes: Tensor, mask: Tensor) -> None:
        """Looks at what training clouds add up to.

        Args:
            whole: What all nodes of each are said to add up to, shape (B, 2 F - 1).
            nodes: In order, masked ones last, data units, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
        """
        nodes, whole = nodes.double(), whole.double().unsqueeze(1)
        so_far = self.totals(nodes)
        self.mean[0, 0] = so_far[:, 0, 0].mean()  # by which the rest is told
        left = whole - nn.functional.pad(so_far[:, :-1], (0, 0, 1, 0))
        pairs = [
            (self.summary(so_far, whole, nodes), self.mean, self.spread),
            (self.needed(left, nodes), self.own_mean, self.own_spread),
        ]
        for sums, mean, spread in pairs:
            least = SMALLEST_SPREAD * sums[mask].abs().amax(0)
            for place in range(nodes.shape[1]):
                known = sums[mask[:, place], place]  # (b, M)
                if len(known) > 1:
                    mean[place] = known.mean(0).to(mean)
                    scale = torch.maximum(known.std(0), least).to(spread)
                    spread[place] = torch.where(scale > 0, scale, 1.0)

    def forward(self, summary: Tensor, place: int | slice) -> Tensor:
        """What a node is conditioned on of the sums up to it.

        Args:
            summary: From :meth:`summary` of the nodes at ``place``, shape (..., M).
            place: Their numbers in the cloud.
        Returns:
            Shape (..., W).
        """
        standard = (summary - self.mean[place]) / self.spread[place]
        return self.outer(nn.functional.gelu(self.inner(standard.clamp(-BOUND, BOUND))))

    def _divisor(self, weight: Tensor) -> Tensor:
        least = SMALLEST_WEIGHT * self.mean[0, 0]
        return torch.maximum(weight, least).clamp(min=torch.finfo(weight.dtype).tiny)
