"""The variational autoencoder of clouds, put together from parts that it knows nothing about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from gconvae import evidence, sampling
from gconvae.autoencoder import Autoencoder
from gconvae.clouds import Clouds, holds_graphs
from gconvae.evidence import LogLikelihood
from gconvae.lazy import linked
from gconvae.likelihoods.base import Likelihood
from gconvae.likelihoods.mean import MeanLikelihood
from gconvae.pieces import joined
from gconvae.priors.base import Prior
from gconvae.randomness import derive_seed
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema

__all__ = ["VAE"]


class VAE(Autoencoder):
    r"""Encoder q(z|x), decoder, prior p(z) and likelihood p(x|z), used in data units.

    .. math::
        x \to q(z|x) = N(\mu(x), \sigma^2(x)), \quad z \to \hat x(z, y, n), \quad
        z \sim p(z|y, n), \quad x \sim p(x|\hat x)

    Decoder and prior are conditioned on label y and number of nodes n, where the model has labels
    or ragged clouds, and on conditions such as a jet's mass where it asks for some. Every method
    takes padded points (B, N, F) with an optional mask, a data set, ``Clouds``, or a PyG ``Batch``
    or list of ``Data``, and puts nodes in canonical order first.

    Args:
        encoder: Module from scaled points (B, N, F) and mask (B, N) to q(z|x): the pair
            (mean, log_var), (B, L) each, or a torch ``Independent(Normal)`` of that shape.
        decoder: Module from z (B, L + C), and ``mask`` (B, N) where clouds are ragged, to features
            in [0, 1], shape (B, N, F), with an attribute ``num_points``; C is the length of a
            context. One with ``noise_dim`` above 0 also takes ``noise`` (B, N, noise_dim).
        prior: Where new latents are drawn from.
        scaling: Between data units and the units of the loss.
        likelihood: What is drawn around the decoder's mean; None = the mean itself.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = none.
        ragged: Whether decoder and prior are conditioned on the number of nodes.
        initial_seed: Seed of the weights before any training, for the manifest; None = not known.
        schema: What the features are; training takes that of the clouds.
        conditions: Names of the conditions of a cloud, which all but the encoder get.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
    Example:
        >>> from gconvae import models
        >>> models.create("convae", seed=0).sample(4, seed=0).shape
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
        conditions: Sequence[str] = (),
    ) -> None:
        super().__init__(
            encoder, decoder, scaling, prior.latent_dim, num_classes, ragged, schema, conditions
        )
        self.prior = prior
        self.likelihood = likelihood or MeanLikelihood(len(scaling.low))
        self.initial_seed = initial_seed

    @torch.no_grad()
    def reconstruct(
        self,
        points: Any,
        mask: Any = None,
        labels: Any = None,
        *,
        draw: bool = False,
        seed: int = 0,
        as_data: bool = False,
        conditions: Any = None,
    ) -> Any:
        """Decodes the posterior's mean of each cloud, or draws around that.

        Args:
            points: Clouds in data units.
            mask: Shape (B, N), or None for all real; only beside bare points.
            labels: Shape (B,); None = those that came with the clouds.
            draw: Draw x from p(x|z) and round it to the lattice, as :meth:`sample` does, so that
                both can be compared; else the decoder's mean, not rounded.
            seed: Of these draws.
            as_data: Return a list of PyG ``Data``; given graphs, graphs come back in any case.
            conditions: (C,) for all or (B, C); None = those that came with the clouds.
        Returns:
            Data units, shape (B, N, F); ``Clouds`` of as many nodes each, from a model that
            learned several sizes; or ``Data``.
        """
        clouds = self.reconstruct_clouds(points, mask, labels, draw, seed, conditions)
        return self.returned(clouds, as_data or holds_graphs(points))

    def reconstruct_clouds(
        self,
        points: Any,
        mask: Any = None,
        labels: Any = None,
        draw: bool = False,
        seed: int = 0,
        conditions: Any = None,
    ) -> Clouds:
        """:meth:`reconstruct`, always as ``Clouds`` with mask and perhaps labels."""
        clouds = self.prepare(points, mask, labels=labels, conditions=conditions)
        return sampling.reconstructions(self, clouds, seed if draw else None)

    def interpolate(
        self, first: Any, second: Any, steps: int = 8, *, labels: Any = None
    ) -> Tensor | Clouds:
        r"""Decodes straight lines in z between the posteriors' means of two clouds each.

        .. math:: \hat x\left((1 - t) \, \mu(a) + t \, \mu(b)\right), \quad
            t = 0, \tfrac{1}{steps - 1}, \ldots, 1

        Args:
            first: Clouds a, B of them, in any form.
            second: Clouds b, likewise.
            steps: Clouds of a line, both ends among them, at least 2.
            labels: Of each line, shape (B,); None = those of both ends, which must be the same.
        Returns:
            Data units, shape (B, steps, N, F). ``Clouds`` of B * steps clouds, line after line,
            where clouds may have fewer than N nodes: number and conditions go in lines too.
        """
        ends = self.prepare(first, name="first"), self.prepare(second, name="second")
        lines = sampling.interpolations(self, *ends, steps, self.class_indices(labels))
        return lines.points.unflatten(0, (-1, steps)) if self.conditioning.always_full else lines

    @torch.no_grad()
    def sample(
        self,
        num_samples: int | None = None,
        *,
        z: Any = None,
        seed: int = 0,
        label: Any = None,
        as_data: bool = False,
        conditions: Any = None,
    ) -> Any:
        """New clouds: z from the prior, decoded, with the noise of the likelihood.

        Cloud i is a function of the seed and i, and of its label, z and conditions where they are
        given: ``sample(50)`` is the first half of ``sample(100)``.

        Args:
            num_samples: How many, at least 1; None where ``z`` says it.
            z: Latents to draw at, shape (B, L); None = from the prior.
            seed: The same seed gives the same clouds.
            label: By name or number, one for all or one each; None = as often as in training.
            as_data: Return a list of PyG ``Data`` instead of a tensor.
            conditions: In data units, (C,) for all or (B, C), in the order of the model's
                ``schema.conditions``; None = those of training clouds, with their label and size.
        Raises:
            ValueError: If ``num_samples`` is below 1, or no training cloud had that label.
        """
        options = {"z": z, "seed": seed, "label": label, "conditions": conditions}
        return self.returned(self.sample_clouds(num_samples, **options), as_data)

    def sample_clouds(self, num_samples: int | None = None, **options: Any) -> Clouds:
        """:meth:`sample`, with its z, seed, label and conditions, always as ``Clouds``."""
        return joined(list(self.iter_samples(num_samples, **options)))

    def iter_samples(
        self, num_samples: int | None = None, *, part: tuple[int, int] = (0, 1), **options: Any
    ) -> Iterator[Clouds]:
        """:meth:`sample_clouds` piece by piece: memory is bounded however many are asked for.

        With z, seed, label and conditions of :meth:`sample`; ``part=(rank, size)`` draws one in
        ``size`` pieces. At most some thousand clouds come at a time.

        Example:
            >>> import gconvae
            >>> model = gconvae.models.create("convae", hidden=32, seed=0)
            >>> [len(part.points) for part in model.iter_samples(600, seed=0)]
            [256, 256, 88]
        """
        seed = options.pop("seed", 0)
        count, asked = sampling.checked_request(self, num_samples, **options)
        derive_seed(seed, "sample")  # what is no seed is refused now, not at the first piece
        return sampling.samples(self, count, seed, asked, part)

    def log_likelihood(self, data: Any, *, samples: int = 100, seed: int = 0) -> LogLikelihood:
        r"""Importance-weighted bound on log p(x) of each cloud, given label, size, conditions.

        .. math:: \log p(x) \ge E\left[\log \frac1K \sum_{k=1}^{K}
            \frac{p(x|z_k) \, p(z_k)}{q(z_k|x)}\right], \quad z_k \sim q(z|x)

        The bound rises with K. Nats of a mass on the likelihood's own lattice (autoregressive), or
        of a density in data units, in cells of a lattice averaged over the cell (Gaussian).

        Args:
            data: Clouds in any form, with labels and conditions where the model has such.
            samples: K, at least 2.
            seed: Of the draws from q(z|x).
        Returns:
            ``value`` and ``error``, the standard error of its K draws, shape (B,) each.
        Raises:
            ValueError: If the likelihood has no density, such as ``"mean"``.
        References:
            | Importance Weighted Autoencoders (Burda et al., 2015), arXiv:1509.00519
        """
        return evidence.log_likelihood(self, self.prepare(data, name="data"), samples, seed)

    def with_prior(
        self, prior: str | Prior, data: Any, *, valid: Any = None, **options: Any
    ) -> VAE:
        """A copy of this model with a prior that is fitted on the latents of clouds.

        Args:
            prior: A name of ``gconvae.models.available("prior")``, perhaps with options, such as
                ``"gmm(components=8)"``; or a prior, of which a copy is fitted.
            data: The training clouds.
            valid: Clouds on which the fit is watched; None = a seeded tenth of ``data``.
            options: Of a named prior, ``seed`` and ``progress`` (a bar).
        """
        return cast(VAE, linked("with_prior")(self, prior, data, valid=valid, **options))

    def with_likelihood(
        self, likelihood: str | Likelihood, data: Any, *, valid: Any = None, **options: Any
    ) -> VAE:
        """A copy of this model with another distribution around its mean, fitted to clouds.

        Args:
            likelihood: A name, perhaps with options, or a likelihood, of which a copy is fitted.
            data: Noise is calibrated best on clouds that the model was not trained on; a
                likelihood with a network of its own wants the training clouds.
            valid: As in :meth:`with_prior`, for a network and its temperatures.
            options: Of a named likelihood, ``seed`` and ``progress`` (a bar for a network).
        """
        return cast(VAE, linked("with_likelihood")(self, likelihood, data, valid=valid, **options))

    def push_to_hub(self, name: str, **options: Any) -> str:
        """:func:`gconvae.export.push_to_hub` of this model, with its options; the address."""
        return cast(str, linked("push_to_hub")(self, name, **options))
