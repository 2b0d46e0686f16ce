"""Parts of a node's distribution that lie where the nodes before it do."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gconvae.likelihoods.places import FINE, Places

__all__ = ["NearDrawing", "NearNodes"]

MATCHED = 16
"""Numbers by which a node and one before it are matched."""

LOG_SCALE = -4.0
"""Logarithm of the scales that components begin with: they are near the nodes before."""

LARGEST_LOG_RATE = 20.0
"""By which shares fall with the distance: an infinite one would be no number at none."""

MIDDLE = (FINE - 1) / 2
"""Of the fine digits of a cell."""


class NearNodes(nn.Module):
    r"""A component of each mixture for each node before: particles come in prongs, not alone.

    .. math:: \pi_{ij} \propto \exp\left(\frac{q_i \cdot k_j}{\sqrt d}
        - e^{r_i} \sum_g |x_{i,g} - x_{j,g}|\right), \quad m_{ij} = x_j, \quad
        \log s_{ij} = a_i + b_j

    over the features g that are drawn already, but the first one; q, r and a of what is known of
    node i, k and b of what node j has said. The first feature, by which nodes are ordered, has
    none. They stand in one mixture with the components of :class:`Digits`.

    Args:
        num_features: F of the nodes, at least 2.
        width: W, numbers that are known of a node.
    Example:
        >>> near, places = NearNodes(2, 8), Places([64, 64], torch.zeros(1))
        >>> place, written = torch.tensor([[[3, 20], [64, 0], [0, 1]]]), torch.randn(1, 2, 8)
        >>> near(torch.randn(2, 1, 3, 8), written, place, places).shape
        torch.Size([2, 3, 6])
    """

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.drawn_near = num_features - 1
        self.query = nn.ModuleList(nn.Linear(width, MATCHED + 2) for _ in range(self.drawn_near))
        self.key = nn.ModuleList(nn.Linear(width, MATCHED + 1) for _ in range(self.drawn_near))
        with torch.no_grad():
            for layer in self.query:
                assert isinstance(layer, nn.Linear)
                layer.bias[-1] = LOG_SCALE

    def forward(
        self, state: Tensor, written: Tensor, place: Tensor, places: Places
    ) -> Tensor | None:
        """Components of all nodes at once.

        Args:
            state: What is known of nodes before each feature, shape (F, B, N, W).
            written: What each node but the last has said, shape (B, N - 1, W).
            place: Shape (B, N, F).
            places: The lattices.
        Returns:
            Logits, means and logarithms of scales, shape (F, B N, 3 (N - 1)); None where there is
            no node before.
        """
        _, clouds, nodes, _ = state.shape
        if nodes == 1:
            return None
        numbers = _coarse(place, places)  # (B, N, F)
        later = state.new_full((nodes, nodes - 1), -math.inf).triu()
        apart = state.new_zeros(clouds, nodes, nodes - 1)
        features = [state.new_zeros(clouds, nodes, 3 * (nodes - 1))]
        features[0][..., : nodes - 1] = -math.inf
        for number in range(self.drawn_near):
            known = nn.functional.layer_norm(state[number + 1], state.shape[-1:])
            asked = self.query[number](known)
            keys, spread = self.key[number](written).split([MATCHED, 1], dim=-1)  # (B, N - 1, ...)
            query, rate, own = asked.split([MATCHED, 1, 1], dim=-1)  # (B, N, ...)
            scores = query @ keys.transpose(1, 2) / math.sqrt(MATCHED) - _rate(rate) * apart
            mean = numbers[:, :-1, number + 1]  # (B, N - 1)
            log_scale = own + spread.transpose(1, 2)  # (B, N, N - 1)
            parts = [scores + later, mean.unsqueeze(1).expand_as(log_scale), log_scale]
            features.append(torch.cat(parts, dim=-1))
            apart = apart + (numbers[..., number + 1].unsqueeze(2) - mean.unsqueeze(1)).abs()
        return torch.stack(features).flatten(1, 2)


class NearDrawing:
    """The components of nodes that are drawn one after another.

    Args:
        near: Which are drawn with; its weights must not change meanwhile.
        places: The lattices.
        like: What all nodes have in common, shape (B, N, W).
    """

    def __init__(self, near: NearNodes, places: Places, like: Tensor) -> None:
        clouds, nodes, _ = like.shape
        self.places, self.count, self.near = places, 0, near
        self.keys = [like.new_zeros(clouds, nodes, MATCHED) for _ in near.key]
        self.spreads = [like.new_zeros(clouds, nodes) for _ in near.key]
        self.means = [like.new_zeros(clouds, nodes) for _ in near.key]
        self.apart: Tensor | None = None

    def query(self, feature: int) -> nn.Linear | None:
        """The layer that reads what is known of a node before a feature, in normal form."""
        if feature == 0:
            return None
        layer = self.near.query[feature - 1]
        assert isinstance(layer, nn.Linear)
        return layer

    def components(self, feature: int, asked: Tensor) -> Tensor | None:
        """Of a feature of the next node, shape (B, 3 i); None where there are none.

        Args:
            feature: Its number in the order of drawing.
            asked: What :meth:`query` says of what is known before it.
        """
        if feature == 0 or self.count == 0:
            return None
        number, count = feature - 1, self.count
        query, rate, own = asked.split([MATCHED, 1, 1], dim=-1)
        keys = self.keys[number][:, :count]
        scores = (keys @ query.unsqueeze(2)).squeeze(2) / math.sqrt(MATCHED)  # (B, i)
        if self.apart is not None:
            scores = scores - _rate(rate) * self.apart
        means = self.means[number][:, :count]
        return torch.cat([scores, means, own + self.spreads[number][:, :count]], dim=1)

    def drawn(self, feature: int, place: Tensor) -> None:
        """Takes what a feature of the next node is, shape (B,)."""
        if feature == 0:
            self.apart = None
            return
        mean = (place.to(self.means[0]) - MIDDLE) / (FINE * max(1, self.places.cells[feature]))
        self.means[feature - 1][:, self.count] = mean
        if feature < len(self.means) and self.count:
            apart = (mean.unsqueeze(1) - self.means[feature - 1][:, : self.count]).abs()
            self.apart = apart if self.apart is None else self.apart + apart

    def ended(self, written: Tensor) -> None:
        """Takes what the node has said, shape (B, W); the next one follows."""
        for number, layer in enumerate(self.near.key):
            key = layer(written)
            self.keys[number][:, self.count] = key[:, :MATCHED]
            self.spreads[number][:, self.count] = key[:, MATCHED]
        self.count += 1


def _rate(log_rate: Tensor) -> Tensor:
    return log_rate.clamp(max=LARGEST_LOG_RATE).exp()


def _coarse(place: Tensor, places: Places) -> Tensor:
    """Places as numbers of the coarse lattice, shape (B, N, F)."""
    return (place.to(places.coarse_steps()) - MIDDLE) / (FINE * places.coarse_steps())
