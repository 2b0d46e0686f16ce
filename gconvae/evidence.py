"""How likely clouds are under a model: the importance-weighted bound on log p(x)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.caller_state import full_precision
from gconvae.clouds import Clouds
from gconvae.conditioning import Conditioning
from gconvae.likelihoods.base import Likelihood
from gconvae.pieces import CHUNK
from gconvae.plain import plain
from gconvae.priors.base import Prior
from gconvae.randomness import generator, standard_noise
from gconvae.scaling import FeatureScaling

__all__ = ["LogLikelihood", "log_likelihood"]


class LogLikelihood(NamedTuple):
    """Of B clouds, in nats.

    Attributes:
        value: Shape (B,), a lower bound up to its error.
        error: Standard error of the value from its finitely many draws, shape (B,).
    """

    value: Tensor
    error: Tensor


class Inferable(Protocol):
    """What has a density: encoder, prior, decoder and likelihood."""

    prior: Prior
    likelihood: Likelihood
    scaling: FeatureScaling
    conditioning: Conditioning

    def scaled(self, clouds: Clouds) -> Tensor:
        """What the encoder takes of prepared clouds."""

    def posterior(self, scaled: Tensor, mask: Tensor) -> Independent[Any]:
        """q(z|x) of clouds in scaled units."""

    def decode_unit(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """The decoder's own output, shape (B, L) to (B, N, F)."""

    def node_noise(self, num_clouds: int, random: torch.Generator) -> Tensor | None:
        """What the decoder takes as noise."""


@torch.no_grad()
@full_precision
def log_likelihood(model: Inferable, clouds: Clouds, samples: int, seed: int) -> LogLikelihood:
    r"""The bound with K draws from the posterior.

    .. math:: \log \frac1K \sum_k w_k, \quad w_k = \frac{p(x|z_k) \, p(z_k)}{q(z_k|x)}, \quad
        \text{error} = \frac{1}{\sqrt K} \frac{\operatorname{std} w}{\operatorname{mean} w}

    A likelihood that is conditioned on neither the mean nor the latents is p(x) itself: then all
    terms are alike, but for the places of values in the cells of a lattice.

    Args:
        model: What has a density.
        clouds: Prepared, in data units, with labels and conditions where the model has such.
        samples: K, at least 2.
        seed: Of the draws.
    Raises:
        ValueError: If the likelihood has no density, or K is below 2.
    """
    samples = plain(samples)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise ValueError(f"samples must be a whole number of at least 2, got {samples!r}")
    if not model.likelihood.has_density:
        raise ValueError(
            "log_likelihood needs a likelihood with a density, got a mean: "
            "model.with_likelihood('gaussian', data) and ('autoregressive', data) have one"
        )
    labels = model.conditioning.check_labels(clouds.labels, len(clouds.points))
    conditions = model.conditioning.check_conditions(clouds.conditions, len(clouds.points))
    weights = []
    clouds = clouds._replace(labels=labels, conditions=conditions)
    # blocks of one size on any device, each with its own noise: no cloud depends on others
    for number, rows in enumerate(torch.arange(len(clouds.points), device="cpu").split(CHUNK)):
        part = clouds.subset(rows.to(clouds.points.device))
        weights.append(_log_weights(model, part, samples, seed, number))
    log_w = torch.cat(weights, dim=1)  # (K, B)
    value = log_w.logsumexp(0) - math.log(samples)
    spread = torch.exp(log_w - value).std(0)  # of w / mean w
    return LogLikelihood(value, spread / math.sqrt(samples))


def _log_weights(model: Inferable, part: Clouds, samples: int, seed: int, number: int) -> Tensor:
    """Logarithms of w, in double precision, shape (K, b)."""
    posterior = model.posterior(model.scaled(part), part.mask)
    mean, stddev = posterior.mean, posterior.base_dist.stddev  # (b, L)
    context = model.conditioning.context(len(mean), part.labels, part.mask, part.conditions)
    context = None if context is None else context.to(mean)
    nodes = model.conditioning.nodes(part.mask)  # (b, N)
    missing = nodes.shape[1] - part.points.shape[1]
    points = nn.functional.pad(part.points, (0, 0, 0, missing))
    mask = nn.functional.pad(part.mask, (0, missing))
    whole = torch.arange(CHUNK, device=points.device) % len(points)  # a block, again and again
    asked, log_weights = model.likelihood.conditioned_on, []
    for k in range(samples):
        random = generator(seed, "log likelihood", epoch=number, step=k)
        noise = standard_noise((CHUNK, mean.shape[1]), random)[: len(mean)]
        z = mean + stddev * noise.to(mean)
        numbers = model.node_noise(CHUNK, random)
        numbers = None if numbers is None else numbers[: len(z)]
        unit = model.decode_unit(z, part.labels, nodes, numbers, conditions=part.conditions)
        ends = model.scaling.low, model.scaling.high
        x = model.likelihood.dequantize(points[whole], random, *ends, mask[whole])[: len(z)]
        known = model.conditioning.likelihood_context(asked, z, part.labels, part.conditions)
        log_x = _log_density(model, x, unit, mask, known)
        if not (asked.mean or asked.latent_dim):
            log_weights.append(log_x)
            continue
        log_q = posterior.log_prob(z)
        log_p = model.prior.log_prob(z) if context is None else model.prior.log_prob(z, context)
        log_weights.append(log_x + log_p.double() - log_q.double())
    return torch.stack(log_weights)


def _log_density(
    model: Inferable, points: Tensor, mean: Tensor, mask: Tensor, context: Tensor | None
) -> Tensor:
    """Log p(x|z) of clouds in data units, shape (b,)."""
    unit = model.scaling.to_unit(points).masked_fill(~mask.unsqueeze(-1), 0.0)
    further = model.likelihood.further(context)
    nats = model.likelihood.cloud_log_prob(unit, mean, mask, **further).double()
    if model.likelihood.has_mass:
        return nats
    # each feature is scaled on its own: the slopes are the change of volume
    with torch.inference_mode(False), torch.enable_grad():
        free = points.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(model.scaling.to_unit(free).sum(), free)
    volume = slope.abs().double().log().masked_fill(~mask.unsqueeze(-1), 0.0)
    return nats + volume.sum((1, 2))
