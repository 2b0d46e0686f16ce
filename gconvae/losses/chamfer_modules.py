"""Chamfer distances as modules, which the catalogue knows by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gconvae.losses.chamfer import (
    check_factors,
    matched_intensity_chamfer,
    third_axis_chamfer,
)
from gconvae.losses.reductions import Reduction
from gconvae.neighbors.backends import check_norm, resolve_backend
from gconvae.registry import check_counts, register

__all__ = ["MatchedIntensityChamfer", "ThirdAxisChamfer"]


@register("loss", "third_axis", also="chamfer")
class ThirdAxisChamfer(nn.Module):
    """Squared Chamfer distance with the intensity as a further axis, eq. 1 of the slides.

    :func:`third_axis_chamfer` as a module.

    Args:
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
        coverage_weight: Factor of the target's terms: is there an output node near each?
        precision_weight: Factor of the output's terms: is each near a target node?
        norm: 1 or 2, as in the function.
        squared: Likewise.
        point_reduction: ``"sum"``, ``"mean"`` or ``"max"`` over the nodes of a side.
        empty: ``"error"`` or ``"zero"``.
    Raises:
        ValueError: If a factor is below 0, or an option is no choice.
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
        norm: int = 2,
        squared: bool = True,
        point_reduction: str = "sum",
        empty: str = "error",
    ) -> None:
        super().__init__()
        check_factors(coverage_weight=coverage_weight, precision_weight=precision_weight)
        check_norm(norm)
        _check_of_clouds(point_reduction, empty)
        self.norm, self.squared = norm, squared
        self.point_reduction, self.empty = point_reduction, empty
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
        cloud_weight: Tensor | None = None,
        target_lengths: Tensor | None = None,
        output_lengths: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`third_axis_chamfer`."""
        loss: Tensor = third_axis_chamfer(
            target,
            output,
            target_mask,
            output_mask,
            target_weight=target_weight,
            output_weight=output_weight,
            coverage_weight=self.coverage_weight,
            precision_weight=self.precision_weight,
            backend=self.backend,
            norm=self.norm,
            squared=self.squared,
            point_reduction=self.point_reduction,
            empty=self.empty,
            cloud_weight=cloud_weight,
            target_lengths=target_lengths,
            output_lengths=output_lengths,
        )
        return loss

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return (
            f"backend={self.backend!r}, coverage_weight={self.coverage_weight:g}, "
            f"precision_weight={self.precision_weight:g}"
            + _unusual(self, norm=2, squared=True, point_reduction="sum", empty="error")
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
        point_reduction: ``"sum"``, ``"mean"`` or ``"max"`` over the nodes of a side.
        empty: ``"error"`` or ``"zero"``.
    Raises:
        ValueError: If a factor is below 0, ``num_positions`` below 1, or an option is no choice.
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
        point_reduction: str = "sum",
        empty: str = "error",
    ) -> None:
        super().__init__()
        _check_of_clouds(point_reduction, empty)
        self.point_reduction, self.empty = point_reduction, empty
        check_counts(num_positions=num_positions)
        check_factors(intensity_weight=intensity_weight)
        check_factors(coverage_weight=coverage_weight, precision_weight=precision_weight)
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
        cloud_weight: Tensor | None = None,
        target_lengths: Tensor | None = None,
        output_lengths: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`matched_intensity_chamfer`."""
        loss: Tensor = matched_intensity_chamfer(
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
            point_reduction=self.point_reduction,
            empty=self.empty,
            cloud_weight=cloud_weight,
            target_lengths=target_lengths,
            output_lengths=output_lengths,
        )
        return loss

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return (
            f"intensity_weight={self.intensity_weight:g}, backend={self.backend!r}, "
            f"coverage_weight={self.coverage_weight:g}, "
            f"precision_weight={self.precision_weight:g}, num_positions={self.num_positions}"
            + _unusual(self, point_reduction="sum", empty="error")
        )


def _check_of_clouds(point_reduction: str, empty: str) -> None:
    if point_reduction not in ("sum", "mean", "max"):
        raise ValueError(
            f"point_reduction must be one of 'sum', 'mean', 'max', got {point_reduction!r}"
        )
    Reduction(point_reduction, None, empty).check()


def _unusual(loss: nn.Module, **usual: Any) -> str:
    """Options that are not their defaults, to be shown behind the others."""
    values = {name: getattr(loss, name) for name in usual}
    shown = (f", {name}={values[name]!r}" for name in usual if values[name] != usual[name])
    return "".join(shown)
