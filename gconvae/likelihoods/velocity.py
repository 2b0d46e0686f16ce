"""The network of flow matching: how fast each node of a cloud moves, given the decoder's mean."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconvae.conditioning import MEAN_ALONE, ConditionedOn
from gconvae.nn.equivariant import SetLayer
from gconvae.registry import check_counts

__all__ = ["Context", "VelocityNetwork"]

WAVES = 5
"""Waves by which a number of a node is seen beside the number itself, each half as long as the
one before: nodes that lie close to each other differ in the short ones."""

LONGEST = 8.0
"""Length of the longest wave of a feature, in standard deviations of it."""

TIME_WAVES = 4
"""Waves by which the time is seen, each half as long as the one before, the first of length 2."""


class Context(NamedTuple):
    """What a cloud is conditioned on, worked out once for all evaluations.

    Attributes:
        mean: The nodes of the mean, shape (B, N, F).
        nodes: What each node gets from its own node of the mean, shape (B, N, W).
        cloud: Of the whole mean, shape (B, W).
        real: 1 where a node is real and 0 elsewhere, shape (B, 1, N).
    """

    mean: Tensor
    nodes: Tensor
    cloud: Tensor
    real: Tensor


class VelocityNetwork(nn.Module):
    r"""v(x, t) of all nodes at once, conditioned on the nodes of the decoder's mean.

    .. math:: v_i(x, t) = W \, \mathrm{LN}(h_i), \quad
        h = E_t\left(A \, [x_i, \gamma(\hat x_i + \sigma x_i)] + c_i(\hat x), \; u\right)

    with x about the mean in units of the noise, :math:`\gamma` a number and its waves, and u what
    all nodes get: of the mean, the number of nodes and the time. Waves are of where a node
    is, not of how far from its node of the mean: distances between nodes make a cloud.

    Two stacks of :class:`~gconvae.nn.equivariant.SetLayer`: one reads the mean, once for each
    cloud, and gives each of its nodes a vector :math:`c_i`, the other (E) reads the moving nodes.
    Permuting the pairs of node and counterpart permutes the velocities and changes nothing else.
    The last layer starts at 0, so that an untrained network moves nothing.

    Args:
        num_features: F.
        spread: :math:`\sigma`, the unit of the moving nodes.
        width: W, features of a node inside.
        heads: Attention heads, a divisor of ``width``.
        layers: Of the stack of the moving nodes.
        mean_layers: Of the stack of the mean.
        conditioned_on: What of a cloud it is conditioned on; the mean always.
    Example:
        >>> network, mean = VelocityNetwork(3, width=8), torch.randn(4, 5, 3)
        >>> context = network.context(mean, torch.ones(4, 5, dtype=torch.bool), torch.ones(4, 1))
        >>> network(torch.randn(4, 5, 3), torch.zeros(4), context).abs().max()
        tensor(0., grad_fn=<MaxBackward1>)
    """

    def __init__(
        self,
        num_features: int,
        spread: float = 0.5,
        width: int = 64,
        heads: int = 2,
        layers: int = 3,
        mean_layers: int = 2,
        conditioned_on: ConditionedOn = MEAN_ALONE,
    ) -> None:
        super().__init__()
        check_counts(num_features=num_features, layers=layers, mean_layers=mean_layers)
        self.spread, seen = spread, num_features * (1 + 2 * WAVES)
        self.mean = nn.Linear(seen, width)
        self.taken = nn.Linear(1 + conditioned_on.context_dim, width)
        self.of_mean = nn.ModuleList(SetLayer(width, heads) for _ in range(mean_layers))
        self.counterpart, self.whole = nn.Linear(width, width), nn.Linear(width, width)
        self.time = nn.Linear(1 + 2 * TIME_WAVES, width)
        self.condition = nn.Linear(width, width)
        self.node = nn.Linear(num_features + seen, width)
        self.of_nodes = nn.ModuleList(SetLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.velocity = nn.Linear(width, num_features)
        nn.init.zeros_(self.velocity.weight)
        nn.init.zeros_(self.velocity.bias)

    def context(self, mean: Tensor, mask: Tensor, taken: Tensor) -> Context:
        """Reads the mean.

        Args:
            mean: Its nodes in standardized features, masked ones 0, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
            taken: Share of the places that are taken, and the context, shape (B, 1 + C).
        """
        real = mask.unsqueeze(1).to(mean)  # (B, 1, N)
        nodes, condition = self.mean(_features(mean)), self.taken(taken)
        for layer in self.of_mean:
            nodes = layer(nodes, condition, real)
        whole = (real @ nodes).squeeze(1) / real.sum(2)  # (B, W)
        return Context(mean, self.counterpart(nodes), condition + self.whole(whole), real)

    def forward(self, place: Tensor, time: Tensor, context: Context) -> Tensor:
        """The velocities at one time a cloud.

        Args:
            place: Nodes in units of the noise, masked ones 0, shape (B, N, F).
            time: In [0, 1], shape (B,).
            context: From :meth:`context`.
        Returns:
            Shape (B, N, F); those of masked nodes mean nothing and influence nothing.
        """
        moment = _waves(time.unsqueeze(1), TIME_WAVES, math.pi)  # (B, 1 + 2 waves)
        condition = self.condition(nn.functional.gelu(context.cloud + self.time(moment)))
        where = torch.add(context.mean, place, alpha=self.spread)
        nodes = self.node(torch.cat([place, _features(where)], dim=-1)) + context.nodes
        for layer in self.of_nodes:
            nodes = layer(nodes, condition, context.real)
        return self.velocity(self.norm(nodes))


def _features(nodes: Tensor) -> Tensor:
    """Features and their waves, shape (B, N, F) to (B, N, F (1 + 2 waves))."""
    return _waves(nodes, WAVES, 2 * math.pi / LONGEST)


def _waves(numbers: Tensor, count: int, slowest: float) -> Tensor:
    """Numbers, and sine and cosine of 1, 2, 4, ... times them, side by side in the last place."""
    rates = slowest * 2 ** torch.arange(count, device=numbers.device).to(numbers)
    angle = (numbers.unsqueeze(-1) * rates).flatten(-2)
    return torch.cat([numbers, angle.sin(), angle.cos()], dim=-1)
