"""Priors p(z): what new clouds are drawn from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["Prior", "StandardNormal"]


class Prior(nn.Module, ABC):
    """A density over latents that can be drawn from."""

    latent_dim: int

    @abstractmethod
    def sample(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws z, shape (num_samples, L), on the generator's device."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of z, shape (..., L) to (...), in nats."""


class StandardNormal(Prior):
    r"""N(0, 1) in each of L latent dimensions, the prior of the slides.

    .. math:: \log p(z) = -\tfrac12 \sum_l z_l^2 - \tfrac L2 \log 2\pi

    Args:
        latent_dim: L, at least 1.
    Raises:
        ValueError: If ``latent_dim`` is below 1.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
    Example:
        >>> StandardNormal(2).log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.latent_dim = latent_dim

    def sample(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws z, shape (num_samples, L), on the generator's device."""
        return torch.randn(
            num_samples, self.latent_dim, generator=generator, device=generator.device
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of z, shape (..., L) to (...), in nats."""
        return -0.5 * (z.square().sum(-1) + self.latent_dim * math.log(2 * math.pi))

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"latent_dim={self.latent_dim}"
