"""The groups of metrics of a comparison, and what all of them share: samples, draws, a vector."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gconvae import clouds
from gconvae import schema as schemas
from gconvae.metrics import classifier, embeddings, sets
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.geometry import diameter, real_nodes
from gconvae.metrics.report import Row
from gconvae.metrics.resampling import (
    Array,
    Draws,
    Index,
    bootstraps,
    evaluate,
    halves,
    splits,
    subsets,
)
from gconvae.metrics.trained_embedding import trained_embedding
from gconvae.metrics.wasserstein import w1_statistic
from gconvae.schema import CloudSchema

__all__ = ["PARTS", "Comparison", "Embedder", "UnfitError"]

MOST_CLOUDS = 1000
"""Clouds on each side that metrics other than W1 look at: their cost grows as the square, and
coverage, matching distance and neighbour accuracy compare at one size only."""

_FEWEST_TO_TRAIN = 4
"""Real clouds below which a network learns nothing of them."""

_FEW = 20
"""Splits below which 95 % is not counted but taken from Student's t, with 0.5 for the mean."""

Embedder = Callable[[Tensor, Tensor], Any]
"""Vectors (B, E) of clouds: padded points (B, N, F) in data units and their mask (B, N)."""


class _Label(NamedTuple):
    """What a row says of itself, as in :class:`~gconvae.metrics.Row`."""

    name: str
    metric: str
    unit: str = ""
    better: str = "lower"


class Embedded(NamedTuple):
    """Vectors of clouds.

    Attributes:
        name: What their rows are called.
        embed: Clouds to vectors (B, E).
        judged: The comparison whose cut they are of.
        vectors: Of that cut, shape (3 size, E).
    """

    name: str
    embed: Callable[[clouds.Clouds], Array]
    judged: Comparison
    vectors: Array


class UnfitError(ValueError):
    """These clouds have no such metric."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What all groups of metrics share; clouds are numbered real, generated, reference."""

    samples: Mapping[str, clouds.Clouds]
    schema: CloudSchema
    embedder: Embedder | None
    seed: int
    num_splits: int
    num_bootstrap: int

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

    def stream(self, purpose: int) -> np.random.Generator:
        """The numbers of a purpose, from their beginning, so that no group changes another's."""
        return np.random.default_rng([self.seed, purpose])

    @property
    def size(self) -> int:
        """Clouds on each side of metrics other than W1."""
        return min(self.num_clouds, MOST_CLOUDS)

    @cached_property
    def cut(self) -> clouds.Clouds:
        """``size`` real clouds, as many further real ones, as many generated ones."""
        rng, size = self.stream(3), self.size
        real = rng.permutation(self.real)[:size]
        others = rng.permutation(np.setdiff1d(self.pool, real))[:size]
        generated = rng.permutation(self.generated)[:size]
        everything = _joined(
            [self.samples[k] for k in ("real", "generated", "reference") if k in self.samples]
        )
        kept = torch.from_numpy(np.concatenate([real, others, generated]))
        return everything.subset(kept)

    @cached_property
    def embedded(self) -> Embedded:
        """The comparison that rows of an embedding are of, and the vectors of its cut."""
        real = self.cut.subset(slice(0, 2 * self.size))
        embed: Callable[[clouds.Clouds], Array]
        judged: Comparison
        if self.embedder is not None:
            name, embed, judged = "own embedding", partial(_own_vectors, self.embedder), self
        elif classifier.knows(self.schema, real.points[real.mask]):
            name, embed, judged = "embedding", _known_vectors, self
        elif "training" in self.samples:
            known = self.samples["training"]
            name, judged = "trained embedding", self
            embed = trained_embedding(known, self.schema, self.seed)
        else:
            judged, known = self._held_out()
            name, embed = "trained embedding", trained_embedding(known, self.schema, self.seed)
        return Embedded(name, embed, judged, embed(judged.cut))

    def _held_out(self) -> tuple[Comparison, clouds.Clouds]:
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
                f"needs {_FEWEST_TO_TRAIN} more real clouds to train an embedding, got {most}"
            )
        return dataclasses.replace(self, samples=left), _joined(known)

    def require_clouds(self, smallest: int) -> None:
        """Leaves a metric out that needs more clouds."""
        if self.size < smallest:
            raise UnfitError(f"needs {smallest} clouds on each side, got {self.size}")

    def rows(
        self,
        labels: Sequence[_Label],
        statistic: Callable[[Draws], Array],
        resample: Callable[[Index, Index, int, np.random.Generator], Draws],
    ) -> list[Row]:
        """Rows of M metrics; ``statistic`` gives their values (R, M) for draws from the cut."""
        value = statistic(Draws(*(part[None] for part in self._sides)))[0]  # (M,)
        spread = statistic(resample(*self._sides, self.num_bootstrap, self.stream(2)))  # (R, M)
        floor = statistic(self._cut_splits(100))  # (R, M)
        columns = zip(labels, value, spread.std(0, ddof=1), floor.T, strict=True)
        return [_row(*column, num_clouds=self.size) for column in columns]

    def row(self, label: _Label, estimate: Callable[[Index, Index], Estimate], splits: int) -> Row:
        """Row of a metric that brings its own error."""
        value, error = estimate(*self._sides)
        draws = zip(*self._cut_splits(splits), strict=True)
        floor = np.array([estimate(*pair).value for pair in draws])
        return _row(label, value, error, floor, num_clouds=self.size)

    def _cut_splits(self, most: int) -> Draws:
        number = min(self.num_splits, most)
        return splits(np.arange(2 * self.size), self.size, number, self.stream(0))

    @property
    def _sides(self) -> tuple[Index, Index]:
        return np.arange(self.size), np.arange(2 * self.size, 3 * self.size)


