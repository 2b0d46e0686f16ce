"""The stages after the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gconvae.training.clouds import TrainingClouds
from gconvae.training.optimization import Optimization
from gconvae.training.stages import likelihood, prior
from gconvae.training.stages.joint import JointStage
from gconvae.training.stages.stage import Stage
from gconvae.training.stages.temperature import has_temperatures, temperature_stage
from gconvae.vae import VAE

__all__ = ["later_stages"]


def later_stages(
    model: VAE,
    train: TrainingClouds,
    valid: TrainingClouds,
    *,
    seed: int,
    optimization: Optimization | None = None,
    with_prior: bool = True,
    joint_steps: int = 0,
) -> dict[str, Callable[[], Stage]]:
    """Prior and likelihood, where there is anything to fit, all together, and the temperatures.

    Args:
        model: They change.
        train: Training clouds.
        valid: Validation clouds.
        seed: Of the training.
        optimization: As of :class:`gconvae.training.stages.Stage`.
        with_prior: Whether the prior is not trained with the network.
        joint_steps: Steps in which all parts are trained together, at last.
    """
    seeded: dict[str, Any] = {"seed": seed, "optimization": optimization}
    row: dict[str, Callable[[], Stage]] = {}
    if with_prior and prior.has_stage(model.prior):
        row["prior"] = lambda: prior.prior_stage(model, train, valid, **seeded)
    if likelihood.has_stage(model.likelihood):
        row["likelihood"] = lambda: likelihood.likelihood_stage(model, train, valid, **seeded)
    if joint_steps:
        row["joint"] = lambda: JointStage(model, train, valid, joint_steps, **seeded)
    if has_temperatures(model.likelihood):
        row["temperature"] = lambda: temperature_stage(model, valid, seed)
    return row
