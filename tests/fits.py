"""Stages of one part by themselves, as tests need them."""

from __future__ import annotations

from gconvae.priors.base import Latents, Prior
from gconvae.training.engine import fit_stage
from gconvae.training.stages.prior import stage_of_latents


def fit(prior: Prior, latents: Latents, valid: Latents, *, seed: int) -> None:
    """Fits a prior to latents, in place."""
    fit_stage(stage_of_latents(prior, latents, valid, seed=seed))
