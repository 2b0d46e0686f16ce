"""N-subjettiness: how well few prongs describe a jet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.metrics.jets.particles import Array, Particles, particles

__all__ = ["MOST_AXES", "n_subjettiness"]

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
    pieces = particles(jets).pieces(CHUNK_ENTRIES)
    return np.concatenate([_of_few(few) for few in pieces]) / radius


def _of_few(jets: Particles) -> Array:
    """Of few jets, with R = 1, shape (B, 3)."""
    pt, is_axis = jets.pt.copy(), jets.mask.copy()
    apart = _squared(jets)  # (B, N, N)
    rows, total = np.arange(len(pt)), jets.pt.sum(1)
    found = np.zeros((len(pt), MOST_AXES))
    for left in range(pt.shape[1], 0, -1):
        if left <= MOST_AXES:
            nearest = np.where(is_axis[:, None], apart, np.inf).min(2)  # (B, N)
            tau = (jets.pt * np.sqrt(nearest)).sum(1) / np.where(total == 0, 1.0, total)
            found[:, left - 1] = tau
        joined = is_axis.sum(1) >= left  # jets of fewer particles wait
        if left > 1 and joined.any():
            _join(pt, is_axis, apart, rows[joined])
    return found


def _join(pt: Array, is_axis: NDArray[np.bool_], apart: Array, rows: NDArray[np.intp]) -> None:
    """Joins the nearest two axes of some jets, in place; the softer one goes."""
    shown, width = is_axis[rows], pt.shape[1]
    softer = np.minimum(pt[rows, :, None], pt[rows, None])
    distance = softer**2 * apart[rows]
    allowed = shown[:, :, None] & shown[:, None] & ~np.eye(width, dtype=bool)
    pair = np.where(allowed, distance, np.inf).reshape(len(rows), -1).argmin(1)
    first, second = np.divmod(pair, width)
    is_softer = pt[rows, first] < pt[rows, second]
    gone, kept = np.where(is_softer, first, second), np.where(is_softer, second, first)
    pt[rows, kept] += pt[rows, gone]
    is_axis[rows, gone] = False


def _squared(jets: Particles) -> Array:
    """Squared angles between all particles, shape (B, N, N)."""
    found: Array = (jets.eta[:, :, None] - jets.eta[:, None]) ** 2
    found += (jets.phi[:, :, None] - jets.phi[:, None]) ** 2
    return found
