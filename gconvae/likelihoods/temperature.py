"""Temperatures of draws, one for each feature of a node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gconvae.plain import plain

__all__ = ["USUAL", "Tempered", "temperatures"]

USUAL = 0.9
"""A likelihood is maximal for a distribution that is rather too wide."""


def temperatures(temperature: float | Sequence[float] | None, num_features: int) -> list[float]:
    """One a feature.

    Args:
        temperature: One for all, or one each; None = :data:`USUAL` for all.
        num_features: F.
    Raises:
        ValueError: If they are not F, or one is not above 0 and finite.
    Example:
        >>> temperatures(None, 3), temperatures([0.9, 1, 0.9], 3)
        ([0.9, 0.9, 0.9], [0.9, 1.0, 0.9])
    """
    temperature = USUAL if temperature is None else plain(temperature)
    each = [temperature] * num_features
    if isinstance(temperature, list | tuple):
        each = list(temperature)
    if len(each) != num_features:
        raise ValueError(f"temperature must be one number or {num_features}, got {each}")
    for one in each:
        is_number = isinstance(one, int | float) and not isinstance(one, bool)
        if not is_number or not 0 < one < math.inf:
            raise ValueError(f"temperature must be above 0 and finite, got {one!r}")
    return [float(one) for one in each]


class Tempered:
    """A part of the catalogue whose draws have temperatures, which may change after training.

    Attributes:
        num_features: F.
    """

    num_features: int
    part_options: dict[str, Any]

    @property
    def temperature(self) -> float | list[float] | None:
        """One for all features, or one each; None = 0.9 until a training chooses.

        What is assigned is checked, and saved with the model. What a training has chosen counts as
        said: the next one keeps it, and chooses again where it is None.
        """
        known = self._temperature
        return list(known) if isinstance(known, list) else known

    @temperature.setter
    def temperature(self, given: float | Sequence[float] | None) -> None:
        each, given = temperatures(given, self.num_features), plain(given)
        known = each if isinstance(given, list | tuple) else None if given is None else each[0]
        self._temperature: float | list[float] | None = known
        if "temperature" in getattr(self, "part_options", {}):  # which it gets when it is made
            self.part_options = self.part_options | {"temperature": known}
