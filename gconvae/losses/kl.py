"""Kullback-Leibler terms of the latents, and how their weight moves in training."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent

__all__ = ["free_bits", "kl_monte_carlo", "kl_per_latent", "kl_standard_normal", "kl_weight"]


def kl_standard_normal(posterior: Independent[Any]) -> Tensor:
    r"""Kullback-Leibler divergence of a diagonal Gaussian from N(0, 1), summed over latents.

    .. math:: \tfrac12 \sum_l \left( \mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2 \right)

    Args:
        posterior: Diagonal Gaussian with event shape (L,), as an encoder returns it.
    Returns:
        Shape (B,), nats.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114, appendix B
    Example:
        >>> from torch.distributions import Normal
        >>> kl_standard_normal(Independent(Normal(torch.ones(1, 4), torch.ones(1, 4)), 1))
        tensor([2.])
    """
    # Independent.stddev is the root of a square, which loses small values and their gradient
    mean, stddev = posterior.mean, posterior.base_dist.stddev
    return 0.5 * (mean.square() + stddev.square() - 1).sum(-1) - stddev.log().sum(-1)


def kl_per_latent(posterior: Independent[Any]) -> Tensor:
    r"""Kullback-Leibler divergence from N(0, 1) of each latent, which :func:`free_bits` takes.

    .. math:: \tfrac12 \left( \mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2 \right)

    Args:
        posterior: Diagonal Gaussian with event shape (L,), as an encoder returns it.
    Returns:
        Shape (B, L), nats; the sum over latents is :func:`kl_standard_normal` up to rounding.
    Example:
        >>> from torch.distributions import Normal
        >>> kl_per_latent(Independent(Normal(torch.tensor([[0.0, 2.0]]), torch.ones(1, 2)), 1))
        tensor([[0., 2.]])
    """
    mean, stddev = posterior.mean, posterior.base_dist.stddev
    return 0.5 * (mean.square() + stddev.square() - 1) - stddev.log()


def free_bits(kl: Tensor, minimum: float) -> Tensor:
    r"""Kullback-Leibler term that leaves each latent some nats for nothing.

    .. math:: \sum_l \max \left( \lambda, \tfrac1B \sum_b KL_{bl} \right)

    A latent below the minimum gets no gradient, so that none is switched off early in training.
    The minimum is compared with the mean over the batch, not with each cloud.

    Args:
        kl: :func:`kl_per_latent`, shape (B, L).
        minimum: The factor lambda, nats a latent, at least 0.
    Returns:
        A scalar, nats; with minimum 0 the mean over clouds of the sum over latents.
    Raises:
        ValueError: If ``kl`` has another number of axes, or ``minimum`` is below 0.
    References:
        | Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
          arXiv:1606.04934, "free bits"
    Example:
        >>> free_bits(torch.tensor([[0.0, 3.0], [0.2, 5.0]]), minimum=0.5)  # 0.5 + 4
        tensor(4.5000)
    """
    if kl.dim() != 2:
        raise ValueError(f"kl must have shape (clouds, latents), got {tuple(kl.shape)}")
    if not 0 <= minimum < math.inf:
        raise ValueError(f"minimum must be at least 0 and finite, got {minimum}")
    return kl.mean(0).clamp(min=minimum).sum()


def kl_weight(epoch: int, *, beta: float, warmup: int = 0, cycle: int = 0) -> float:
    r"""Factor of the Kullback-Leibler term in an epoch: constant, warmed up or cyclical.

    .. math:: \beta \min(1, t / W) \quad \text{or} \quad \beta \min(1, 2 (t \bmod C) / C)

    A warm-up begins at 0 and reaches beta in epoch W. A cycle begins at 0, reaches beta after its
    first half and stays there. Neither depends on how long the training is, so that one that is
    stopped, resumed or repeated in part has the same factors.

    Args:
        epoch: Number t of the epoch, counted from 0.
        beta: The full factor, at least 0.
        warmup: W, epochs of the warm-up; 0 = none.
        cycle: C, epochs of a cycle, at least 2; 0 = none.
    Raises:
        ValueError: If a number is out of range, or both a warm-up and a cycle are given.
    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2015), arXiv:1511.06349
        | Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing (Fu et al.,
          2019), arXiv:1903.10145
    Example:
        >>> [kl_weight(epoch, beta=1.0, warmup=4) for epoch in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
        >>> [kl_weight(epoch, beta=1.0, cycle=4) for epoch in range(6)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """
    for name, value in {"epoch": epoch, "warmup": warmup, "cycle": cycle}.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, got {value!r}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta must be at least 0 and finite, got {beta}")
    if warmup and cycle:
        raise ValueError(f"warmup or cycle must be 0, got {warmup} and {cycle}")
    if cycle == 1:
        raise ValueError("cycle must be 0 or at least 2 epochs, got 1")
    if cycle:
        return beta * min(1.0, 2 * (epoch % cycle) / cycle)
    return beta * min(1.0, epoch / warmup) if warmup else beta


def kl_monte_carlo(
    posterior: Independent[Any],
    prior: Any,
    generator: torch.Generator | None = None,
    num_samples: int = 1,
    context: Tensor | None = None,
    *,
    noise: Tensor | None = None,
) -> Tensor:
    r"""Kullback-Leibler divergence from any prior, by sampling; unbiased.

    .. math:: \tfrac1S \sum_s \log q(z_s|x) - \log p(z_s|c), \quad z_s = \mu + \sigma \epsilon_s

    Args:
        posterior: Diagonal Gaussian with event shape (L,), as an encoder returns it.
        prior: Anything with ``log_prob(z)``, such as a prior of :mod:`gconvae.priors`; with a
            context ``log_prob(z, context)``.
        generator: Source of the noise; None = torch's global one.
        num_samples: S, at least 1.
        context: What the prior is conditioned on, shape (B, C); None = nothing.
        noise: The noise itself, N(0, 1) of shape (S, B, L), in place of the two above.
    Returns:
        Shape (B,), nats; single values can be below 0.
    Raises:
        ValueError: If ``num_samples`` is below 1.
    Example:
        >>> from gconvae.priors.base import StandardNormal
        >>> from torch.distributions import Normal
        >>> posterior = Independent(Normal(torch.zeros(1, 2), torch.ones(1, 2)), 1)
        >>> kl_monte_carlo(posterior, StandardNormal(2), torch.Generator().manual_seed(0))
        tensor([0.])
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    mean = posterior.mean
    if noise is None:
        noise = torch.randn(
            (num_samples, *mean.shape),
            generator=generator,
            device="cpu" if generator is None else generator.device,
            dtype=mean.dtype,
        ).to(mean.device)
    z = mean + posterior.base_dist.stddev * noise  # (S, B, L)
    arguments = () if context is None else (context.expand(len(noise), *context.shape),)
    return (posterior.log_prob(z) - prior.log_prob(z, *arguments)).mean(0)
