"""Between clouds in data units and latents: encoder, decoder, scaling and conditioning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from gconvae.caller_state import full_precision
from gconvae.clouds import (
    Clouds,
    as_clouds,
    as_sample,
    as_tensor,
    holds_graphs,
    relabelled,
    sort_nodes,
    to_data,
)
from gconvae.conditioning import Conditioning
from gconvae.pieces import pieces, resized
from gconvae.randomness import standard_noise
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema, Feature, usual

__all__ = ["Autoencoder", "as_posterior"]


class Autoencoder(nn.Module):
    r"""Clouds to latents and back, the deterministic half of :class:`gconvae.VAE`.

    .. math:: x \to q(z|x) = N(\mu(x), \sigma^2(x)), \quad z \to \hat x(z, y, n)

    Args:
        encoder: As of :class:`gconvae.VAE`.
        decoder: Likewise.
        scaling: Between data units and the units of the loss.
        latent_dim: L.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = none.
        ragged: Whether the decoder is conditioned on the number of nodes.
        conditions: Names of the conditions of a cloud that it is conditioned on too.
        schema: What the features are, also of bare clouds that it is trained on; None =
            :func:`gconvae.schema.usual` until a training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        scaling: FeatureScaling,
        latent_dim: int,
        num_classes: int = 0,
        ragged: bool = False,
        schema: CloudSchema | None = None,
        conditions: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.given_schema = schema
        self.schema = usual(len(scaling.low)) if schema is None else schema
        named = () if schema is None else schema.conditions
        if tuple(condition.name for condition in named) != tuple(conditions):
            self.schema = self.schema.replace(conditions=tuple(map(Feature, conditions)))
        self.encoder, self.decoder, self.scaling = encoder, decoder, scaling
        nodes = getattr(decoder, "num_points", None)
        if nodes is None:  # a decoder that does not say N shows it
            context = num_classes + int(ragged) + len(conditions)
            z = scaling.low.new_zeros(1, latent_dim + context)
            with torch.no_grad():
                nodes = decoder(z).shape[1]
        self.conditioning = Conditioning(int(nodes), num_classes, ragged, conditions)

    @property
    def device(self) -> torch.device:
        """Where the model's numbers lie."""
        return self.scaling.low.device

    def prepare(
        self,
        points: Any,
        mask: Any = None,
        *,
        name: str = "points",
        labels: Any = None,
        conditions: Any = None,
    ) -> Clouds:
        """Clouds in any form: checked, in order, on the model's device, as the model takes them.

        In data units relative to the schema's offsets; with N nodes for an encoder with a fixed N.

        Args:
            points: In any form.
            mask: Only beside bare points.
            name: What messages call them.
            labels: In place of those that came with the clouds; None = those.
            conditions: Likewise, (C,) for all or (B, C).
        Raises:
            ValueError: If they are not valid, one has more real nodes than the network, or one
                lies outside the feature ranges; the message calls them ``name``.
        """
        if mask is None:
            clouds = as_sample(points, name)
        elif holds_graphs(points):
            raise ValueError("mask must be None for graphs, which have no masked nodes")
        else:
            clouds = as_clouds(points, mask, name=name)
        features, wanted = clouds.points.shape[-1], self.schema.num_features
        if features != wanted:
            raise ValueError(
                f"{name} must have {wanted} features a node like the model "
                f"({', '.join(self.schema.names)}), got {features}; a new model takes them with "
                f"num_features={features}"
            )
        mask = clouds.mask.to(self.device)
        points, mask = sort_nodes(clouds.points.to(self.device), mask, self.schema)
        clouds = self.fitted(clouds._replace(points=points, mask=mask), name)
        if labels is not None:
            clouds = clouds._replace(labels=self.class_indices(labels))
        if conditions is None:
            return clouds
        rows = self.conditioning.check_conditions(conditions, clouds.num_clouds, wanted=True)
        return clouds._replace(conditions=rows)

    def returned(self, clouds: Clouds, as_data: bool) -> Any:
        """What a user gets: graphs, or bare points where these say all."""
        if as_data:
            return to_data(*clouds, schema=self.schema, conditions=clouds.conditions)
        return clouds.points if self.conditioning.always_full else clouds

    def fitted(
        self, clouds: Clouds, name: str | None = "points", *, is_inside: bool = False
    ) -> Clouds:
        """Clouds that are checked and in order, as the model takes them: see :meth:`prepare`.

        Args:
            clouds: In data units, as a data set has them.
            name: As of :meth:`prepare`; None = nodes beyond the ranges are moved without a word.
            is_inside: Whether it is known that no node lies beyond the ranges.
        """
        points = self.scaling.enter(clouds.points.to(self.device)).to(self.scaling.low)
        mask = clouds.mask.to(self.device)
        if not is_inside:
            points = self.scaling.hold(points, mask, name)
        most = getattr(self.encoder, "num_points", None)
        if most is not None and points.shape[1] != most:
            points, mask = resized(points, mask, most)
        labels = None if clouds.labels is None else clouds.labels.to(self.device)
        if self.conditioning.num_classes:
            labels = relabelled(labels, clouds.schema, self.schema)
        conditions = self.conditioning.chosen(clouds)
        conditions = None if conditions is None else conditions.to(self.device)
        return Clouds(points, mask, labels, self.schema, conditions)

    def class_indices(self, labels: Any) -> Any:
        """Labels that may be called by the names of the schema's classes, as their indices."""
        return labels if isinstance(labels, Tensor) else self.schema.class_indices(labels)

    def scaled(self, clouds: Clouds) -> Tensor:
        """What the encoder takes of prepared clouds: scaled units, 0 where there is no node."""
        return self.scaling.scale(clouds.points).masked_fill(~clouds.mask.unsqueeze(-1), 0.0)

    @full_precision
    def encode(self, points: Any, mask: Any = None) -> Independent[Any]:
        """The posterior q(z|x), a Gaussian with ``mean`` and ``stddev`` (B, L), differentiable."""
        clouds = self.prepare(points, mask)
        return self.posterior(self.scaled(clouds), clouds.mask)

    def posterior(self, scaled: Tensor, mask: Tensor) -> Independent[Any]:
        """q(z|x) of clouds in scaled units, whichever of the two forms the encoder returns."""
        return as_posterior(self.encoder(scaled, mask), self.encoder)

    @torch.no_grad()
    def embed(self, points: Any, mask: Any = None) -> Tensor:
        """The posterior's mean of each cloud, without a gradient, shape (B, L)."""
        return self.means(self.prepare(points, mask))

    @torch.no_grad()
    @full_precision
    def means(self, clouds: Clouds) -> Tensor:
        """:meth:`embed` of prepared clouds."""
        parts = pieces(clouds)
        return torch.cat([self.posterior(self.scaled(part), part.mask).mean for part in parts])

    @full_precision
    def decode(
        self,
        z: Tensor,
        labels: Any = None,
        mask: Tensor | None = None,
        conditions: Any = None,
    ) -> Tensor:
        """The mean clouds of given latents, differentiable.

        Args:
            z: Shape (B, L), in any form.
            labels: One for all, or one each, by name or number; needed where the model has labels.
            mask: True for the real nodes, the first n of each cloud, shape (B, N); None = all.
            conditions: In data units, (C,) for all or (B, C), in the order of the schema's;
                needed where the model has conditions.
        Returns:
            Data units, shape (B, N, F), in the canonical node order; masked nodes are 0.
        """
        z, labels = self.latents(z), self.class_indices(labels)
        unit = self.decode_unit(z, labels, mask, conditions=conditions)
        decoded = self.scaling.unscale(self.scaling.from_unit(unit))
        return self.leave(sort_nodes(decoded, mask, self.schema)[0], mask)

    def latents(self, z: Any) -> Tensor:
        """Latents in any form, checked, on the model's device, shape (B, L).

        Raises:
            ValueError: If they are no such numbers, or not finite.
        """
        z = as_tensor(z, "z")
        wanted = getattr(self.decoder, "latent_dim", None)
        wanted = None if wanted is None else wanted - self.conditioning.dim
        if z.dim() != 2 or wanted not in (None, z.shape[1]):
            width = "latents" if wanted is None else wanted
            raise ValueError(f"z must have shape (clouds, {width}), got {tuple(z.shape)}")
        if not torch.isfinite(z).all():
            raise ValueError("z must be finite, got NaN or infinite latents")
        return z.to(self.scaling.low)

    def leave(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Points relative to the schema's offsets in data units; masked nodes stay 0."""
        points = self.scaling.leave(points)
        return points if mask is None else points.masked_fill(~mask.unsqueeze(-1), 0.0)

    def decode_unit(
        self,
        z: Tensor,
        labels: Any = None,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        full: bool | None = None,
        conditions: Any = None,
    ) -> Tensor:
        """The decoder's own output, which training compares: units of [0, 1], its own order.

        Arguments as those of :meth:`decode`; ``noise`` for a decoder that takes some; ``full``
        says that every node is real, None = ``mask`` is looked at, except on a GPU.
        """
        context = self.conditioning.context(z.shape[0], labels, mask, conditions)
        latent_dim = getattr(self.decoder, "latent_dim", z.shape[-1] + self.conditioning.dim)
        latent_dim -= self.conditioning.dim
        if z.dim() != 2 or z.shape[1] != latent_dim:
            raise ValueError(f"z must have shape (clouds, {latent_dim}), got {tuple(z.shape)}")
        wanted = (z.shape[0], self.conditioning.num_points)
        if mask is not None and mask.shape != wanted:
            raise ValueError(f"mask must have shape {wanted}, got {tuple(mask.shape)}")
        if context is not None:
            z = torch.cat([z, context.to(z)], dim=1)  # (B, L + C)
        if full is None:
            full = mask is None or (not mask.is_cuda and bool(mask.all()))
        further = {} if full else {"mask": mask}
        if noise is not None:
            further["noise"] = noise.to(z)
        return self.decoder(z, **further)

    def node_noise(self, num_clouds: int, random: torch.Generator) -> Tensor | None:
        """What the decoder takes as ``noise``, shape (B, N, noise_dim); None = nothing."""
        shape = (num_clouds, self.conditioning.num_points, getattr(self.decoder, "noise_dim", 0))
        return standard_noise(shape, random) if shape[-1] else None


def as_posterior(output: Any, encoder: nn.Module) -> Independent[Any]:
    """What an encoder returned as q(z|x).

    Args:
        output: A diagonal Gaussian, or the pair (mean, log_var), each (B, L).
        encoder: Whose output it is, for the message.
    Raises:
        ValueError: If it is neither; the message says what to return.
    Example:
        >>> as_posterior((torch.zeros(2, 3), torch.zeros(2, 3)), nn.Identity()).stddev[0, 0]
        tensor(1.)
    """
    if isinstance(output, Independent):
        return output
    is_pair = isinstance(output, tuple | list) and len(output) == 2
    if is_pair and all(isinstance(part, Tensor) and part.dim() == 2 for part in output):
        mean, log_var = output
        if mean.shape == log_var.shape:
            stddev = torch.exp(0.5 * log_var)
            return Independent(Normal(mean, stddev, validate_args=False), 1, validate_args=False)
    raise ValueError(
        f"encoder must return (mean, log_var), two tensors (clouds, latents), or an "
        f"Independent(Normal), got {type(output).__name__} from {type(encoder).__name__}"
    )
