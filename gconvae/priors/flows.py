"""Normalizing flows as priors p(z), with zuko's transformations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from gconvae.priors.base import Prior
from gconvae.registry import check_counts, check_widths, register

__all__ = ["Flow", "MaskedAutoregressiveFlow", "NeuralSplineFlow", "RealNVP"]

STEPS = 800
"""Steps of a fit at most, however many latents there are, so that it takes seconds."""


class Flow(Prior):
    r"""An invertible network T from the standardized latents to N(0, 1), given the context c.

    .. math:: \log p(z|c) = \log N(T(u; c); 0, 1) + \log\left|\det \frac{\partial T}{\partial u}
        \right| - \sum_l \log s_l, \quad u_l = (z_l - m_l) / s_l

    Location m and scale s are buffers that a fit sets, because splines end at 5 and networks
    learn best on inputs near 1; without a fit they are 0 and 1.

    Args:
        latent_dim: L.
        num_classes: See :class:`gconvae.priors.Prior`.
        ragged: See :class:`gconvae.priors.Prior`.
        transforms: Transformations in a row.
        hidden: Widths of the dense layers inside each.
        num_conditions: See :class:`gconvae.priors.Prior`.
        options: Further ones of zuko's flow.
    Raises:
        ValueError: If a width or ``transforms`` is not a whole number of at least 1.
    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015),
          arXiv:1505.05770
    """

    fit_steps: int | None = STEPS
    """Steps of the stage of a flow, at most."""

    family: ClassVar[str]
    """Name of the flow in ``zuko.flows``."""

    location: Tensor
    scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        num_classes: int,
        ragged: bool,
        transforms: int,
        hidden: Sequence[int],
        num_conditions: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(latent_dim, num_classes, ragged, num_conditions)
        check_counts(transforms=transforms)
        check_widths("hidden", hidden)
        flow = getattr(_zuko_flows(), self.family)(
            latent_dim, self.context_dim, transforms=transforms, hidden_features=hidden, **options
        )
        # the rest of zuko's flow is its base, which cannot be drawn from with a generator
        self.transform = flow.transform
        self.register_buffer("location", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))

    def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
        """Draws z, see :meth:`gconvae.priors.Prior.from_noise`, on the device of the weights."""
        context = self._checked_context(context, noise.shape[:1])
        return self._inverse(noise.to(self.scale), context) * self.scale + self.location

    def _inverse(self, noise: Tensor, context: Tensor | None) -> Tensor:
        """``self.transform(context).inv(noise)``, faster where the flow is autoregressive."""
        steps = list(self.transform.transforms)
        kind = _zuko_flows().autoregressive.MaskedAutoregressiveTransform
        if not all(isinstance(step, kind) and step.order is not None for step in steps):
            return self.transform(context).inv(noise)
        for step in reversed(steps):
            noise = _undone(step, noise, context)
        return noise

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of z, see :meth:`gconvae.priors.Prior.log_prob`."""
        context = self._checked_context(context, z.shape[:-1])
        noise, volume = self.transform(context).call_and_ladj((z - self.location) / self.scale)
        normal = -0.5 * (noise.square().sum(-1) + self.latent_dim * math.log(2 * math.pi))
        return normal + volume - self.scale.log().sum()

    def prepare_fit(self, z: Tensor) -> None:
        """Takes location and scale of the latents."""
        scale, location = torch.std_mean(z, dim=0, correction=0)
        self.location.copy_(location)
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))


