"""Graph and set encoders on padded clouds, where no shape depends on a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gconvae.clouds import sort_nodes
from gconvae.neighbors.dense import squared_distance
from gconvae.nn import DeepSetsEncoder, DynamicEdgeConvEncoder, EdgeConvEncoder
from gconvae.nn.graph import GraphConvEncoder, MoNetEncoder
from gconvae.nn.layers import centred

__all__ = ["DenseDeepSets", "DenseEdgeConv", "dense_encoder"]


def dense_encoder(encoder: nn.Module) -> nn.Module:
    """The same encoder in a form that can be exported, with the same weights.

    Args:
        encoder: As of a :class:`gconvae.VAE`.
    Raises:
        ValueError: If its layers work on lists of edges.
    """
    if isinstance(encoder, EdgeConvEncoder | DynamicEdgeConvEncoder):
        return DenseEdgeConv(encoder)
    if isinstance(encoder, DeepSetsEncoder):
        return DenseDeepSets(encoder)
    if isinstance(encoder, MoNetEncoder | GraphConvEncoder):
        raise ValueError(
            f"encoder must be one that can be exported, got {type(encoder).__name__}, whose "
            "layers work on a list of edges; the sampler can be exported by itself "
            "(part='sampler')"
        )
    return encoder


class DenseEdgeConv(nn.Module):
    """Edge convolutions on padded clouds, by the dense search.

    Args:
        encoder: Whose layers are used.
    """

    def __init__(self, encoder: EdgeConvEncoder | DynamicEdgeConvEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, points: Tensor, mask: Tensor) -> Any:
        """The posterior of each cloud, of scaled features (B, N, F) and a mask (B, N)."""
        encoder = self.encoder
        points, mask = sort_nodes(points, mask)
        nodes = points.flatten(0, 1)  # (B N, F)
        place = torch.arange(nodes.shape[0], device=nodes.device).unsqueeze(1)
        count = min(encoder.neighbors + 1, points.shape[1])

        def table(features: Tensor) -> Tensor:
            """Neighbours of each node, itself in the place of those that there are not."""
            each = features.unflatten(0, mask.shape)  # (B, N, C)
            apart = squared_distance(each.unsqueeze(2), each.unsqueeze(1))  # (B, N, N)
            apart = apart.masked_fill(~mask.unsqueeze(1), torch.inf)
            order = apart.sort(dim=-1, stable=True).indices[..., :count]  # (B, N, K)
            first = place.unflatten(0, mask.shape)[:, :1]  # (B, 1, 1)
            near = (order + first).flatten(0, 1)
            known = mask.sum(1).clamp(max=count).view(-1, 1, 1)
            real = torch.arange(count, device=nodes.device) < known  # (B, 1, K)
            real = real.expand(-1, mask.shape[1], -1).flatten(0, 1)
            return torch.where(real, near, place)

        if isinstance(encoder, EdgeConvEncoder):
            fixed = table(nodes[:, : encoder.num_positions])
            hidden = encoder.convs(centred(nodes, encoder.extent), lambda _: fixed)
        else:
            hidden = encoder.convs(centred(nodes, encoder.extent), table)
        clouds = points.shape[0]
        pooled = encoder.readout.aggregation(hidden, _owner(mask), dim_size=clouds + 1)[:clouds]
        return encoder.readout.gaussian(torch.relu(encoder.readout.dense(pooled)))


class DenseDeepSets(nn.Module):
    """Deep sets on padded clouds.

    Args:
        encoder: Whose layers are used.
    """

    def __init__(self, encoder: DeepSetsEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, points: Tensor, mask: Tensor) -> Any:
        """The posterior of each cloud, of scaled features (B, N, F) and a mask (B, N)."""
        encoder, clouds = self.encoder, points.shape[0]
        hidden = encoder.each_node(centred(points.flatten(0, 1), encoder.extent))
        pooled = encoder.pool(hidden, _owner(mask), dim_size=clouds + 1)[:clouds]
        return encoder.gaussian(encoder.whole_cloud(pooled))


def _owner(mask: Tensor) -> Tensor:
    """The cloud of each place, shape (B N,); one more takes the places without a node."""
    clouds = torch.arange(mask.shape[0], device=mask.device).unsqueeze(1)
    return torch.where(mask, clouds, mask.shape[0]).flatten()
