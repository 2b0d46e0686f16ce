"""Networks on bare sets of nodes, without a graph: deep sets and the set transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.clouds import pack
from gconvae.nn.gaussian import DiagonalGaussian
from gconvae.nn.layers import centred
from gconvae.pyg import nn as pyg
from gconvae.registry import check_counts, check_widths, register
from gconvae.schema import EXTENT

__all__ = ["AGGREGATIONS", "DeepSetsEncoder", "SetTransformerDecoder", "SetTransformerEncoder"]

AGGREGATIONS = ("sum", "mean", "max", "min", "median", "std", "var", "softmax", "power_mean")
"""PyG's aggregations that neither look at the order of nodes nor need options."""

USUAL_NODES = 25
"""Nodes of a cloud for which the layers behind a sum over nodes begin."""

_ATTENTION = pyg.aggr.utils
"""Its blocks of the set transformer."""


@register("encoder", "deep_sets")
class DeepSetsEncoder(nn.Module):
    r"""One network for each node by itself, pooling over nodes, then one for the whole cloud.

    .. math:: (\mu, \log \sigma^2) = \rho\left(\bigoplus_{i} \phi(p_i)\right)

    Order-invariant by construction: only the pooling sees more than one node. Several
    aggregations are put side by side, since each forgets something else: a sum the extent, a
    maximum all but one node, and all but the sum how many nodes there are.

    Args:
        num_features: F.
        latent_dim: L.
        aggregation: One of :data:`AGGREGATIONS` or a list of them.
        node_hidden: Widths of the layers of :math:`\phi`, ReLU after each.
        cloud_hidden: Widths of the layers of :math:`\rho` before mean and log-variance.
        extent: Length of a feature's scaled range.
        num_points: N, the most nodes of a cloud. From 25 on a sum over nodes is divided by N / 25,
            so that what follows sees numbers of one size.
    Raises:
        ValueError: If a width is below 1 or an aggregation is not known.
    References:
        | Deep Sets (Zaheer, Kottur, Ravanbakhsh, Poczos, Salakhutdinov and Smola, 2017),
          arXiv:1703.06114
        | Principal Neighbourhood Aggregation for Graph Nets (Corso, Cavalleri, Beaini, Lio and
          Velickovic, 2020), arXiv:2004.05718
    Example:
        >>> posterior = DeepSetsEncoder(aggregation=["sum", "max"])(torch.rand(2, 25, 3))
        >>> posterior.mean.shape
        torch.Size([2, 10])
    """

    sizes: Tensor

    def __init__(
        self,
        num_features: int = 3,
        latent_dim: int = 10,
        aggregation: str | Sequence[str] = ("sum", "max", "std"),
        node_hidden: Sequence[int] = (128, 128),
        cloud_hidden: Sequence[int] = (256,),
        extent: float = EXTENT,
        num_points: int = USUAL_NODES,
    ) -> None:
        super().__init__()
        check_counts(num_features=num_features, latent_dim=latent_dim, num_points=num_points)
        check_widths("node_hidden", node_hidden)
        check_widths("cloud_hidden", cloud_hidden)
        names = _known_aggregations(aggregation)
        self.latent_dim, self.extent = latent_dim, extent
        self.each_node = pyg.MLP([num_features, *node_hidden], norm=None, plain_last=False)
        self.pool = pyg.MultiAggregation(names)
        of_sum = max(1.0, num_points / USUAL_NODES)
        sizes = torch.tensor([of_sum if name == "sum" else 1.0 for name in names])
        sizes = sizes.repeat_interleave(node_hidden[-1])  # (aggregations * C,)
        self.register_buffer("sizes", sizes, persistent=False)
        pooled = len(names) * node_hidden[-1]
        self.whole_cloud = pyg.MLP([pooled, *cloud_hidden], norm=None, plain_last=False)
        self.gaussian = DiagonalGaussian(cloud_hidden[-1], latent_dim)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent[Any]:
        """The posterior of each cloud.

        Args:
            points: Scaled features, shape (B, N, F), any N.
            mask: Real nodes, shape (B, N), at least one a cloud; None = all.
        Returns:
            A diagonal Gaussian with batch shape (B,) and event shape (L,).
        """
        nodes, batch = pack(centred(points, self.extent), mask)  # (P, F), (P,)
        hidden = self.each_node(nodes)  # (P, C)
        pooled = self.pool(hidden, batch, dim_size=len(points))  # (B, aggregations * C)
        return self.gaussian(self.whole_cloud(pooled / self.sizes))


