"""How close two samples of clouds are: figures with their statistical error and their floor."""

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
from gconvae.clouds import as_sample
from gconvae.metrics import embeddings, sets
from gconvae.metrics.classifier import features as embedding
from gconvae.metrics.embeddings import Estimate
from gconvae.metrics.report import Report, Row
from gconvae.schema import SUPERPIXELS

__all__ = ["GROUPS", "Report", "Row", "as_sample", "compare", "feature_w1"]

GROUPS = ("features", "sets", "frechet", "kernel", "classifier", "copies")
"""What :func:`compare` can compute, in the order of the report."""

UNITS = ("px", "px", "")
"""Unit of each of ``SUPERPIXELS.names`` in an image."""

MOST_CLOUDS = 1000
"""Clouds on each side that metrics other than W1 look at: their cost grows as the square, and
coverage, matching distance and neighbour accuracy compare at one size only."""

_IMAGE = 28
"""Side in pixels of the images that the reference classifier knows."""

_FEW = 20
"""Splits below which 95 % is not counted but taken from Student's t, with 0.5 for the mean."""

_SMALLEST_SAMPLE = 2
"""One cloud can neither be resampled nor split."""

Index = NDArray[np.intp]
Array = NDArray[np.float64]
Statistic = Callable[[Index, Index], Array]
"""Values of M metrics, shape (M,), between the clouds of two index arrays (n,)."""


class _Label(NamedTuple):
    """What a row says of itself, as in :class:`~gconvae.metrics.Row`."""

    name: str
    metric: str
    unit: str = ""
    better: str = "lower"


class _Draws(NamedTuple):
    """Resamplings: the clouds that each of them compares, numbered over all samples.

    Attributes:
        first: Indices of clouds, shape (R, n).
        second: Indices of clouds, shape (R, m).
    """

    first: Index
    second: Index


class _UnfitError(ValueError):
    """These clouds have no such metric."""


