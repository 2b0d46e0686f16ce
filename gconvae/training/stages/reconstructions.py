"""What a trained model makes of clouds, for the stages that learn from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconvae.clouds import Clouds, sort_nodes
from gconvae.pieces import pieces, resized
from gconvae.priors.base import Latents
from gconvae.randomness import generator, standard_noise
from gconvae.vae import VAE

__all__ = ["HELD_OUT", "Reconstructions", "dequantized", "held_out", "latents"]

HELD_OUT = 0.1
"""Share of the clouds on which a stage is watched, where nobody hands over validation clouds."""


class Reconstructions:
    """Clouds and their means through draws from their posteriors, as many as one wants.

    Args:
        model: Its encoder and decoder are used as they are.
        clouds: Prepared clouds in data units.
    Attributes:
        unit: In the decoder's units and with its number of nodes, shape (B, N, F).
        mask: Shape (B, N).
    """

    def __init__(self, model: VAE, clouds: Clouds) -> None:
        self.model = model
        self.labels = model.conditioning.check_labels(clouds.labels, len(clouds.points))
        # a network with fewer nodes than the clouds is held against their first ones
        missing = model.conditioning.num_points - clouds.points.shape[1]
        self.points = nn.functional.pad(clouds.points, (0, 0, 0, missing))
        self.mask = nn.functional.pad(clouds.mask, (0, missing))  # (B, N)
        unit = model.scaling.to_unit(self.points)
        self.unit = unit.masked_fill(~self.mask.unsqueeze(-1), 0.0)

    def __len__(self) -> int:
        return len(self.points)

    def subset(self, rows: Tensor) -> Reconstructions:
        """Some of the clouds.

        Args:
            rows: Numbers of clouds, shape (b,).
        """
        rows = rows.to(self.mask.device)
        labels = None if self.labels is None else self.labels[rows]
        return Reconstructions(self.model, Clouds(self.points[rows], self.mask[rows], labels))

    def clouds(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clouds in the unit interval, dequantized, and their masks.

        Args:
            rows: Numbers of clouds, shape (b,).
            random: Source of the places in the cells of a lattice.
        Returns:
            Shapes (b, N, F) and (b, N).
        """
        rows = rows.to(self.mask.device)
        scaling, mask = self.model.scaling, self.mask[rows]
        ends = scaling.low, scaling.high
        points = self.model.likelihood.dequantize(self.points[rows], random, *ends, mask)
        return scaling.to_unit(points).masked_fill(~mask.unsqueeze(-1), 0.0), mask

    @torch.no_grad()
    def means(self, rows: Tensor, unit: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        """The decoder's output for clouds, through a draw from their posteriors.

        Args:
            rows: Numbers of clouds, shape (b,), which say the labels.
            unit: These clouds, perhaps changed, shape (b, N, F).
            mask: True where a node is real, shape (b, N).
            random: Source of the latent noise.
        Returns:
            Shape (b, N, F).
        """
        model = self.model
        points, places = sort_nodes(model.scaling.from_unit(unit), mask, model.schema)
        wanted = getattr(model.encoder, "num_points", points.shape[1])
        posterior = model.posterior(*resized(points, places, wanted))
        noise = standard_noise(tuple(posterior.mean.shape), random).to(unit)
        z = posterior.mean + posterior.base_dist.stddev * noise  # (b, L)
        labels = None if self.labels is None else self.labels[rows.to(mask.device)]
        numbers = model.node_noise(len(z), random)
        return model.decode_unit(z, labels, model.conditioning.nodes(mask), numbers)


@torch.no_grad()
def latents(model: VAE, clouds: Clouds, *, seed: int = 0) -> Latents:
    """Posteriors of clouds and the context of each, for fitting a prior.

    Args:
        model: Its encoder is used.
        clouds: Prepared clouds in data units, with labels where the model has labels.
        seed: Of the places in the cells of a lattice, which the encoder saw in training.
    """
    clouds = dequantized(model, clouds, seed)
    posteriors = [model.posterior(model.scaled(part), part.mask) for part in pieces(clouds)]
    context = model.conditioning.context(len(clouds.points), clouds.labels, clouds.mask)
    return Latents(
        torch.cat([posterior.mean for posterior in posteriors]),
        torch.cat([posterior.base_dist.stddev for posterior in posteriors]),
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
    return clouds._replace(points=points)


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