@register("encoder", "set_transformer")
class SetTransformerEncoder(nn.Module):
    r"""Nodes attend to each other in blocks; learned seeds then attend to all nodes.

    .. math::
        h &= \mathrm{SAB}(\ldots \mathrm{SAB}(W p + b) \ldots) \\
        (\mu, \log \sigma^2) &= W' \, [\mathrm{PMA}_1(h), \ldots, \mathrm{PMA}_k(h)] + b'

    Attention has no notion of order, and masked nodes get a weight of exactly 0. A block costs
    :math:`O(N^2)`; with ``inducing`` points, through which the nodes then exchange what they
    know, :math:`O(N)`, which pays from some hundred nodes on.

    Args:
        num_features: F.
        latent_dim: L.
        width: Features of a node inside.
        heads: Attention heads, a divisor of ``width``.
        blocks: Number of attention blocks among the nodes.
        inducing: Number of inducing points of each block; 0 = every node attends to every node.
        seeds: Learned vectors that pool the cloud, their results side by side.
        extent: Length of a feature's scaled range.
    Raises:
        ValueError: If a number is below 1 (``inducing``: below 0), or ``heads`` is no divisor.
    References:
        | Set Transformer (Lee, Lee, Kim, Kosiorek, Choi and Teh, 2019), arXiv:1810.00825
    Example:
        >>> posterior = SetTransformerEncoder()(torch.rand(2, 25, 3))
        >>> posterior.mean.shape
        torch.Size([2, 10])
    """

    recordable = separable = True

    def __init__(
        self,
        num_features: int = 3,
        latent_dim: int = 10,
        width: int = 64,
        heads: int = 4,
        blocks: int = 2,
        inducing: int = 0,
        seeds: int = 4,
        extent: float = EXTENT,
    ) -> None:
        super().__init__()
        check_counts(num_features=num_features, latent_dim=latent_dim, blocks=blocks, seeds=seeds)
        _check_heads(width, heads)
        if not isinstance(inducing, int) or inducing < 0:
            raise ValueError(f"inducing must be a whole number of at least 0, got {inducing!r}")
        self.latent_dim, self.extent = latent_dim, extent
        self.embed = nn.Linear(num_features, width)
        self.blocks = nn.ModuleList(
            _ATTENTION.InducedSetAttentionBlock(width, inducing, heads)
            if inducing
            else _ATTENTION.SetAttentionBlock(width, heads)
            for _ in range(blocks)
        )
        self.pool = _ATTENTION.PoolingByMultiheadAttention(width, seeds, heads)
        self.gaussian = DiagonalGaussian(seeds * width, latent_dim)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent[Any]:
        """The posterior of each cloud.

        Args:
            points: Scaled features, shape (B, N, F), any N.
            mask: Real nodes, shape (B, N), at least one a cloud; None = all.
        Returns:
            A diagonal Gaussian with batch shape (B,) and event shape (L,).
        """
        hidden = self.embed(centred(points, self.extent))  # (B, N, C)
        for block in self.blocks:
            hidden = block(hidden, mask)
        pooled = self.pool(hidden, mask)  # (B, seeds, C)
        return self.gaussian(pooled.flatten(1))


