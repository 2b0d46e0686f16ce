"""The variational autoencoder of clouds, put together from parts that it knows nothing about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.clouds import Clouds, as_clouds, from_data, holds_graphs, sort_nodes, to_data
from gconvae.priors import Prior
from gconvae.randomness import generator
from gconvae.scaling import FeatureScaling

__all__ = ["VAE"]

CHUNK = 2048
"""Clouds that go through the decoder at a time, so that memory does not grow with the request."""


class VAE(nn.Module):
    r"""Encoder q(z|x), decoder and prior p(z), used in data units.

    .. math:: x \to q(z|x) = N(\mu(x), \sigma^2(x)), \quad z \to \hat x(z), \quad z \sim p(z)

    Every method takes padded points (B, N, 3) with an optional mask, or a PyG ``Batch`` or list of
    ``Data``, and puts nodes in the one order first: brightest first, ties by y then x.

    Args:
        encoder: Module from scaled points (B, N, F) and mask (B, N) to q(z|x), a torch
            ``Independent(Normal)`` with batch shape (B,) and event shape (L,).
        decoder: Module from z (B, L) to features in [0, 1], shape (B, N, F).
        prior: Where new latents are drawn from.
        scaling: Between data units and the units of the loss.
        catalogue_entry: Name and options that :func:`gconvae.models.create` made this model from,
            which is what a run folder stores; None = put together by hand.
        initial_seed: Seed of the weights before any training, stored likewise; None = not known.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
    Example:
        >>> import gconvae
        >>> model = gconvae.models.create("convae", seed=0)
        >>> model.sample(4, seed=0).shape
        torch.Size([4, 25, 3])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: Prior,
        scaling: FeatureScaling,
        catalogue_entry: tuple[str, Mapping[str, Any]] | None = None,
        initial_seed: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.scaling = scaling
        self.catalogue_entry = catalogue_entry
        self.initial_seed = initial_seed

    @property
    def device(self) -> torch.device:
        """Where the model's numbers lie."""
        return self.scaling.low.device

    def prepare(self, points: Any, mask: Any = None, *, name: str = "points") -> Clouds:
        """Checks clouds, puts their nodes in order, and cuts or pads them to the network's N.

        Args:
            points: Data units, shape (B, N, F), or a PyG ``Batch`` or list of ``Data``.
            mask: Shape (B, N), or None for all real.
            name: What error messages call ``points``.
        Returns:
            Clouds in data units on the model's device.
        Raises:
            ValueError: If the clouds are not valid, one has more real nodes than the network, or
                one lies outside the feature ranges (:meth:`FeatureScaling.check_range`).
        """
        num_features = len(self.scaling.low)
        if holds_graphs(points):
            if mask is not None:
                raise ValueError("mask must be None for graphs, which have no masked nodes")
            points, mask, _ = from_data(points)
        clouds = as_clouds(points, mask, name=name, num_features=num_features)
        points = clouds.points.to(self.scaling.low)
        points, mask = sort_nodes(points, clouds.mask.to(self.device))
        self.scaling.check_range(points, mask, name)
        wanted = getattr(self.encoder, "num_points", None)
        if wanted is not None and points.shape[1] != wanted:
            points, mask = _resize(points, mask, wanted)
        return Clouds(points, mask)

    def encode(self, points: Any, mask: Any = None) -> Independent[Any]:
        """The posterior q(z|x).

        Args:
            points: Clouds in data units, see :meth:`prepare`.
            mask: Shape (B, N), or None for all real.
        Returns:
            A diagonal Gaussian with ``mean`` and ``stddev`` (B, L).
        """
        clouds = self.prepare(points, mask)
        return self.encoder(self._scaled(clouds), clouds.mask)

    def decode(self, z: Tensor) -> Tensor:
        """Clouds of given latents, differentiable.

        Args:
            z: Shape (B, L).
        Returns:
            Data units, shape (B, N, F), brightest node first.
        Raises:
            ValueError: If z does not have shape (B, L).
        """
        latent_dim = getattr(self.decoder, "latent_dim", z.shape[-1])
        if z.dim() != 2 or z.shape[1] != latent_dim:
            raise ValueError(f"z must have shape (clouds, {latent_dim}), got {tuple(z.shape)}")
        return sort_nodes(self.scaling.unscale(self.scaling.from_unit(self.decoder(z))))[0]

    @torch.no_grad()
    def reconstruct(self, points: Any, mask: Any = None, *, as_data: bool = False) -> Any:
        """Decodes the posterior's mean of each cloud.

        Args:
            points: Clouds in data units, see :meth:`prepare`.
            mask: Shape (B, N), or None for all real.
            as_data: Return a list of PyG ``Data``; given graphs, graphs come back in any case.
        Returns:
            Data units, shape (B, N, F), or a list of ``Data``.
        """
        as_data = as_data or holds_graphs(points)
        clouds = self.prepare(points, mask)
        made = torch.cat(
            [
                self.decode(self.encoder(self._scaled(part), part.mask).mean)
                for part in _chunks(clouds)
            ]
        )
        return to_data(made) if as_data else made

    @torch.no_grad()
    def sample(self, num_samples: int, *, seed: int = 0, as_data: bool = False) -> Any:
        """New clouds: z from the prior, decoded.

        Args:
            num_samples: How many, at least 1.
            seed: The same seed gives the same clouds.
            as_data: Return a list of PyG ``Data`` instead of a tensor.
        Returns:
            Data units, shape (num_samples, N, F), or a list of ``Data``.
        Raises:
            ValueError: If ``num_samples`` is below 1.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        z = self.prior.sample(num_samples, generator(seed, "sample"))  # (B, L)
        made = torch.cat([self.decode(part) for part in z.to(self.scaling.low).split(CHUNK)])
        return to_data(made) if as_data else made

    def _scaled(self, clouds: Clouds) -> Tensor:
        """Encoder input: scaled units with 0 where there is no node."""
        return self.scaling.scale(clouds.points).masked_fill(~clouds.mask.unsqueeze(-1), 0.0)


def _resize(points: Tensor, mask: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """Cuts or adds masked nodes at the end of sorted clouds."""
    if points.shape[1] > num_points:
        if mask[:, num_points:].any():
            cloud = int(mask[:, num_points:].any(1).nonzero()[0])
            raise ValueError(
                f"points must have at most {num_points} nodes a cloud for this network, "
                f"cloud {cloud} has {int(mask[cloud].sum())}"
            )
        return points[:, :num_points], mask[:, :num_points]
    missing = num_points - points.shape[1]
    return nn.functional.pad(points, (0, 0, 0, missing)), nn.functional.pad(mask, (0, missing))


def _chunks(clouds: Clouds) -> list[Clouds]:
    pairs = zip(clouds.points.split(CHUNK), clouds.mask.split(CHUNK), strict=True)
    return [Clouds(points, mask) for points, mask in pairs]
