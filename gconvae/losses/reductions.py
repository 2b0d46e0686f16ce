"""From what nodes add to the loss of a cloud, and from clouds to that of a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gconvae.losses.pairs import checked_weight

__all__ = ["Directions", "Reduction", "reduced"]


class Reduction(NamedTuple):
    """How terms are put together; the defaults are those of a training."""

    points: str | None = "sum"
    batch: str | None = None
    empty: str = "error"

    def check(self) -> None:
        """Sees whether each is a choice.

        Raises:
            ValueError: If one is not.
        """
        if self == _USUAL:
            return
        for name, value, choices in (
            ("point_reduction", self.points, ("sum", "mean", "max", None)),
            ("batch_reduction", self.batch, ("sum", "mean", None)),
            ("empty", self.empty, ("error", "zero")),
        ):
            if value not in choices:
                known = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if self.points is None and self.batch is not None:
            raise ValueError(
                f"batch_reduction must be None where point_reduction is None, got {self.batch!r}"
            )


_USUAL = Reduction()


class Directions(NamedTuple):
    """Both terms of a Chamfer distance."""

    target: Tensor
    """Of each target node, shape (B, N); 0 where it is masked."""
    output: Tensor
    """Of each output node, shape (B, M)."""


def reduced(
    directions: tuple[Tensor, Tensor],
    masks: tuple[Tensor | None, Tensor | None],
    node_weights: tuple[Tensor | None, Tensor | None],
    factors: tuple[float, float],
    cloud_weights: Tensor | None,
    reduction: Reduction,
) -> Tensor | Directions:
    """The loss of each cloud, shape (B,), or what was asked for in its place.

    Args:
        directions: Terms of the target's nodes, (B, N), and of the output's, (B, M).
        masks: True where a node is real; None = all.
        node_weights: Of each node; None = 1.
        factors: Of both directions; one of 0 leaves its direction out, also where it overflows.
        cloud_weights: Of each cloud, shape (B,); None = 1.
        reduction: What is done.
    Raises:
        ValueError: If a weight has another shape or is below 0.
    """
    if masks[0] is None is masks[1] and node_weights[0] is None is node_weights[1]:
        if cloud_weights is None and factors == (1, 1) and reduction == _USUAL:
            return directions[0].sum(1) + directions[1].sum(1)  # the rest is a tenth of a loss
    names = "target_weight", "output_weight"
    parts = [
        _scaled(factor, _over_nodes(terms, mask, weight, name, reduction.points))
        for terms, mask, weight, name, factor in zip(
            directions, masks, node_weights, names, factors, strict=True
        )
    ]
    if cloud_weights is not None:
        of_clouds = parts[0][:, 0] if reduction.points is None else parts[0]
        cloud_weights = checked_weight(cloud_weights, None, of_clouds, "cloud_weight")
    if reduction.points is None:
        if cloud_weights is not None:
            parts = [_weighed(part, cloud_weights.unsqueeze(1)) for part in parts]
        return Directions(*parts)
    values = parts[0] + parts[1]  # (B,)
    if cloud_weights is not None:
        values = _weighed(values, cloud_weights)
    if reduction.batch is None:
        return values
    total = values.sum()
    if reduction.batch == "sum":
        return total
    if cloud_weights is None:
        return total / max(1, len(values))
    weight = cloud_weights.sum()
    return total / torch.where(weight > 0, weight, 1.0)


def _over_nodes(
    terms: Tensor, mask: Tensor | None, weight: Tensor | None, name: str, points: str | None
) -> Tensor:
    """Terms (B, N) to (B,), or masked and weighed as they are."""
    if weight is not None:
        terms = _weighed(terms, checked_weight(weight, mask, terms, name))
    if mask is not None:
        terms = terms.masked_fill(~mask, 0.0)
    if points is None:
        return terms
    if points == "max":
        # not amax, which shares the gradient between equal ones
        return terms.max(1).values if terms.shape[1] else terms.sum(1)
    total = terms.sum(1)
    if points == "sum":
        return total
    return total / (max(1, terms.shape[1]) if mask is None else mask.sum(1).clamp(min=1))


def _weighed(terms: Tensor, weight: Tensor) -> Tensor:
    """Products, of which those with a weight of 0 are 0 also where a term overflows."""
    return terms.masked_fill((weight == 0) & (terms == math.inf), 0.0) * weight


def _scaled(factor: float, terms: Tensor) -> Tensor:
    if factor == 1:
        return terms  # an operation is a tenth of a small loss
    if factor == 0:
        return terms.masked_fill(torch.ones_like(terms, dtype=torch.bool), 0.0)
    return factor * terms
