"""Clouds drawn from a model: each is a function of the seed and its number."""

from __future__ import annotations

from gconvae.sampling.clouds import checked_request, interpolations, reconstructions, samples
from gconvae.sampling.noise import Generative, Request

__all__ = [
    "Generative",
    "Request",
    "interpolations",
    "reconstructions",
    "samples",
    "checked_request",
]
