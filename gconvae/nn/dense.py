"""A plain multilayer perceptron from z to all nodes at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gconvae.pyg import nn as pyg
from gconvae.registry import check_counts, check_widths, register

__all__ = ["DenseDecoder"]


@register("decoder", "dense")
class DenseDecoder(nn.Module):
    r"""One multilayer perceptron that gives every feature of every node.

    .. math:: q = \sigma(W_k \, \mathrm{ReLU}(\ldots \mathrm{ReLU}(W_1 z + b_1) \ldots) + b_k)

    A node does not see the others, but all share the hidden layers; so each output keeps a role
    of its own, and masked nodes cannot change real ones.

    Args:
        num_points: N, the number of nodes made.
        num_features: F.
        latent_dim: L.
        hidden: Widths of the hidden layers; a number = two layers of it.
    Raises:
        ValueError: If a width is below 1 or there is no hidden layer.
    References:
        | Learning Representations and Generative Models for 3D Point Clouds (Achlioptas,
          Diamanti, Mitliagkas and Guibas, 2018), arXiv:1707.02392
    Example:
        >>> DenseDecoder()(torch.zeros(2, 10)).shape
        torch.Size([2, 25, 3])
    """

    recordable = separable = True

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        latent_dim: int = 10,
        hidden: int | Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        check_counts(num_points=num_points, num_features=num_features, latent_dim=latent_dim)
        hidden = (hidden, hidden) if isinstance(hidden, int) else hidden
        check_widths("hidden", hidden)
        self.num_points, self.latent_dim = num_points, latent_dim
        self.num_features = num_features
        self.mlp = pyg.MLP([latent_dim, *hidden, num_points * num_features], norm=None)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Nodes of each cloud.

        Args:
            z: Shape (B, L).
            mask: Not used: every node is made, whichever of them are real.
        Returns:
            Features in (0, 1), shape (B, N, F), each node in its own role.
        """
        unit = torch.sigmoid(self.mlp(z))  # (B, N * F)
        return unit.unflatten(1, (self.num_points, self.num_features))
