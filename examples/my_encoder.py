"""A custom encoder, for gconvae train --parts my_encoder.py --encoder my_encoder."""

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.nn import DiagonalGaussian
from gconvae.registry import register


@register("encoder", "my_encoder")
class MomentEncoder(nn.Module):
    """Moments of the nodes up to an order, as Hu (1962) describes images, then dense layers."""

    def __init__(
        self, num_features: int = 3, latent_dim: int = 10, width: int = 64, order: int = 6
    ) -> None:
        super().__init__()
        self.latent_dim, self.order = latent_dim, order
        degrees = torch.cartesian_prod(*[torch.arange(order + 1)] * num_features)
        degrees = degrees[degrees.sum(1) <= order]  # (M, F), one row a moment
        self.register_buffer("degrees", degrees, persistent=False)
        dense = [nn.Linear(len(degrees), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.dense = nn.Sequential(*dense)
        self.gaussian = DiagonalGaussian(width, latent_dim)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Independent:
        """The posterior of each cloud, of points (B, N, F) and mask (B, N)."""
        unit = ((points - 13.5) / 13.5).clamp(-1, 1)  # scaled units are about [0, 27]
        powers = [torch.ones_like(unit), unit]
        for _ in range(self.order - 1):  # Chebyshev polynomials: less alike than bare powers
            powers.append(2 * unit * powers[-1] - powers[-2])
        features = torch.arange(points.shape[2], device=points.device)
        terms = torch.stack(powers, -1)[:, :, features, self.degrees].prod(-1)  # (B, N, M)
        if mask is not None:
            terms = terms * mask.unsqueeze(-1)
        # over a constant, not over the number of nodes, which so becomes the moment of order 0
        return self.gaussian(self.dense(terms.sum(1) / 25))
