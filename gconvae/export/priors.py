"""Latents of a prior as a function of its random numbers, in a form that can be exported."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from gconvae.export.loops import scan
from gconvae.priors import Flow, GaussianMixture, Prior

__all__ = ["MixtureDraw", "FlowDraw", "drawing_of"]


def drawing_of(prior: Prior) -> nn.Module:
    """A module from noise (B, L) and context (B, C) or None to latents (B, L).

    Args:
        prior: Whose :meth:`~gconvae.priors.Prior.from_noise` it equals.
    """
    if isinstance(prior, GaussianMixture):
        return MixtureDraw(prior)
    if isinstance(prior, Flow) and all(map(_is_sequential, prior.transform.transforms)):
        return FlowDraw(prior)
    return _AsItIs(prior)


class _AsItIs(nn.Module):
    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, noise: Tensor, context: Tensor | None) -> Tensor:
        return self.prior.from_noise(noise, context)


class MixtureDraw(nn.Module):
    """Draws of a Gaussian mixture with its triangular systems solved before.

    Args:
        prior: The mixture.
    """

    upper: Tensor
    means: Tensor
    spread: Tensor

    def __init__(self, prior: GaussianMixture) -> None:
        super().__init__()
        self.num_classes = prior.num_classes
        with torch.no_grad():
            count = len(prior.logits)
            self.register_buffer("upper", prior.logits.softmax(-1).cumsum(-1)[:, :-1])
            self.register_buffer("means", prior.means.detach().clone())
            # a draw of noise 1, 0, 0, ... less one of noise 0, and so on, are the columns
            unit = torch.eye(prior.latent_dim).to(prior.means)
            factors = prior.lower_factors().double()  # (Y, K, L, L)
            solved = torch.linalg.solve_triangular(factors, unit.double(), upper=False)
            self.register_buffer("spread", solved.to(prior.means))
        assert count == max(prior.num_classes, 1)

    def forward(self, noise: Tensor, context: Tensor | None) -> Tensor:
        """Of a uniform number and L normal ones, shape (B, L + 1): latents (B, L)."""
        level, noise = noise[:, :1], noise[:, 1:]
        label = torch.zeros_like(level[:, 0], dtype=torch.long)
        if self.num_classes and context is not None:
            label = context[:, : self.num_classes].argmax(-1)
        component = (level > self.upper[label]).sum(-1)  # (B,)
        offset = self.spread[label, component] @ noise.unsqueeze(-1)
        return self.means[label, component] + offset.squeeze(-1)


class FlowDraw(nn.Module):
    """Draws of an autoregressive flow: each latent by those before it, in a loop.

    In double precision, whatever that of the prior. A spline makes large errors of small ones, and
    where nodes are drawn on a lattice, a last bit of a latent can decide on one. So only errors of
    the library are left: of the eights 6 in 8,000 clouds differ, else 12.

    Args:
        prior: The flow, each of whose passes settles one latent.
    """

    location: Tensor
    scale: Tensor

    def __init__(self, prior: Flow) -> None:
        super().__init__()
        self.dtype = prior.scale.dtype
        self.transform: Any = copy.deepcopy(prior.transform).double()
        self.register_buffer("location", prior.location.detach().double())
        self.register_buffer("scale", prior.scale.detach().double())
        self.orders = [step.order.argsort().tolist() for step in self.transform.transforms]

    def forward(self, noise: Tensor, context: Tensor | None) -> Tensor:
        """Of normal numbers (B, L): latents (B, L)."""
        latents, context = noise.double(), None if context is None else context.double()
        steps = list(zip(self.transform.transforms, self.orders, strict=True))
        for step, order in reversed(steps):
            latents = _undone(step, order, latents, context)
        return (latents * self.scale + self.location).to(self.dtype)


def _undone(step: Any, order: list[int], target: Tensor, context: Tensor | None) -> Tensor:
    """The inverse of a transformation of zuko, shape (B, L), a latent a round."""
    from zuko.utils import unpack

    *hidden, last = step.hyper
    weight = (last.mask * last.weight).unflatten(0, (-1, step.total))[order]  # (L, P, H)
    bias = last.bias.unflatten(0, (-1, step.total))[order]  # (L, P)
    here = torch.eye(len(order), dtype=torch.bool, device=target.device)[order]  # (L, L)
    dense = [layer for layer in hidden if _is_dense(layer)]
    own = [each for layer in dense for each in (layer.mask * layer.weight, layer.bias)]

    def body(
        carried: list[Tensor], slices: list[Tensor], constants: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        (solved,), (weight, bias, wanted, here) = carried, slices
        seen, rest = torch.cat([solved, *constants[len(own) :]], -1), iter(constants)
        for layer in hidden:
            if _is_dense(layer):
                seen = nn.functional.linear(seen, next(rest), next(rest))
            else:  # not called: an exporter would look for it among the modules of its own
                seen = layer.forward(seen)
        raw = nn.functional.linear(seen, weight, bias).unsqueeze(1)  # (B, 1, P)
        parameters = unpack(raw, step.shapes)
        latent = step.univariate(*parameters).inv(wanted.unsqueeze(1))  # (B, 1)
        return [torch.where(here, latent, solved)], []

    sequences = [weight, bias, target.transpose(0, 1)[order], here]
    further = [] if context is None else [context]
    (solved,), _ = scan(body, [torch.zeros_like(target)], sequences, [*own, *further])
    return solved


def _is_sequential(step: Any) -> bool:
    """Whether each pass of a transformation settles one latent, by dense layers."""
    order = getattr(step, "order", None)
    if order is None or sorted(order.tolist()) != list(range(len(order))):
        return False
    *hidden, last = step.hyper
    return _is_dense(last) and all(
        _is_dense(layer) or not list(layer.parameters()) for layer in hidden
    )


def _is_dense(layer: nn.Module) -> bool:
    return hasattr(layer, "mask") and hasattr(layer, "weight")
