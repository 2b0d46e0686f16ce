"""Graph encoders: message passing on the nearest neighbours of each node, then a pooled readout.

All take ragged clouds and any number of nodes, and are invariant to node order: the layers by
construction, ties between neighbours because nodes are put in an order before the search. It is
that of ``sort_nodes`` without a schema, whatever the features mean; nodes that tie in it stay in
the order in which they come, which in a model is that of its schema.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.nn import functional

from gconvae.clouds import pack, sort_nodes
from gconvae.neighbors.knn import knn_graph
from gconvae.nn.layers import Convolution, Readout, centred, make_norm
from gconvae.pyg import nn as pyg
from gconvae.registry import check_counts, check_widths, register
from gconvae.schema import EXTENT

__all__ = [
    "DynamicEdgeConvEncoder",
    "EdgeConvEncoder",
    "EdgeConvEncoderBase",
    "GraphConvEncoder",
    "MoNetEncoder",
]

REACH = 8 / EXTENT
"""Of the offsets to 8 neighbours among 25 nodes, as a share of the scaled range, 99 % are shorter
along each axis."""

BACKEND = "dense"  # the faster search on some tens of nodes, in positions and in features


class _Nodes(NamedTuple):
    """The real nodes of a batch of clouds, in order."""

    points: Tensor  # (P, F), scaled units
    batch: Tensor  # (P,), cloud of each node
    num_clouds: int
    num_positions: int  # D, at most F
    extent: float  # length of a feature's scaled range

    @property
    def unit(self) -> Tensor:
        """Features in about [-1, 1], shape (P, F)."""
        return centred(self.points, self.extent)

    @property
    def positions(self) -> Tensor:
        """Where nodes are, in scaled units, shape (P, D)."""
        return self.points[:, : self.num_positions]

    def graph(self, neighbors: int, loop: bool) -> Tensor:
        """Edges (2, E) from the nearest nodes by position."""
        return knn_graph(self.positions, neighbors, self.batch, loop, BACKEND)

    def offsets(self, edges: Tensor) -> Tensor:
        """From each node to its neighbour, about [-1, 1], shape (E, D)."""
        source, target = edges
        positions = self.positions
        return (positions[source] - positions[target]) / (REACH * self.extent)


def _nodes(points: Tensor, mask: Tensor | None, num_positions: int, extent: float) -> _Nodes:
    ordered, present = sort_nodes(points, mask)
    packed = pack(ordered, None if mask is None else present)
    return _Nodes(packed.points, packed.batch, points.shape[0], num_positions, extent)


class EdgeConvEncoderBase(nn.Module, ABC):
    """What edge convolutions on any graph share; options as those of :class:`EdgeConvEncoder`."""

    def __init__(
        self,
        num_features: int = 3,
        latent_dim: int = 10,
        channels: Sequence[int] = (64, 64, 128),
        neighbors: int = 8,
        hidden: int = 256,
        aggregation: str | Sequence[str] = ("mean", "max"),
        num_positions: int = 2,
        extent: float = EXTENT,
    ) -> None:
        super().__init__()
        check_counts(num_positions=num_positions)
        check_counts(num_features=num_features, latent_dim=latent_dim, neighbors=neighbors)
        self.latent_dim, self.neighbors = latent_dim, neighbors
        self.num_positions, self.extent = min(num_positions, num_features), extent
        self.convs = _EdgeConvs(num_features, channels)
        self.readout = Readout(sum(channels), hidden, latent_dim, aggregation)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent[Any]:
        """The posterior of each cloud.

        Args:
            points: Scaled features, shape (B, N, F).
            mask: True = a real node, shape (B, N); None = all real.
        Returns:
            A diagonal Gaussian with batch shape (B,) and event shape (L,).
        """
        nodes = _nodes(points, mask, self.num_positions, self.extent)
        features = self.convs(nodes.unit, self._graph(nodes))  # (P, sum of C)
        return self.readout(features, nodes.batch, nodes.num_clouds)

    @abstractmethod
    def _graph(self, nodes: _Nodes) -> Callable[[Tensor], Tensor]:
        """Neighbours of each node (P, K) as a function of a layer's input (P, C)."""


