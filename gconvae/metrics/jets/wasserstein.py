"""Wasserstein distances of jets as JetNet reports them: W1M, W1P and W1EFP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae import randomness
from gconvae.clouds import as_clouds
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.jets.energy_flow import PRIMES_OF_FOUR, energy_flow_polynomials
from gconvae.metrics.jets.momenta import mass_and_pt
from gconvae.metrics.jets.particles import Array, particles
from gconvae.metrics.resampling import Statistic, evaluate
from gconvae.metrics.wasserstein import values_w1_statistic, w1_statistic

__all__ = ["BatchedW1", "w1efp", "w1m", "w1p"]

NUM_EVAL_SAMPLES, NUM_BATCHES = 50_000, 5
"""Jets of a batch and batches: JetNet's."""


class BatchedW1(NamedTuple):
    """1-Wasserstein distances of K numbers, batch after batch.

    Attributes:
        batches: Shape (batches, K).
    """

    batches: Array

    @property
    def values(self) -> Array:
        """Means over batches, shape (K,)."""
        mean: Array = self.batches.mean(0)
        return mean

    @property
    def errors(self) -> Array:
        """Standard deviations over batches, shape (K,)."""
        deviation: Array = self.batches.std(0)
        return deviation

    @property
    def mean(self) -> Estimate:
        """Mean of the K distances, and its standard deviation over batches."""
        each = self.batches.mean(1)
        return Estimate(float(each.mean()), float(each.std()))


def w1m(
    real: Any,
    generated: Any,
    *,
    num_eval_samples: int = NUM_EVAL_SAMPLES,
    num_batches: int = NUM_BATCHES,
    seed: int = 0,
) -> Estimate:
    """1-Wasserstein distance of the relative jet mass (:func:`gconvae.metrics.jets.mass`).

    Every batch draws jets of both samples with replacement, as JetNet does. So the deviation over
    batches is that of draws from these two samples: it falls as batches grow, however few jets
    there are. The error and the floor of :func:`gconvae.metrics.compare` are for the jets that
    there are.

    Args:
        real: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel, see :func:`gconvae.metrics.compare`
            for their forms.
        generated: Likewise.
        num_eval_samples: Jets of each batch and side.
        num_batches: Batches that the value is the mean of.
        seed: Of the draws.
    Returns:
        Mean and standard deviation over batches, in units of the jet's pT.
    Raises:
        ValueError: If the jets are not valid, or a number is below 1.
    References:
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks (Kansal et
          al., 2021), arXiv:2106.11535
    Example:
        >>> narrow, wide = ([[[x, 0.0, 0.5], [-x, 0.0, 0.5]]] for x in (0.1, 0.2))
        >>> w1m(narrow, wide).value.__round__(4)  # masses 0.1002 and 0.2013
        0.1012
    """
    masses = [
        mass_and_pt(particles(jets, name))[:, :1]
        for name, jets in (("real", real), ("generated", generated))
    ]
    return _of_values(masses, num_eval_samples, num_batches, seed).mean


def w1p(
    real: Any,
    generated: Any,
    *,
    num_eval_samples: int = NUM_EVAL_SAMPLES,
    num_batches: int = NUM_BATCHES,
    seed: int = 0,
) -> BatchedW1:
    """1-Wasserstein distance of each particle feature, pooled over jets.

    Published values are the mean over the three features.

    Args:
        real: As in :func:`w1m`.
        generated: Likewise.
        num_eval_samples: Likewise.
        num_batches: Likewise.
        seed: Likewise.
    Returns:
        Distances of eta_rel, phi_rel and pt_rel; ``mean`` is W1P.
    Raises:
        ValueError: As :func:`w1m`.
    Example:
        >>> w1p([[[0.1, 0.0, 0.5]]], [[[0.4, 0.0, 0.5]]]).values.round(3)
        array([0.3, 0. , 0. ])
    """
    samples = []
    for name, jets in (("real", real), ("generated", generated)):
        eta, phi, pt, mask = particles(jets, name)
        samples.append(as_clouds(np.stack([eta, phi, pt], axis=-1), mask))
    numbers = [len(sample.points) for sample in samples]
    batches = _batches(w1_statistic(samples), numbers, num_eval_samples, num_batches, seed)
    return BatchedW1(batches.batches[:, :3])  # the fourth is of the number of particles


def w1efp(
    real: Any,
    generated: Any,
    *,
    num_eval_samples: int = NUM_EVAL_SAMPLES,
    num_batches: int = NUM_BATCHES,
    seed: int = 0,
) -> BatchedW1:
    """1-Wasserstein distance of five energy-flow polynomials.

    They are those of connected graphs with four vertices and four edges
    (:data:`gconvae.metrics.jets.PRIMES_OF_FOUR`), as in JetNet's package. Reported is their mean.

    Args:
        real: As in :func:`w1m`.
        generated: Likewise.
        num_eval_samples: Likewise.
        num_batches: Likewise.
        seed: Likewise.
    Returns:
        Distances of the five polynomials; ``mean`` is W1EFP.
    Raises:
        ValueError: As :func:`w1m`.
    Example:
        >>> narrow, wide = ([[[x, 0.0, 0.5], [-x, 0.0, 0.5]]] for x in (0.1, 0.2))
        >>> w1efp(narrow, wide).values.round(5)
        array([0.003, 0.003, 0.003, 0.   , 0.003])
    """
    polynomials = [
        energy_flow_polynomials(jets, PRIMES_OF_FOUR, name=name)
        for name, jets in (("real", real), ("generated", generated))
    ]
    return _of_values(polynomials, num_eval_samples, num_batches, seed)


def _of_values(
    samples: list[Array], num_eval_samples: int, num_batches: int, seed: int
) -> BatchedW1:
    """Of K numbers a jet, (B, K) for each sample."""
    statistic = values_w1_statistic(np.concatenate(samples))
    return _batches(statistic, list(map(len, samples)), num_eval_samples, num_batches, seed)


def _batches(
    statistic: Statistic, numbers: list[int], num_eval_samples: int, num_batches: int, seed: int
) -> BatchedW1:
    if min(num_eval_samples, num_batches) < 1:
        raise ValueError(
            "num_eval_samples and num_batches must be at least 1, "
            f"got {num_eval_samples} and {num_batches}"
        )
    rng = np.random.default_rng(randomness.derive_seed(seed, "batches"))

    def pairs() -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        for _ in range(num_batches):
            first = rng.choice(numbers[0], num_eval_samples)
            yield first, numbers[0] + rng.choice(numbers[1], num_eval_samples)

    return BatchedW1(evaluate(statistic, pairs()))
