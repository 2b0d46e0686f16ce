"""Invertible scaling between data units, units of the loss, and the decoder's unit interval."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gconvae.clouds import FEATURES

__all__ = ["MARGIN", "FeatureScaling"]

MARGIN = 0.5
"""How far clouds may lie beyond the range of the training clouds, in units of that range."""


class FeatureScaling(nn.Module):
    r"""Maps each feature from its range in data units to [0, extent], the units of the loss.

    .. math:: s_f = e \, \frac{p_f - l_f}{h_f - l_f}

    With :meth:`pixels` the scaled features are (x px, y px, 27 I) for 28 x 28 images, the units of
    the slides and of every set distance in this library. The decoder's sigmoid covers
    [0, 1] = scaled / extent, so that no output leaves its feature's range.

    Args:
        low: Smallest value of each feature in data units, shape (F,).
        high: Largest value of each feature, shape (F,).
        extent: Length e of the scaled range.
    Raises:
        ValueError: If the shapes differ, or a ``high`` is not above its ``low``.
    Example:
        >>> scaling = FeatureScaling.pixels(28)
        >>> scaling.scale(torch.tensor([13.5, 27.0, 0.5]))
        tensor([13.5000, 27.0000, 13.5000])
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Tensor, high: Tensor, extent: float = 27.0) -> None:
        super().__init__()
        low, high = torch.as_tensor(low), torch.as_tensor(high)
        if low.dim() != 1 or low.shape != high.shape:
            raise ValueError(
                f"low and high must both have shape (F,), got {tuple(low.shape)} and "
                f"{tuple(high.shape)}"
            )
        if not (high > low).all():
            raise ValueError(
                f"high must be above low in every feature, got {low.tolist()} and {high.tolist()}"
            )
        if not 0 < extent < math.inf:
            raise ValueError(f"extent must be finite and above 0, got {extent}")
        self.extent = float(extent)
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())

    @classmethod
    def pixels(cls, image_size: int = 28, num_features: int = len(FEATURES)) -> FeatureScaling:
        """Positions in pixels of a square image, the other features in [0, 1].

        Example:
            >>> FeatureScaling.pixels(28).high
            tensor([27., 27.,  1.])
        """
        if image_size < 2:
            raise ValueError(f"image_size must be at least 2 pixels, got {image_size}")
        extent = float(image_size - 1)
        high = torch.ones(num_features)
        high[:2] = extent
        return cls(torch.zeros(num_features), high, extent)

    @classmethod
    def fitted(cls, points: Tensor, mask: Tensor | None = None) -> FeatureScaling:
        """The range of the training clouds.

        A feature that never changes gets a range of 1, or of its own size where that is larger.

        Args:
            points: Training clouds in data units, shape (B, N, F).
            mask: Shape (B, N), or None for all real.
        Example:
            >>> FeatureScaling.fitted(torch.tensor([[[-1.0, 0.0, 5.0], [1.0, 2.0, 5.0]]])).high
            tensor([ 1.,  2., 10.])
        """
        nodes = points.flatten(0, 1) if mask is None else points[mask]  # (P, F)
        low, high = nodes.amin(0), nodes.amax(0)
        return cls(low, torch.where(high > low, high, low + low.abs().clamp(min=1)))

    @property
    def image_size(self) -> int | None:
        """Side of the image in pixels if the ranges are those of :meth:`pixels`, else None."""
        high = torch.ones_like(self.high)
        high[:2] = self.extent
        is_image = not self.low.any() and torch.equal(self.high, high)
        return round(self.extent) + 1 if is_image else None

    def scale(self, points: Tensor) -> Tensor:
        """Data units to scaled units, shape (..., F) to (..., F)."""
        return (points - self.low) / (self.high - self.low) * self.extent

    def unscale(self, scaled: Tensor) -> Tensor:
        """Scaled units to data units, the inverse of :meth:`scale`."""
        return scaled / self.extent * (self.high - self.low) + self.low

    def from_unit(self, unit: Tensor) -> Tensor:
        """The decoder's [0, 1] to scaled units."""
        return unit * self.extent

    def to_unit(self, points: Tensor) -> Tensor:
        """Data units to the decoder's [0, 1], shape (..., F) to (..., F)."""
        return (points - self.low) / (self.high - self.low)

    def check_range(
        self, points: Tensor, mask: Tensor, name: str, *, strict: bool = False
    ) -> None:
        """Refuses clouds outside the range of a feature.

        An image has an edge. But the range of training clouds is that of a sample, and some nodes
        of the next sample lie beyond it: up to :data:`MARGIN` they may, unless ``strict``.

        Args:
            points: Data units, shape (B, N, F).
            mask: Shape (B, N).
            name: What the error message calls ``points``.
            strict: Whether no node may lie beyond a range of training clouds either.
        Raises:
            ValueError: If a real node lies outside; the message names the feature.
        """
        nodes = points[mask]  # (P, F)
        margin = 0.0 if strict or self.image_size is not None else MARGIN
        span = self.high - self.low
        lowest, highest = self.low - margin * span, self.high + margin * span
        rounding = 1e-4 * span
        least, most = nodes.amin(0), nodes.amax(0)
        outside = (least < lowest - rounding) | (most > highest + rounding)
        if outside.any():
            feature = int(outside.nonzero()[0])
            hint = "" if self.image_size is None else "; fit(scaling='range') takes any range"
            raise ValueError(
                f"{name} must lie in [{lowest[feature]:g}, {highest[feature]:g}] in feature "
                f"{feature}, got [{least[feature]:g}, {most[feature]:g}]{hint}"
            )

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"low={self.low.tolist()}, high={self.high.tolist()}, extent={self.extent:g}"
