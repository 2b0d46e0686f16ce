"""Encoder and sampler of a model as functions of tensors alone."""

from __future__ import annotations

import copy
import functools
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gconvae.autoencoder import as_posterior
from gconvae.clouds import sort_nodes
from gconvae.export.encoders import dense_encoder
from gconvae.export.nodes import draw_nodes
from gconvae.export.ports import encoder_ports, sampler_ports
from gconvae.export.priors import drawing_of
from gconvae.likelihoods import AutoregressiveLikelihood, FlowMatchingLikelihood
from gconvae.sampling.noise import Request, drawn_at, kind_of
from gconvae.vae import VAE

__all__ = ["Encoder", "PARTS", "Part", "Sampler", "part_of"]

Part = Literal["encoder", "sampler"]
"""What of a model is exported."""

PARTS: tuple[Part, ...] = get_args(Part)


class Sampler(nn.Module):
    r"""Prior, decoder and likelihood: from random numbers to clouds in data units.

    .. math:: x = f(\epsilon_z, \epsilon_x, y, n, c)

    With the numbers of :func:`gconvae.export.noise_of` it gives the clouds of
    :meth:`gconvae.VAE.sample`.

    Args:
        model: A copy of it is taken, on the CPU.
    Attributes:
        inputs: What it is called with, in this order.
        outputs: What it returns.
    Raises:
        ValueError: If the likelihood cannot be exported.
    """

    def __init__(self, model: VAE) -> None:
        super().__init__()
        _check_likelihood(model)
        self.inputs, self.outputs = sampler_ports(model)
        self.model = model = _copied(model)
        self.prior = drawing_of(model.prior)
        self.kind = kind_of(model, 1)
        self._prepare()

    def forward(self, *tensors: Tensor) -> Tensor:
        """Clouds, shape (B, N, F)."""
        named = dict(zip((port.name for port in self.inputs), tensors, strict=True))
        model, conditioning = self.model, self.model.conditioning
        labels, mask = named.get("label"), named.get("mask")
        conditions = named.get("conditions")
        numbers = named["latent_noise"]
        if "component_noise" in named:
            numbers = torch.cat([named["component_noise"], numbers], dim=1)
        context = conditioning.context(numbers.shape[0], labels, mask, conditions)
        context = None if context is None else context.to(model.scaling.low)
        z = self.prior(numbers, context).to(model.scaling.low.dtype)
        noise = named.get("likelihood_noise", numbers[:, :0])
        here = Request(labels, z, mask, conditions)
        return drawn_at(model, here, named.get("node_noise"), noise, self.kind, self._draw)[0]

    def _draw(
        self, mean: Tensor, noise: Tensor, mask: Tensor | None, context: Tensor | None
    ) -> Tensor:
        likelihood = self.model.likelihood
        return likelihood.draw(mean, noise, mask, **likelihood.further(context))

    def _prepare(self) -> None:
        """Puts loops that can be exported in the place of others, and fills tables."""
        likelihood = self.model.likelihood
        if isinstance(likelihood, AutoregressiveLikelihood):
            # of this copy alone
            loop = functools.partial(draw_nodes, likelihood.network)
            vars(likelihood.network)["draw"] = loop
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():  # a likelihood looks at its buffers in the first draw
            self(*(port.random(2, random) for port in self.inputs))


class Encoder(nn.Module):
    r"""From clouds in data units to mean and log-variance of q(z|x).

    .. math:: (\mu, \log \sigma^2) = f(x, n)

    Nodes are put in order as by :meth:`gconvae.VAE.encode`. Values beyond a known range are moved
    to its end, since a graph cannot refuse them.

    Args:
        model: A copy of it is taken, on the CPU.
    Attributes:
        inputs: What it is called with, in this order.
        outputs: What it returns.
    """

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.inputs, self.outputs = encoder_ports(model)
        self.model = _copied(model)
        self.encoder = dense_encoder(self.model.encoder)

    def forward(self, points: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, shape (B, L) each."""
        model = self.model
        points, mask = sort_nodes(points, mask, model.schema)
        points = model.scaling.clamped(model.scaling.enter(points).to(model.scaling.low))
        scaled = model.scaling.scale(points).masked_fill(~mask.unsqueeze(-1), 0.0)
        posterior = as_posterior(self.encoder(scaled, mask), self.encoder)
        return posterior.mean, 2 * posterior.stddev.log()


def part_of(model: VAE, part: Part) -> Encoder | Sampler:
    """A part of a model by name.

    Raises:
        ValueError: If there is no such part, or it cannot be exported.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    return Sampler(model) if part == "sampler" else Encoder(model)


def _copied(model: VAE) -> VAE:
    copied = copy.deepcopy(model).cpu().eval()
    return copied.requires_grad_(False)


def _check_likelihood(model: VAE) -> None:
    likelihood: Any = model.likelihood
    name = type(likelihood).__name__
    if isinstance(likelihood, FlowMatchingLikelihood):
        reason = "solves a differential equation in many passes of its network"
    elif isinstance(likelihood, AutoregressiveLikelihood) and likelihood.weighted:
        reason = "adds up the weights of nodes while it draws"
    else:
        return
    raise ValueError(
        f"likelihood must be one that can be exported, got {name}, which {reason}; the encoder "
        "can be exported by itself (part='encoder')"
    )