def compare(
    real: Any,
    generated: Any,
    reference: Any = None,
    *,
    training: Any = None,
    metrics: str | Sequence[str] | None = None,
    seed: int = 0,
    num_splits: int = 200,
    num_bootstrap: int = 100,
) -> Report:
    r"""Compares generated with real clouds, beside what two real samples differ by.

    Groups of metrics, and the rows (name, metric) they bring:

    - ``"features"``: 1-Wasserstein distance of each node feature, pooled over clouds,

      .. math:: W_1 = \int |F_{\mathrm{real}}(t) - F_{\mathrm{generated}}(t)| \, dt,

      F the cumulative distributions (:func:`scipy.stats.wasserstein_distance`), and of the number
      of nodes a cloud. The row ``intensity`` is the slides' "intensity comparison" as a number: by
      how much intensity nodes have to change, on average, for the two histograms to agree.
    - ``"sets"``: ``coverage``, ``MMD`` (minimum matching distance) and ``1-NNA`` (accuracy of the
      nearest neighbour), with the distances ``chamfer`` and ``matching``
      (:mod:`gconvae.metrics`).
    - ``"frechet"``, ``"kernel"``, ``"classifier"``: ``Frechet``, its ``Frechet limit`` for endless
      samples, ``kernel`` and ``AUC`` (:mod:`gconvae.metrics`) of the ``embedding``, which
      is the features of :mod:`gconvae.metrics`; ``"classifier"`` also of ``points``, the nodes
      of a cloud in the one order, one after another.
    - ``"copies"``: ``training proximity``, the chance that a generated cloud lies closer to its
      nearest training cloud, in the embedding, than a real one does. Near 1 where training
      clouds are repeated; all other rows are blind to that.

    A distance between samples is never 0, and grows as they get smaller. So all values and floors
    are for the same n clouds on each side, the largest n that allows the floor:
    ``min(len(pool) // 2, len(real), len(generated))``, the pool being ``real`` and ``reference``.

    - The floor is the metric between the halves of ``num_splits`` draws of 2n clouds from the pool
      (mean, and the 95th percentile on the worse side).
    - The value of W1 is the mean over ``num_splits`` random subsets of n real and n generated
      clouds (one is enough where both have n).
    - The error is the standard deviation over ``num_bootstrap`` bootstrap samples of both sides,
      each as large as what was given. It is on the safe side near the floor, where a distance
      cannot fall as far as it can rise.

    Whole clouds are drawn, never pooled nodes: the nodes of one cloud are not independent. Other
    rows than W1 differ in this, and say where they have fewer clouds or splits:

    - They look at n or 1,000 random clouds on each side, whichever is less, the same for all.
    - Costly floors have fewer splits: 100, for ``Frechet limit`` 20, for ``AUC`` 8, whose 95 % are
      those of Student's t.
    - The errors of sets and kernel are over halves of both samples, drawn without replacement:
      a cloud drawn twice would be its own neighbour. ``Frechet limit`` and ``AUC`` bring theirs.

    Args:
        real: Padded points (B, N, F) in data units (x px, y px, intensity), an object with
            ``points`` and ``mask`` (:class:`~gconvae.clouds.Clouds`, a dataset), a pair
            ``(points, mask)``, or PyG ``Data`` objects or a ``Batch``.
        generated: Clouds to judge, likewise; any number of clouds and nodes.
        reference: A second real sample, for the floor; None = random halves of ``real``, which
            halves n.
        training: Clouds that the model was trained on, for ``"copies"``; ``real`` and
            ``reference`` must hold none of them.
        metrics: Name or names out of ``GROUPS``; None = all that these clouds allow.
        seed: Of all draws; the same seed gives the same numbers, whichever groups are computed.
        num_splits: Splits behind each floor, at least 2.
        num_bootstrap: Resamplings behind each error, at least 2.
    Returns:
        The rows, group after group, and what was left out for which reason: the embedding is for
        clouds of 28 x 28 images, sets are for clouds of images, ``"classifier"`` needs
        scikit-learn, ``"copies"`` needs ``training``.
    Raises:
        ValueError: If a sample is not made of finite clouds with the same number of features, or
            has fewer than 2 clouds, a number is too small, a group is unknown, or one that was
            named cannot be had.
        ModuleNotFoundError: If ``"classifier"`` was named and scikit-learn is not installed.
    References:
        | On the Evaluation of Generative Models in High Energy Physics (Kansal et al., 2022),
          arXiv:2211.10295
        | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri and
          Dasgupta, 2020), arXiv:2004.05675
    Example:
        >>> import torch
        >>> real = torch.rand(200, 25, 3, generator=torch.Generator().manual_seed(0))
        >>> report = compare(real, real + torch.tensor([1.0, 0.0, 0.0]), metrics="features")
        >>> round(report.row("x").value, 2), round(report.row("y").floor, 2)
        (1.0, 0.01)
    """
    given = {"real": real, "generated": generated}
    further = {"reference": reference, "training": training}
    given |= {name: sample for name, sample in further.items() if sample is not None}
    samples = {name: as_sample(sample, name) for name, sample in given.items()}
    _check_samples(samples)
    _check_numbers(seed=(seed, 0), num_splits=(num_splits, 2), num_bootstrap=(num_bootstrap, 2))
    # a data set says if it is no image; bare points are taken for one
    schema = getattr(real, "schema", None)
    is_image = schema is None or schema.same_nodes(SUPERPIXELS)
    image_size = _IMAGE if is_image else None
    comparison = _Comparison(samples, image_size, int(seed), int(num_splits), int(num_bootstrap))
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for group in _checked_groups(metrics):
        problems: dict[str, Exception] = {}
        for name, part in _PARTS[group].items():
            try:
                rows += part(comparison)
            except (_UnfitError, ModuleNotFoundError) as error:
                problems[name] = error
        if metrics is not None and len(problems) == len(_PARTS[group]):
            first = next(iter(problems.values()))
            raise type(first)(f"metrics must be had from these clouds, {group} {first}")
        left_out |= {name: str(error) for name, error in problems.items()}
    return Report(
        rows=tuple(rows),
        num_clouds=comparison.num_clouds,
        num_real=len(comparison.real),
        num_generated=len(comparison.generated),
        num_reference=len(comparison.pool) - len(comparison.real),
        num_splits=comparison.num_splits,
        num_bootstrap=comparison.num_bootstrap,
        seed=comparison.seed,
        left_out=left_out,
    )


