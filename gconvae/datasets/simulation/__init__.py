"""Jets made by simulation: Pythia 8 makes the collisions, FastJet finds the jets in them."""

from __future__ import annotations

from gconvae.datasets.simulation.collisions import KINDS, MAX_PARTICLES
from gconvae.datasets.simulation.production import make_jets

__all__ = ["KINDS", "MAX_PARTICLES", "make_jets"]
