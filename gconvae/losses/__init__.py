"""Losses between clouds, one-to-one assignment, and the KL terms, by name or as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.losses.assignment import DIAMETER, distance, distances, match
    from gconvae.losses.catalogue import Standardized, WeightedSum, available, create
    from gconvae.losses.chamfer import (
        MatchedIntensityChamfer,
        ThirdAxisChamfer,
        checked_pair,
        matched_intensity_chamfer,
        third_axis_chamfer,
    )
    from gconvae.losses.kl import (
        free_bits,
        kl_monte_carlo,
        kl_per_latent,
        kl_standard_normal,
        kl_weight,
    )
    from gconvae.losses.transport import (
        Matching,
        Sinkhorn,
        SlicedWasserstein,
        matching_loss,
        sinkhorn_loss,
        sliced_wasserstein,
    )

__all__ = [
    "DIAMETER",
    "MatchedIntensityChamfer",
    "Matching",
    "Sinkhorn",
    "SlicedWasserstein",
    "Standardized",
    "ThirdAxisChamfer",
    "WeightedSum",
    "available",
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
    "sinkhorn_loss",
    "sliced_wasserstein",
    "third_axis_chamfer",
]

_HOMES = {
    "MatchedIntensityChamfer": "chamfer",
    "ThirdAxisChamfer": "chamfer",
    "checked_pair": "chamfer",
    "matched_intensity_chamfer": "chamfer",
    "third_axis_chamfer": "chamfer",
    "Matching": "transport",
    "Sinkhorn": "transport",
    "SlicedWasserstein": "transport",
    "matching_loss": "transport",
    "sinkhorn_loss": "transport",
    "sliced_wasserstein": "transport",
    "DIAMETER": "assignment",
    "distance": "assignment",
    "distances": "assignment",
    "match": "assignment",
    "free_bits": "kl",
    "kl_monte_carlo": "kl",
    "kl_per_latent": "kl",
    "kl_standard_normal": "kl",
    "kl_weight": "kl",
    "Standardized": "catalogue",
    "WeightedSum": "catalogue",
    "available": "catalogue",
    "create": "catalogue",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
