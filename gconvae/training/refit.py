"""A copy of a trained model with another prior or likelihood: one stage by itself."""

from __future__ import annotations

import copy
from typing import Any

from gconvae import registry
from gconvae.caller_state import neutral
from gconvae.datasets.cloud_file import CloudFile
from gconvae.likelihoods.base import Likelihood
from gconvae.options import TrainingOptions
from gconvae.priors.base import Prior
from gconvae.randomness import initial_weights
from gconvae.training.clouds import (
    CloudsInMemory,
    CloudsOnDisk,
    TrainingClouds,
    seen_rows,
    training_clouds,
)
from gconvae.training.engine import Engine, fit_stage
from gconvae.training.optimization import Optimization
from gconvae.training.preparation import look_at, set_budget
from gconvae.training.stages import likelihood as likelihoods
from gconvae.training.stages import prior as priors
from gconvae.training.stages.later import later_stages
from gconvae.training.stages.reconstructions import held_out
from gconvae.training.stages.temperature import has_temperatures, temperature_stage
from gconvae.training.watching import create_callbacks
from gconvae.vae import VAE

__all__ = ["fit_later_stages", "with_likelihood", "with_prior"]


@neutral()
def with_prior(
    model: VAE,
    prior: str | Prior,
    data: Any,
    *,
    valid: Any = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> VAE:
    """A copy of a model with a prior that is fitted; see :meth:`gconvae.VAE.with_prior`."""
    model = copy.deepcopy(model).eval()
    if isinstance(prior, Prior):
        model.prior = copy.deepcopy(prior)
    else:
        shape: dict[str, Any] = {
            "latent_dim": model.prior.latent_dim,
            "num_classes": model.conditioning.num_classes,
            "ragged": model.conditioning.ragged,
        }
        if model.conditioning.names:
            shape["num_conditions"] = len(model.conditioning.names)
        model.prior = _created("prior", prior, shape, seed, options)
    device = model.device
    model.prior.to(model.scaling.low).eval()
    clouds, held = _clouds(model, data, valid)
    if priors.has_stage(model.prior):
        stage = priors.prior_stage(model, clouds, held, seed=seed)
        fit_stage(stage, progress=progress, device=device)
    return model.to(device).eval()


@neutral()
def with_likelihood(
    model: VAE,
    likelihood: str | Likelihood,
    data: Any,
    *,
    valid: Any = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> VAE:
    """A copy of a model with a fitted likelihood; see :meth:`gconvae.VAE.with_likelihood`."""
    model = copy.deepcopy(model).eval()
    if isinstance(likelihood, Likelihood):
        model.likelihood = copy.deepcopy(likelihood)
    else:
        shape = {
            "num_points": model.conditioning.num_points,
            "num_features": len(model.scaling.low),
            "weighted": bool(model.schema.weight),
            "latent_dim": model.prior.latent_dim,
            "num_classes": model.conditioning.num_classes,
            "num_conditions": len(model.conditioning.names),
        }
        model.likelihood = _created("likelihood", likelihood, shape, seed, options)
    model.conditioning.check_likelihood(model.likelihood.conditioned_on, model.prior.latent_dim)
    device = model.device
    model.likelihood.to(model.scaling.low)
    model.likelihood.set_schema(model.schema)
    clouds, held = _clouds(model, data, valid)
    seen = clouds.prepared(seen_rows(len(clouds), seed))
    model.likelihood.set_lattice(seen.points.to(device), seen.mask.to(device))
    model.likelihood.set_ranges(model.scaling.low, model.scaling.high)
    if likelihoods.has_stage(model.likelihood):
        stage = likelihoods.likelihood_stage(model, clouds, held, seed=seed)
        fit_stage(stage, progress=progress, device=device)
    if has_temperatures(model.likelihood):
        # the clouds on which the network was watched
        rows = held_out(len(clouds), seed, "held-out pairs")[0] if held is None else None
        judged = clouds if held is None else held
        stage = temperature_stage(model.to(device).eval(), judged, seed, rows)
        fit_stage(stage, progress=progress, device=device)
    return model.to(device).eval()


def fit_later_stages(model: VAE, train: Any, valid: Any, options: TrainingOptions) -> Engine:
    """Prior and likelihood of a model with a trained network, in place, as a training fits them.

    Args:
        model: With the schema of the clouds.
        train: The training clouds.
        valid: The validation clouds.
        options: Of the training.
    Returns:
        The engine, with their history and outcomes.
    """
    clouds = training_clouds(model, train, "data"), training_clouds(model, valid, "valid")
    set_budget(model, options)
    look_at(model, clouds[0], options.seed)
    optimization = Optimization(options.optimizer, options.scheduler, options.precision)
    engine = Engine(callbacks=create_callbacks(options.callbacks), max_time=options.max_time)
    row = later_stages(
        model,
        *clouds,
        seed=options.seed,
        optimization=optimization,
        with_prior=not options.joint_prior,
        joint_steps=options.joint_steps,
    )
    engine.run_row(model, row)
    return engine


def _clouds(model: VAE, data: Any, valid: Any) -> tuple[TrainingClouds, TrainingClouds | None]:
    """Checked, in order and scaled, once; on the model's device."""
    pairs = (("data", data), ("valid", valid))
    taken = [None if part is None else _taken(model, part, name) for name, part in pairs]
    clouds, held = (None if part is None else part.to(model.device) for part in taken)
    assert clouds is not None
    return clouds, held


def _taken(model: VAE, data: Any, name: str) -> TrainingClouds:
    if not isinstance(data, CloudFile):
        return CloudsInMemory(model, model.prepare(data, name=name), name)
    unlike = model.schema.difference(data.schema)
    if unlike:
        raise ValueError(f"{name} must have the schema of the model, {unlike}")
    return CloudsOnDisk(model, data, name)


def _created(
    kind: Any, name: str, shape: dict[str, Any], seed: int, options: dict[str, Any]
) -> Any:
    """A part by its name, with the shape of the model where it takes one."""
    taken = registry.accepted(kind, name) - options.keys()
    shape = {option: value for option, value in shape.items() if option in taken}
    with initial_weights(seed):
        return registry.create(kind, name, **shape, **options)
