"""The last layer of every encoder: a diagonal Gaussian over the latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

__all__ = ["DiagonalGaussian"]


class DiagonalGaussian(nn.Linear):
    r"""One dense layer that gives mean and log-variance of q(z|x).

    .. math:: (\mu, \log \sigma^2) = W h + b

    Args:
        width: Features of h.
        latent_dim: L.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
    Example:
        >>> DiagonalGaussian(8, 3)(torch.zeros(2, 8)).mean.shape
        torch.Size([2, 3])
    """

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__(width, 2 * latent_dim)

    def forward(  # type: ignore[override]  # a dense layer that returns a distribution
        self, hidden: Tensor
    ) -> Independent[Any]:
        """The posterior of each cloud, event shape (L,), of h with shape (B, width)."""
        # in the weights' precision whatever the network's: the KL hangs on small differences
        with torch.autocast(hidden.device.type, enabled=False):
            output = super().forward(hidden.to(self.weight.dtype))
        mean, log_var = output.chunk(2, dim=1)  # (B, L) each
        stddev = torch.exp(0.5 * log_var)
        return Independent(Normal(mean, stddev, validate_args=False), 1, validate_args=False)
