"""Losses between clouds, one-to-one assignment, and the KL terms, by name or as functions."""

from __future__ import annotations

from gconvae.losses.assignment import distance, distances, match
from gconvae.losses.catalogue import Standardized, WeightedSum, available, create
from gconvae.losses.chamfer import matched_intensity_chamfer, third_axis_chamfer
from gconvae.losses.chamfer_modules import MatchedIntensityChamfer, ThirdAxisChamfer
from gconvae.losses.jet_observables import InUnits, JetMass, JetPt, check_schema, set_units
from gconvae.losses.kl import (
    free_bits,
    kl_monte_carlo,
    kl_per_latent,
    kl_standard_normal,
    kl_weight,
)
from gconvae.losses.pairs import checked_pair
from gconvae.losses.reductions import Directions
from gconvae.losses.sliced import SlicedWasserstein, sliced_wasserstein
from gconvae.losses.transport import (
    Matching,
    Sinkhorn,
    matching_loss,
    sinkhorn_loss,
)

__all__ = [
    "Directions",
    "InUnits",
    "JetMass",
    "JetPt",
    "MatchedIntensityChamfer",
    "Matching",
    "Sinkhorn",
    "SlicedWasserstein",
    "Standardized",
    "ThirdAxisChamfer",
    "WeightedSum",
    "available",
    "check_schema",
    "checked_pair",
    "create",
    "distance",
    "distances",
    "free_bits",
    "kl_monte_carlo",
    "kl_per_latent",
    "kl_standard_normal",
    "kl_weight",
    "match",
    "matched_intensity_chamfer",
    "matching_loss",
    "set_units",
    "sinkhorn_loss",
    "sliced_wasserstein",
    "third_axis_chamfer",
]
