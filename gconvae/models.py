"""The catalogue of models: named, ready-made combinations of encoder, decoder and prior."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from gconvae.nn.conv import ConvDecoder, ConvEncoder
from gconvae.priors import StandardNormal
from gconvae.randomness import initial_weights
from gconvae.scaling import FeatureScaling
from gconvae.vae import VAE

__all__ = ["available", "create"]


def _convae(
    *,
    num_points: int = 25,
    num_features: int = 3,
    latent_dim: int = 10,
    channels: Sequence[int] = (16, 32, 64),
    hidden: int = 1500,
    padding: int = 1,
    kernel: int = 5,
    image_size: int = 28,
) -> VAE:
    if num_features < 3:
        raise ValueError(
            f"num_features must be at least 3, two positions and an intensity, got {num_features}"
        )
    shape: dict[str, Any] = {
        "num_points": num_points,
        "num_features": num_features,
        "latent_dim": latent_dim,
        "channels": tuple(channels),
        "hidden": hidden,
        "padding": padding,
        "kernel": kernel,
    }
    return VAE(
        ConvEncoder(**shape),
        ConvDecoder(**shape),
        StandardNormal(latent_dim),
        FeatureScaling.pixels(image_size, num_features),
    )


_CATALOGUE: dict[str, Callable[..., VAE]] = {"convae": _convae}


def available() -> list[str]:
    """Names that :func:`create` knows.

    Example:
        >>> available()
        ['convae']
    """
    return list(_CATALOGUE)


def create(name: str, *, seed: int = 0, **options: Any) -> VAE:
    """An untrained model of the catalogue.

    ``convae``, the slides' network, takes ``num_points`` (25), ``num_features`` (3),
    ``latent_dim`` (10), ``channels`` (16, 32, 64), ``hidden`` (1500), ``padding`` (1),
    ``kernel`` (5) and ``image_size`` (28, of an untrained model; the training clouds have their
    own).

    Args:
        name: One of :func:`available`.
        seed: Of the initial weights; the same seed gives the same weights.
        options: Of that model.
    Raises:
        ValueError: If the name or an option is unknown, or an option's value is out of range.
    Example:
        >>> model = create("convae", latent_dim=4, seed=0)
        >>> sum(p.numel() for p in model.parameters())
        3696465
    """
    if name not in _CATALOGUE:
        raise ValueError(f"name must be one of {', '.join(_CATALOGUE)}, got {name!r}")
    builder = _CATALOGUE[name]
    known = list(inspect.signature(builder).parameters)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"options of {name} are {', '.join(known)}, got {', '.join(unknown)}")
    with initial_weights(seed):
        model = builder(**options)
    model.catalogue_entry = (name, options)
    model.initial_seed = int(seed)
    return model
