"""The variational autoencoder of clouds, put together from parts that it knows nothing about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae import sampling
from gconvae.clouds import Clouds, as_clouds, as_sample, holds_graphs, sort_nodes, to_data
from gconvae.conditioning import Conditioning
from gconvae.lazy import linked
from gconvae.likelihoods.base import Likelihood
from gconvae.likelihoods.mean import MeanLikelihood
from gconvae.pieces import joined, pieces, resized
from gconvae.priors.base import Prior
from gconvae.randomness import derive_seed
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema, usual

__all__ = ["VAE"]


class VAE(nn.Module):
    r"""Encoder q(z|x), decoder, prior p(z) and likelihood p(x|z), used in data units.

    .. math::
        x \to q(z|x) = N(\mu(x), \sigma^2(x)), \quad z \to \hat x(z, y, n), \quad
        z \sim p(z|y, n), \quad x \sim p(x|\hat x)

    y is the label and n the number of nodes, which decoder and prior are told where the model has
    labels or ragged clouds (:class:`~gconvae.conditioning.Conditioning`). The encoder sees the
    cloud, which says both.

    Every method takes padded points (B, N, 3) with an optional mask, a data set, ``Clouds``, or a
    PyG ``Batch`` or list of ``Data``, and puts nodes in the one order first: brightest first, ties
    by y then x.

    Args:
        encoder: Module from scaled points (B, N, F) and mask (B, N) to q(z|x), a torch
            ``Independent(Normal)`` with batch shape (B,) and event shape (L,).
        decoder: Module from z (B, L + C), and ``mask`` (B, N) where clouds are ragged, to features
            in [0, 1], shape (B, N, F), with an attribute ``num_points``; C is the length of a
            context. One with ``noise_dim`` above 0 also takes ``noise`` (B, N, noise_dim).
        prior: Where new latents are drawn from.
        scaling: Between data units and the units of the loss.
        likelihood: What is drawn around the decoder's mean; None = the mean itself.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = none.
        ragged: Whether decoder and prior are told the number of nodes.
        initial_seed: Seed of the weights before any training, for the manifest; None = not known.
        schema: What the features are; None = :func:`gconvae.schema.usual`. Training takes that of
            the clouds.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
        | Learning Structured Output Representation using Deep Conditional Generative Models
          (Sohn, Lee and Yan, 2015), NeurIPS
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
        likelihood: Likelihood | None = None,
        num_classes: int = 0,
        ragged: bool = False,
        initial_seed: int | None = None,
        schema: CloudSchema | None = None,
    ) -> None:
        super().__init__()
        self.schema = usual(len(scaling.low)) if schema is None else schema
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.scaling = scaling
        self.likelihood = likelihood or MeanLikelihood(len(scaling.low))
        self.conditioning = Conditioning(
            self._num_points(num_classes + int(ragged)), num_classes, ragged
        )
        self.initial_seed = initial_seed

    @property
    def device(self) -> torch.device:
        """Where the model's numbers lie."""
        return self.scaling.low.device

    def prepare(self, points: Any, mask: Any = None, *, name: str = "points") -> Clouds:
        """Checks clouds and puts their nodes in order, N of them for an encoder with fixed N.

        Args:
            points: Data units, shape (B, N, F), or a data set, ``Clouds``, PyG ``Batch`` or list
                of ``Data``.
            mask: Shape (B, N), or None for all real; only beside bare points.
            name: What error messages call ``points``.
        Returns:
            Clouds in data units, relative to the schema's offsets, on the model's device, with
            labels if they came with some.
        Raises:
            ValueError: If the clouds are not valid, one has more real nodes than the network, or
                one lies outside the feature ranges (:meth:`FeatureScaling.hold`).
        """
        if mask is None:
            clouds = as_sample(points, name)
        elif holds_graphs(points):
            raise ValueError("mask must be None for graphs, which have no masked nodes")
        else:
            clouds = as_clouds(points, mask, name=name)
        given, wanted = clouds.points.shape[-1], self.schema.num_features
        if given != wanted:
            raise ValueError(
                f"{name} must have {wanted} features a node like the model "
                f"({', '.join(self.schema.names)}), got {given}; a new model takes them with "
                f"num_features={given}"
            )
        points = self.scaling.enter(clouds.points).to(self.scaling.low)
        points, mask = sort_nodes(points, clouds.mask.to(self.device), self.schema)
        points = self.scaling.hold(points, mask, name)
        most = getattr(self.encoder, "num_points", None)
        if most is not None and points.shape[1] != most:
            points, mask = resized(points, mask, most)
        labels = None if clouds.labels is None else clouds.labels.to(self.device)
        return Clouds(points, mask, labels, self.schema)

    def encode(self, points: Any, mask: Any = None) -> Independent[Any]:
        """The posterior q(z|x).

        Args:
            points: Clouds in data units, see :meth:`prepare`.
            mask: Shape (B, N), or None for all real.
        Returns:
            A diagonal Gaussian with ``mean`` and ``stddev`` (B, L).
        """
        clouds = self.prepare(points, mask)
        return self.encoder(self.scaled(clouds), clouds.mask)

    def decode(self, z: Tensor, labels: Any = None, mask: Tensor | None = None) -> Tensor:
        """The mean clouds of given latents, differentiable.

        Args:
            z: Shape (B, L).
            labels: One for all, or shape (B,); needed where the model has labels.
            mask: True for the real nodes, the first n of each cloud, shape (B, N); None = all.
        Returns:
            Data units, shape (B, N, F), nodes in canonical order; masked nodes are 0.
        Raises:
            ValueError: If z does not have shape (B, L), or labels are missing.
        """
        decoded = self._data_units(self.decode_unit(z, labels, mask))
        return self.leave(sort_nodes(decoded, mask, self.schema)[0], mask)

    def decode_unit(
        self,
        z: Tensor,
        labels: Any = None,
        mask: Tensor | None = None,
        noise: torch.Generator | None = None,
    ) -> Tensor:
        """The decoder's own output, which training compares: units of [0, 1], its own order.

        Args:
            z: Shape (B, L).
            labels: As in :meth:`decode`.
            mask: As in :meth:`decode`.
            noise: Source of the noise of a decoder that takes some; None = none.
        Returns:
            Shape (B, N, F).
        """
        context = self.conditioning.context(len(z), labels, mask)
        self._check_latents(z)
        wanted = (len(z), self.conditioning.num_points)
        if mask is not None and mask.shape != wanted:
            raise ValueError(f"mask must have shape {wanted}, got {tuple(mask.shape)}")
        if context is not None:
            z = torch.cat([z, context.to(z)], dim=1)  # (B, L + C)
        noise_dim = getattr(self.decoder, "noise_dim", 0)
        # a GPU is not asked: it would have to be waited for
        full = mask is None or (not mask.is_cuda and bool(mask.all()))
        further = {} if full else {"mask": mask}
        if noise_dim and noise is not None:
            shape = (len(z), self.conditioning.num_points, noise_dim)
            further["noise"] = torch.randn(shape, generator=noise).to(z)
        return self.decoder(z, **further)

    @torch.no_grad()
    def reconstruct(
        self, points: Any, mask: Any = None, labels: Any = None, *, as_data: bool = False
    ) -> Any:
        """Decodes the posterior's mean of each cloud.

        As many nodes come back, from a model that learned clouds of several sizes; else N. The
        lattice of the likelihood is not applied.

        Args:
            points: Clouds in data units, see :meth:`prepare`.
            mask: Shape (B, N), or None for all real.
            labels: Shape (B,); None = those that came with the clouds.
            as_data: Return a list of PyG ``Data``; given graphs, graphs come back in any case.
        Returns:
            Data units, shape (B, N, F); ``Clouds``, with their mask, where clouds may have fewer
            than N nodes; or a list of ``Data``.
        """
        as_data = as_data or holds_graphs(points)
        return self._returned(self.reconstruct_clouds(points, mask, labels), as_data)

    @torch.no_grad()
    def reconstruct_clouds(self, points: Any, mask: Any = None, labels: Any = None) -> Clouds:
        """:meth:`reconstruct`, always as ``Clouds`` with mask and perhaps labels."""
        clouds = self.prepare(points, mask)
        labels = self.conditioning.check_labels(
            clouds.labels if labels is None else labels, len(clouds.points)
        )
        made, masks = [], []
        for part in pieces(clouds._replace(labels=labels)):
            z = self.encoder(self.scaled(part), part.mask).mean  # (b, L)
            nodes = self.conditioning.nodes(part.mask)
            masks.append(torch.ones_like(nodes) if self.conditioning.always_full else nodes)
            made.append(self.decode(z, part.labels, masks[-1]))
        return Clouds(torch.cat(made), torch.cat(masks), labels, self.schema)

    @torch.no_grad()
    def sample(
        self,
        num_samples: int,
        *,
        seed: int = 0,
        label: int | Tensor | None = None,
        as_data: bool = False,
    ) -> Any:
        """New clouds: z from the prior, decoded, with the noise of the likelihood.

        Args:
            num_samples: How many, at least 1.
            seed: The same seed gives the same clouds.
            label: One for all, or shape (num_samples,); None = as often as in training.
            as_data: Return a list of PyG ``Data`` instead of a tensor.
        Returns:
            Data units, shape (num_samples, N, F); ``Clouds``, with their mask, where clouds may
            have fewer than N nodes; or a list of ``Data``, which have labels too.
        Raises:
            ValueError: If ``num_samples`` is below 1, or no training cloud had that label.
        """
        clouds = self.sample_clouds(num_samples, seed=seed, label=label)
        return self._returned(clouds, as_data)

    @torch.no_grad()
    def sample_clouds(
        self, num_samples: int, *, seed: int = 0, label: int | Tensor | None = None
    ) -> Clouds:
        """:meth:`sample`, always as ``Clouds`` with mask and, if the model has them, labels."""
        return joined(list(self.iter_samples(num_samples, seed=seed, label=label)))

    def iter_samples(
        self, num_samples: int, *, seed: int = 0, label: int | Tensor | None = None
    ) -> Iterator[Clouds]:
        """:meth:`sample_clouds` piece by piece: memory is bounded however many are asked for.

        Args:
            num_samples: How many in all, at least 1.
            seed: As in :meth:`sample`; the pieces together are its clouds, and the first ones do
                not depend on how many follow, in units of 8,192.
            label: As in :meth:`sample`.
        Returns:
            Some hundred clouds at a time, on a GPU some thousand.
        Raises:
            ValueError: As :meth:`sample`.
        Example:
            >>> import gconvae
            >>> model = gconvae.models.create("convae", hidden=32, seed=0)
            >>> [len(part.points) for part in model.iter_samples(1000, seed=0)]
            [512, 488]
        """
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        derive_seed(seed, "sample")  # what is no seed is refused now, not at the first piece
        labels = self.conditioning.check_wanted(label, num_samples)
        return sampling.samples(self, num_samples, seed, labels)

    def with_prior(
        self, prior: str | Prior, data: Any, *, valid: Any = None, seed: int = 0, **options: Any
    ) -> VAE:
        """A copy of this model with a prior that is fitted on the latents of clouds.

        The second of two steps: N(0, 1) is not what the encoder fills, and a model that draws from
        what it does fill makes better clouds.

        Args:
            prior: A name of ``gconvae.models.available("prior")``, perhaps with options:
                ``"nsf"``, ``"gmm(components=8)"``; or a prior, of which a copy is fitted.
            data: The training clouds.
            valid: Clouds on which the fit is watched; None = a seeded tenth of ``data``.
            seed: Of everything random in the fit.
            options: Of a named prior.
        Raises:
            ValueError: If there is no such prior, or it does not fit the model's latents.
        References:
            | Learning Representations and Generative Models for 3D Point Clouds (Achlioptas et
              al., 2018), arXiv:1707.02392
        """
        stage = linked("with_prior")
        return cast(VAE, stage(self, prior, data, valid=valid, seed=seed, **options))

    def with_likelihood(
        self,
        likelihood: str | Likelihood,
        data: Any,
        *,
        valid: Any = None,
        seed: int = 0,
        progress: bool = False,
        **options: Any,
    ) -> VAE:
        """A copy of this model with another distribution around its mean, fitted to clouds.

        Args:
            likelihood: A name of ``gconvae.models.available("likelihood")``, perhaps with
                options, or a likelihood, of which a copy is fitted.
            data: Clouds. Noise is calibrated best on some that the model was not trained on; an
                likelihood with a network of its own wants the training clouds.
            valid: For such a network, clouds on which its fit is watched; None = a seeded tenth
                of ``data``.
            seed: Of everything random in the fit.
            progress: Show a progress bar, where there is a network to train.
            options: Of a named likelihood.
        Raises:
            ValueError: If there is no such likelihood.
        """
        stage, watched = linked("with_likelihood"), {"valid": valid, "progress": progress}
        return cast(VAE, stage(self, likelihood, data, seed=seed, **watched, **options))

    def _returned(self, clouds: Clouds, as_data: bool) -> Any:
        """What a user gets: graphs, or bare points where these say all."""
        if as_data:
            return to_data(*clouds, schema=self.schema)
        return clouds.points if self.conditioning.always_full else clouds

    def _num_points(self, context: int) -> int:
        """N, of a decoder that does not say it from its output."""
        told = getattr(self.decoder, "num_points", None)
        if told is not None:
            return int(told)
        z = self.scaling.low.new_zeros(1, self.prior.latent_dim + context)
        with torch.no_grad():
            return self.decoder(z).shape[1]

    def _check_latents(self, z: Tensor) -> None:
        wanted = getattr(self.decoder, "latent_dim", None)
        latent_dim = z.shape[-1] if wanted is None else wanted - self.conditioning.dim
        if z.dim() != 2 or z.shape[1] != latent_dim:
            raise ValueError(f"z must have shape (clouds, {latent_dim}), got {tuple(z.shape)}")

    def leave(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Points relative to the schema's offsets in data units; masked nodes stay 0."""
        points = self.scaling.leave(points)
        return points if mask is None else points.masked_fill(~mask.unsqueeze(-1), 0.0)

    def _data_units(self, unit: Tensor) -> Tensor:
        return self.scaling.unscale(self.scaling.from_unit(unit))

    def scaled(self, clouds: Clouds) -> Tensor:
        """Encoder input: scaled units with 0 where there is no node."""
        return self.scaling.scale(clouds.points).masked_fill(~clouds.mask.unsqueeze(-1), 0.0)
