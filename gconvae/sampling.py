"""New clouds of a model, drawn in pieces: memory is bounded however many are asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from gconvae import pieces
from gconvae.clouds import Clouds, sort_nodes
from gconvae.conditioning import Conditioning
from gconvae.likelihoods.base import Likelihood
from gconvae.priors.base import Prior
from gconvae.randomness import generator
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema

__all__ = ["Generative", "samples"]


class Generative(Protocol):
    """What can be drawn from: prior, decoder and likelihood."""

    prior: Prior
    likelihood: Likelihood
    scaling: FeatureScaling
    conditioning: Conditioning
    schema: CloudSchema

    @property
    def device(self) -> torch.device:
        """Where the model's numbers lie."""

    def decode_unit(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        noise: torch.Generator | None = None,
    ) -> Tensor:
        """The decoder's own output, shape (B, L) to (B, N, F)."""

    def leave(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Points relative to the schema's offsets in data units."""


def samples(
    model: Generative, num_samples: int, seed: int, labels: Tensor | None
) -> Iterator[Clouds]:
    """New clouds in data units, some at a time.

    Args:
        model: Where they are drawn from.
        num_samples: How many in all.
        seed: The same seed gives the same clouds.
        labels: Shape (num_samples,), or None: as often as in training.
    """
    # looking at numbers on a GPU means waiting for it, so once and not in every part
    conditions = copy.deepcopy(model.conditioning).cpu()
    own = type(model.likelihood).quantize is not Likelihood.quantize
    kind = conditions, conditions.always_full, own or bool(model.likelihood.step.any())
    for number, start in enumerate(range(0, num_samples, pieces.PART)):
        rows = slice(start, min(start + pieces.PART, num_samples))
        wanted = None if labels is None else labels[rows]
        yield from _part(model, rows.stop - start, wanted, seed, number, *kind)


def _part(
    model: Generative,
    count: int,
    wanted: Tensor | None,
    seed: int,
    number: int,
    known: Conditioning,
    always_full: bool,
    rounded: bool,
) -> Iterator[Clouds]:
    conditions, prior, *noises = (
        generator(seed, purpose, step=number)
        for purpose in ("conditions", "sample", "node noise of samples", "observation")
    )
    labels, mask = known.draw(count, conditions, wanted)
    context = known.context(count, labels, mask)
    told = () if context is None else (context.to(model.scaling.low),)
    with torch.no_grad():
        z = model.prior.sample(count, prior, *told).to(model.scaling.low.dtype)  # (B, L)
    z, mask = pieces.sent(z, model.device), pieces.sent(mask, model.device)
    labels = None if labels is None else pieces.sent(labels, model.device)
    for part in pieces.pieces(Clouds(z, mask, labels), model.conditioning.num_points):
        with torch.no_grad():  # not around the yield, where the caller's code runs
            drawn = _drawn(model, part, always_full, rounded, *noises)
        yield drawn


def _drawn(
    model: Generative,
    part: Clouds,
    always_full: bool,
    rounded: bool,
    noise: torch.Generator,
    random: torch.Generator,
) -> Clouds:
    """Clouds whose points are latents, decoded, with the noise of the likelihood."""
    mask = None if always_full or part.mask.all() else part.mask
    mean = model.decode_unit(part.points, part.labels, mask, noise)  # (b, N, F)
    further = {} if mask is None else {"mask": mask}
    unit = model.likelihood.sample(mean, random, **further)
    drawn = model.scaling.unscale(model.scaling.from_unit(unit))
    if rounded:
        drawn = model.likelihood.quantize(drawn, model.scaling.low, model.scaling.high)
    points = sort_nodes(drawn, mask, model.schema)[0]
    return Clouds(model.leave(points, mask), part.mask, part.labels, model.schema)
