"""Clouds that are read where they are needed, such as those of a large file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

from gconvae.clouds.padded import Clouds
from gconvae.schema import CloudSchema

__all__ = ["ReadableClouds"]


@runtime_checkable
class ReadableClouds(Protocol):
    """Many clouds of which some are read at a time, so that memory does not grow with all.

    :func:`gconvae.metrics.compare` takes any object of this kind, and reads no more of it than it
    compares.

    Example:
        >>> isinstance([[1.0, 2.0]], ReadableClouds)
        False
    """

    @property
    def schema(self) -> CloudSchema | None:
        """What the features are; None = not known."""

    def __len__(self) -> int:
        """Number of all clouds."""

    def take(self, rows: Tensor) -> Clouds:
        """Reads some clouds.

        Args:
            rows: Their numbers, ascending, shape (B,).
        """

    def pieces(self, size: int) -> Iterator[Clouds]:
        """Reads all clouds in their order, at most ``size`` at a time."""
