"""The graph decoder: learned start nodes, refined by messages that are steered by z."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconvae.neighbors.dense import squared_distance
from gconvae.registry import check_counts, register

__all__ = ["GRAPHS", "GraphDecoder"]

GRAPHS = ("complete", "knn")
"""Graphs that messages can travel on."""


@register("decoder", "graph")
class GraphDecoder(nn.Module):
    r"""Learned start nodes, then message passing on a complete or kNN graph, conditioned on z.

    Node i starts as a learned vector. Each layer l scales and shifts all nodes alike by what a
    dense network makes of z (FiLM), lets each node hear the others and itself, and adds a change:

    .. math::
        g_i &= \mathrm{norm}(h_i) (1 + \gamma_l(z)) + \beta_l(z) \\
        m_i &= \mathrm{mean}_{j \in \mathcal{N}(i) \cup \{i\}} \mathrm{ReLU}(A g_i + B g_j) \\
        h_i' &= h_i + V\, \mathrm{ReLU}(U [g_i, m_i])

    and the output is :math:`\mathrm{sigmoid}(W h_i)`. A and B work on nodes, not on pairs, so that
    a pair of a complete graph costs one addition a channel. Permuting the start nodes permutes the
    output. Masked nodes are heard by nobody.

    Args:
        num_points: N, the number of start nodes.
        num_features: F, positions first.
        latent_dim: L.
        width: Channels of a node.
        num_layers: Rounds of messages.
        hidden: Width of the dense network of z.
        graph: ``"complete"``, or ``"knn"``: before each round, the nearest of where the output
            layer would put the nodes.
        neighbors: Neighbours of a node in a ``"knn"`` graph.
        num_positions: Features that say where a node is, in a ``"knn"`` graph; at most F count.
    Raises:
        ValueError: If a number is below 1, or ``graph`` is unknown.
    References:
        | FiLM: Visual Reasoning with a General Conditioning Layer (Perez et al., 2017),
          arXiv:1709.07871
        | Interaction Networks for Learning about Objects, Relations and Physics (Battaglia et al.,
          2016), arXiv:1612.00222
    Example:
        >>> GraphDecoder()(torch.zeros(2, 10)).shape
        torch.Size([2, 25, 3])
    """

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        latent_dim: int = 10,
        width: int = 64,
        num_layers: int = 3,
        hidden: int = 256,
        graph: str = "complete",
        neighbors: int = 8,
        num_positions: int = 2,
    ) -> None:
        super().__init__()
        check_counts(num_points=num_points, num_features=num_features, latent_dim=latent_dim)
        check_counts(width=width, num_layers=num_layers, hidden=hidden, neighbors=neighbors)
        check_counts(num_positions=num_positions)
        if graph not in GRAPHS:
            raise ValueError(f"graph must be one of {', '.join(GRAPHS)}, got {graph!r}")
        self.num_points, self.latent_dim = num_points, latent_dim
        self.graph, self.neighbors = graph, neighbors
        self.num_positions = min(num_positions, num_features)
        self.start = nn.Parameter(torch.randn(num_points, width))
        self.condition = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.layers = nn.ModuleList(_MessageLayer(width, hidden) for _ in range(num_layers))
        self.head = nn.Linear(width, num_features)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Nodes of each cloud.

        Args:
            z: Shape (B, L).
            mask: True = a node that counts, shape (B, N); None = all. The others get values too,
                which influence nothing.
        Returns:
            Features in (0, 1), shape (B, N, F), node i from start node i.
        """
        condition = self.condition(z)  # (B, hidden)
        nodes = self.start.expand(z.shape[0], -1, -1)  # (B, N, C)
        real = nodes.new_ones(nodes.shape[:2], dtype=torch.bool) if mask is None else mask
        for layer in self.layers:
            nodes = layer(nodes, condition, real, self._neighbors(nodes, real))
        return torch.sigmoid(self.head(nodes))

    def _neighbors(self, nodes: Tensor, real: Tensor) -> Tensor | None:
        """Places of the nodes that each node hears, (B, N, K); None = of all."""
        if self.graph == "complete":
            return None
        features = torch.sigmoid(self.head(nodes)).detach()  # (B, N, F)
        positions = features[..., : self.num_positions]  # (B, N, D)
        distance = squared_distance(positions.unsqueeze(2), positions.unsqueeze(1))  # (B, N, N)
        distance = distance.masked_fill(~real.unsqueeze(1), torch.inf)
        return distance.sort(dim=-1, stable=True).indices[..., : self.neighbors + 1]


class _MessageLayer(nn.Module):
    """One round of messages; the formula is that of :class:`GraphDecoder`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)  # FiLM scales and shifts
        self.film = nn.Linear(hidden, 2 * width)
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.update = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(
        self, nodes: Tensor, condition: Tensor, real: Tensor, neighbors: Tensor | None
    ) -> Tensor:
        scale, shift = self.film(condition).unsqueeze(1).chunk(2, -1)  # (B, 1, C) each
        steered = self.norm(nodes) * (1 + scale) + shift  # (B, N, C)
        # what a masked node sends vanishes in the ReLU, and so does its gradient
        sent = self.sender(steered).masked_fill(~real.unsqueeze(-1), -torch.inf).unsqueeze(1)
        heard = real.sum(1).clamp(min=1)  # (B,)
        if neighbors is not None:
            cloud = torch.arange(nodes.shape[0], device=nodes.device).view(-1, 1, 1)
            sent = sent[cloud, 0, neighbors]  # (B, N, K, C)
            heard = heard.clamp(max=neighbors.shape[-1])
        pairs = (self.receiver(steered).unsqueeze(2) + sent).relu_()  # (B, N, K, C)
        mean = pairs.sum(2) / heard.view(-1, 1, 1)  # (B, N, C)
        return nodes + self.update(torch.cat([steered, mean], -1))
