"""p(x given z): what is drawn around the decoder's mean, from the mean itself to whole clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.likelihoods.autoregressive import AutoregressiveLikelihood
    from gconvae.likelihoods.base import (
        FINE_STEPS,
        LATTICE_STEPS,
        MIN_PLACES,
        TEMPERATURES,
        GaussianLikelihood,
        LearnedLikelihood,
        Likelihood,
        MeanLikelihood,
        Pairs,
        lattice_step,
    )

__all__ = [
    "AutoregressiveLikelihood",
    "FINE_STEPS",
    "GaussianLikelihood",
    "LATTICE_STEPS",
    "LearnedLikelihood",
    "Likelihood",
    "MIN_PLACES",
    "MeanLikelihood",
    "Pairs",
    "TEMPERATURES",
    "lattice_step",
]

_HOMES = {
    "AutoregressiveLikelihood": "autoregressive",
    "FINE_STEPS": "base",
    "LATTICE_STEPS": "base",
    "MIN_PLACES": "base",
    "TEMPERATURES": "base",
    "GaussianLikelihood": "base",
    "LearnedLikelihood": "base",
    "Likelihood": "base",
    "MeanLikelihood": "base",
    "Pairs": "base",
    "lattice_step": "base",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