def feature_w1(first: Any, second: Any) -> NDArray[np.float64]:
    """1-Wasserstein distance of each pooled node feature, without floor and error.

    Args:
        first: Clouds, in any form that :func:`compare` takes.
        second: Clouds, likewise; the number of clouds may differ.
    Returns:
        Shape (F,), in the units of the features.
    Raises:
        ValueError: If a sample is not made of finite clouds, or F differs.
    Example:
        >>> feature_w1([[[0.0, 0.0, 0.5], [1.0, 0.0, 0.5]]], [[[3.0, 0.0, 0.5], [2.0, 0.0, 0.5]]])
        array([2., 0., 0.])
    """
    from scipy.stats import wasserstein_distance

    samples = {"first": as_sample(first, "first"), "second": as_sample(second, "second")}
    _check_features(samples)
    columns = (_nodes(sample).T for sample in samples.values())
    return np.array([wasserstein_distance(*pair) for pair in zip(*columns, strict=True)])


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """What all groups of metrics share; clouds are numbered real, generated, reference."""

    samples: Mapping[str, clouds.Clouds]
    image_size: int | None
    seed: int
    num_splits: int
    num_bootstrap: int

    @property
    def real(self) -> Index:
        return np.arange(len(self.samples["real"].points))

    @property
    def generated(self) -> Index:
        return len(self.real) + np.arange(len(self.samples["generated"].points))

    @property
    def pool(self) -> Index:
        first = len(self.real) + len(self.generated)
        others = len(self.samples["reference"].points) if "reference" in self.samples else 0
        return np.concatenate([self.real, first + np.arange(others)])

    @property
    def num_clouds(self) -> int:
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
        return clouds.Clouds(everything.points[kept], everything.mask[kept])

    @cached_property
    def embedding(self) -> Array:
        """Features of the cut by the reference classifier, shape (3 size, D)."""
        if self.image_size != _IMAGE:
            raise _UnfitError(
                f"needs clouds of {_IMAGE} x {_IMAGE} images, got image_size {self.image_size}"
            )
        points, mask, _ = self.cut
        if points.shape[-1] != len(SUPERPIXELS.names):
            raise _UnfitError(f"needs x, y and intensity only, got {points.shape[-1]} features")
        nodes = points[: 2 * self.size][mask[: 2 * self.size]]  # (P, 3)
        highest = nodes.new_tensor([_IMAGE - 0.5, _IMAGE - 0.5, 1.0])
        lowest = nodes.new_tensor([-0.5, -0.5, 0.0])
        if ((nodes < lowest) | (nodes > highest)).any():
            raise _UnfitError(
                f"needs real clouds of {_IMAGE} x {_IMAGE} images (x, y in pixels 0 to "
                f"{_IMAGE - 1}, intensity in [0, 1]), got nodes from "
                f"{nodes.amin(0).tolist()} to {nodes.amax(0).tolist()}"
            )
        return embedding(points, mask).double().cpu().numpy()

    def require_clouds(self, smallest: int) -> None:
        if self.size < smallest:
            raise _UnfitError(f"needs {smallest} clouds on each side, got {self.size}")

    def rows(
        self,
        labels: Sequence[_Label],
        statistic: Callable[[_Draws], Array],
        resample: Callable[[Index, Index, int, np.random.Generator], _Draws],
    ) -> list[Row]:
        """Rows of M metrics; ``statistic`` gives their values (R, M) for draws from the cut."""
        value = statistic(_Draws(*(part[None] for part in self._sides)))[0]  # (M,)
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

    def _cut_splits(self, most: int) -> _Draws:
        number = min(self.num_splits, most)
        return _splits(np.arange(2 * self.size), self.size, number, self.stream(0))

    @property
    def _sides(self) -> tuple[Index, Index]:
        return np.arange(self.size), np.arange(2 * self.size, 3 * self.size)


def _w1_rows(c: _Comparison) -> list[Row]:
    samples = [sample for name, sample in c.samples.items() if name != "training"]
    statistic = _w1_statistic(samples)
    floor = _evaluate(statistic, _splits(c.pool, c.num_clouds, c.num_splits, c.stream(0)))
    subsets = _subsets(c.real, c.generated, c.num_clouds, c.num_splits, c.stream(1))
    value = _evaluate(statistic, subsets).mean(0)
    draws = _bootstraps(c.real, c.generated, c.num_bootstrap, c.stream(2))
    error = _evaluate(statistic, draws).std(0, ddof=1)
    labels = _labels(samples[0].points.shape[-1], c.image_size is not None)
    columns = zip(labels, value, error, floor.T, strict=True)
    return [_row(*column, num_clouds=c.num_clouds) for column in columns]


def _set_rows(c: _Comparison) -> list[Row]:
    c.require_clouds(4)  # a half has two
    if c.image_size is None:
        raise _UnfitError("needs clouds of images (x px, y px, intensity), got image_size None")
    if c.cut.points.shape[-1] > len(SUPERPIXELS.names):
        raise _UnfitError(f"needs x, y and intensity only, got {c.cut.points.shape[-1]} features")
    rows = []
    for distance, unit in (("chamfer", "px^2"), ("matching", "px")):
        labels = [
            _Label(distance, "coverage", better="higher"),
            _Label(distance, "MMD", unit),
            _Label(distance, "1-NNA", better="0.5"),
        ]
        matrix = _distances(c.cut, c.size, distance)
        rows += c.rows(labels, partial(_set_values, matrix), _halves)
    return rows


