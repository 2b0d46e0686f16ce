"""The stages of a training: what each trains, on which batches, and what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.training.stages.likelihood import LikelihoodStage, calibrate, fit_likelihood
    from gconvae.training.stages.network import Adam, NetworkStage
    from gconvae.training.stages.prior import fit_prior
    from gconvae.training.stages.reconstructions import Reconstructions, latents

__all__ = [
    "Adam",
    "LikelihoodStage",
    "NetworkStage",
    "Reconstructions",
    "calibrate",
    "fit_likelihood",
    "fit_prior",
    "latents",
]

_HOMES = {
    "Adam": "network",
    "LikelihoodStage": "likelihood",
    "NetworkStage": "network",
    "Reconstructions": "reconstructions",
    "calibrate": "likelihood",
    "fit_likelihood": "likelihood",
    "fit_prior": "prior",
    "latents": "reconstructions",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