@register("decoder", "set_transformer")
class SetTransformerDecoder(nn.Module):
    r"""Learned queries become nodes: each block lets z change them and then lets them attend.

    .. math::
        h^0_i &= q_i + W n_i \\
        h^{l+1} &= \mathrm{SAB}\left(h^l \odot (1 + a_l(z)) + b_l(z)\right) \\
        p_i &= \sigma(W' h_i + b')

    z scales and shifts the features of all queries alike (FiLM); what tells nodes apart is their
    query and their noise alone. So permuting queries and noise together permutes the nodes and
    changes nothing else (equivariance). With noise, one z has many clouds, whose nodes vary
    together, since each sees the noise of the others.

    Args:
        num_points: N, the number of queries.
        num_features: F.
        latent_dim: L.
        width: Features of a node inside.
        heads: Attention heads, a divisor of ``width``.
        blocks: Number of attention blocks.
        noise_dim: Features of the noise of each node; 0 = z determines the cloud.
    Raises:
        ValueError: If a number is below 1 (``noise_dim``: below 0), or ``heads`` is no divisor.
    References:
        | Set Transformer (Lee, Lee, Kim, Kosiorek, Choi and Teh, 2019), arXiv:1810.00825
        | FiLM: Visual Reasoning with a General Conditioning Layer (Perez, Strub, de Vries,
          Dumoulin and Courville, 2017), arXiv:1709.07871
    Example:
        >>> decoder = SetTransformerDecoder(noise_dim=2)
        >>> decoder(torch.zeros(4, 10), noise=torch.randn(4, 25, 2)).shape
        torch.Size([4, 25, 3])
    """

    recordable = separable = True

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        latent_dim: int = 10,
        width: int = 64,
        heads: int = 4,
        blocks: int = 2,
        noise_dim: int = 0,
    ) -> None:
        super().__init__()
        check_counts(num_points=num_points, num_features=num_features, latent_dim=latent_dim)
        check_counts(blocks=blocks)
        _check_heads(width, heads)
        if not isinstance(noise_dim, int) or noise_dim < 0:
            raise ValueError(f"noise_dim must be a whole number of at least 0, got {noise_dim!r}")
        self.num_points, self.latent_dim, self.noise_dim = num_points, latent_dim, noise_dim
        self.queries = nn.Parameter(torch.randn(num_points, width))
        if noise_dim:
            self.noise = nn.Linear(noise_dim, width, bias=False)
        self.condition = pyg.MLP([latent_dim, 2 * width, 2 * width * blocks], norm=None)
        self.blocks = nn.ModuleList(
            _ATTENTION.SetAttentionBlock(width, heads) for _ in range(blocks)
        )
        self.head = nn.Linear(width, num_features)

    def forward(
        self, z: Tensor, mask: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Nodes of each cloud.

        Args:
            z: Shape (B, L).
            mask: Real nodes, shape (B, N), at least one a cloud; real nodes do not see the
                others. None = all.
            noise: Shape (B, N, ``noise_dim``); None = zeros.
        Returns:
            Features in (0, 1), shape (B, N, F), in the order of the queries.
        Raises:
            ValueError: If ``noise`` has another shape.
        """
        hidden = self._start(z, noise)  # (B, N, C)
        changes = self.condition(z).unsqueeze(1).chunk(len(self.blocks), dim=-1)  # (B, 1, 2 * C)
        for block, change in zip(self.blocks, changes, strict=True):
            scale, shift = change.chunk(2, dim=-1)  # (B, 1, C) each
            hidden = block(hidden * (1 + scale) + shift, mask)
        return torch.sigmoid(self.head(hidden))

    def _start(self, z: Tensor, noise: Tensor | None) -> Tensor:
        """Queries of each cloud with their noise, shape (B, N, C)."""
        queries = self.queries.expand(z.shape[0], -1, -1)
        if noise is None:
            return queries
        wanted = (z.shape[0], self.num_points, self.noise_dim)
        if tuple(noise.shape) != wanted:
            raise ValueError(f"noise must have shape {wanted}, got {tuple(noise.shape)}")
        return queries + self.noise(noise) if self.noise_dim else queries


def _known_aggregations(aggregation: str | Sequence[str]) -> list[str]:
    names = [aggregation] if isinstance(aggregation, str) else list(aggregation)
    if not names or not set(names) <= set(AGGREGATIONS):
        raise ValueError(
            f"aggregation must be one or more of {', '.join(AGGREGATIONS)}, got {aggregation!r}"
        )
    return names


def _check_heads(width: int, heads: int) -> None:
    check_counts(width=width, heads=heads)
    if width % heads:
        raise ValueError(f"heads must divide the width {width}, got {heads}")