def _frechet_rows(c: _Comparison) -> list[Row]:
    values = c.embedding
    c.require_clouds(4 * values.shape[1])  # fewer and the covariance of a half is singular

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.frechet_distance(values[first], values[second])])

    def limit(first: Index, second: Index) -> Estimate:
        pair = values[first], values[second]
        return embeddings.frechet_extrapolated(*pair, seed=c.seed)

    plain = c.rows([_Label("embedding", "Frechet")], partial(_evaluate, distance), _bootstraps)
    return [*plain, c.row(_Label("embedding", "Frechet limit", better="0"), limit, 20)]


def _kernel_rows(c: _Comparison) -> list[Row]:
    values = c.embedding
    c.require_clouds(4)  # a half has two

    def distance(first: Index, second: Index) -> Array:
        return np.array([embeddings.kernel_distance(values[first], values[second])])

    label = _Label("embedding", "kernel", better="0")
    return c.rows([label], partial(_evaluate, distance), _halves)


def _embedding_auc_row(c: _Comparison) -> list[Row]:
    return _auc_row(c, "embedding", c.embedding)


def _points_auc_row(c: _Comparison) -> list[Row]:
    if c.cut.points.shape[-1] <= 2:
        raise _UnfitError("needs an intensity to put nodes in order, got 2 features")
    nodes, _ = clouds.sort_nodes(c.cut.points, c.cut.mask)
    return _auc_row(c, "points", nodes.flatten(1).numpy())


def _auc_row(c: _Comparison, name: str, values: Array) -> list[Row]:
    c.require_clouds(10)  # a fold has two

    def auc(first: Index, second: Index) -> Estimate:
        return embeddings.classifier_auc(values[first], values[second], seed=c.seed)

    return [c.row(_Label(name, "AUC", better="0.5"), auc, 8)]


def _copy_rows(c: _Comparison) -> list[Row]:
    from scipy.spatial.distance import cdist

    if "training" not in c.samples:
        raise _UnfitError("needs the training clouds, got no training")
    values, sample = c.embedding, c.samples["training"]
    trained = embedding(sample.points, sample.mask).double().cpu().numpy()  # (T, D)
    nearest = np.concatenate([cdist(part[None], trained).min(1) for part in values])  # (3 size,)

    def closer(first: Index, second: Index) -> Array:
        signs = np.sign(nearest[first][:, None] - nearest[second])  # ties count half
        return np.array([0.5 + 0.5 * signs.mean()])

    label = _Label("training", "proximity", better="0.5")
    return c.rows([label], partial(_evaluate, closer), _bootstraps)


_PARTS: dict[str, dict[str, Callable[[_Comparison], list[Row]]]] = {
    "features": {"W1": _w1_rows},
    "sets": {"coverage, MMD, 1-NNA": _set_rows},
    "frechet": {"Frechet": _frechet_rows},
    "kernel": {"kernel": _kernel_rows},
    "classifier": {"AUC of embedding": _embedding_auc_row, "AUC of points": _points_auc_row},
    "copies": {"training proximity": _copy_rows},
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


def _set_values(matrix: NDArray[np.float32], draws: _Draws) -> Array:
    return sets.resample(matrix, *draws)  # (R, 3)


def _distances(cut: clouds.Clouds, size: int, distance: str) -> NDArray[np.float32]:
    """Distances among the real clouds of a cut, and of half of them and generated ones, (P, P)."""
    real, generated = slice(0, 2 * size), slice(2 * size, 3 * size)
    parts = [clouds.Clouds(cut.points[part], cut.mask[part]) for part in (real, generated)]
    half = clouds.Clouds(cut.points[:size], cut.mask[:size])
    matrix = np.full((3 * size, 3 * size), np.nan, dtype=np.float32)
    matrix[real, real] = sets.cross_matrix(parts[0], distance=distance)
    matrix[generated, generated] = sets.cross_matrix(parts[1], distance=distance)
    matrix[:size, generated] = sets.cross_matrix(half, parts[1], distance)
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
    )


def _w1_statistic(samples: Sequence[clouds.Clouds]) -> Statistic:
    """W1 of each node feature and of the number of nodes, between clouds of all samples."""
    counts = np.concatenate([sample.mask.sum(1).cpu().numpy() for sample in samples])  # (B,)
    cloud = np.arange(len(counts)).repeat(counts)  # (P,)
    nodes = np.concatenate([_nodes(sample) for sample in samples])  # (P, F)
    columns = [_Column(values, cloud) for values in nodes.T]
    sizes = _Column(counts.astype(np.float64), np.arange(len(counts)))

    def statistic(first: Index, second: Index) -> NDArray[np.float64]:
        a, b = (np.bincount(part, minlength=len(counts)) for part in (first, second))
        # every node of `first` weighs 1 / nodes of first: in whole numbers, so that nothing rounds
        weights = a * (b @ counts) - b * (a @ counts)  # (B,)
        scale = float(a @ counts) * float(b @ counts)
        per_feature = [column.absolute_area(weights) / scale for column in columns]
        area = sizes.absolute_area(a * len(second) - b * len(first))
        return np.array([*per_feature, area / (float(len(first)) * len(second))])

    return statistic


