"""The likelihood of the slides: the decoder's mean itself."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gconvae.likelihoods.base import Likelihood
from gconvae.registry import register

__all__ = ["MeanLikelihood"]


@register("likelihood", "mean")
class MeanLikelihood(Likelihood):
    """The decoder's mean itself, as on the slides; it has no density.

    Args:
        num_features: F.
        lattice: See :class:`Likelihood`.
    Example:
        >>> mean = torch.rand(2, 25, 3)
        >>> torch.equal(MeanLikelihood().sample(mean, torch.Generator()), mean)
        True
    """

    has_density: ClassVar[bool] = False

    def noise(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """None are needed, shape (B, 0)."""
        return torch.empty(shape[0], 0, device=generator.device)

    def draw(
        self,
        mean: Tensor,
        noise: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """The mean, shape (B, N, F)."""
        self._check_features(mean, "mean")
        return mean

    def log_prob(self, value: Tensor, mean: Tensor, context: Tensor | None = None) -> Tensor:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError("likelihood must be one with a density, such as gaussian, got mean")

    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        """Nothing to fit; clouds of wrong shapes are an error all the same."""
        self._check_pair(target, mean, "target")
