"""What a cloud is given beside z: its label, its number of nodes, its conditions."""

from __future__ import annotations

from gconvae.conditioning.conditions import Conditions, Row, checked_names, chosen_conditions
from gconvae.conditioning.context import Conditioning, Drawn

__all__ = ["Conditioning", "Conditions", "Drawn", "Row", "checked_names", "chosen_conditions"]