class _Column:
    """Values of clouds, sorted once, so that each resampling costs one cumulative sum.

    Args:
        values: Shape (P,).
        cloud: The cloud that each value belongs to, shape (P,).
    """

    def __init__(self, values: NDArray[np.float64], cloud: Index) -> None:
        order = np.argsort(values, kind="stable")
        self._cloud = cloud[order][:-1]
        self._gaps = np.diff(values[order])  # (P - 1,)

    def absolute_area(self, weights: NDArray[np.integer]) -> float:
        """Integral of the absolute cumulative weight, clouds weighing ``weights`` (B,) a value."""
        return float(np.abs(weights[self._cloud].cumsum()) @ self._gaps)


def _evaluate(statistic: Statistic, draws: _Draws) -> NDArray[np.float64]:
    return np.stack([statistic(*pair) for pair in zip(*draws, strict=True)])  # (R, M)


def _splits(pool: Index, size: int, number: int, rng: np.random.Generator) -> _Draws:
    drawn = _without_replacement(pool, 2 * size, number, rng)
    return _Draws(drawn[:, :size], drawn[:, size:])


def _subsets(
    real: Index, generated: Index, size: int, number: int, rng: np.random.Generator
) -> _Draws:
    if len(real) == len(generated) == size:
        number = 1  # every subset is the whole
    return _Draws(
        _without_replacement(real, size, number, rng),
        _without_replacement(generated, size, number, rng),
    )


def _bootstraps(real: Index, generated: Index, number: int, rng: np.random.Generator) -> _Draws:
    return _Draws(
        rng.choice(real, (number, len(real))), rng.choice(generated, (number, len(generated)))
    )


def _halves(real: Index, generated: Index, number: int, rng: np.random.Generator) -> _Draws:
    """Half of both samples: the spread of these is the error of the whole."""
    return _Draws(
        *(_without_replacement(part, len(part) // 2, number, rng) for part in (real, generated))
    )


def _without_replacement(
    numbers: Index, size: int, number: int, rng: np.random.Generator
) -> Index:
    return np.stack([rng.choice(numbers, size, replace=False) for _ in range(number)])


def _nodes(sample: clouds.Clouds) -> NDArray[np.float64]:
    nodes: NDArray[np.float64] = sample.points[sample.mask].detach().cpu().double().numpy()
    return nodes  # (P, F)


def _labels(num_features: int, is_image: bool) -> list[_Label]:
    units = UNITS if is_image else ("", "", "")
    extra = [f"feature {i}" for i in range(len(SUPERPIXELS.names), num_features)]
    named = zip([*SUPERPIXELS.names, *extra], [*units, *("" for _ in extra)], strict=True)
    labels = [_Label(name, "W1", unit) for name, unit in named]
    return [*labels[:num_features], _Label("nodes", "W1", "nodes")]


def _checked_groups(names: str | Sequence[str] | None) -> list[str]:
    """The groups to compute, in the order of ``GROUPS``."""
    if names is None:
        return list(GROUPS)
    wanted = {names} if isinstance(names, str) else set(names)
    if not wanted or wanted - set(GROUPS):
        raise ValueError(f"metrics must be out of {', '.join(GROUPS)}, got {names!r}")
    return [group for group in GROUPS if group in wanted]


def _check_samples(samples: Mapping[str, clouds.Clouds]) -> None:
    for name, sample in samples.items():
        if len(sample.points) < _SMALLEST_SAMPLE:
            raise ValueError(
                f"{name} must have at least {_SMALLEST_SAMPLE} clouds, got {len(sample.points)}"
            )
    _check_features(samples)


def _check_features(samples: Mapping[str, clouds.Clouds]) -> None:
    model, *_ = samples
    wanted = samples[model].points.shape[-1]
    for name, sample in samples.items():
        if sample.points.shape[-1] != wanted:
            raise ValueError(
                f"{name} must have {wanted} features a node like {model}, "
                f"got {sample.points.shape[-1]}"
            )


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (value, smallest) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < smallest:
            raise ValueError(f"{name} must be an integer of at least {smallest}, got {value!r}")
