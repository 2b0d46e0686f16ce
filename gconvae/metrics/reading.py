"""The clouds that a comparison looks at, out of samples of any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from gconvae.clouds import Clouds, ReadableClouds, as_clouds, as_sample
from gconvae.schema import CloudSchema

__all__ = ["MOST_READ", "PIECE", "Sample", "opened"]

MOST_READ = 100_000
"""Clouds of a sample that are looked at: a W1 of more differs from theirs by less than 0.3 % of a
standard deviation of the feature, and every resampling costs as much as there are nodes."""

PIECE = 10_000
"""Clouds that are read at a time where all of them are needed."""


class Sample(NamedTuple):
    """A sample of a comparison.

    Attributes:
        number: Clouds that were given.
        looked_at: All of them, or a random part; checked.
        whole: What all of them are read from.
        name: What messages call it.
    """

    number: int
    looked_at: Clouds
    whole: Clouds | ReadableClouds
    name: str

    def pieces(self) -> Iterator[Clouds]:
        """All clouds, some at a time, checked."""
        if isinstance(self.whole, ReadableClouds):
            for piece in self.whole.pieces(PIECE):
                yield as_clouds(piece.points, piece.mask, name=self.name, schema=piece.schema)
        else:
            for first in range(0, self.number, PIECE):
                yield self.whole.subset(slice(first, first + PIECE))


def opened(file: Any, name: str, schema: CloudSchema | None, rng: np.random.Generator) -> Sample:
    """Reads what a comparison looks at of a sample.

    Args:
        file: Clouds in any form of :func:`gconvae.clouds.as_sample`, or readable ones, of which
            no others are read or checked.
        name: What messages call them.
        schema: What the features are, if they do not say it.
        rng: Chooses the part of a large sample.
    Raises:
        ValueError: If they are not valid clouds.
    """
    if isinstance(file, ReadableClouds):
        number, own = len(file), file.schema
        if number == 0:
            raise ValueError(f"{name} must hold at least one cloud and one node, got no cloud")
        read = file.take(_rows(number, rng))
        common = schema if own is None else own
        clouds = as_clouds(read.points, read.mask, name=name, schema=common)
        return Sample(number, clouds, file, name)
    clouds = as_sample(file, name, schema)
    number = clouds.num_clouds
    is_small = number <= MOST_READ
    looked_at = clouds if is_small else clouds.subset(_rows(number, rng))
    return Sample(number, looked_at, clouds, name)


def _rows(number: int, rng: np.random.Generator) -> torch.Tensor:
    """Numbers of the clouds to look at, ascending: so a file is read from its beginning on."""
    if number <= MOST_READ:
        return torch.arange(number, device="cpu")
    chosen = rng.choice(number, MOST_READ, replace=False)
    return torch.from_numpy(np.sort(chosen))
