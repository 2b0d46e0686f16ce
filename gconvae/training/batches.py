"""Batches of clouds, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gconvae.clouds import Clouds
from gconvae.datasets.shuffling import chunked_order
from gconvae.randomness import generator
from gconvae.training.clouds import TrainingClouds

__all__ = ["BLOCK", "Blocks", "Order", "Pooled", "Steps", "loader", "once", "split", "step_loader"]

BLOCK = 32
"""Batches that a loader hands over at once where steps are recorded on a GPU: what a training
framework does around each costs more than a step of a small network."""

WINDOW = 16
"""Chunks of clouds on a disk that are in memory at once, and shuffled among each other."""


class Pooled(NamedTuple):
    """Rows that lie on a disk: those of a window are read together, and handed out batch by batch.

    Attributes:
        rows: All of a window.
        taken: Those of them that are meant.
        window: Epoch and number of the window, which still tell it from others when its rows were
            sent to a worker.
    """

    rows: Tensor
    taken: slice
    window: tuple[int, int]


class Order(Sampler[Tensor | Pooled]):
    """Row numbers of each batch, or of each block of batches.

    Args:
        num_clouds: Rows of the data.
        batch_size: Clouds of a batch; the last one of an epoch takes what is left.
        seed: Of the order.
        shuffle: Whether every epoch has an order of its own; else it is that of the rows.
        chunk: Rows that are read together, see :func:`gconvae.datasets.chunked_order`; None = any
            at any time.
    Attributes:
        block: Batches that are handed over at once.
    Example:
        >>> [len(rows) for rows in Order(70, batch_size=32, seed=0, shuffle=True)]
        [32, 32, 6]
    """

    def __init__(
        self, num_clouds: int, batch_size: int, seed: int, shuffle: bool, chunk: int | None = None
    ) -> None:
        self.num_clouds, self.batch_size = num_clouds, batch_size
        self.seed, self.shuffle, self.chunk = seed, shuffle, chunk
        self.epoch, self.block = 0, 1

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        return math.ceil(self.num_clouds / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """To be called before each epoch, as Lightning does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.num_batches / self.block)

    def __iter__(self) -> Iterator[Tensor | Pooled]:
        size = self.block * self.batch_size
        if not self.shuffle:
            for start in range(0, self.num_clouds, size):
                yield torch.arange(start, min(start + size, self.num_clouds))
            return
        random = generator(self.seed, "order", epoch=self.epoch)
        if self.chunk is None:
            yield from torch.randperm(self.num_clouds, generator=random).split(size)
            return
        left = torch.empty(0, dtype=torch.long)
        seen = 0
        windows = chunked_order(self.num_clouds, self.chunk, WINDOW, random)
        for number, rows in enumerate(windows):
            seen, left = seen + len(rows), torch.cat([left, rows])
            # the last batch takes what is left, those before it are whole
            ends = len(left) if seen == self.num_clouds else len(left) - len(left) % size
            for start in range(0, ends, size):
                yield Pooled(left, slice(start, min(start + size, ends)), (self.epoch, number))
            left = left[ends:]


class Blocks(Dataset[Clouds]):
    """Clouds in scaled units, of which many are taken by one index.

    Args:
        clouds: Those of a training.
    """

    def __init__(self, clouds: TrainingClouds) -> None:
        self.clouds = clouds
        self._window: tuple[tuple[int, int], Clouds] | None = None

    def __len__(self) -> int:
        return len(self.clouds)

    def __getitem__(self, rows: Tensor | Pooled) -> Clouds:
        if isinstance(rows, Tensor):
            return self.clouds.scaled(rows)
        # scattered rows of a file take much longer than all of a window at once
        if self._window is None or self._window[0] != rows.window:
            self._window = None  # frees it before the next one is read
            self._window = rows.window, self.clouds.scaled(rows.rows)
        return self._window[1].subset(rows.taken)


def loader(
    clouds: TrainingClouds, order: Order, *, seed: int, workers: int = 0
) -> DataLoader[Any]:
    """Batches in scaled units, or blocks of them, which :func:`split` takes apart.

    Args:
        clouds: Those of a training.
        order: Of their rows.
        seed: Of the training.
        workers: Processes that gather batches; any number gives the same ones.
    """
    # batch_size None: one index is a whole batch, and nothing is collated item by item
    return DataLoader(
        Blocks(clouds),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=as_it_is,
        generator=generator(seed, "loader"),
    )


def as_it_is(block: Any) -> Any:
    """A block itself: torch would make a tuple of three anew, without what stands beside it."""
    return block


def split(block: Clouds, batch_size: int) -> Iterator[Clouds]:
    """The batches of a block.

    Args:
        block: From a :func:`loader`.
        batch_size: That of the loader.
    """
    for start in range(0, len(block.points), batch_size):
        yield block.subset(slice(start, start + batch_size))


class Steps(Sampler[int | list[int]]):
    """Numbers of the steps of an epoch, where a stage has so many steps in all.

    Args:
        total: Steps of the stage.
        every: Steps of an epoch; the last one takes what is left.
    Attributes:
        block: Steps that are handed over at once, as a list; None = each by itself.
    Example:
        >>> steps = Steps(5, every=3)
        >>> steps.set_epoch(1)
        >>> list(steps)
        [3, 4]
    """

    def __init__(self, total: int, every: int) -> None:
        self.total, self.every, self.epoch = total, every, 0
        self.block: int | None = None

    @property
    def num_epochs(self) -> int:
        """Epochs in all."""
        return math.ceil(self.total / self.every)

    def set_epoch(self, epoch: int) -> None:
        """To be called before each epoch, as Lightning does."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._numbers()) / (self.block or 1))

    def __iter__(self) -> Iterator[int | list[int]]:
        if self.block is None:
            yield from self._numbers()
            return
        numbers = list(self._numbers())
        for first in range(0, len(numbers), self.block):
            yield numbers[first : first + self.block]

    def _numbers(self) -> range:
        start = self.epoch * self.every
        return range(start, min(start + self.every, self.total))


def step_loader(batches: Dataset[Any], steps: Steps) -> DataLoader[Any]:
    """Batches by the number of their step.

    Args:
        batches: An index is the number of a step.
        steps: Which of them.
    """
    return DataLoader(batches, batch_size=None, sampler=steps, generator=generator(0, "loader"))


def once() -> DataLoader[Any]:
    """One batch that says nothing."""
    # with a generator, since torch draws a number from its global one without
    return DataLoader([0], batch_size=None, generator=generator(0, "loader"))  # type: ignore[arg-type]  # a list is a data set