@register("encoder", "edge_conv")
class EdgeConvEncoder(EdgeConvEncoderBase):
    r"""Edge convolutions on one graph, the nearest neighbours by position: q(z|x).

    .. math:: h_i' = \max_{j \in \mathcal{N}(i) \cup \{i\}} \mathrm{ReLU}(W [h_i, h_j - h_i] + b)

    The outputs of all layers together are pooled over the nodes of a cloud; a dense layer with
    ReLU and the Gaussian's layer follow.

    Args:
        num_features: F, positions first.
        latent_dim: L.
        channels: Output channels of each edge convolution.
        neighbors: Neighbours of a node; a smaller cloud gives as many as it has.
        hidden: Width of the dense layer.
        aggregation: One or several of :data:`~gconvae.nn.layers.AGGREGATIONS`, concatenated.
        num_positions: D, the features that say where a node is; at most F count.
        extent: Length of a feature's scaled range.
    Raises:
        ValueError: If a width or ``neighbors`` is below 1, or an aggregation is unknown.
    References:
        | Dynamic Graph CNN for Learning on Point Clouds (Wang et al., 2018), arXiv:1801.07829
    Example:
        >>> posterior = EdgeConvEncoder()(torch.rand(2, 25, 3))
        >>> posterior.mean.shape
        torch.Size([2, 10])
    """

    def _graph(self, nodes: _Nodes) -> Callable[[Tensor], Tensor]:
        # with loops, so that a lone node hears itself
        edges = nodes.graph(self.neighbors + 1, loop=True)
        table = _neighbor_table(edges, len(nodes.points))
        return lambda _: table


@register("encoder", "dynamic_edge_conv")
class DynamicEdgeConvEncoder(EdgeConvEncoderBase):
    r"""Edge convolutions whose graph each layer finds anew among its own input features: q(z|x).

    .. math:: h_i' = \max_{j \in \mathcal{N}_h(i) \cup \{i\}} \mathrm{ReLU}(W [h_i, h_j - h_i] + b)

    The first graph is that of all input features, so that those which are no positions count as
    directions too. Otherwise as :class:`EdgeConvEncoder`.

    Args:
        num_features: F.
        latent_dim: L.
        channels: Output channels of each edge convolution.
        neighbors: Neighbours of a node; a smaller cloud gives as many as it has.
        hidden: Width of the dense layer.
        aggregation: One or several of :data:`~gconvae.nn.layers.AGGREGATIONS`, concatenated.
        num_positions: D, the features that say where a node is; at most F count.
        extent: Length of a feature's scaled range.
    Raises:
        ValueError: If a width or ``neighbors`` is below 1, or an aggregation is unknown.
    References:
        | Dynamic Graph CNN for Learning on Point Clouds (Wang et al., 2018), arXiv:1801.07829
    Example:
        >>> posterior = DynamicEdgeConvEncoder(neighbors=4)(torch.rand(2, 25, 3))
        >>> posterior.mean.shape
        torch.Size([2, 10])
    """

    def _graph(self, nodes: _Nodes) -> Callable[[Tensor], Tensor]:
        def table(features: Tensor) -> Tensor:
            edges = knn_graph(features, self.neighbors + 1, nodes.batch, True, BACKEND)
            return _neighbor_table(edges, len(features))

        return table


