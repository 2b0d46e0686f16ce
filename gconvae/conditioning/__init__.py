"""What is known of a cloud beside z: its label, its number of nodes, its conditions."""

from __future__ import annotations

from gconvae.conditioning.conditioned_on import MEAN_ALONE, ConditionedOn, conditioned_on
from gconvae.conditioning.conditions import Conditions, Row, checked_names, chosen_conditions
from gconvae.conditioning.context import Conditioning, Drawn

__all__ = [
    "MEAN_ALONE",
    "Conditioning",
    "Conditions",
    "Drawn",
    "Row",
    "ConditionedOn",
    "checked_names",
    "chosen_conditions",
    "conditioned_on",
]
