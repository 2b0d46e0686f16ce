"""Physics of jets: masses, energy flow, and the distances that the field reports."""

from __future__ import annotations

from gconvae.metrics.jets.classifier import JetClassifier, card, features, load
from gconvae.metrics.jets.energy_flow import GRAPHS, PRIMES_OF_FOUR, energy_flow_polynomials
from gconvae.metrics.jets.energy_mover import cov_mmd, energy_movers_distances
from gconvae.metrics.jets.momenta import four_momenta, mass, multiplicity, pt
from gconvae.metrics.jets.particlenet import fpnd
from gconvae.metrics.jets.physics_distances import fpd, kernel_median, kpd
from gconvae.metrics.jets.substructure import n_subjettiness, subjettiness_ratios
from gconvae.metrics.jets.wasserstein import BatchedW1, w1efp, w1m, w1p

__all__ = [
    "GRAPHS",
    "PRIMES_OF_FOUR",
    "BatchedW1",
    "JetClassifier",
    "card",
    "cov_mmd",
    "energy_flow_polynomials",
    "energy_movers_distances",
    "four_momenta",
    "features",
    "fpd",
    "fpnd",
    "kernel_median",
    "kpd",
    "load",
    "mass",
    "multiplicity",
    "n_subjettiness",
    "pt",
    "subjettiness_ratios",
    "w1efp",
    "w1m",
    "w1p",
]
