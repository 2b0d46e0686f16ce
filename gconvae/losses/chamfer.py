"""Chamfer distances: every node is compared with its nearest node on the other side."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from gconvae.cuda_graphs import recording
from gconvae.losses.pairs import checked_pair
from gconvae.neighbors import native
from gconvae.neighbors.dense import squared_distance
from gconvae.neighbors.search import nearest_both, resolve_backend
from gconvae.registry import check_counts, register
from gconvae.symbolic import is_symbolic

__all__ = [
    "MatchedIntensityChamfer",
    "ThirdAxisChamfer",
    "matched_intensity_chamfer",
    "third_axis_chamfer",
]


def third_axis_chamfer(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    *,
    target_weight: Tensor | None = None,
    output_weight: Tensor | None = None,
    coverage_weight: float = 1.0,
    precision_weight: float = 1.0,
    backend: str = "torch-cluster",
) -> Tensor:
    r"""Squared Chamfer distance in which every feature is a coordinate, summed over nodes.

    .. math:: a \sum_i w_i \min_j |p_i - q_j|^2 + b \sum_j v_j \min_i |p_i - q_j|^2

    Eq. 1 of the slides, whose third axis is the intensity; here clouds have any features.
    Squared, because the gradient of a root at distance 0 is not a number. Blind to density: many
    output nodes on one target node cost nothing as long as every target node has a neighbour.
    Where several nodes are the nearest, the one that comes first is the partner and has all of the
    gradient, whatever the backend.

    Args:
        target: Clouds p, shape (B, N, F), features in scaled units.
        output: Clouds q, shape (B, M, F), same scaling.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        target_weight: Weight w of each target node's own term, at least 0, shape (B, N); None = 1.
        output_weight: Weight v of each output node's own term, shape (B, M); None = 1.
        coverage_weight: Factor a of the target's terms: is there an output node near each?
        precision_weight: Factor b of the output's terms: is each near a target node?
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Returns:
        Shape (B,), units of feature squared; zero iff both are the same set.
    Raises:
        ValueError: If shapes do not match, a cloud has no real node on one side, or a factor or
            weight is below 0.
    References:
        | ConVAE Results (B. Orzari), slides, eq. 1
        | A Point Set Generation Network for 3D Object Reconstruction from a Single Image
          (Fan, Su and Guibas, 2017), arXiv:1612.00603
    Example:
        >>> target = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
        >>> output = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
        >>> third_axis_chamfer(target, output)  # (1 + 4) + (1 + 1)
        tensor([7.])
    """
    target, output = checked_pair(target, output, target_mask, output_mask)
    _check_weights(coverage_weight=coverage_weight, precision_weight=precision_weight)

    masks = target_mask, output_mask
    forward, backward = _pair_terms(target, output, *masks, target.shape[-1], 1.0, backend)
    coverage = _weighted_sum(forward, target_mask, target_weight, "target_weight")
    precision = _weighted_sum(backward, output_mask, output_weight, "output_weight")
    return _total((coverage_weight, coverage), (precision_weight, precision))


def matched_intensity_chamfer(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    *,
    num_positions: int = 2,
    intensity_weight: float = 1.0,
    target_weight: Tensor | None = None,
    output_weight: Tensor | None = None,
    coverage_weight: float = 1.0,
    precision_weight: float = 1.0,
    backend: str = "torch-cluster",
) -> Tensor:
    r"""Squared Chamfer distance of positions, plus the squared gap of each pair's other features.

    .. math::
        a \sum_i w_i \left[ |x_i - u_{k(i)}|^2 + \lambda (I_i - J_{k(i)})^2 \right]
        + b \sum_j v_j \left[ |x_{k'(j)} - u_j|^2 + \lambda (I_{k'(j)} - J_j)^2 \right],
        \quad k(i) = \arg\min_j |x_i - u_j|^2, \; k'(j) = \arg\min_i |x_i - u_j|^2

    Eq. 2 of the slides, with positions x, u and the intensity I, J; here all features behind the
    positions count as I and J do. The search sees positions only ("JR way" on the slides); a pair
    that ties keeps the node that comes first. Not continuous where the nearest node changes.

    Args:
        target: Clouds (x, I), shape (B, N, F): D positions, then at least one further feature.
        output: Clouds (u, J), shape (B, M, F).
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        num_positions: D, the features that decide which node is nearest.
        intensity_weight: The factor lambda; 1 on the slides.
        target_weight: Weight w of each target node's own term, at least 0, shape (B, N); None = 1.
        output_weight: Weight v of each output node's own term, shape (B, M); None = 1.
        coverage_weight: Factor a of the target's terms: is there an output node near each?
        precision_weight: Factor b of the output's terms: is each near a target node?
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Returns:
        Shape (B,), units of feature squared.
    Raises:
        ValueError: If shapes do not match, F is not above D, a cloud has no real node on one
            side, or a factor or weight is below 0.
    References:
        | ConVAE Results (B. Orzari), slides, eq. 2
    Example:
        >>> target = torch.tensor([[[0.0, 0.0, 1.0]]])
        >>> output = torch.tensor([[[2.0, 0.0, 4.0]]])
        >>> matched_intensity_chamfer(target, output)  # 2 * (4 + 9)
        tensor([26.])
    """
    target, output = checked_pair(target, output, target_mask, output_mask)
    _check_weights(intensity_weight=intensity_weight)
    _check_weights(coverage_weight=coverage_weight, precision_weight=precision_weight)
    check_counts(num_positions=num_positions)
    if target.shape[-1] <= num_positions:
        raise ValueError(
            f"target must have a further feature behind {num_positions} positions for "
            f"matched_intensity, got {target.shape[-1]} features; third_axis (also found as "
            "chamfer) takes positions alone"
        )

    masks = target_mask, output_mask
    shape = num_positions, intensity_weight
    forward, backward = _pair_terms(target, output, *masks, *shape, backend)
    coverage = _weighted_sum(forward, target_mask, target_weight, "target_weight")
    precision = _weighted_sum(backward, output_mask, output_weight, "output_weight")
    return _total((coverage_weight, coverage), (precision_weight, precision))


@register("loss", "third_axis", also="chamfer")
class ThirdAxisChamfer(nn.Module):
    """Squared Chamfer distance with the intensity as a further axis, eq. 1 of the slides.

    :func:`third_axis_chamfer` as a module.

    Args:
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
        coverage_weight: Factor of the target's terms: is there an output node near each?
        precision_weight: Factor of the output's terms: is each near a target node?
    Raises:
        ValueError: If a factor is below 0.
    Example:
        >>> ThirdAxisChamfer()(torch.zeros(2, 5, 3), torch.ones(2, 3, 3))  # (5 + 3) * 3
        tensor([24., 24.])
    """

    def __init__(
        self,
        backend: str = "torch-cluster",
        *,
        coverage_weight: float = 1.0,
        precision_weight: float = 1.0,
    ) -> None:
        super().__init__()
        _check_weights(coverage_weight=coverage_weight, precision_weight=precision_weight)
        self.backend = backend
        self.coverage_weight = coverage_weight
        self.precision_weight = precision_weight

    separable = True

    @property
    def recordable(self) -> bool:
        """See ``gconvae.cuda_graphs``; torch-cluster's ties are looked at."""
        return resolve_backend(self.backend, "cuda", torch.float32) != "torch-cluster"

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
        *,
        target_weight: Tensor | None = None,
        output_weight: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`third_axis_chamfer`."""
        return third_axis_chamfer(
            target,
            output,
            target_mask,
            output_mask,
            target_weight=target_weight,
            output_weight=output_weight,
            coverage_weight=self.coverage_weight,
            precision_weight=self.precision_weight,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return (
            f"backend={self.backend!r}, coverage_weight={self.coverage_weight:g}, "
            f"precision_weight={self.precision_weight:g}"
        )


@register("loss", "matched_intensity")
class MatchedIntensityChamfer(nn.Module):
    """Chamfer distance of positions, and intensities of the pairs it makes: eq. 2 of the slides.

    :func:`matched_intensity_chamfer` as a module.

    Args:
        intensity_weight: Factor of the terms of what are not positions, at least 0; 1 on the
            slides.
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
        coverage_weight: Factor of the target's terms: is there an output node near each?
        precision_weight: Factor of the output's terms: is each near a target node?
        num_positions: Features, the first ones, that decide which node is nearest.
    Raises:
        ValueError: If a factor is below 0, or ``num_positions`` below 1.
    Example:
        >>> target, output = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[2.0, 0.0, 4.0]]])
        >>> MatchedIntensityChamfer(intensity_weight=0.5)(target, output)  # 2 * (4 + 9 / 2)
        tensor([17.])
    """

    def __init__(
        self,
        intensity_weight: float = 1.0,
        backend: str = "torch-cluster",
        *,
        coverage_weight: float = 1.0,
        precision_weight: float = 1.0,
        num_positions: int = 2,
    ) -> None:
        super().__init__()
        check_counts(num_positions=num_positions)
        _check_weights(intensity_weight=intensity_weight)
        _check_weights(coverage_weight=coverage_weight, precision_weight=precision_weight)
        self.intensity_weight = intensity_weight
        self.backend = backend
        self.coverage_weight = coverage_weight
        self.precision_weight = precision_weight
        self.num_positions = num_positions

    separable = True

    @property
    def recordable(self) -> bool:
        """See ``gconvae.cuda_graphs``; torch-cluster's ties are looked at."""
        return resolve_backend(self.backend, "cuda", torch.float32) != "torch-cluster"

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
        *,
        target_weight: Tensor | None = None,
        output_weight: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`matched_intensity_chamfer`."""
        return matched_intensity_chamfer(
            target,
            output,
            target_mask,
            output_mask,
            num_positions=self.num_positions,
            intensity_weight=self.intensity_weight,
            target_weight=target_weight,
            output_weight=output_weight,
            coverage_weight=self.coverage_weight,
            precision_weight=self.precision_weight,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return (
            f"intensity_weight={self.intensity_weight:g}, backend={self.backend!r}, "
            f"coverage_weight={self.coverage_weight:g}, "
            f"precision_weight={self.precision_weight:g}, num_positions={self.num_positions}"
        )


def _pair_terms(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None,
    output_mask: Tensor | None,
    searched: int,
    weight: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Squared distance of each node to the nearest by its first features, (B, N) and (B, M).

    The features behind the searched ones count by ``weight``. Every search and kernel takes any
    number of either.
    """
    if weight == 0 and searched < target.shape[-1]:  # what weighs nothing must not overflow
        target, output = target[..., :searched], output[..., :searched]
    if is_symbolic() or target.is_meta:  # the search alone is ours, and torch has the rest
        sides = target[..., :searched], output[..., :searched]
        found = nearest_both(*sides, target_mask, output_mask, backend=backend)
    else:
        longest = max(target.shape[1], output.shape[1])
        chosen = resolve_backend(backend, target.device, target.dtype, longest)
        if chosen == "native":
            return native.chamfer_terms(target, output, target_mask, output_mask, searched, weight)
        sides = target[..., :searched], output[..., :searched]
        found = nearest_both(*sides, target_mask, output_mask, backend=chosen)
        # the same bits whatever the search
        if target.device.type == "cpu" and native.available(dtype=target.dtype):
            return native.matched_terms(target, output, *found, searched, weight)

    def one_way(a: Tensor, b: Tensor, found: Tensor) -> Tensor:
        matched = b.gather(1, found.unsqueeze(-1).expand(-1, -1, b.shape[-1]))  # (B, N, F)
        terms = squared_distance(a[..., :searched], matched[..., :searched])
        if searched == a.shape[-1]:
            return terms
        return terms + weight * squared_distance(a[..., searched:], matched[..., searched:])

    return one_way(target, output, found[0]), one_way(output, target, found[1])


def _weighted_sum(terms: Tensor, mask: Tensor | None, weight: Tensor | None, name: str) -> Tensor:
    if weight is not None:
        if weight.shape != terms.shape:
            raise ValueError(
                f"{name} must have shape {tuple(terms.shape)}, got {tuple(weight.shape)}"
            )
        if not (recording(weight) or is_symbolic()) and bool((weight < 0).any()):
            raise ValueError(f"{name} must be at least 0, got {float(weight.min()):g}")
        terms = terms.masked_fill(weight == 0, 0.0)  # what weighs nothing may be infinite
        terms = terms * (weight if mask is None else weight.masked_fill(~mask, 0.0))
    if mask is not None:
        terms = terms.masked_fill(~mask, 0.0)
    return terms.sum(1)


def _total(*parts: tuple[float, Tensor]) -> Tensor:
    """The sum of factors times terms, (B,) each; what has a factor of 0 may be infinite."""
    # an operation is a tenth of a small loss
    seen = [terms if factor == 1 else factor * terms for factor, terms in parts if factor]
    return functools.reduce(torch.add, seen) if seen else torch.zeros_like(parts[0][1])


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {weight}")
