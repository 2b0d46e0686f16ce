"""Random splits of clouds, the same for the same seed."""

from __future__ import annotations

from typing import TypeVar

import torch

from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.randomness import generator

__all__ = ["split"]


_Data = TypeVar("_Data", CloudDataset, CloudFile)


def split(data: _Data, fraction: float = 0.17, *, seed: int = 0) -> tuple[_Data, _Data]:
    """A random split into training and validation clouds.

    Args:
        data: At least 2 clouds, in memory or on disk; the parts of a file are views of it.
        fraction: Share of validation clouds, rounded down, at least one cloud; 17 % of the 5,851
            bundled eights are 994.
        seed: The same seed gives the same split.
    Returns:
        Training and validation set, each in the order of ``data``.
    Raises:
        ValueError: If ``fraction`` is not between 0 and 1, or a side would be empty.
    Example:
        >>> from gconvae.datasets import from_points
        >>> train, valid = split(from_points(torch.rand(100, 25, 3)))
        >>> len(train), len(valid)
        (83, 17)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    if len(data) < 2:
        raise ValueError(f"data must hold at least 2 clouds to be split, got {len(data)}")
    order = torch.randperm(len(data), generator=generator(seed, "split"), device="cpu")
    num_valid = max(1, int(fraction * len(data)))
    return data[order[num_valid:].sort().values], data[order[:num_valid].sort().values]
