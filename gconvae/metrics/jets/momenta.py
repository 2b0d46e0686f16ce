"""Momenta of jets and of their particles: mass, transverse momentum, multiplicity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gconvae.metrics.jets.particles import Array, Particles, particles

__all__ = ["four_momenta", "mass", "mass_and_pt", "multiplicity", "pt"]


def four_momenta(jets: Any, *, jet_pt: ArrayLike = 1.0) -> Array:
    r"""Four-momenta of the particles, which are taken to be massless.

    .. math:: (E, p_x, p_y, p_z) = p_T \, (\cosh\eta, \cos\phi, \sin\phi, \sinh\eta)

    Angles are relative to the jet, so that its axis is the x axis. Seen from the laboratory the
    frame is turned about the beam and moves along it, which changes no mass and no transverse
    momentum.

    Args:
        jets: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel, see
            :func:`gconvae.metrics.compare` for their forms.
        jet_pt: Transverse momentum of the jets, a number or shape (B,), in GeV; 1 = momenta in
            units of it.
    Returns:
        Shape (B, N, 4), in the unit of ``jet_pt``; 0 for padding.
    Raises:
        ValueError: If the jets are not valid, or ``jet_pt`` is not positive numbers of that shape.
    Example:
        >>> four_momenta([[[0.0, 0.0, 0.5]]], jet_pt=1000.0)
        array([[[500., 500.,   0.,   0.]]])
    """
    eta, phi, pt, _ = particles(jets)
    scale = _jet_pt(jet_pt, len(eta))
    parts = (np.cosh(eta), np.cos(phi), np.sin(phi), np.sinh(eta))
    return scale[:, None, None] * np.stack([pt * part for part in parts], axis=-1)


def mass(jets: Any, *, jet_pt: ArrayLike = 1.0) -> Array:
    r"""Invariant mass of all particles of a jet together.

    .. math:: m^2 = \left(\sum_i E_i\right)^2 - \left|\sum_i \vec p_i\right|^2

    Two massless particles have :math:`m^2 = 2 p_{T1} p_{T2} (\cosh\Delta\eta - \cos\Delta\phi)`.
    Where few particles of a jet are kept it is the mass of these.

    Args:
        jets: As in :func:`four_momenta`.
        jet_pt: Likewise; 1 = JetNet's relative mass.
    Returns:
        Shape (B,), in the unit of ``jet_pt``.
    Raises:
        ValueError: As :func:`four_momenta`.
    References:
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks (Kansal et
          al., 2021), arXiv:2106.11535
    Example:
        >>> mass([[[0.1, 0.0, 0.5], [-0.1, 0.0, 0.5]]]).round(4)
        array([0.1002])
    """
    masses = mass_and_pt(particles(jets))[:, 0]
    return _jet_pt(jet_pt, len(masses)) * masses


def pt(jets: Any, *, jet_pt: ArrayLike = 1.0) -> Array:
    r"""Transverse momentum of all particles of a jet together.

    .. math:: p_T = \left|\sum_i p_{T,i} (\cos\phi_i, \sin\phi_i)\right|

    Of a real jet's hardest particles it is below 1 by the share of the others.

    Args:
        jets: As in :func:`four_momenta`.
        jet_pt: Likewise.
    Returns:
        Shape (B,), in the unit of ``jet_pt``.
    Raises:
        ValueError: As :func:`four_momenta`.
    Example:
        >>> pt([[[0.1, 0.0, 0.5], [-0.1, 0.0, 0.25]]])
        array([0.75])
    """
    momenta = mass_and_pt(particles(jets))[:, 1]
    return _jet_pt(jet_pt, len(momenta)) * momenta


def multiplicity(jets: Any) -> NDArray[np.intp]:
    """Number of particles of a jet.

    Args:
        jets: As in :func:`four_momenta`.
    Returns:
        Shape (B,).
    Raises:
        ValueError: If the jets are not valid.
    Example:
        >>> import torch
        >>> multiplicity((torch.zeros(1, 3, 3), torch.tensor([[True, True, False]])))
        array([2])
    """
    number: NDArray[np.intp] = particles(jets).mask.sum(1)
    return number


def mass_and_pt(jets: Particles) -> Array:
    """Mass and transverse momentum of checked jets, shape (B, 2), in units of the jets' pT."""
    energy = (jets.pt * np.cosh(jets.eta)).sum(1)
    along = (jets.pt * np.sinh(jets.eta)).sum(1)
    squared = (jets.pt * np.cos(jets.phi)).sum(1) ** 2 + (jets.pt * np.sin(jets.phi)).sum(1) ** 2
    # rounding takes the mass of a single particle below 0
    mass = np.sqrt((energy**2 - along**2 - squared).clip(0.0))
    return np.stack([mass, np.sqrt(squared)], axis=1)


def _jet_pt(jet_pt: ArrayLike, number: int) -> Array:
    """Of each jet, shape (B,)."""
    values = np.asarray(jet_pt, dtype=np.float64)
    if values.shape not in ((), (number,)) or not ((values > 0) & (values < np.inf)).all():
        raise ValueError(
            f"jet_pt must be a number above 0 or one for each of {number} jets, got {jet_pt!r}"
        )
    return np.broadcast_to(values, (number,))
