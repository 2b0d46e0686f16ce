"""The samples of a comparison, and what its groups of metrics share: draws, a cut, vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.metrics import vectors
from gconvae.metrics.jets.energy_flow import polynomials_of
from gconvae.metrics.jets.particles import particles_of
from gconvae.metrics.progress import Progress
from gconvae.metrics.reading import PIECE, Sample
from gconvae.metrics.resampling import Array, Draws, Index, splits
from gconvae.metrics.vectors import Embedder, Embedding
from gconvae.schema import CloudSchema

__all__ = ["TOO_LARGE", "Comparison", "Judged", "UnfitError"]

MOST_CLOUDS = 1000
"""Clouds on each side that metrics other than W1 look at: their cost grows as the square, and
coverage, matching distance and neighbour accuracy compare at one size only."""

_FEWEST_TO_TRAIN = 4
"""Real clouds below which a network learns nothing of them."""


TOO_LARGE = "needs clouds whose numbers have finite squares, got larger ones"
"""Reason to leave out rows that overflow."""


class UnfitError(ValueError):
    """These clouds have no such metric."""


class Judged(NamedTuple):
    """Vectors of clouds.

    Attributes:
        embedding: What made them.
        comparison: The comparison whose cut they are of.
        vectors: Of that cut, shape (3 size, E).
    """

    embedding: Embedding
    comparison: Comparison
    vectors: Array


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What all groups of metrics share; clouds are numbered real, generated, reference.

    Attributes:
        samples: The clouds that are looked at, periodic features wrapped.
        training: All training clouds, or None.
        wrap: Wraps periodic features of further clouds likewise.
        schema: What the features are.
        embedder: Of the caller, or None.
        seed: Of all draws.
        num_splits: Splits behind each floor.
        num_bootstrap: Resamplings behind each error.
        progress: Hears of the work that is done.
    """

    samples: Mapping[str, Clouds]
    training: Sample | None
    wrap: Callable[[Clouds], Clouds]
    schema: CloudSchema
    embedder: Embedder | None
    seed: int
    num_splits: int
    num_bootstrap: int
    progress: Progress

    @property
    def real(self) -> Index:
        """Real clouds."""
        return np.arange(len(self.samples["real"].points))

    @property
    def generated(self) -> Index:
        """Generated clouds."""
        return len(self.real) + np.arange(len(self.samples["generated"].points))

    @property
    def pool(self) -> Index:
        """All clouds that are real: ``real`` and ``reference``."""
        first = len(self.real) + len(self.generated)
        others = len(self.samples["reference"].points) if "reference" in self.samples else 0
        return np.concatenate([self.real, first + np.arange(others)])

    @property
    def num_clouds(self) -> int:
        """Clouds on each side, the most that allow a floor."""
        return min(len(self.pool) // 2, len(self.real), len(self.generated))

    @property
    def numbered(self) -> tuple[str, ...]:
        """Names of the samples whose clouds are numbered one after another."""
        return tuple(k for k in ("real", "generated", "reference") if k in self.samples)

    def stream(self, purpose: int) -> np.random.Generator:
        """The numbers of a purpose, from their beginning, so that no group changes another's."""
        return np.random.default_rng([self.seed, purpose])

    @property
    def size(self) -> int:
        """Clouds on each side of metrics other than W1."""
        return min(self.num_clouds, MOST_CLOUDS)

    @cached_property
    def cut(self) -> Clouds:
        """``size`` real clouds, as many further real ones, as many generated ones."""
        rng, size = self.stream(3), self.size
        real = rng.permutation(self.real)[:size]
        others = rng.permutation(np.setdiff1d(self.pool, real))[:size]
        generated = rng.permutation(self.generated)[:size]
        everything = _joined([self.samples[name] for name in self.numbered])
        kept = torch.from_numpy(np.concatenate([real, others, generated]))
        return everything.subset(kept)

    @property
    def sides(self) -> tuple[Index, Index]:
        """Real and generated clouds of the cut, (size,) each."""
        return np.arange(self.size), np.arange(2 * self.size, 3 * self.size)

    def cut_splits(self, most: int) -> Draws:
        """Splits of the real clouds of the cut, at most ``most``."""
        number = min(self.num_splits, most)
        return Draws.of(splits(np.arange(2 * self.size), self.size, number, self.stream(0)))

    @cached_property
    def energy_flow(self) -> Array:
        """Energy-flow polynomials of all jets, shape (B, 36)."""
        samples = (self.samples[name] for name in self.numbered)
        return np.concatenate([polynomials_of(particles_of(sample)) for sample in samples])

    def training_pieces(self, share: float) -> Iterator[Clouds]:
        """All training clouds, some at a time; they are a share of the progress of a part."""
        assert self.training is not None
        step = share * PIECE / self.training.number
        return map(self.wrap, self.progress.followed(self.training.pieces(), step))

    def require_clouds(self, smallest: int) -> None:
        """Leaves a metric out that needs more clouds."""
        if self.size < smallest:
            raise UnfitError(f"needs {smallest} clouds on each side, got {self.size}")

    @cached_property
    def judged(self) -> Judged:
        """What rows of an embedding are of."""
        real = self.cut.subset(slice(0, 2 * self.size))
        judged, nodes = self, real.points[real.mask]
        embedding = vectors.user_embedding(self.embedder, self.schema, nodes)
        if embedding is None:
            if "training" in self.samples:
                known = self.samples["training"]
            else:
                judged, known = self._held_out()
            embedding = vectors.trained(known, self.schema, self.seed)
        return Judged(embedding, judged, embedding.embed(judged.cut))

    def _held_out(self) -> tuple[Comparison, Clouds]:
        """A comparison with two thirds of the real clouds, and the rest.

        A network knows the clouds that it was trained on: other real ones lay 1.5 times as far
        from them, in its Frechet distance, as halves of them from each other.
        """
        rng = self.stream(4)
        left, known = dict(self.samples), []
        for name in ("real", "reference"):
            if name in left:
                sample = left[name]
                order = torch.from_numpy(rng.permutation(sample.num_clouds))
                third = sample.num_clouds // 3
                known.append(sample.subset(order[:third]))
                left[name] = sample.subset(order[third:])
        most = sum(sample.num_clouds for sample in known)
        if most < _FEWEST_TO_TRAIN:
            raise UnfitError(
                f"needs a third of the real clouds to train an embedding, at least "
                f"{_FEWEST_TO_TRAIN}, got {most}"
            )
        return dataclasses.replace(self, samples=left), _joined(known)


def _joined(samples: Sequence[Clouds]) -> Clouds:
    """All clouds, padded to the largest number of nodes, on the CPU."""
    width = max(sample.mask.shape[1] for sample in samples)

    def padded(values: Tensor) -> Tensor:
        wide = values.new_zeros(len(values), width, *values.shape[2:])
        wide[:, : values.shape[1]] = values
        return wide.detach().cpu()

    return Clouds(
        torch.cat([padded(sample.points) for sample in samples]),
        torch.cat([padded(sample.mask) for sample in samples]),
        schema=samples[0].schema,
    )
