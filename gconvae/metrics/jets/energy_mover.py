"""The energy mover's distance between jets, and what is counted with it: coverage and matching."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from gconvae import randomness
from gconvae.metrics import sets
from gconvae.metrics.distances import Measure, PackedNodes, rows_of
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.jets.particles import Array, Particles, particles

__all__ = ["RADIUS", "cov_mmd", "emd_measure", "energy_movers_distances", "packed_particles"]

RADIUS = 0.8
"""Of the jets: anti-kT jets of JetNet and of this library have it."""


def energy_movers_distances(
    first: Any, second: Any = None, *, radius: float = RADIUS
) -> NDArray[np.float32]:
    r"""Energy mover's distance between all jets of two samples.

    .. math:: \min_{f_{ij} \ge 0} \sum_{ij} f_{ij} \frac{\theta_{ij}}{R}
        + \left|\sum_i z_i - \sum_j z'_j\right|, \qquad
        \sum_j f_{ij} \le z_i, \quad \sum_i f_{ij} \le z'_j, \quad
        \sum_{ij} f_{ij} = \min\left(\sum_i z_i, \sum_j z'_j\right)

    z are shares of the transverse momentum, theta angles between particles. It is the least work
    that rearranges one jet into the other, and a metric where no two particles are farther apart
    than 2 R. Solved exactly, by POT; a particle of negative transverse momentum counts as none.

    Args:
        first: A jets, clouds (A, N, 3) of eta_rel, phi_rel, pt_rel, see
            :func:`gconvae.metrics.compare` for their forms.
        second: B jets; None = ``first`` against itself, each pair computed once.
        radius: R in radians: how far a particle may be moved for what it costs to drop it.
    Returns:
        Shape (A, B), in units of the jet's pT; symmetric with zeros on the diagonal where
        ``second`` is None.
    Raises:
        ValueError: If the jets are not valid, or ``radius`` is not positive.
        ModuleNotFoundError: If POT is not installed.
    References:
        | Metric Space of Collider Events (Komiske, Metodiev and Thaler, 2019), arXiv:1902.02346
    Example:
        >>> jets = [[[0.0, 0.0, 1.0]], [[0.4, 0.0, 1.0]], [[0.0, 0.0, 0.9]]]
        >>> energy_movers_distances(jets)[0].round(3)  # half a radius; a tenth of the pT
        array([0. , 0.5, 0.1], dtype=float32)
    """
    if not 0 < radius < np.inf:
        raise ValueError(f"radius must be a number above 0, got {radius!r}")
    rows = packed_particles(particles(first, "first"))
    columns = rows if second is None else packed_particles(particles(second, "second"))
    number, same = len(columns.sizes), second is None
    spans = [range(i + 1 if same else 0, number) for i in range(len(rows.sizes))]
    matrix = np.zeros((len(spans), number), dtype=np.float32)
    distances = rows_of(rows, columns, spans, emd_measure(radius), workers=1)
    for i, (span, values) in enumerate(zip(spans, distances, strict=True)):
        matrix[i, span.start : span.stop] = values
    return matrix + matrix.T if same else matrix


def cov_mmd(
    real: Any,
    generated: Any,
    *,
    num_eval_samples: int = 100,
    num_batches: int = 10,
    radius: float = 1.0,
    seed: int = 0,
) -> tuple[Estimate, Estimate]:
    """Coverage and minimum matching distance under the energy mover's distance, as JetNet has it.

    Coverage is the share of real jets that are the nearest one of some generated jet; MMD is the
    mean over real jets of the distance to the nearest generated one. Both depend on the number of
    jets, so compare values of one number only. :func:`gconvae.metrics.compare` has both rows with
    their floor.

    Args:
        real: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel.
        generated: Likewise.
        num_eval_samples: Jets of each batch and side, drawn with replacement.
        num_batches: Batches that the values are means of.
        radius: As in :func:`energy_movers_distances`; JetNet has 1, not the jet's radius.
        seed: Of the draws.
    Returns:
        Coverage and MMD, each with its standard deviation over batches.
    Raises:
        ValueError: If the jets are not valid, or a number is not positive.
        ModuleNotFoundError: If POT is not installed.
    References:
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks (Kansal et
          al., 2021), arXiv:2106.11535
    Example:
        >>> jets = [[[0.0, 0.0, 1.0]], [[0.4, 0.0, 1.0]]]
        >>> coverage, mmd = cov_mmd(jets, jets, num_eval_samples=20, num_batches=2)
        >>> coverage.value, mmd.value  # 2 of 20: most are drawn again and again
        (0.1, 0.0)
    """
    if min(num_eval_samples, num_batches) < 1:
        raise ValueError(
            "num_eval_samples and num_batches must be at least 1, "
            f"got {num_eval_samples} and {num_batches}"
        )
    if not 0 < radius < np.inf:
        raise ValueError(f"radius must be a number above 0, got {radius!r}")
    rng = np.random.default_rng(randomness.derive_seed(seed, "coverage"))
    rows = packed_particles(particles(real, "real"))
    columns = packed_particles(particles(generated, "generated"))
    measure, spans, values = emd_measure(radius), [range(num_eval_samples)] * num_eval_samples, []
    for _ in range(num_batches):
        some, others = (
            part.subset(rng.choice(len(part.sizes), num_eval_samples)) for part in (rows, columns)
        )
        matrix = np.stack(list(rows_of(some, others, spans, measure, workers=1)))
        # of a jet that was drawn twice one is the nearest: ties count once
        coverage = len(np.unique(matrix.argmin(0))) / num_eval_samples
        values.append([coverage, sets.minimum_matching_distance(matrix)])
    means, deviations = np.mean(values, axis=0), np.std(values, axis=0)
    cov, mmd = (Estimate(float(m), float(d)) for m, d in zip(means, deviations, strict=True))
    return cov, mmd


def packed_particles(jets: Particles) -> PackedNodes:
    """Particles (P, 3) of eta, phi, pT, jet after jet, of which none has a negative pT."""
    counts = jets.mask.sum(1)
    columns = (jets.eta[jets.mask], jets.phi[jets.mask], jets.pt[jets.mask].clip(0.0))
    return PackedNodes(np.stack(columns, axis=1), np.concatenate([[0], counts.cumsum()]))


def emd_measure(radius: float = RADIUS) -> Measure:
    """The distance of one jet (N, 3) to packed others, for :func:`gconvae.metrics.distances`."""
    return partial(_distances, solve=_solver(), radius=radius)


Solver = Callable[[Array, Array, Array], float]
"""Least cost of moving weights (N,) to weights (M,) at costs (N, M)."""


@cache
def _solver() -> Solver:
    try:
        import ot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the energy mover\'s distance needs POT: pip install "gconvae[metrics]"'
        ) from error
    # both sides have the same sum by construction
    return partial(ot.emd2, check_marginals=False)


def _distances(
    jet: Array, others: Array, starts: NDArray[np.intp], solve: Solver, radius: float
) -> Array:
    """Of one jet (N, 3) and packed ones (P, 3), shape (B,)."""
    angles = cdist(jet[:, :2], others[:, :2]) / radius  # (N, P)
    stops = np.append(starts[1:], len(others))
    pairs = (
        (angles[:, first:last], others[first:last, 2])
        for first, last in zip(starts, stops, strict=True)
    )
    return np.array([_distance(cost, jet[:, 2], weights, solve) for cost, weights in pairs])


def _distance(cost: Array, left: Array, right: Array, solve: Solver) -> float:
    """One more particle on the lighter side takes what is too much on the other, at cost 1."""
    excess = left.sum() - right.sum()
    if excess > 0:
        cost, right = np.column_stack([cost, np.ones(len(left))]), np.append(right, excess)
    elif excess < 0:
        cost, left = np.vstack([cost, np.ones(len(right))]), np.append(left, -excess)
    total = left.sum()
    if total == 0:  # no transverse momentum on either side
        return 0.0
    # weights of sum 1 keep the solver's tolerances what they are meant for
    return float(total * solve(left / total, right / right.sum(), np.ascontiguousarray(cost)))