@register("prior", "realnvp")
class RealNVP(Flow):
    """Affine coupling layers: half of the latents shift and scale the other half, in turns.

    The fastest to draw from: both directions are one pass.

    Args:
        latent_dim: L.
        num_classes: See :class:`gconvae.priors.Prior`.
        ragged: See :class:`gconvae.priors.Prior`.
        transforms: Coupling layers in a row.
        hidden: Widths of the dense layers inside each.
        num_conditions: See :class:`gconvae.priors.Prior`.
    References:
        | Density Estimation Using Real NVP (Dinh et al., 2016), arXiv:1605.08803
    Example:
        >>> RealNVP(2, transforms=2, hidden=[8]).log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    family = "RealNVP"

    def __init__(
        self,
        latent_dim: int = 10,
        num_classes: int = 0,
        ragged: bool = False,
        transforms: int = 6,
        hidden: Sequence[int] = (64, 64),
        num_conditions: int = 0,
    ) -> None:
        super().__init__(latent_dim, num_classes, ragged, transforms, hidden, num_conditions)


@register("prior", "maf")
class MaskedAutoregressiveFlow(Flow):
    """Masked autoregressive flow: each latent is shifted and scaled by the ones before it.

    Densities take one pass, draws L passes.

    Args:
        latent_dim: L.
        num_classes: See :class:`gconvae.priors.Prior`.
        ragged: See :class:`gconvae.priors.Prior`.
        transforms: Autoregressive layers in a row; the order of the latents turns round in each.
        hidden: Widths of the dense layers inside each.
        num_conditions: See :class:`gconvae.priors.Prior`.
    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017),
          arXiv:1705.07057
    Example:
        >>> MaskedAutoregressiveFlow(2, transforms=2, hidden=[8]).log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    family = "MAF"

    def __init__(
        self,
        latent_dim: int = 10,
        num_classes: int = 0,
        ragged: bool = False,
        transforms: int = 4,
        hidden: Sequence[int] = (128, 128),
        num_conditions: int = 0,
    ) -> None:
        super().__init__(latent_dim, num_classes, ragged, transforms, hidden, num_conditions)


@register("prior", "nsf")
class NeuralSplineFlow(Flow):
    """Autoregressive flow of monotonic rational-quadratic splines, which can make several modes.

    Outside of five standard deviations a spline is the identity.

    Args:
        latent_dim: L.
        num_classes: See :class:`gconvae.priors.Prior`.
        ragged: See :class:`gconvae.priors.Prior`.
        transforms: Autoregressive layers in a row; the order of the latents turns round in each.
        hidden: Widths of the dense layers inside each.
        bins: Pieces of a spline.
        num_conditions: See :class:`gconvae.priors.Prior`.
    References:
        | Neural Spline Flows (Durkan et al., 2019), arXiv:1906.04032
    Example:
        >>> NeuralSplineFlow(2, transforms=2, hidden=[8]).log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    family = "NSF"

    def __init__(
        self,
        latent_dim: int = 10,
        num_classes: int = 0,
        ragged: bool = False,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        num_conditions: int = 0,
    ) -> None:
        check_counts(bins=bins)
        shape = latent_dim, num_classes, ragged, transforms, hidden, num_conditions
        super().__init__(*shape, bins=bins)


def _undone(step: Any, target: Tensor, context: Tensor | None) -> Tensor:
    """Inverse of a masked autoregressive transformation of zuko, shape (B, L).

    Each of its passes settles one latent, by those before it. zuko's own computes parameters and
    inverse of all of them in every pass, which takes about L times as long.
    """
    from zuko.utils import unpack

    *hidden, last = step.hyper
    # rows of all parameters of a latent, which see the latents before it only
    weight = (last.mask * last.weight).unflatten(0, (-1, step.total))  # (L, P, H)
    bias = last.bias.unflatten(0, (-1, step.total))  # (L, P)
    order, solved = step.order.tolist(), torch.zeros_like(target)
    for rank in range(step.passes):
        now = [latent for latent, place in enumerate(order) if place == rank]
        seen = solved if context is None else torch.cat([solved, context], -1)
        for layer in hidden:
            seen = layer(seen)
        raw = nn.functional.linear(seen, weight[now].flatten(0, 1), bias[now].flatten())
        parameters = unpack(raw.unflatten(-1, (len(now), step.total)), step.shapes)
        solved[:, now] = step.univariate(*parameters).inv(target[:, now])
    return solved


def _zuko_flows() -> Any:
    """The module of zuko, imported without a change to all of torch's distributions.

    Zuko switches the validation of their arguments off, for the whole process, when it is
    imported.
    """
    validates = Distribution._validate_args
    try:
        import zuko.flows
    finally:
        Distribution.set_default_validate_args(validates)
    return zuko.flows
