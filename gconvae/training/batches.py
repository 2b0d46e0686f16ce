"""Batches of clouds that lie in memory, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gconvae.clouds import Clouds
from gconvae.randomness import generator

__all__ = ["BLOCK", "Blocks", "Order", "loader", "split"]

BLOCK = 32
"""Batches that a loader hands over at once: what a training framework does around each costs more
than a step of a small network."""


class Order(Sampler[Tensor]):
    """Row numbers of each block of batches.

    Args:
        num_clouds: Rows of the data.
        batch_size: Clouds of a batch; the last one of an epoch takes what is left.
        seed: Of the order.
        shuffle: Whether every epoch has an order of its own; else it is that of the rows.
    Example:
        >>> [len(rows) for rows in Order(70, batch_size=1, seed=0, shuffle=True)]
        [32, 32, 6]
    """

    def __init__(self, num_clouds: int, batch_size: int, seed: int, shuffle: bool) -> None:
        self.num_clouds, self.batch_size = num_clouds, batch_size
        self.seed, self.shuffle, self.epoch = seed, shuffle, 0

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self.num_clouds / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """To be called before each epoch, as Lightning does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.num_batches / BLOCK)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(self.num_clouds)
        if self.shuffle:
            random = generator(self.seed, "order", epoch=self.epoch)
            order = torch.randperm(self.num_clouds, generator=random)
        return iter(order.split(BLOCK * self.batch_size))


class Blocks(Dataset[Clouds]):
    """Clouds, of which many are taken by one index.

    Args:
        clouds: In memory; on a GPU, batches need no transfer.
    Example:
        >>> data = Blocks(Clouds(torch.rand(8, 25, 3), torch.ones(8, 25, dtype=torch.bool)))
        >>> data[torch.tensor([3, 1])].points.shape
        torch.Size([2, 25, 3])
    """

    def __init__(self, clouds: Clouds) -> None:
        self.clouds = clouds

    def __len__(self) -> int:
        return len(self.clouds.points)

    def __getitem__(self, rows: Tensor) -> Clouds:
        points, mask, labels = self.clouds
        rows = rows.to(points.device)
        return Clouds(points[rows], mask[rows], None if labels is None else labels[rows])


def loader(
    clouds: Clouds, *, batch_size: int, seed: int, shuffle: bool, workers: int = 0
) -> DataLoader[Any]:
    """Blocks of batches; :func:`split` takes them apart.

    Args:
        clouds: As a network takes them.
        batch_size: Clouds of a batch.
        seed: Of the order.
        shuffle: Whether every epoch has an order of its own.
        workers: Processes that gather blocks; any number gives the same ones.
    Example:
        >>> clouds = Clouds(torch.rand(70, 25, 3), torch.ones(70, 25, dtype=torch.bool))
        >>> blocks = loader(clouds, batch_size=30, seed=0, shuffle=True)
        >>> [len(batch.points) for block in blocks for batch in split(block, 30)]
        [30, 30, 10]
    """
    # batch_size None: one index is a whole block, and nothing is collated item by item
    return DataLoader(
        Blocks(clouds),
        batch_size=None,
        sampler=Order(len(clouds.points), batch_size, seed, shuffle),
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=generator(seed, "loader"),
    )


def split(block: Clouds, batch_size: int) -> Iterator[Clouds]:
    """The batches of a block.

    Args:
        block: From a :func:`loader`.
        batch_size: That of the loader.
    """
    points, mask, labels = (None if part is None else part.split(batch_size) for part in block)
    assert points is not None
    assert mask is not None
    for number in range(len(points)):
        yield Clouds(points[number], mask[number], None if labels is None else labels[number])
