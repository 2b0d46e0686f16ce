"""Lattices that the values of a feature lie on, such as whole numbers: how they are found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gconvae.clouds import as_clouds

__all__ = [
    "FINE_STEPS",
    "LATTICE_STEPS",
    "MIN_PLACES",
    "MOST_PLACES",
    "STEPS",
    "checked_step",
    "fractions",
    "lattice_step",
    "rounded",
]

LATTICE_STEPS = (1.0, 1 / 2, 1 / 3, 1 / 4)
"""Steps that ``lattice="auto"`` looks for, in data units."""

FINE_STEPS = (*LATTICE_STEPS, 1 / 16, 1 / 255)
"""Steps that ``lattice="fine"`` looks for: those of the bundled clouds too. Beside them, exactly
continuous intensities are told from real ones by a classifier that has nothing else to go by."""

MIN_PLACES = 8
"""Places of a lattice that must be taken: an intensity of 0 and 1 only lies on none by chance."""

MOST_PLACES = 2048
"""Places between the ends of a lattice of any step: with more, values lie on one by chance."""

COARSE = 4.0
"""Spacings of single precision at the largest value that a step must have: any large number is a
multiple of a finer one."""

MOST_KNOWN_PLACES = 2**16
"""Likewise of a step that is looked for by name: what has more is as good as continuous."""

PARTS = (1, 2, 3, 4)
"""Of the smallest gap: values need not take two places side by side."""

STEPS = {"auto": LATTICE_STEPS, "fine": FINE_STEPS}
"""Steps that each way of finding a lattice looks for."""


def lattice_step(
    points: Tensor,
    mask: Tensor | None = None,
    steps: Sequence[float] = LATTICE_STEPS,
    *,
    others: bool = False,
) -> Tensor:
    """The coarsest lattice that all values of a feature lie on.

    Values must be multiples of its step, up to 1e-4 of it for rounding, and take at least
    :data:`MIN_PLACES` places on it: a constant, a label or an intensity of 0 and 1 stays
    continuous. So do numbers so large that single precision has none between the places, and
    lattices of more than :data:`MOST_KNOWN_PLACES` places.

    Args:
        points: Clouds in data units, shape (B, N, F).
        mask: True where a node is real, shape (B, N); None = all.
        steps: Those to look for, the coarsest first.
        others: Whether, if none of these fits, any other is looked for that has at most
            :data:`MOST_PLACES` places between the ends: the smallest gap between two values.
    Returns:
        Shape (F,), in data units; 0 where a feature is continuous.
    Raises:
        ValueError: If the clouds are not valid.
    Example:
        >>> x = torch.arange(20.0)
        >>> lattice_step(torch.stack([x, x / 2, x / 3], dim=1)[None])
        tensor([1.0000, 0.5000, 0.3333])
        >>> lattice_step(x.view(1, -1, 1) / 10, others=True)
        tensor([0.1000])
    """
    clouds = as_clouds(points, mask)
    nodes = clouds.points[clouds.mask]  # (P, F)
    return nodes.new_tensor([_step_of(values, steps, others) for values in nodes.unbind(1)])


def _step_of(values: Tensor, steps: Sequence[float], others: bool) -> float:
    if not len(values):
        return 0.0
    spacing = torch.finfo(torch.float32).eps * float(values.abs().amax())
    width = float(values.amax()) - float(values.amin())
    for step in steps:
        if step < COARSE * spacing or width / step > MOST_KNOWN_PLACES:
            continue
        places = torch.round(values / step)
        if ((values / step - places).abs() <= 1e-4).all():
            return step if len(places.unique()) >= MIN_PLACES else 0.0
    return _smallest_gap(values) if others else 0.0


def _smallest_gap(values: Tensor) -> float:
    """The smallest gap between two values, or a part of it, that all are multiples of; or 0."""
    unique = values.double().unique()  # in order
    if not MIN_PLACES <= len(unique) <= MOST_PLACES:
        return 0.0
    gaps = unique.diff()
    # what rounding in single precision took apart is one value
    gaps = gaps[gaps > 1e-5 * float(unique.abs().max())]
    for part in PARTS if len(gaps) else ():
        step = _refined(float(gaps.min()) / part, unique)
        if float((unique[-1] - unique[0]) / step) > MOST_PLACES:
            return 0.0
        whole = 1 / max(1, round(1 / step))  # of thirds only some digits are known
        for each in (whole, step):
            if _fits(unique, each):
                return each
    return 0.0


def _refined(step: float, unique: Tensor) -> float:
    """A step of which few digits are known, by ever larger multiples of it."""
    for value in sorted(unique.abs().tolist()):
        place = round(value / step)
        if place and abs(value / step - place) < 0.25:
            step = value / place
    return step


def _fits(unique: Tensor, step: float) -> bool:
    """Whether all are multiples, as far as single precision can say."""
    apart = (unique - torch.round(unique / step) * step).abs()
    return bool((apart <= 1e-3 * step + 4 * torch.finfo(torch.float32).eps * unique.abs()).all())


def rounded(
    points: Tensor,
    step: Tensor,
    are_fractions: Tensor,
    low: Tensor | None = None,
    high: Tensor | None = None,
) -> Tensor:
    """The nearest numbers on a lattice, with the bits that they have in data.

    In single precision 5 / 3 is not 5 times a third, and a classifier needs no more than that.

    Args:
        points: Data units, shape (..., F).
        step: 0 where there is no lattice, shape (F,).
        are_fractions: From :func:`fractions`.
        low: Smallest value of each feature, shape (F,); None = no bound.
        high: Largest value, likewise.
    Returns:
        Shape (..., F), continuous features as they were.
    Example:
        >>> third = torch.tensor([1 / 3])
        >>> rounded(torch.tensor([1.7]), third, torch.tensor([True])) == torch.tensor(5.0) / 3
        tensor([True])
        >>> torch.tensor(5.0) / 3 == 5 * third
        tensor([False])
    """
    divisor = torch.where(step > 0, step, 1.0)
    places = torch.round(points / divisor)
    # the ends of a range need not be on the lattice; up to rounding, they may
    if low is not None:
        places = torch.maximum(places, torch.ceil(low.to(points) / divisor - 1e-4))
    if high is not None:
        places = torch.minimum(places, torch.floor(high.to(points) / divisor + 1e-4))
    values = torch.where(are_fractions, places / torch.round(1 / divisor), places * divisor)
    return torch.where(step > 0, values, points)


def fractions(nodes: Tensor, step: Tensor) -> Tensor:
    """Whether more values have the bits of k / n than of k times the step 1 / n.

    Args:
        nodes: Of training clouds, shape (P, F).
        step: Shape (F,).
    Returns:
        Shape (F,).
    """
    step = step.to(nodes)
    divisor = torch.where(step > 0, step, 1.0)
    parts = torch.round(1 / divisor)
    places, is_part = torch.round(nodes / divisor), (parts * divisor - 1).abs() < 1e-6
    divided = (nodes == places / parts.clamp(min=1)).sum(0)
    return is_part & (divided > (nodes == places * divisor).sum(0))


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
