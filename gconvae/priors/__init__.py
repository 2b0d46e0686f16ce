"""p(z): where new latents are drawn from, from N(0, 1) to normalizing flows."""

from __future__ import annotations

from gconvae.priors.base import Latents, Prior, StandardNormal
from gconvae.priors.flows import Flow, MaskedAutoregressiveFlow, NeuralSplineFlow, RealNVP
from gconvae.priors.mixture import GaussianMixture

__all__ = [
    "Flow",
    "GaussianMixture",
    "Latents",
    "MaskedAutoregressiveFlow",
    "NeuralSplineFlow",
    "Prior",
    "RealNVP",
    "StandardNormal",
]
