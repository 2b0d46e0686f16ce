"""What a cloud is given beside z: its label, its number of nodes, its conditions; who is told."""

from __future__ import annotations

from gconvae.conditioning.conditions import Conditions, Row, checked_names, chosen_conditions
from gconvae.conditioning.context import Conditioning, Drawn
from gconvae.conditioning.told import MEAN_ALONE, Told, told_of

__all__ = [
    "MEAN_ALONE",
    "Conditioning",
    "Conditions",
    "Drawn",
    "Row",
    "Told",
    "checked_names",
    "chosen_conditions",
    "told_of",
]
