"""Lattices that the values of a feature lie on, such as whole numbers: how they are found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gconvae.clouds import as_clouds

__all__ = ["FINE_STEPS", "LATTICE_STEPS", "MIN_PLACES", "STEPS", "checked_step", "lattice_step"]

LATTICE_STEPS = (1.0, 0.5, 0.25)
"""Steps that ``lattice="auto"`` looks for, in data units."""

FINE_STEPS = (*LATTICE_STEPS, 1 / 16, 1 / 255)
"""Steps that ``lattice="fine"`` looks for: those of the bundled clouds too. Beside them, exactly
continuous intensities are told from real ones by a classifier that has nothing else to go by."""

MIN_PLACES = 8
"""Places of a lattice that must be taken: an intensity of 0 and 1 only lies on none by chance."""

STEPS = {"auto": LATTICE_STEPS, "fine": FINE_STEPS}
"""Steps that each way of finding a lattice looks for."""


def lattice_step(
    points: Tensor, mask: Tensor | None = None, steps: Sequence[float] = LATTICE_STEPS
) -> Tensor:
    """The coarsest lattice that all values of a feature lie on.

    Values must be multiples of it, up to 1e-4 of the step
    for rounding, and take at least :data:`MIN_PLACES` places on it: a constant, a label or an
    intensity of 0 and 1 stays continuous.

    Args:
        points: Clouds in data units, shape (B, N, F).
        mask: True where a node is real, shape (B, N); None = all.
        steps: Those to look for, the coarsest first.
    Returns:
        Shape (F,), in data units; 0 where a feature is continuous.
    Raises:
        ValueError: If the clouds are not valid.
    Example:
        >>> x = torch.arange(20.0)
        >>> lattice_step(torch.stack([x, x / 2, x / 3], dim=1)[None])
        tensor([1.0000, 0.5000, 0.0000])
    """
    clouds = as_clouds(points, mask)
    nodes = clouds.points[clouds.mask]  # (P, F)
    return torch.stack([nodes.new_tensor(_step_of(values, steps)) for values in nodes.unbind(1)])


def _step_of(values: Tensor, steps: Sequence[float]) -> float:
    for step in steps:
        places = torch.round(values / step)
        if ((values / step - places).abs() <= 1e-4).all():
            return step if len(places.unique()) >= MIN_PLACES else 0.0
    return 0.0


def checked_step(lattice: str | Sequence[float] | None, num_features: int) -> Tensor:
    """The steps that an option ``lattice`` says, 0 where they are yet to be found.

    Args:
        lattice: See :class:`gconvae.likelihoods.Likelihood`.
        num_features: F.
    Returns:
        Shape (F,).
    Raises:
        ValueError: If ``lattice`` is none of the allowed ones.
    """
    if lattice is None or (isinstance(lattice, str) and lattice in STEPS):
        return torch.zeros(num_features)
    if isinstance(lattice, Sequence) and not isinstance(lattice, str):
        numbers = all(isinstance(step, int | float) for step in lattice)
        if numbers and len(lattice) == num_features and all(0 <= s < math.inf for s in lattice):
            return torch.tensor(lattice, dtype=torch.float32)
    raise ValueError(
        f"lattice must be 'auto', 'fine', None or a list of {num_features} finite steps of at "
        f"least 0, got {lattice!r}"
    )