def _w1_rows(c: Comparison) -> list[Row]:
    samples = [sample for name, sample in c.samples.items() if name != "training"]
    statistic = w1_statistic(samples)
    floor = evaluate(statistic, splits(c.pool, c.num_clouds, c.num_splits, c.stream(0)))
    parts = subsets(c.real, c.generated, c.num_clouds, c.num_splits, c.stream(1))
    value = evaluate(statistic, parts).mean(0)
    draws = bootstraps(c.real, c.generated, c.num_bootstrap, c.stream(2))
    error = evaluate(statistic, draws).std(0, ddof=1)
    labels = _labels(c.schema)
    columns = zip(labels, value, error, floor.T, strict=True)
    return [_row(*column, num_clouds=c.num_clouds) for column in columns]


def _set_rows(c: Comparison) -> list[Row]:
    c.require_clouds(4)  # a half has two
    nodes = real_nodes(c.samples["real"])
    factors = schemas.distance_factors(c.schema, nodes)
    farthest = diameter(c.schema, factors, nodes)
    unit, rows = c.schema.distance_unit, []
    for distance, power in (("chamfer", 2), ("matching", 1)):
        labels = [
            _Label(distance, "coverage", better="higher"),
            _Label(distance, "MMD", f"{unit}^2" if unit and power == 2 else unit),
            _Label(distance, "1-NNA", better="0.5"),
        ]
        matrix = _distances(c.cut, c.size, distance, factors, farthest)
        rows += c.rows(labels, partial(_set_values, matrix), halves)
    return rows


def _frechet_rows(c: Comparison) -> list[Row]:
    name, _, c, values = c.embedded
    c.require_clouds(4 * values.shape[1])  # fewer and the covariance of a half is singular

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.frechet_distance(values[first], values[second])])

    def limit(first: Index, second: Index) -> Estimate:
        pair = values[first], values[second]
        return embeddings.frechet_extrapolated(*pair, seed=c.seed)

    plain = c.rows([_Label(name, "Frechet")], partial(evaluate, distance), bootstraps)
    return [*plain, c.row(_Label(name, "Frechet limit", better="0"), limit, 20)]


def _kernel_rows(c: Comparison) -> list[Row]:
    name, _, c, values = c.embedded
    c.require_clouds(4)  # a half has two

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.kernel_distance(values[first], values[second])])

    label = _Label(name, "kernel", better="0")
    return c.rows([label], partial(evaluate, distance), halves)


def _embedding_auc_row(c: Comparison) -> list[Row]:
    name, _, judged, values = c.embedded
    return _auc_row(judged, name, values)


def _points_auc_row(c: Comparison) -> list[Row]:
    nodes, _ = clouds.sort_nodes(c.cut.points, c.cut.mask, c.schema)
    return _auc_row(c, "points", nodes.flatten(1).numpy())


def _auc_row(c: Comparison, name: str, values: Array) -> list[Row]:
    c.require_clouds(10)  # a fold has two

    def auc(first: Index, second: Index) -> Estimate:
        return embeddings.classifier_auc(values[first], values[second], seed=c.seed)

    return [c.row(_Label(name, "AUC", better="0.5"), auc, 8)]


