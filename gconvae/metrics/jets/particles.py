"""The particles of jets, read once: pseudorapidity, azimuth and transverse momentum as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae.clouds import Clouds, as_sample
from gconvae.schema import JETS, CloudSchema

__all__ = ["FEATURES", "Array", "Particles", "are_jets", "particles", "particles_of"]

FEATURES = JETS.names
"""Of a particle: eta_rel, phi_rel, pt_rel, relative to the axis and the pT of its jet."""

Array = NDArray[np.float64]


class Particles(NamedTuple):
    """Particles of B jets in double precision; padding has no transverse momentum.

    Attributes:
        eta: Pseudorapidity relative to the axis of the jet, shape (B, N).
        phi: Azimuth relative to it, radians in (-pi, pi], shape (B, N).
        pt: Share of the jet's transverse momentum, shape (B, N).
        mask: True where a particle is real, shape (B, N).
    """

    eta: Array
    phi: Array
    pt: Array
    mask: NDArray[np.bool_]

    def pieces(self, entries: int) -> Iterator[Particles]:
        """Jets a few at a time, so that N x N numbers of each are at most ``entries``."""
        number, width = self.pt.shape
        step = max(1, entries // width**2)
        for first in range(0, number, step):
            part = slice(first, first + step)
            yield Particles(self.eta[part], self.phi[part], self.pt[part], self.mask[part])


def are_jets(schema: CloudSchema) -> bool:
    """Whether the features of a schema are those of jets, by their names.

    Example:
        >>> from gconvae.schema import SUPERPIXELS
        >>> are_jets(JETS), are_jets(SUPERPIXELS)
        (True, False)
    """
    return schema.names == FEATURES


def particles(jets: Any, name: str = "jets") -> Particles:
    """Reads and checks jets in any form.

    Args:
        jets: Clouds (B, N, 3) of eta_rel, phi_rel, pt_rel, in any form that
            :func:`gconvae.metrics.compare` takes; bare numbers are taken to be these three.
        name: What error messages call them.
    Raises:
        ValueError: If they are no finite clouds, or their features are others.
    Example:
        >>> particles([[[0.1, 6.3, 0.5]]]).phi.round(3)
        array([[0.017]])
    """
    sample = as_sample(jets, name, JETS)
    if sample.schema is not None and not are_jets(sample.schema):
        raise ValueError(
            f"{name} must have the features {', '.join(FEATURES)}, "
            f"got {', '.join(sample.schema.names)}"
        )
    return particles_of(sample)


def particles_of(sample: Clouds) -> Particles:
    """Particles of clouds that are known to be jets."""
    values = sample.points.detach().cpu().double().numpy()  # (B, N, 3), 0 where masked
    eta, phi, pt = np.moveaxis(values, -1, 0)
    turns = np.ceil(phi / (2 * math.pi) - 0.5)
    return Particles(eta, phi - 2 * math.pi * turns, pt, sample.mask.cpu().numpy())
