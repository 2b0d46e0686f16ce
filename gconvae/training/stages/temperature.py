r"""The stage that chooses the temperatures of draws, by the features of held-out clouds.

Below 1, draws keep to what is likely, which takes errors away that a network would go on from; but
what is drawn first then shifts what follows: where y grows by a little less from node to node,
the last ones lie too high. So a feature is drawn at another one where that takes shifts away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.likelihoods.autoregressive import AutoregressiveLikelihood
from gconvae.likelihoods.base import Likelihood
from gconvae.likelihoods.temperature import USUAL
from gconvae.metrics.wasserstein import feature_w1
from gconvae.randomness import generator
from gconvae.training.clouds import TrainingClouds
from gconvae.training.stages.at_once import AtOnceStage
from gconvae.vae import VAE

__all__ = ["choose_temperatures", "has_temperatures", "temperature_stage"]

TRIED = (0.8, 0.85, 0.9, 0.95, 1.0)
"""Of each feature."""

PASSES = 2
"""Through all features: what is chosen for a later one may change what suits an earlier one."""

MOST, FEWEST = 5000, 100
"""Held-out clouds that are looked at; with fewer, chance decides, and the usual one stays."""

HALVES = 10
"""Cuts of them into random halves, whose distance says how far apart real samples are."""

GAIN = 0.1
"""Floors, of all features together, that another temperature must gain."""


def has_temperatures(likelihood: Likelihood) -> bool:
    """Whether there are any to choose, which a custom class must have as an option."""
    if not isinstance(likelihood, AutoregressiveLikelihood) or likelihood.temperature is not None:
        return False
    return "temperature" in getattr(likelihood, "part_options", {})


def temperature_stage(
    model: VAE, clouds: TrainingClouds, seed: int, held_out: Tensor | None = None
) -> AtOnceStage:
    """The stage of a model whose likelihood is fitted.

    Args:
        model: The temperatures of its likelihood change.
        clouds: Some that it was not trained on.
        seed: Of the choice among many, and of all draws.
        held_out: Which of them it was not trained on; None = all.
    """
    rows = torch.arange(len(clouds), device="cpu") if held_out is None else held_out
    random = generator(seed, "clouds for the temperature")
    rows = rows[torch.randperm(len(rows), generator=random, device="cpu")[:MOST]].sort().values

    def choose() -> None:
        choose_temperatures(model, clouds.prepared(rows), seed)

    return AtOnceStage("temperature", choose, seed)


def choose_temperatures(model: VAE, clouds: Clouds, seed: int) -> None:
    r"""Feature by feature in the order of writing, 0.9 or what has a clearly smaller excess.

    .. math:: \sum_f \max\left(1, \frac{W_1(\text{drawn}_f, \text{held-out}_f)}{\text{floor}_f}
        \right)

    All draws are made of the same random numbers, so that small differences are seen.

    Args:
        model: Its likelihood, an autoregressive one, changes.
        clouds: Held-out clouds that the model has prepared; those with a label that no training
            cloud had are left out.
        seed: Of all draws.
    """
    likelihood: Any = model.likelihood
    chosen = [USUAL] * likelihood.num_features
    likelihood.temperature = chosen
    clouds = _as_drawn(model, clouds)
    if len(clouds.points) < FEWEST:
        return
    floor = _floor(clouds, seed)
    known: dict[tuple[float, ...], float] = {}

    def excess(tried: list[float]) -> float:
        if tuple(tried) not in known:
            likelihood.temperature = tried
            known[tuple(tried)] = _excess(model, clouds, floor, seed)
        return known[tuple(tried)]

    for _ in range(PASSES):
        before = chosen
        for feature in likelihood.order.columns:
            for heat in TRIED:
                tried = [*chosen[:feature], heat, *chosen[feature + 1 :]]
                if excess(tried) < excess(chosen) - GAIN:
                    chosen = tried
        if chosen == before:
            break
    likelihood.temperature = chosen


def _as_drawn(model: VAE, clouds: Clouds) -> Clouds:
    """What can be compared with draws: with offsets, periods and known labels."""
    points = model.leave(clouds.points, clouds.mask)
    labels = clouds.labels if model.conditioning.num_classes else None
    same = Clouds(points, clouds.mask, labels, model.schema, clouds.conditions)
    if labels is None:
        return same
    known = model.conditioning.counts.any(1)  # (C,)
    return same.subset(known[labels.to(known.device)].to(points.device).nonzero()[:, 0])


def _excess(model: VAE, clouds: Clouds, floor: np.ndarray[Any, Any], seed: int) -> float:
    """Of clouds with the same labels and conditions."""
    asked = {"label": clouds.labels, "conditions": clouds.conditions}
    drawn = model.sample_clouds(len(clouds.points), seed=seed, **asked)
    apart = feature_w1(clouds, drawn)
    seen = floor > 0  # a feature that never changes has none
    return float(np.maximum(1, apart[seen] / floor[seen]).sum())


def _floor(clouds: Clouds, seed: int) -> np.ndarray[Any, Any]:
    """Mean distance of two samples as large as this one, shape (F,): that of halves, shrunk."""
    random = torch.Generator().manual_seed(seed)
    size, distances = len(clouds.points), []
    for _ in range(HALVES):
        order = torch.randperm(size, generator=random)
        halves = (clouds.subset(rows) for rows in order.to(clouds.points.device).chunk(2))
        distances.append(feature_w1(*halves))
    return np.mean(distances, axis=0) / np.sqrt(2)
