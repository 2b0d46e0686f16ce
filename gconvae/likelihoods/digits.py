"""The distribution of a value that is written with two digits, for all features at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gconvae.likelihoods import discretized_logistic
from gconvae.likelihoods.places import CONTINUOUS_STEPS, FINE, OCTAVES, Places, waves
from gconvae.nn.causal import normal

if TYPE_CHECKING:
    from gconvae.likelihoods.near_nodes import NearDrawing

__all__ = ["Digits", "Drawing", "above"]


SPREAD = -2.5
"""Logarithm of the scales that components begin with."""


class Digits(nn.Module):
    r"""From what is known of a node to the distribution of each of its features.

    .. math:: p(16 \, c + r) = p(c) \, p(r | c)

    c from a mixture of discretized logistic distributions, r from one probability each. Each
    feature has weights of its own; they lie in one tensor, so that all features are one product.

    Args:
        num_features: F.
        width: W, numbers that are known of a node.
        components: K of each mixture.
        octaves: As of the places.
    Example:
        >>> digits, places = Digits(2, 8, 3), Places([64, 20], torch.zeros(1))
        >>> place = torch.tensor([[[3, 20], [64, 0], [0, 1], [7, 2]]])
        >>> digits.log_mass(torch.randn(2, 1, 4, 8), place, places).shape
        torch.Size([1, 4, 2])
    """

    def __init__(
        self, num_features: int, width: int, components: int, octaves: int = OCTAVES
    ) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_features, width))
        self.shift = nn.Parameter(torch.zeros(num_features, width))
        self.coarse_state = _Each(num_features, width, width)
        self.coarse = _Each(num_features, width, 3 * components)
        self.fine_state = _Each(num_features, width, width)
        self.fine_cell = _Each(num_features, waves(octaves), width, bias=False)
        self.fine = _Each(num_features, width, FINE)
        with torch.no_grad():
            _, mean, log_scale = self.coarse.bias.chunk(3, dim=1)
            mean.copy_(torch.linspace(0.2, 0.8, components))
            log_scale.fill_(SPREAD)

    def log_mass(
        self,
        state: Tensor,
        place: Tensor,
        places: Places,
        most: Tensor | None = None,
        further: Tensor | None = None,
    ) -> Tensor:
        """Of places, given what is known of their nodes.

        Args:
            state: What is known before each feature, shape (F, B, N, W).
            place: Shape (B, N, F).
            places: Their lattices.
            most: Largest place of the first feature of each node, shape (B, N); None = the last.
            further: Components of the mixtures beside its own, shape (F, B N, 3 K').
        Returns:
            Nats, shape (B, N, F).
        """
        number, seen, missing = (_by_feature(part) for part in places.cell(place))
        state = state.flatten(1, 2)  # (F, M, W)
        state = nn.functional.layer_norm(state, state.shape[-1:])
        state = torch.addcmul(self.shift.unsqueeze(1), state, self.scale.unsqueeze(1))
        mixed = self.fine_state(state) + self.fine_cell(seen)
        if most is not None:
            first = missing[0] + above(place[..., 0].flatten(), most.flatten()).to(missing)
            missing = torch.cat([first.unsqueeze(0), missing[1:]])
        logits = self.fine(nn.functional.gelu(mixed)) + missing  # (F, M, 16)
        digit = _by_feature(place % FINE).unsqueeze(-1)
        mass = torch.log_softmax(logits, dim=-1).gather(-1, digit).squeeze(-1)  # (F, M)
        mixture = self.coarse(nn.functional.gelu(self.coarse_state(state)))  # (F, M, 3 K)
        if further is not None:
            mixture = _joined(mixture, further)
        steps = places.coarse_steps().unsqueeze(1)
        bounded = places.bounded.unsqueeze(1) if places.any_bounded else False
        coarse = discretized_logistic.log_prob(number, mixture, steps, bounded)
        if most is not None:
            end = (most.flatten() // FINE) / steps[0]
            arguments = end, mixture[0], steps[0], places.steps[0] == CONTINUOUS_STEPS
            below = discretized_logistic.log_cumulative(*arguments)
            coarse = torch.cat([(coarse[0] - below).unsqueeze(0), coarse[1:]])
        coarse = coarse.masked_fill(places.single.unsqueeze(1), 0.0)  # a lattice of one cell
        return (mass + coarse).unflatten(1, place.shape[:2]).permute(1, 2, 0)


class Drawing:
    """Draws of one feature: what is the same for all clouds and nodes is worked out once.

    Args:
        digits: The distributions.
        feature: Which one.
        places: Lattices of all features.
        temperature: Of the coarse digits.
        least_share: Of a component that is drawn from.
        near: Components beside those of the digits, drawn from whatever their share.
    """

    def __init__(
        self,
        digits: Digits,
        feature: int,
        places: Places,
        temperature: float,
        least_share: float = 0.0,
        near: NearDrawing | None = None,
    ) -> None:
        self.steps, self.cells = places.steps[feature], places.cells[feature]
        self.bounded = self.steps == CONTINUOUS_STEPS
        self.options, self.feature, self.near = (temperature, least_share), feature, near
        scale, shift = digits.scale[feature], digits.shift[feature]
        parts = [part.of(feature) for part in (digits.coarse_state, digits.fine_state)]
        weight = torch.cat([weight for weight, _ in parts])  # (2 W, W)
        # scale and shift of the normal features are part of the product
        bias, weight = torch.cat([bias for _, bias in parts]) + weight @ shift, weight * scale
        if near is not None and (query := near.query(feature)) is not None:
            bias = torch.cat([bias, query.bias])
            weight = torch.cat([weight, query.weight])
        self.bias, self.weight, self.width = bias, weight.T, len(scale)
        (coarse, self.coarse_bias), (fine, bias) = (
            part.of(feature) for part in (digits.coarse, digits.fine)
        )
        seen, missing = places.every_cell(feature)
        by_waves = seen @ digits.fine_cell.of(feature)[0].T  # (C, W)
        self.by_cell = torch.cat([by_waves, missing + bias], dim=1)
        self.coarse, self.fine = coarse.T, fine.T

    def __call__(self, state: Tensor, uniform: Tensor, most: Tensor | None = None) -> Tensor:
        """Places, shape (B,), given the state (B, W) and three numbers in [0, 1), (3, B).

        Args:
            state: What is known of the node.
            uniform: Random numbers.
            most: Largest place, shape (B,); None = the last.
        """
        every = torch.addmm(self.bias, normal(state), self.weight)  # (B, 2 W or more)
        both = every[:, : 2 * self.width]
        mixed = both[:, self.width :]
        further = None
        if self.near is not None:
            further = self.near.components(self.feature, every[:, 2 * self.width :])
        if self.cells:
            mixture = nn.functional.gelu(both[:, : self.width])
            mixture = torch.addmm(self.coarse_bias, mixture, self.coarse)
            random = uniform[:2].T
            end = None if most is None else most // FINE
            temperature, least = self.options
            spared = 0
            if further is not None:
                mixture, spared = _joined(mixture, further), further.shape[1] // 3
            arguments = mixture, self.cells, random, temperature, end, least, spared
            cell = discretized_logistic.sample(*arguments, self.bounded)
        else:
            cell = torch.zeros(state.shape[0], dtype=torch.long, device=state.device)
        added = self.by_cell.index_select(0, cell)  # (B, W + 16)
        mixed = mixed + added[:, : self.width]
        logits = torch.addmm(added[:, self.width :], nn.functional.gelu(mixed), self.fine)
        if most is not None:
            logits = logits + above(cell * FINE, most).to(logits)
        ends = logits.softmax(-1).cumsum(-1)  # (B, 16)
        digit = (uniform[2].unsqueeze(1) >= ends[:, :-1]).sum(-1)
        place = torch.add(digit, cell, alpha=FINE)
        return place.clamp(max=self.steps)  # rounding can draw what has no mass


def above(place: Tensor, most: Tensor) -> Tensor:
    """Minus infinity for the fine digits of a place's cell that lie above the largest place.

    Args:
        place: Shape (M,).
        most: Likewise, none below its place.
    Returns:
        Shape (M, 16).
    Example:
        >>> above(torch.tensor([17, 3]), torch.tensor([18, 40])).isinf().sum(1)
        tensor([13,  0])
    """
    first = place - place % FINE
    digits = torch.arange(FINE, device=place.device)
    beyond = first.unsqueeze(1) + digits > most.unsqueeze(1)
    return torch.zeros(beyond.shape, device=place.device).masked_fill(beyond, -math.inf)


class _Each(nn.Module):
    """A dense layer for each feature, (F, M, in) to (F, M, out), which begins as torch's do."""

    bias: Tensor

    def __init__(self, num_features: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        weight = torch.empty(num_features, outputs, inputs).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        if bias:
            self.bias = nn.Parameter(torch.empty(num_features, outputs).uniform_(-bound, bound))
        else:
            self.register_buffer("bias", torch.zeros(num_features, outputs), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), hidden, self.weight.transpose(1, 2))

    def of(self, feature: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of one."""
        return self.weight[feature], self.bias[feature]


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """One mixture of the components of two, shapes (..., 3 K) and (..., 3 K')."""
    pairs = zip(first.chunk(3, dim=-1), second.chunk(3, dim=-1), strict=True)
    return torch.cat([part for pair in pairs for part in pair], dim=-1)


def _by_feature(part: Tensor) -> Tensor:
    """Shape (B, N, F, ...) to (F, B N, ...)."""
    return part.flatten(0, 1).transpose(0, 1)
