"""The stage that fits a prior to the latents of a trained model."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor

from gconvae import registry
from gconvae.caller_state import neutral
from gconvae.clouds import Clouds
from gconvae.priors.base import Latents, Prior
from gconvae.randomness import initial_weights
from gconvae.training.stages.reconstructions import held_out, latents
from gconvae.vae import VAE

__all__ = ["fit_prior", "with_prior"]


@neutral()
def with_prior(
    model: VAE, prior: str | Prior, data: Any, *, valid: Any = None, seed: int = 0, **options: Any
) -> VAE:
    """A copy of a model with a prior that is fitted; see :meth:`gconvae.VAE.with_prior`."""
    model = copy.deepcopy(model).eval()
    model.prior = _created(model, prior, seed, options).to(model.scaling.low)
    model.prior.eval()
    clouds = model.prepare(data, name="data")
    held = None if valid is None else model.prepare(valid, name="valid")
    fit_prior(model, clouds, held, seed=seed)
    return model


@neutral()
def fit_prior(model: VAE, data: Clouds, valid: Clouds | None = None, *, seed: int = 0) -> None:
    """Fits a model's prior on the latents of clouds, in place.

    Args:
        model: Trained.
        data: The training clouds, prepared by the model.
        valid: Likewise, clouds on which the fit is watched; None = a seeded tenth of ``data``.
        seed: Of everything random in the fit.
    """
    rest = latents(model, data, seed=seed)
    if valid is None:
        watched, fitted = held_out(len(rest.mean), seed, "held-out latents")
        held, rest = _rows(rest, watched), _rows(rest, fitted)
    else:
        held = latents(model, valid, seed=seed)
    model.prior.fit(rest, held, seed=seed)


def _created(model: VAE, prior: str | Prior, seed: int, options: dict[str, Any]) -> Prior:
    if isinstance(prior, Prior):
        return copy.deepcopy(prior)
    shape = {
        "latent_dim": model.prior.latent_dim,
        "num_classes": model.conditioning.num_classes,
        "ragged": model.conditioning.ragged,
    }
    taken = registry.accepted("prior", prior)
    shape = {name: value for name, value in shape.items() if name in taken}
    with initial_weights(seed):
        created = registry.create("prior", prior, **shape, **options)
    assert isinstance(created, Prior)
    return created


def _rows(latents: Latents, rows: Tensor) -> Latents:
    mean, stddev, context = latents
    rows = rows.to(mean.device)
    return Latents(mean[rows], stddev[rows], None if context is None else context[rows])
