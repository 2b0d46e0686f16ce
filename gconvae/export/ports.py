"""Inputs and outputs of an exported part: names, shapes, units, and how noise is drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.places import CONTINUOUS_STEPS
from gconvae.priors import GaussianMixture
from gconvae.vae import VAE

__all__ = ["BATCH", "NORMAL", "UNIFORM", "Port", "encoder_ports", "sampler_ports"]

BATCH = "batch"
"""The axis whose length is chosen in each call."""

NORMAL, UNIFORM = "standard normal", "uniform [0, 1)"
"""Distributions of noise."""


class Port(NamedTuple):
    """An input or output.

    Attributes:
        name: In the graph.
        shape: Numbers, and :data:`BATCH` first.
        dtype: As NumPy calls it.
        meaning: What the numbers are.
        distribution: Of an input that is drawn, :data:`NORMAL` or :data:`UNIFORM`; else None.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str
    distribution: str | None = None

    def described(self) -> dict[str, Any]:
        """Ready for JSON."""
        fields = self._asdict() | {"shape": list(self.shape)}
        return {name: value for name, value in fields.items() if value is not None}

    def random(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Numbers of such an input, for tracing; all that is no noise is 0 or True."""
        shape = [count, *(int(size) for size in self.shape[1:])]
        dtype = getattr(torch, self.dtype)
        if self.distribution == NORMAL:
            return torch.randn(shape, generator=generator, dtype=dtype)
        if self.distribution == UNIFORM:
            return torch.rand(shape, generator=generator, dtype=dtype)
        return torch.zeros(shape, dtype=dtype) if dtype != torch.bool else torch.ones(shape) > 0


def sampler_ports(model: VAE) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the sampler of a model."""
    conditioning, random = model.conditioning, torch.Generator().manual_seed(0)
    nodes, features = conditioning.num_points, model.schema.num_features
    real = _name(model.scaling.low.dtype)
    inputs: list[Port] = []
    shape: tuple[int | str, ...]
    if isinstance(model.prior, GaussianMixture):
        meaning = "chooses a component of the prior"
        inputs.append(Port("component_noise", (BATCH, 1), "float32", meaning, UNIFORM))
    shape = (BATCH, model.prior.latent_dim)
    inputs.append(Port("latent_noise", shape, "float32", "noise of the prior", NORMAL))
    if width := getattr(model.decoder, "noise_dim", 0):
        shape = (BATCH, nodes, width)
        inputs.append(Port("node_noise", shape, "float32", "noise of the decoder's nodes", NORMAL))
    noise = model.likelihood.noise((1, nodes, features), random)
    if noise.numel():
        is_uniform = noise.dtype == torch.float64  # normal numbers are drawn in single precision
        dtype = "float64" if is_uniform and _uses_last_digits(model) else "float32"
        drawn = UNIFORM if is_uniform else NORMAL
        shape = (BATCH, *noise.shape[1:])
        inputs.append(Port("likelihood_noise", shape, dtype, "noise of the likelihood", drawn))
    if conditioning.num_classes:
        names = ", ".join(map(str, model.schema.classes)) or f"0 to {conditioning.num_classes - 1}"
        inputs.append(Port("label", (BATCH,), "int64", f"number of the class: {names}"))
    mask = Port("mask", (BATCH, nodes), "bool", "True for the first n nodes, which are real")
    if not conditioning.always_full:
        inputs.append(mask)
    if conditioning.names:
        meaning = f"data units: {', '.join(conditioning.names)}"
        inputs.append(Port("conditions", (BATCH, len(conditioning.names)), "float32", meaning))
    dtype = "float64" if any(model.scaling.offsets) else real
    meaning = "clouds in data units, in canonical node order; masked nodes are 0"
    outputs = [Port("points", (BATCH, nodes, features), dtype, meaning)]
    return tuple(inputs), tuple(outputs)


def encoder_ports(model: VAE) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the encoder of a model."""
    nodes, features = model.conditioning.num_points, model.schema.num_features
    real = _name(model.scaling.low.dtype)
    dtype = "float64" if any(model.scaling.offsets) else real
    meaning = "clouds in data units, nodes in any order"
    inputs = [Port("points", (BATCH, nodes, features), dtype, meaning)]
    if not model.conditioning.always_full:
        inputs.append(Port("mask", (BATCH, nodes), "bool", "True where a node is real"))
    shape = (BATCH, model.prior.latent_dim)
    outputs = [
        Port("mean", shape, real, "mean of q(z|x)"),
        Port("log_var", shape, real, "logarithm of the variance of q(z|x)"),
    ]
    return tuple(inputs), tuple(outputs)


def _uses_last_digits(model: VAE) -> bool:
    """Whether noise must have the digits that single precision lacks."""
    likelihood = model.likelihood
    if not isinstance(likelihood, AutoregressiveLikelihood):
        return True
    return bool((likelihood.lattice_steps == CONTINUOUS_STEPS).any())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
