"""The numbers of which the library makes the clouds of a seed."""

from __future__ import annotations

from typing import Any

import torch

from gconvae.export.ports import sampler_ports
from gconvae.sampling.noise import random_numbers
from gconvae.vae import VAE

__all__ = ["noise_of"]


def noise_of(model: VAE, count: int, seed: int = 0) -> dict[str, Any]:
    """Inputs with which an exported sampler gives the clouds of ``model.sample(count, seed=...)``.

    Args:
        model: That was exported.
        count: B.
        seed: As of :meth:`gconvae.VAE.sample`.
    Returns:
        By name of the input an array, a row a cloud.
    Raises:
        ValueError: If ``count`` is below 1.
    Example:
        >>> import gconvae
        >>> model = gconvae.models.create("convae", hidden=16, seed=0)
        >>> {name: each.shape for name, each in noise_of(model, 4, seed=0).items()}
        {'latent_noise': (4, 10)}
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a whole number of at least 1, got {count!r}")
    inputs, _ = sampler_ports(model)
    names = {port.name for port in inputs}
    ports, numbers = random_numbers(model, count, seed)
    latent = numbers.latent
    assert latent is not None
    arrays = {
        "latent_noise": latent[:, 1:] if "component_noise" in names else latent,
        "component_noise": latent[:, :1],
        "node_noise": numbers.node,
        "likelihood_noise": numbers.likelihood,
        "label": ports.labels,
        "mask": ports.mask,
        "conditions": ports.conditions,
    }
    wanted = {port.name: (arrays[port.name], getattr(torch, port.dtype)) for port in inputs}
    return {
        name: each.to(dtype).contiguous().numpy()
        for name, (each, dtype) in wanted.items()
        if each is not None
    }