def _memorization_rows(c: Comparison) -> list[Row]:
    from scipy.spatial.distance import cdist

    if "training" not in c.samples:
        raise UnfitError("needs the training clouds, got no training")
    name, embed, c, values = c.embedded
    trained = embed(c.samples["training"])  # (T, E)
    nearest = np.concatenate([cdist(part[None], trained).min(1) for part in values])  # (3 size,)

    def closer(first: Index, second: Index) -> Array:
        signs = np.sign(nearest[first][:, None] - nearest[second])  # ties count half
        return np.array([0.5 + 0.5 * signs.mean()])

    label = _Label(name, "memorization", better="0.5")
    return c.rows([label], partial(evaluate, closer), bootstraps)


PARTS: dict[str, dict[str, Callable[[Comparison], list[Row]]]] = {
    "features": {"W1": _w1_rows},
    "sets": {"coverage, MMD, 1-NNA": _set_rows},
    "frechet": {"Frechet": _frechet_rows},
    "kernel": {"kernel": _kernel_rows},
    "classifier": {"AUC of embedding": _embedding_auc_row, "AUC of points": _points_auc_row},
    "memorization": {"memorization": _memorization_rows},
}
"""Group to its parts, each under the name by which a report leaves it out."""


def _row(label: _Label, value: float, error: float, floor: Array, *, num_clouds: int) -> Row:
    from scipy.stats import t

    if label.better == "0.5" and len(floor) < _FEW:
        worst = 0.5 + t.ppf(0.975, len(floor)) * np.sqrt(np.mean((floor - 0.5) ** 2))
    elif label.better == "0.5":
        worst = 0.5 + np.percentile(np.abs(floor - 0.5), 95)
    else:
        worst = np.percentile(floor, 5 if label.better == "higher" else 95)
    return Row(
        name=label.name,
        metric=label.metric,
        unit=label.unit,
        value=float(value),
        error=float(error),
        floor=float(floor.mean()),
        floor_95=float(worst),
        better=label.better,
        num_clouds=num_clouds,
        num_splits=len(floor),
    )


def _set_values(matrix: NDArray[np.float32], draws: Draws) -> Array:
    return sets.resample(matrix, *draws)  # (R, 3)


def _distances(
    cut: clouds.Clouds, size: int, distance: str, factors: Array, farthest: float
) -> NDArray[np.float32]:
    """Distances among the real clouds of a cut, and of half of them and generated ones, (P, P)."""
    real, generated = slice(0, 2 * size), slice(2 * size, 3 * size)
    parts = [cut.subset(part) for part in (real, generated)]
    half = cut.subset(slice(0, size))
    between = partial(sets.cross_matrix, distance=distance, factors=factors, missing_cost=farthest)
    matrix = np.full((3 * size, 3 * size), np.nan, dtype=np.float32)
    matrix[real, real] = between(parts[0])
    matrix[generated, generated] = between(parts[1])
    matrix[:size, generated] = between(half, parts[1])
    return matrix


def _joined(samples: Sequence[clouds.Clouds]) -> clouds.Clouds:
    """All clouds, padded to the largest number of nodes, on the CPU."""
    width = max(sample.mask.shape[1] for sample in samples)

    def padded(values: Tensor) -> Tensor:
        wide = values.new_zeros(len(values), width, *values.shape[2:])
        wide[:, : values.shape[1]] = values
        return wide.detach().cpu()

    return clouds.Clouds(
        torch.cat([padded(sample.points) for sample in samples]),
        torch.cat([padded(sample.mask) for sample in samples]),
        schema=samples[0].schema,
    )


def _known_vectors(sample: clouds.Clouds) -> Array:
    return classifier.features(sample.points, sample.mask).double().cpu().numpy()  # (B, D)


def _own_vectors(embedder: Embedder, sample: clouds.Clouds) -> Array:
    """What the caller's function makes of clouds, checked, shape (B, E)."""
    try:
        with torch.no_grad():
            found = embedder(sample.points, sample.mask)
    except Exception as error:  # whatever it raises is its own
        raise UnfitError(f"embedding raised {type(error).__name__}: {error}") from error
    found = found.detach().cpu().double().numpy() if isinstance(found, Tensor) else found
    vectors = np.asarray(found, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != sample.num_clouds or not vectors.shape[1]:
        raise UnfitError(
            f"embedding must return shape (clouds, columns) for {sample.num_clouds} clouds, "
            f"got {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise UnfitError("embedding must return finite numbers, got NaN or infinity")
    return vectors


def _labels(schema: CloudSchema) -> list[_Label]:
    labels = [
        _Label(name, "W1", unit) for name, unit in zip(schema.names, schema.units, strict=True)
    ]
    return [*labels, _Label("nodes", "W1", "nodes")]
