"""Chamfer distances: every node is compared with its nearest node on the other side."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gconvae.losses.pairs import checked_pair, mask_of_lengths, without_empty
from gconvae.losses.reductions import Reduction, reduced
from gconvae.losses.terms import nearest_terms
from gconvae.registry import check_counts

__all__ = ["check_factors", "matched_intensity_chamfer", "third_axis_chamfer"]


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
    norm: int = 2,
    squared: bool = True,
    point_reduction: str | None = "sum",
    batch_reduction: str | None = None,
    cloud_weight: Tensor | None = None,
    target_lengths: Tensor | None = None,
    output_lengths: Tensor | None = None,
    empty: str = "error",
) -> Any:
    r"""Squared Chamfer distance in which every feature is a coordinate, summed over nodes.

    .. math:: a \sum_i w_i \min_j |p_i - q_j|^2 + b \sum_j v_j \min_i |p_i - q_j|^2

    Eq. 1 of the slides, whose third axis is the intensity; here clouds have any features.
    Squared, because the gradient of a root at distance 0 is not a number. Blind to density: many
    output nodes on one target node cost nothing as long as every target node has a neighbour.

    Args:
        target: Clouds p, shape (B, N, F), features in scaled units.
        output: Clouds q, shape (B, M, F), same scaling.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        target_weight: Weight w of each target node's own term, shape (B, N); None = 1.
        output_weight: Weight v of each output node's own term, shape (B, M); None = 1.
        coverage_weight: Factor a of the target's terms: is there an output node near each?
        precision_weight: Factor b of the output's terms: is each near a target node?
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
        norm: 2 = squares of differences are summed; 1 = absolute differences, whose nearest nodes
            are searched among all pairs.
        squared: False = the root of each sum of squares, whose gradient at 0 is taken as 0.
        point_reduction: ``"sum"`` over the nodes of a side, ``"mean"`` (per real node), ``"max"``,
            or None = the terms of all nodes as they are.
        batch_reduction: None = one value a cloud, ``"sum"``, or ``"mean"`` (by ``cloud_weight``).
        cloud_weight: Weight of each cloud, at least 0, shape (B,); None = 1.
        target_lengths: Numbers of real nodes, the first ones of each target, shape (B,); a mask
            counts beside them.
        output_lengths: Likewise of the output.
        empty: ``"zero"`` = a cloud without real nodes on a side has loss and gradient 0;
            ``"error"`` = it is refused.
    Returns:
        Shape (B,), units of feature squared, float32 for half precision; zero iff both are the
        same set. Shape () where clouds are reduced, and :class:`Directions` of the shapes (B, N)
        and (B, M) where nodes are not. Among equally near nodes the one of the lowest index is
        the partner, and has all of the gradient, with every search.
    Raises:
        ValueError: If shapes do not match, a cloud has no real node on one side, a factor or
            weight is below 0, or an option is no choice.
    References:
        | ConVAE Results (B. Orzari), slides, eq. 1
        | A Point Set Generation Network for 3D Object Reconstruction from a Single Image
          (Fan, Su and Guibas, 2017), arXiv:1612.00603
    Example:
        >>> import torch
        >>> target = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
        >>> output = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
        >>> third_axis_chamfer(target, output)  # (1 + 4) + (1 + 1)
        tensor([7.])
    """
    check_factors(coverage_weight=coverage_weight, precision_weight=precision_weight)
    reduction = Reduction(point_reduction, batch_reduction, empty)
    lengths = target_lengths, output_lengths
    pair = _checked(target, output, target_mask, output_mask, lengths, reduction)
    directions = nearest_terms(*pair, pair[0].shape[-1], 1.0, backend, norm, squared)
    weights = (target_weight, output_weight), (coverage_weight, precision_weight), cloud_weight
    return reduced(directions, pair[2:], *weights, reduction)


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
    point_reduction: str | None = "sum",
    batch_reduction: str | None = None,
    cloud_weight: Tensor | None = None,
    target_lengths: Tensor | None = None,
    output_lengths: Tensor | None = None,
    empty: str = "error",
) -> Any:
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
        target_weight: Weight w of each target node's own term, shape (B, N); None = 1.
        output_weight: Weight v of each output node's own term, shape (B, M); None = 1.
        coverage_weight: Factor a of the target's terms: is there an output node near each?
        precision_weight: Factor b of the output's terms: is each near a target node?
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
        point_reduction: ``"sum"`` over the nodes of a side, ``"mean"`` (per real node), ``"max"``,
            or None = the terms of all nodes as they are.
        batch_reduction: None = one value a cloud, ``"sum"``, or ``"mean"`` (by ``cloud_weight``).
        cloud_weight: Weight of each cloud, at least 0, shape (B,); None = 1.
        target_lengths: Numbers of real nodes, the first ones of each target, shape (B,); a mask
            counts beside them.
        output_lengths: Likewise of the output.
        empty: ``"zero"`` = a cloud without real nodes on a side has loss and gradient 0;
            ``"error"`` = it is refused.
    Returns:
        As :func:`third_axis_chamfer`.
    Raises:
        ValueError: As :func:`third_axis_chamfer`, or if F is not above D.
    References:
        | ConVAE Results (B. Orzari), slides, eq. 2
    Example:
        >>> import torch
        >>> target = torch.tensor([[[0.0, 0.0, 1.0]]])
        >>> output = torch.tensor([[[2.0, 0.0, 4.0]]])
        >>> matched_intensity_chamfer(target, output)  # 2 * (4 + 9)
        tensor([26.])
    """
    check_factors(intensity_weight=intensity_weight)
    check_factors(coverage_weight=coverage_weight, precision_weight=precision_weight)
    check_counts(num_positions=num_positions)
    reduction = Reduction(point_reduction, batch_reduction, empty)
    lengths = target_lengths, output_lengths
    pair = _checked(target, output, target_mask, output_mask, lengths, reduction)
    if pair[0].shape[-1] <= num_positions:
        raise ValueError(
            f"target must have a further feature behind {num_positions} positions for "
            f"matched_intensity, got {pair[0].shape[-1]} features; third_axis (also found as "
            "chamfer) takes positions alone"
        )
    directions = nearest_terms(*pair, num_positions, intensity_weight, backend)
    weights = (target_weight, output_weight), (coverage_weight, precision_weight), cloud_weight
    return reduced(directions, pair[2:], *weights, reduction)


def _checked(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None,
    output_mask: Tensor | None,
    lengths: tuple[Tensor | None, Tensor | None],
    reduction: Reduction,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Both sides and their masks, ready to be searched."""
    reduction.check()
    if lengths[0] is not None:
        target_mask = mask_of_lengths(target, lengths[0], target_mask, "target")
    if lengths[1] is not None:
        output_mask = mask_of_lengths(output, lengths[1], output_mask, "output")
    if reduction.empty == "zero":
        return without_empty(target, output, target_mask, output_mask)
    return *checked_pair(target, output, target_mask, output_mask), target_mask, output_mask


def check_factors(**weights: float) -> None:
    """Sees whether factors are finite and at least 0.

    Raises:
        ValueError: If one is not.
    """
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {weight}")
