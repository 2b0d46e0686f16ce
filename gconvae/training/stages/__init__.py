"""The stages of a training: what each trains, on which batches, and what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.training.stages.at_once import AtOnceStage
    from gconvae.training.stages.likelihood import LikelihoodStage, calibrate, likelihood_stage
    from gconvae.training.stages.network import NetworkStage
    from gconvae.training.stages.prior import PriorStage, prior_stage, stage_of_latents
    from gconvae.training.stages.reconstructions import Reconstructions, latents
    from gconvae.training.stages.stage import Stage
    from gconvae.training.stages.stepped import SteppedStage

__all__ = [
    "AtOnceStage",
    "LikelihoodStage",
    "NetworkStage",
    "PriorStage",
    "Reconstructions",
    "Stage",
    "SteppedStage",
    "calibrate",
    "latents",
    "likelihood_stage",
    "prior_stage",
    "stage_of_latents",
]

_HOMES = {
    "AtOnceStage": "at_once",
    "LikelihoodStage": "likelihood",
    "NetworkStage": "network",
    "PriorStage": "prior",
    "Reconstructions": "reconstructions",
    "Stage": "stage",
    "SteppedStage": "stepped",
    "calibrate": "likelihood",
    "latents": "reconstructions",
    "likelihood_stage": "likelihood",
    "prior_stage": "prior",
    "stage_of_latents": "prior",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