@register("encoder", "monet")
class MoNetEncoder(nn.Module):
    r"""Gaussian-mixture convolutions on neighbours by position: q(z|x).

    .. math:: h_i' = \mathrm{ReLU}\left(\Theta_0 h_i + \frac{1}{|\mathcal{N}(i)|}
              \sum_{j \in \mathcal{N}(i)} \sum_{k=1}^{K} w_k(e_{ji}) \Theta_k h_j\right), \quad
              w_k(e) = \exp\left(-\tfrac12 (e - \mu_k)^\top \Sigma_k^{-1} (e - \mu_k)\right)

    The pseudo coordinates e are the offsets of the neighbours, scaled to about [-1, 1].

    Args:
        num_features: F, positions first.
        latent_dim: L.
        channels: Output channels of each convolution.
        neighbors: Neighbours of a node; a smaller cloud gives as many as it has.
        kernel_size: Gaussians of a kernel, K.
        hidden: Width of the dense layer.
        aggregation: One or several of :data:`~gconvae.nn.layers.AGGREGATIONS`, concatenated.
        num_positions: D, the features that say where a node is; at most F count.
        extent: Length of a feature's scaled range.
    Raises:
        ValueError: If a width or count is below 1, or an aggregation is unknown.
    References:
        | Geometric deep learning on graphs and manifolds using mixture model CNNs
          (Monti et al., 2016), arXiv:1611.08402
    Example:
        >>> posterior = MoNetEncoder(kernel_size=3)(torch.rand(2, 25, 3))
        >>> posterior.mean.shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_features: int = 3,
        latent_dim: int = 10,
        channels: Sequence[int] = (32, 32, 64),
        neighbors: int = 8,
        kernel_size: int = 4,
        hidden: int = 512,
        aggregation: str | Sequence[str] = ("mean", "max"),
        num_positions: int = 2,
        extent: float = EXTENT,
    ) -> None:
        super().__init__()
        check_counts(num_positions=num_positions)
        check_counts(num_features=num_features, latent_dim=latent_dim, neighbors=neighbors)
        check_counts(kernel_size=kernel_size)
        check_widths("channels", channels)
        self.latent_dim, self.neighbors = latent_dim, neighbors
        self.num_positions, self.extent = min(num_positions, num_features), extent
        self.convs = nn.ModuleList(
            _mixture(i, o, kernel_size, self.num_positions)
            for i, o in zip((num_features, *channels), channels, strict=False)
        )
        self.readout = Readout(sum(channels), hidden, latent_dim, aggregation)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent[Any]:
        """The posterior of each cloud; arguments as those of :class:`EdgeConvEncoder`."""
        nodes = _nodes(points, mask, self.num_positions, self.extent)
        edges = nodes.graph(self.neighbors, loop=False)
        offsets = nodes.offsets(edges)
        hidden, outputs = nodes.unit, []
        for conv in self.convs:
            hidden = torch.relu(conv(hidden, edges, offsets))  # (P, C)
            outputs.append(hidden)
        return self.readout(torch.cat(outputs, 1), nodes.batch, nodes.num_clouds)


@register("encoder", "graph_conv")
class GraphConvEncoder(nn.Module):
    r"""Any convolution of PyG with an explicit ``edge_index``, on neighbours by position: q(z|x).

    .. math:: h_i' = h_i + \mathrm{ReLU}(\mathrm{norm}(\mathrm{conv}(h, \mathcal{N})_i))

    The convolution gets what its signature asks for: the hidden features ``x``, the positions
    ``pos`` in about [-1, 1], the neighbours' offsets ``edge_attr``. Networks that it wants have
    two dense layers. Edge weights stay 1.

    Args:
        num_features: F, positions first.
        latent_dim: L.
        conv: Name of a class in ``torch_geometric.nn``, or that class.
        conv_options: Options of it, such as ``{"heads": 4}``; heads share the channels.
        width: Channels of every layer.
        num_layers: Convolutions.
        neighbors: Neighbours of a node; a smaller cloud gives as many as it has.
        residual: Whether a layer's input is added to its output.
        norm: One of :data:`~gconvae.nn.layers.NORMS`.
        hidden: Width of the dense layer after pooling.
        aggregation: One or several of :data:`~gconvae.nn.layers.AGGREGATIONS`, concatenated.
        num_positions: D, the features that say where a node is; at most F count.
        extent: Length of a feature's scaled range.
    Raises:
        ValueError: If the convolution is unknown or needs more than that, does not take an option,
            draws random numbers or mixes clouds, or if another option is not allowed.
    References:
        | How Attentive are Graph Attention Networks? (Brody et al., 2021), arXiv:2105.14491
        | Point Transformer (Zhao et al., 2020), arXiv:2012.09164
        | How Powerful are Graph Neural Networks? (Xu et al., 2018), arXiv:1810.00826
    Example:
        >>> encoder = GraphConvEncoder(conv="GATv2Conv", conv_options={"heads": 4})
        >>> encoder(torch.rand(2, 25, 3)).mean.shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_features: int = 3,
        latent_dim: int = 10,
        conv: str | type[nn.Module] = "GATv2Conv",
        conv_options: Mapping[str, Any] | None = None,
        width: int = 64,
        num_layers: int = 3,
        neighbors: int = 8,
        residual: bool = True,
        norm: str = "layer",
        hidden: int = 512,
        aggregation: str | Sequence[str] = ("mean", "max"),
        num_positions: int = 2,
        extent: float = EXTENT,
    ) -> None:
        super().__init__()
        check_counts(num_positions=num_positions)
        check_counts(num_features=num_features, latent_dim=latent_dim, neighbors=neighbors)
        check_counts(width=width, num_layers=num_layers)
        self.latent_dim, self.neighbors, self.residual = latent_dim, neighbors, residual
        self.num_positions, self.extent = min(num_positions, num_features), extent
        self.dense = nn.Linear(num_features, width)
        self.convs = nn.ModuleList(
            Convolution(conv, width, conv_options or {}, self.num_positions)
            for _ in range(num_layers)
        )
        self.norms = nn.ModuleList(make_norm(norm, width) for _ in range(num_layers))
        self.readout = Readout(width, hidden, latent_dim, aggregation)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent[Any]:
        """The posterior of each cloud; arguments as those of :class:`EdgeConvEncoder`."""
        nodes = _nodes(points, mask, self.num_positions, self.extent)
        edges = nodes.graph(self.neighbors, loop=False)
        inputs = {
            "pos": nodes.unit[:, : nodes.num_positions],
            "edge_index": edges,
            "edge_attr": nodes.offsets(edges),
        }
        hidden = self.dense(nodes.unit)  # (P, width)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            change = torch.relu(norm(conv(hidden, inputs), nodes.batch))
            hidden = hidden + change if self.residual else change
        return self.readout(hidden, nodes.batch, nodes.num_clouds)


