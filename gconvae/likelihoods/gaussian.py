"""Gaussian noise around the decoder's mean, cut to the unit interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gconvae import randomness
from gconvae.likelihoods.base import Likelihood
from gconvae.losses.assignment import match
from gconvae.registry import register

__all__ = ["TEMPERATURES", "GaussianLikelihood"]

TEMPERATURES = tuple(n / 20 for n in range(26))
"""Factors of the residuals that :meth:`GaussianLikelihood.calibrate` tries: 0, 0.05, ... 1.25."""


@register("likelihood", "gaussian")
class GaussianLikelihood(Likelihood):
    r"""A Gaussian around the decoder's mean, cut to [0, 1], with one scale a feature.

    .. math::
        p(x|z) = \frac{\varphi((x - m) / \sigma_f)}
        {\sigma_f \left[ \Phi((1 - m) / \sigma_f) - \Phi(-m / \sigma_f) \right]},
        \quad 0 \le x \le 1, \quad m = m(z)

    A mean alone draws clouds that are too narrow; this noise gives the spread back.

    Args:
        num_features: F.
        lattice: See :class:`Likelihood`.
        temperature: The factor t of :meth:`calibrate` for all features; None = chosen for each.
    Attributes:
        scale: Each feature's sigma in units of its range, shape (F,); 0 = no noise, which is what
            it is before :meth:`calibrate`.
    Raises:
        ValueError: If an option is out of its range.
    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin, Daniilidis and
          Levine, 2020), arXiv:2006.13202
    Example:
        >>> mean = torch.full((1000, 1, 2), 0.5)
        >>> target = mean + 0.1 * torch.randn(mean.shape, generator=torch.manual_seed(0))
        >>> likelihood = GaussianLikelihood(num_features=2)
        >>> likelihood.calibrate(target, mean)
        >>> [round(scale, 1) for scale in likelihood.scale.tolist()]
        [0.1, 0.1]
    """

    scale: Tensor

    def __init__(
        self,
        num_features: int = 3,
        lattice: str | Sequence[float] | None = "auto",
        temperature: float | None = None,
    ) -> None:
        super().__init__(num_features, lattice)
        if temperature is not None and not 0 <= temperature < math.inf:
            raise ValueError(
                f"temperature must be None or finite and at least 0, got {temperature}"
            )
        self.temperature = temperature
        self.register_buffer("scale", torch.zeros(num_features))

    def noise(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """One uniform number a feature, shape (B, N, F), in double precision."""
        return randomness.uniform_noise(shape, generator)

    def draw(
        self,
        mean: Tensor,
        noise: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """One draw around each mean, shape (B, N, F); the mean itself where the scale is 0."""
        self._check_features(mean, "mean")
        return torch.where(self.scale > 0, _draw(mean, self.scale, noise), mean)

    def log_prob(self, value: Tensor, mean: Tensor, context: Tensor | None = None) -> Tensor:
        """Exact and differentiable, shape (B, N, F); minus infinity outside [0, 1].

        Raises:
            ValueError: If shapes differ, or a scale is 0, where there is no density.
        """
        self._check_pair(value, mean, "value")
        if not (self.scale > 0).all():
            raise ValueError(
                "scale must be above 0 in every feature for a density, which calibrate sees to, "
                f"got {self.scale.tolist()}"
            )
        scale = self.scale.to(mean)
        lowest, highest = _edges(mean, scale)
        mass = 0.5 * (highest - lowest)
        normal = -0.5 * ((value - mean) / scale).square() - 0.5 * math.log(2 * math.pi)
        inside = (value >= 0) & (value <= 1)
        return torch.where(inside, normal - torch.log(scale * mass), -math.inf)

    @torch.no_grad()
    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        r"""Fits the scale to the residuals of nodes matched one to one, in place.

        .. math::
            \sigma_f = t_f \, r_f, \quad r_f = \sqrt{\langle (x_f - m_f)^2 \rangle}, \quad
            t_f = \arg\min_t W_1 \left( \{x_f\}, \{\text{draws around } m_f
            \text{ with scale } t \, r_f\} \right)

        over all pairs of :func:`gconvae.losses.match`. A residual is not noise alone: a decoder
        trained on a set distance also puts whole nodes in wrong places, which the other nodes make
        up for in the pooled feature. All of the residual as noise draws clouds that are too wide.
        So the factor t is the one of :data:`TEMPERATURES` whose draws have the pooled feature
        closest to the clouds' (1-Wasserstein distance, the same random numbers for every t); 0 is
        among them, so that no feature's draws are farther than its means.

        Args:
            target: Clouds in the unit interval, shape (B, N, F), dequantized as in training.
            mean: The decoder's output for them, in [0, 1], nodes in any order, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N); None = all.
        Raises:
            ValueError: If shapes do not match, or clouds are not finite.
        """
        self._check_pair(target, mean, "target")
        index = match(target, mean, mask, mask)  # (B, N)
        real = index >= 0
        partner = mean.gather(1, index.clamp(min=0).unsqueeze(-1).expand_as(mean))  # (B, N, F)
        x, m = (nodes[real].cpu().double() for nodes in (target, partner))  # (P, F)
        rms = (x - m).square().mean(0).sqrt()  # (F,)
        factor = _best_factors(x, m, rms) if self.temperature is None else self.temperature
        self.scale.copy_(factor * rms)


def _draw(mean: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
    """Cut Gaussians by the inverse of their distribution function, at uniform (..., F)."""
    m, sigma = mean.double(), scale.double().clamp(min=1e-300)
    lowest, highest = _edges(m, sigma)
    # single precision has no numbers for the tails, and double none at 1 itself
    rank = (lowest + uniform * (highest - lowest)).clamp(-1 + 2**-53, 1 - 2**-53)
    draw = m + math.sqrt(2) * sigma * torch.erfinv(rank)
    return draw.clamp(0, 1).to(mean.dtype)


def _edges(mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """2 Phi - 1 at 0 and at 1, which have opposite signs, so that no digit cancels."""
    width = math.sqrt(2) * scale
    return torch.erf(-mean / width), torch.erf((1 - mean) / width)


def _best_factors(target: Tensor, mean: Tensor, rms: Tensor) -> Tensor:
    """The t of :meth:`GaussianLikelihood.calibrate` of each feature, of matched nodes (P, F)."""
    generator = randomness.generator(0, "observation")
    uniform = randomness.uniform_noise(tuple(mean.shape), generator)
    wanted = target.sort(0).values  # (P, F)
    factors = mean.new_tensor(TEMPERATURES)
    # of equally many values, the 1-Wasserstein distance pairs them by rank
    gaps = [(_draw(mean, t * rms, uniform).sort(0).values - wanted).abs().mean(0) for t in factors]
    return factors[torch.stack(gaps).argmin(0)]  # (F,)
