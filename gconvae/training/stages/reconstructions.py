"""What a trained model makes of clouds, for the stages that learn from it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.clouds import Clouds, sort_nodes
from gconvae.cuda_graphs import recording
from gconvae.pieces import pieces, resized
from gconvae.priors.base import Latents
from gconvae.randomness import generator, standard_noise
from gconvae.threads import separable, side_by_side
from gconvae.training.clouds import TrainingClouds, seen_rows
from gconvae.vae import VAE

__all__ = [
    "HELD_OUT",
    "Decoded",
    "Reconstructions",
    "dequantized",
    "held_out",
    "latents",
    "posteriors",
]

HELD_OUT = 0.1
"""Share of the clouds on which a stage is watched, where nobody hands over validation clouds."""


class Decoded(NamedTuple):
    """What the likelihood of clouds is conditioned on.

    Attributes:
        mean: The decoder's output, shape (B, N, F).
        context: See :meth:`gconvae.conditioning.Conditioning.likelihood_context`, shape (B, C),
            or None.
    """

    mean: Tensor
    context: Tensor | None

    def of(self, rows: slice) -> Decoded:
        """Some of the clouds."""
        return Decoded(self.mean[rows], None if self.context is None else self.context[rows])


class Reconstructions:
    """Clouds and their means through draws from their posteriors, as many as one wants.

    Args:
        model: Its encoder and decoder are used as they are.
        clouds: Those of a training.
        rows: Which of them, shape (B,); None = all.
    """

    def __init__(self, model: VAE, clouds: TrainingClouds, rows: Tensor | None = None) -> None:
        self.model, self.source, self.rows = model, clouds, rows

    def __len__(self) -> int:
        return len(self.source) if self.rows is None else len(self.rows)

    def subset(self, rows: Tensor) -> Reconstructions:
        """Some of the clouds.

        Args:
            rows: Numbers of clouds, shape (b,).
        """
        return Reconstructions(self.model, self.source, self._places(rows))

    def is_separable(self) -> bool:
        """Whether no cloud's mean depends on another cloud: see ``gconvae.threads``."""
        return separable(self.model.encoder, self.model.decoder)

    def to(self, device: torch.device | str) -> None:
        """Brings model and clouds to a device."""
        self.model.to(device)
        self.source = self.source.to(device)

    def middle(self) -> tuple[Tensor, Tensor]:
        """Clouds in the unit interval as they are, and their masks, for a look at all of them.

        Returns:
            Shapes (B, N, F) and (B, N), of at most as many as fit into memory.
        """
        clouds = self.source.scaled(self._places(seen_rows(len(self), 0)))
        return self._padded(clouds.points / self.model.scaling.extent, clouds.mask)

    def clouds(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clouds in the unit interval, dequantized, and their masks.

        Args:
            rows: Numbers of clouds, shape (b,).
            random: Source of the places in the cells of a lattice.
        Returns:
            Shapes (b, N, F) and (b, N).
        """
        scaling, clouds = self.model.scaling, self.source.prepared(self._places(rows))
        points, mask = self._padded(clouds.points, clouds.mask)
        ends = scaling.low.to(points), scaling.high.to(points)
        points = self.model.likelihood.dequantize(points, random, *ends, mask)
        return scaling.to_unit(points).masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def labels(self, rows: Tensor) -> Tensor | None:
        """Labels of clouds, shape (b,), where the model has labels."""
        if not self.model.conditioning.num_classes:  # clouds of a file would be read for nothing
            return None
        return self.source.prepared(self._places(rows)).labels

    def conditions(self, rows: Tensor) -> Tensor | None:
        """Conditions of clouds, shape (b, C), where the model has some."""
        if not self.model.conditioning.names:
            return None
        return self.source.prepared(self._places(rows)).conditions

    def noise(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """N(0, 1) for the latents of clouds, shape (b, L), and the decoder's noise, or None.

        Args:
            count: b.
            random: Their source, on the CPU.
        """
        latent = standard_noise((count, self.model.prior.latent_dim), random)
        return latent, self.model.node_noise(count, random)

    @torch.no_grad()
    def decoded(
        self,
        unit: Tensor,
        mask: Tensor,
        labels: Tensor | None,
        noise: Tensor,
        node_noise: Tensor | None,
        conditions: Tensor | None = None,
    ) -> Decoded:
        """What the decoder makes of clouds, through a draw from their posteriors.

        Args:
            unit: Clouds, perhaps changed, shape (b, N, F).
            mask: True where a node is real, shape (b, N).
            labels: Of the clouds, shape (b,), or None.
            noise: See :meth:`noise`.
            node_noise: Likewise.
            conditions: Of the clouds, shape (b, C), or None.
        """
        posterior = self.posterior(unit, mask)
        z = posterior.mean + posterior.base_dist.stddev * noise.to(unit)  # (b, L)
        return self.decoded_from(z, mask, labels, node_noise, conditions)

    def posterior(self, unit: Tensor, mask: Tensor) -> Independent[Any]:
        """q(z|x) of clouds in the unit interval, differentiable.

        Args:
            unit: Clouds, perhaps changed, shape (b, N, F).
            mask: True where a node is real, shape (b, N).
        """
        model = self.model
        points, places = sort_nodes(model.scaling.from_unit(unit), mask, model.schema)
        wanted = getattr(model.encoder, "num_points", points.shape[1])
        return model.posterior(*resized(points, places, wanted))

    def decoded_from(
        self,
        z: Tensor,
        mask: Tensor,
        labels: Tensor | None,
        node_noise: Tensor | None,
        conditions: Tensor | None = None,
    ) -> Decoded:
        """:meth:`decoded` of given latents, differentiable.

        Args:
            z: Shape (b, L).
            mask: As of :meth:`decoded`, and so are the others.
            labels: Shape (b,), or None.
            node_noise: Of the decoder, or None.
            conditions: Shape (b, C), or None.
        """
        model, nodes = self.model, self.model.conditioning.nodes(mask)
        # in a recording no mask can be looked at
        full = False if recording(z) else None
        mean = model.decode_unit(z, labels, nodes, node_noise, full=full, conditions=conditions)
        asked = model.likelihood.conditioned_on
        return Decoded(mean, model.conditioning.likelihood_context(asked, z, labels, conditions))

    def _places(self, rows: Tensor) -> Tensor:
        return rows if self.rows is None else self.rows[rows]

    def _padded(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # a network with fewer nodes than the clouds is held against their first ones
        missing = self.model.conditioning.num_points - points.shape[1]
        return nn.functional.pad(points, (0, 0, 0, missing)), nn.functional.pad(mask, (0, missing))


@torch.no_grad()
def latents(model: VAE, clouds: TrainingClouds, *, seed: int = 0) -> Latents:
    """Posteriors of clouds and the context of each, for fitting a prior.

    Args:
        model: Its encoder is used.
        clouds: Those of a training, of which as many are taken as fit into memory.
        seed: Of the places in the cells of a lattice, which the encoder saw in training.
    """
    prepared = clouds.prepared(seen_rows(len(clouds), seed))
    return posteriors(model, dequantized(model, prepared, seed))


@torch.no_grad()
def posteriors(model: VAE, clouds: Clouds) -> Latents:
    """Posteriors of prepared clouds, and the context of each."""

    def posterior(part: Clouds) -> Independent[Any]:
        return model.posterior(model.scaled(part), part.mask)

    parts = side_by_side([functools.partial(posterior, part) for part in pieces(clouds)])
    inputs = clouds.labels, clouds.mask, clouds.conditions
    context = model.conditioning.context(len(clouds.points), *inputs)
    return Latents(
        torch.cat([posterior.mean for posterior in parts]),
        torch.cat([posterior.base_dist.stddev for posterior in parts]),
        None if context is None else context.to(clouds.points),
    )


def dequantized(model: VAE, clouds: Clouds, seed: int) -> Clouds:
    """Clouds spread over the cells of the lattice of the model's likelihood.

    Args:
        model: Its likelihood knows the lattice.
        clouds: Prepared clouds in data units.
        seed: Of the places in the cells.
    """
    ends = model.scaling.low, model.scaling.high
    random = generator(seed, "lattice")
    points = model.likelihood.dequantize(clouds.points, random, *ends, clouds.mask)
    return Clouds(points, clouds.mask, clouds.labels, clouds.schema, clouds.conditions)


def held_out(num_clouds: int, seed: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Numbers of a seeded tenth of the clouds, at least one, and of the others.

    Args:
        num_clouds: How many there are.
        seed: Of the choice.
        purpose: What they are held out from.
    Example:
        >>> few, rest = held_out(20, 0, "held-out latents")
        >>> len(few), len(rest)
        (2, 18)
    """
    random = generator(seed, purpose)
    order = torch.randperm(num_clouds, generator=random, device="cpu")
    count = max(1, round(HELD_OUT * num_clouds))
    return order[:count], order[count:]
