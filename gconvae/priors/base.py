"""Priors p(z): what new clouds are drawn from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconvae.randomness import standard_noise
from gconvae.registry import check_counts, register

__all__ = ["Latents", "Prior", "StandardNormal"]


class Latents(NamedTuple):
    """What an encoder says about B clouds: q(z|x), a diagonal Gaussian each, and the conditions.

    Attributes:
        mean: Means, shape (B, L).
        stddev: Standard deviations, shape (B, L).
        context: What a prior may depend on, shape (B, C): the label, one-hot, where there are
            classes, then the share n/N of the nodes that are real, where clouds are ragged, then
            standardized conditions; None where there is none of them.
    """

    mean: Tensor
    stddev: Tensor
    context: Tensor | None = None

    def draw(self, generator: torch.Generator) -> Tensor:
        """One z from q(z|x) of each cloud, shape (B, L)."""
        return self.mean + self.stddev * standard_noise(self.mean.shape, generator).to(self.mean)


class Prior(nn.Module, ABC):
    """A density over latents, given a context or not, that can be drawn from.

    A kind of prior inherits from this class and writes :meth:`from_noise` and :meth:`log_prob`.
    Random numbers are apart from what is made of them, so that a draw is a function of its own
    numbers, whatever else is drawn beside it.

    It is fitted to the latents of a trained encoder, in a stage of its own: step by step on
    :meth:`loss`, if ``fit_steps`` says how many, else at once by :meth:`fit`. Or it is trained
    jointly with encoder and decoder by gradients through :meth:`log_prob`.

    Args:
        latent_dim: L, at least 1.
        num_classes: Labels that the context tells apart, one column each; 0 = no label.
        ragged: Whether the context's next column is the share n/N of real nodes.
        num_conditions: Its last columns, standardized numbers of a cloud as a whole.
    Attributes:
        context_dim: C, the columns of the context.
    Raises:
        ValueError: If ``latent_dim`` is below 1, or ``num_classes`` or ``num_conditions`` below 0.
    """

    fit_steps: int | None = None
    """Steps of its stage, at most; None = it is fitted at once, by :meth:`fit`."""

    batch_size: int = 256
    """Latents a step."""

    def __init__(
        self,
        latent_dim: int = 10,
        num_classes: int = 0,
        ragged: bool = False,
        num_conditions: int = 0,
    ) -> None:
        super().__init__()
        check_counts(latent_dim=latent_dim)
        for name, count in (("num_classes", num_classes), ("num_conditions", num_conditions)):
            if count < 0:
                raise ValueError(f"{name} must be at least 0, got {count}")
        self.latent_dim, self.num_classes, self.ragged = latent_dim, num_classes, ragged
        self.num_conditions = num_conditions
        self.context_dim = num_classes + int(ragged) + num_conditions

    def noise(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """The random numbers of draws, a row each; normal ones unless a prior says others.

        Args:
            num_samples: How many.
            generator: The only source of random numbers.
        Returns:
            Shape (num_samples, L), or as many columns as :meth:`from_noise` takes.
        """
        return standard_noise((num_samples, self.latent_dim), generator)

    @abstractmethod
    def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
        """Draws z as a function of random numbers, each row of its own row alone.

        Args:
            noise: From :meth:`noise`, a row each.
            context: Shape (B, C); None where C is 0.
        Returns:
            Shape (B, L).
        Raises:
            ValueError: If the context is needed and does not have this shape.
        """

    @torch.no_grad()
    def sample(
        self, num_samples: int, generator: torch.Generator, context: Tensor | None = None
    ) -> Tensor:
        """Draws z: :meth:`from_noise` of :meth:`noise`.

        Args:
            num_samples: How many.
            generator: The only source of random numbers.
            context: Shape (num_samples, C); None where C is 0.
        Returns:
            Shape (num_samples, L).
        Raises:
            ValueError: If the context is needed and does not have this shape.
        """
        return self.from_noise(self.noise(num_samples, generator), context)

    @abstractmethod
    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density, in nats.

        Args:
            z: Shape (..., L).
            context: Shape (..., C); None where C is 0.
        Returns:
            Shape (...).
        Raises:
            ValueError: If the context is needed and does not have this shape.
        """

    def loss(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        r"""What its stage makes small: by default minus the log-density.

        .. math:: L(z, c) = - \log p(z|c)

        Args:
            z: Draws from q(z|x), shape (B, L).
            context: Shape (B, C); None where C is 0.
        Returns:
            One value a draw, shape (B,).
        """
        return -self.log_prob(z, context)

    def prepare_fit(self, z: Tensor) -> None:
        """Looks at latents of the training clouds before the first step; by default not at all.

        Args:
            z: A draw from q(z|x) of each, shape (B, L).
        """

    def fit(self, latents: Latents, valid: Latents, *, seed: int) -> None:
        """Fits this prior at once, in place; by default there is nothing to fit.

        Args:
            latents: Those of the training clouds.
            valid: Held-out ones, which say how large the prior may be.
            seed: The same seed gives the same prior.
        Raises:
            ValueError: If the latents do not have L columns, or no context of C columns.
        """

    def checked_latents(self, latents: Latents) -> Latents:
        """Latents as this prior takes them: without gradients, on its device, in its precision.

        Raises:
            ValueError: If they do not have L columns, or no context of C columns.
        """
        wanted = (len(latents.mean), self.latent_dim)
        for name, value in (("mean", latents.mean), ("stddev", latents.stddev)):
            if tuple(value.shape) != wanted or 0 in wanted:
                raise ValueError(
                    f"{name} of latents must have shape (clouds, {self.latent_dim}), "
                    f"got {tuple(value.shape)}"
                )
        context = self._checked_context(latents.context, wanted[:1])
        like = next(self.parameters(), latents.mean)
        mean, stddev = latents.mean.detach().to(like), latents.stddev.detach().to(like)
        return Latents(mean, stddev, None if context is None else context.to(like))

    def _checked_context(self, context: Tensor | None, leading: Sequence[int]) -> Tensor | None:
        """The context, or None where C is 0."""
        wanted = (*leading, self.context_dim)
        shape = None if context is None else tuple(context.shape)
        if shape != wanted and (shape is not None or self.context_dim):
            raise ValueError(f"context must have shape {wanted}, got {shape}")
        return context if self.context_dim else None

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        context = f", context_dim={self.context_dim}" if self.context_dim else ""
        return f"latent_dim={self.latent_dim}{context}"


@register("prior", "standard_normal")
class StandardNormal(Prior):
    r"""N(0, 1) in each of L latent dimensions, the prior of the slides, whatever the context.

    .. math:: \log p(z) = -\tfrac12 \sum_l z_l^2 - \tfrac L2 \log 2\pi

    Args:
        latent_dim: L, at least 1.
        num_classes: See :class:`Prior`.
        ragged: See :class:`Prior`.
        num_conditions: See :class:`Prior`.
    Raises:
        ValueError: If ``latent_dim`` is below 1.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114
    Example:
        >>> StandardNormal(2).log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
        """The noise itself, shape (B, L)."""
        return noise

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of z, shape (..., L) to (...), in nats."""
        return -0.5 * (z.square().sum(-1) + self.latent_dim * math.log(2 * math.pi))
