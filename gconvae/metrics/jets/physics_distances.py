"""Frechet and kernel physics distances (FPD, KPD): samples of jets by their energy flow."""

from __future__ import annotations

from typing import Any

import numpy as np

from gconvae import randomness
from gconvae.metrics.embeddings import Estimate, frechet_extrapolated, kernel_distance
from gconvae.metrics.jets.energy_flow import energy_flow_polynomials
from gconvae.metrics.jets.particles import Array

__all__ = ["MOST_JETS", "fpd", "kernel_median", "kpd", "largest"]

MOST_JETS = 50_000
"""Jets of a sample that FPD looks at: JetNet's."""

BATCH_SIZE, NUM_BATCHES = 5_000, 10
"""Jets and batches of KPD: JetNet's."""


def fpd(real: Any, generated: Any, *, seed: int = 0) -> Estimate:
    r"""Frechet physics distance: that of energy-flow polynomials, for endless samples.

    The 36 polynomials of at most four edges (:data:`gconvae.metrics.jets.GRAPHS`), each divided by
    its largest absolute value in the real sample, are compared by
    :func:`gconvae.metrics.frechet_extrapolated`: a line in 1 / N through sizes N between half and
    all of the smaller sample, of at most 50,000 jets. JetNet takes sizes from 20,000 to 50,000 and
    draws with replacement, so that its line leads to the distance of the two samples themselves.

    Args:
        real: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel, see :func:`gconvae.metrics.compare`
            for their forms; at least 4, and some hundreds for a value that means something.
        generated: Likewise.
        seed: Of the draws.
    Returns:
        Value and standard error, a pure number; can fall below 0.
    Raises:
        ValueError: If the jets are not valid, or fewer than 4.
    References:
        | Evaluating generative models in high energy physics (Kansal et al., 2023),
          arXiv:2211.10295
    Example:
        >>> jets = np.random.default_rng(0).random((2, 300, 8, 3))
        >>> found = fpd(*jets)
        >>> abs(found.value) < 2 * found.error
        True
    """
    rng = np.random.default_rng(randomness.derive_seed(seed, "physics distance"))
    first, second = (rng.permutation(part)[:MOST_JETS] for part in _features(real, generated))
    return frechet_extrapolated(first, second, seed=seed)


def kpd(
    real: Any,
    generated: Any,
    *,
    num_batches: int = NUM_BATCHES,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
) -> Estimate:
    """Kernel physics distance: the squared maximum mean discrepancy of energy-flow polynomials.

    The same numbers as in :func:`fpd` under the kernel of degree 4, see
    :func:`gconvae.metrics.kernel_distance`, as a median over batches.

    Args:
        real: As in :func:`fpd`.
        generated: Likewise.
        num_batches: Batches that the value is the median of.
        batch_size: Jets of each batch and side, drawn without replacement; at most half of the
            smaller sample, so that batches differ.
        seed: Of the draws.
    Returns:
        Median, and half the width of the middle 68 % of the batches; a pure number, which can
        fall below 0.
    Raises:
        ValueError: If the jets are not valid, fewer than 4, or a number is too small.
    References:
        | Evaluating generative models in high energy physics (Kansal et al., 2023),
          arXiv:2211.10295
    Example:
        >>> jets = np.random.default_rng(0).random((2, 300, 8, 3))
        >>> abs(kpd(*jets).value) < 0.01
        True
    """
    first, second = _features(real, generated)
    return kernel_median(first, second, num_batches=num_batches, batch_size=batch_size, seed=seed)


def kernel_median(
    first: Array,
    second: Array,
    *,
    num_batches: int = NUM_BATCHES,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
) -> Estimate:
    """What :func:`kpd` does with polynomials, of any vectors: kernel distances in batches.

    Args:
        first: Vectors, shape (N, D).
        second: Likewise, shape (M, D).
        num_batches: As in :func:`kpd`.
        batch_size: Likewise.
        seed: Of the draws.
    Returns:
        Median of the kernel distances of degree 4, and half the width of the middle 68 % of them.
    Raises:
        ValueError: If there are fewer than 4 vectors, or a number is too small.
    Example:
        >>> vectors = np.random.default_rng(0).standard_normal((2, 300, 5))
        >>> found = kernel_median(*vectors)
        >>> abs(found.value) < 4 * found.error
        True
    """
    size = min(batch_size, len(first) // 2, len(second) // 2)
    if size < 2 or num_batches < 1:
        raise ValueError(
            "batch_size must be at least 2, samples at least 4 rows, num_batches at least 1, "
            f"got {batch_size}, {len(first)} and {len(second)}, {num_batches}"
        )
    rng = np.random.default_rng(randomness.derive_seed(seed, "kernel batches"))
    values = [
        kernel_distance(
            *(part[rng.choice(len(part), size, replace=False)] for part in (first, second)),
            degree=4,
        )
        for _ in range(num_batches)
    ]
    low, high = np.percentile(values, [16.275, 83.725])
    return Estimate(float(np.median(values)), float(high - low) / 2)


def largest(polynomials: Array) -> Array:
    """What polynomials (B, K) of real jets are divided by, shape (K,)."""
    maxima = np.abs(polynomials).max(0)
    # a polynomial that is 0 for all jets, as those of single particles
    return np.where(maxima == 0, 1.0, maxima)


def _features(real: Any, generated: Any) -> tuple[Array, Array]:
    first = energy_flow_polynomials(real, name="real")
    second = energy_flow_polynomials(generated, name="generated")
    unit = largest(first)
    return first / unit, second / unit
