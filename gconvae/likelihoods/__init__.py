"""p(x given z): what is drawn around the decoder's mean, from the mean itself to whole clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.likelihoods.atoms import Atoms
    from gconvae.likelihoods.autoregressive import AutoregressiveLikelihood
    from gconvae.likelihoods.base import LearnedLikelihood, Likelihood
    from gconvae.likelihoods.flow_matching import FlowMatchingLikelihood
    from gconvae.likelihoods.gaussian import TEMPERATURES, GaussianLikelihood
    from gconvae.likelihoods.lattice import (
        FINE_STEPS,
        LATTICE_STEPS,
        MIN_PLACES,
        MOST_PLACES,
        lattice_step,
    )
    from gconvae.likelihoods.mean import MeanLikelihood

__all__ = [
    "Atoms",
    "AutoregressiveLikelihood",
    "FINE_STEPS",
    "FlowMatchingLikelihood",
    "GaussianLikelihood",
    "LATTICE_STEPS",
    "LearnedLikelihood",
    "Likelihood",
    "MIN_PLACES",
    "MOST_PLACES",
    "MeanLikelihood",
    "TEMPERATURES",
    "lattice_step",
]

_HOMES = {
    "Atoms": "atoms",
    "AutoregressiveLikelihood": "autoregressive",
    "FINE_STEPS": "lattice",
    "FlowMatchingLikelihood": "flow_matching",
    "GaussianLikelihood": "gaussian",
    "LATTICE_STEPS": "lattice",
    "LearnedLikelihood": "base",
    "Likelihood": "base",
    "MIN_PLACES": "lattice",
    "MOST_PLACES": "lattice",
    "MeanLikelihood": "mean",
    "TEMPERATURES": "gaussian",
    "lattice_step": "lattice",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