class _EdgeConv(nn.Module):
    r"""An edge convolution whose network is one dense layer, with no product per edge.

    .. math:: \max_j \mathrm{ReLU}(W_1 h_i + W_2 (h_j - h_i) + b)
              = \mathrm{ReLU}\left((W_1 - W_2) h_i + b + \max_j W_2 h_j\right)

    The result is that of PyG's ``EdgeConv(dense, aggr="max")`` and a ReLU; in PyG the products and
    the scattered maximum over edges take most of a training step.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(2 * inputs, outputs)

    def forward(self, hidden: Tensor, neighbors: Tensor) -> Tensor:
        """Of nodes (P, C) and their neighbours (P, K): (P, C')."""
        own, difference = self.dense.weight.chunk(2, dim=1)
        sent = hidden @ difference.t()  # (P, C')
        loudest = sent[neighbors].amax(1)  # (P, C')
        return torch.relu(functional.linear(hidden, own - difference, self.dense.bias) + loudest)


class _EdgeConvs(nn.Module):
    """Edge convolutions one after another; gives all their outputs side by side."""

    def __init__(self, num_features: int, channels: Sequence[int]) -> None:
        super().__init__()
        check_widths("channels", channels)
        self.convs = nn.ModuleList(
            _EdgeConv(i, o) for i, o in zip((num_features, *channels), channels, strict=False)
        )

    def forward(self, hidden: Tensor, neighbors: Callable[[Tensor], Tensor]) -> Tensor:
        """Of nodes (P, F) and a function from a layer's input to its graph: (P, sum of C)."""
        outputs = []
        for conv in self.convs:
            hidden = conv(hidden, neighbors(hidden))  # (P, C)
            outputs.append(hidden)
        return torch.cat(outputs, 1)


def _neighbor_table(edges: Tensor, num_nodes: int) -> Tensor:
    """Sources of the edges to each node, grouped by target; free places hold the node: (P, K)."""
    source, target = edges
    counts = torch.bincount(target, minlength=num_nodes)
    place = torch.arange(len(source), device=source.device) - (counts.cumsum(0) - counts)[target]
    table = torch.arange(num_nodes, device=source.device).unsqueeze(1)
    table = table.repeat(1, int(counts.max()))
    table[target, place] = source
    return table


def _mixture(inputs: int, outputs: int, kernel_size: int, dim: int) -> nn.Module:
    conv = pyg.GMMConv(inputs, outputs, dim=dim, kernel_size=kernel_size)
    # PyG draws widths around 0, where a Gaussian meets no neighbour and learns nothing
    nn.init.uniform_(conv.mu, -1.0, 1.0)
    nn.init.constant_(conv.sigma, 0.5)
    return conv
