"""Clouds of one side of a search, as the compiled library takes them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["Packed", "Padded"]


class Padded:
    """One side of padded clouds.

    Args:
        points: Shape (B, N, F).
        mask: Shape (B, N), or None.
    """

    def __init__(self, points: Tensor, mask: Tensor | None) -> None:
        if points.stride(2) != 1 or points.stride(0) != points.shape[1] * points.stride(1):
            points = points.contiguous()
        # kept, so that what the pointers point to lives as long as they
        self.points, self.mask = points, None if mask is None else mask.contiguous()
        self.clouds = len(points)

    def arguments(self) -> tuple[Any, ...]:
        """What the library is called with."""
        mask = None if self.mask is None else self.mask.data_ptr()
        return self.points.data_ptr(), mask, None, self.points.shape[1], self.points.stride(1)


class Packed:
    """One side of packed clouds.

    Args:
        points: Shape (P, F).
        starts: Of each cloud, shape (B + 1,).
    """

    def __init__(self, points: Tensor, starts: Tensor) -> None:
        self.points, self.starts = points.contiguous(), starts.contiguous()
        self.clouds = len(starts) - 1

    def arguments(self) -> tuple[Any, ...]:
        """What the library is called with."""
        return self.points.data_ptr(), None, self.starts.data_ptr(), 0, self.points.shape[1]
