"""N-subjettiness: how well few prongs describe a jet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.metrics.jets.particles import Array, Particles, particles

__all__ = ["MOST_AXES", "n_subjettiness", "subjettiness_of", "subjettiness_ratios"]

MOST_AXES = 3
"""Prongs of a top jet."""

CHUNK_ENTRIES = 2**20
"""Pairs of particles that are held at a time: 8 MB an array."""


def n_subjettiness(jets: Any, *, radius: float = 0.8) -> Array:
    r"""N-subjettiness for one, two and three prongs.

    .. math:: \tau_N = \frac{1}{R \sum_i p_{T,i}} \sum_i p_{T,i} \, \min_{k \le N} \Delta_{ik},
        \qquad \Delta^2 = \Delta\eta^2 + \Delta\phi^2

    The N axes are those of the kT algorithm, which joins the pair with the smallest
    :math:`\min(p_{T,i}, p_{T,j})^2 \Delta_{ij}^2` until N are left; what is joined has the
    direction of its harder part. The ratio :math:`\tau_{21} = \tau_2 / \tau_1` is small for two
    prongs, as of a W, and :math:`\tau_{32}` for the three of a top.

    Args:
        jets: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel, see :func:`gconvae.metrics.compare`
            for their forms.
        radius: R of the jets, radians.
    Returns:
        tau_1, tau_2 and tau_3, shape (B, 3), pure numbers; 0 where there are no more particles
        than prongs.
    Raises:
        ValueError: If the jets are not valid, or ``radius`` is not positive.
    References:
        | Identifying Boosted Objects with N-subjettiness (Thaler and Van Tilburg, 2011),
          arXiv:1011.2268
    Example:
        >>> jet = [[[0.2, 0.0, 0.6], [-0.2, 0.0, 0.3], [-0.2, 0.1, 0.1]]]
        >>> n_subjettiness(jet).round(4)
        array([[0.2015, 0.0125, 0.    ]])
    """
    if not 0 < radius < np.inf:
        raise ValueError(f"radius must be a number above 0, got {radius!r}")
    return subjettiness_of(particles(jets)) / radius


def subjettiness_of(jets: Particles) -> Array:
    """:func:`n_subjettiness` of checked jets with R = 1, shape (B, 3)."""
    return np.concatenate([_of_few(few) for few in jets.pieces(CHUNK_ENTRIES)])


def subjettiness_ratios(tau: Array) -> Array:
    r"""How much better two prongs describe a jet than one, and three than two.

    .. math:: \tau_{21} = \tau_2 / \tau_1, \quad \tau_{32} = \tau_3 / \tau_2

    Args:
        tau: From :func:`n_subjettiness`, shape (B, 3).
    Returns:
        Shape (B, 2), in [0, 1] but for rare jets, 0 where it would be divided by 0.
    Example:
        >>> subjettiness_ratios(np.array([[0.2, 0.1, 0.08], [0.1, 0.0, 0.0]]))
        array([[0.5, 0.8],
               [0. , 0. ]])
    """
    lower, higher = tau[:, :-1], tau[:, 1:]
    return np.where(lower > 0, higher / np.where(lower > 0, lower, 1.0), 0.0)


def _of_few(jets: Particles) -> Array:
    """Of few jets, with R = 1, shape (B, 3)."""
    pt, is_axis = jets.pt.copy(), jets.mask.copy()
    apart = _squared(jets)  # (B, N, N)
    rows, total = np.arange(len(pt)), jets.pt.sum(1)
    tau_1_to_3, pairs = np.zeros((len(pt), MOST_AXES)), _Pairs(pt, is_axis, apart)
    for left in range(pt.shape[1], 0, -1):
        if left <= MOST_AXES:
            nearest = np.where(is_axis[:, None], apart, np.inf).min(2)  # (B, N)
            tau = (jets.pt * np.sqrt(nearest)).sum(1) / np.where(total == 0, 1.0, total)
            tau_1_to_3[:, left - 1] = tau
        joined = is_axis.sum(1) >= left  # jets of fewer particles wait
        if left > 1 and joined.any():
            pairs.join(rows[joined])
    return tau_1_to_3


class _Pairs:
    """Distances of the kT algorithm between the axes of jets, and the nearest of each axis.

    What is joined gets harder, so that distances to it only grow: of the other axes only those
    whose nearest one it was have to look again.

    Args:
        pt: Of the axes, changed in place, shape (B, N).
        is_axis: Likewise.
        apart: Squared angles, shape (B, N, N).
    """

    def __init__(self, pt: Array, is_axis: NDArray[np.bool_], apart: Array) -> None:
        self.pt, self.is_axis, self.apart = pt, is_axis, apart
        distance = np.minimum(pt[:, :, None], pt[:, None]) ** 2 * apart
        allowed = is_axis[:, :, None] & is_axis[:, None] & ~np.eye(pt.shape[1], dtype=bool)
        self.distance = np.where(allowed, distance, np.inf)
        self.nearest, self.least = self.distance.argmin(2), self.distance.min(2)

    def join(self, rows: NDArray[np.intp]) -> None:
        """Joins the nearest two axes of some jets; the softer one goes."""
        first = self.least[rows].argmin(1)
        second = self.nearest[rows, first]
        is_softer = self.pt[rows, first] < self.pt[rows, second]
        gone, kept = np.where(is_softer, first, second), np.where(is_softer, second, first)
        self.pt[rows, kept] += self.pt[rows, gone]
        self.is_axis[rows, gone] = False
        others = self.is_axis[rows]
        others[np.arange(len(rows)), kept] = False
        softer = np.minimum(self.pt[rows], self.pt[rows, kept][:, None])
        distance = np.where(others, softer**2 * self.apart[rows, kept], np.inf)
        self.distance[rows, kept] = self.distance[rows, :, kept] = distance
        self.distance[rows, gone] = self.distance[rows, :, gone] = np.inf
        self.least[rows, gone] = np.inf
        nearest = self.nearest[rows]
        looks = (nearest == kept[:, None]) | (nearest == gone[:, None])
        looks[np.arange(len(rows)), kept] = True
        which, axis = (looks & self.is_axis[rows]).nonzero()
        which = rows[which]
        seen = self.distance[which, axis]  # (L, N)
        self.nearest[which, axis] = partner = seen.argmin(1)
        self.least[which, axis] = seen[np.arange(len(seen)), partner]


def _squared(jets: Particles) -> Array:
    """Squared angles between all particles, shape (B, N, N)."""
    squared: Array = (jets.eta[:, :, None] - jets.eta[:, None]) ** 2
    squared += (jets.phi[:, :, None] - jets.phi[:, None]) ** 2
    return squared
