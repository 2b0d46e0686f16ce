"""How close two samples of clouds are: distances with their statistical error and their floor."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae import clouds, files

__all__ = ["Report", "Row", "as_sample", "compare", "feature_w1"]

UNITS = ("px", "px", "")
"""Unit of each of ``clouds.FEATURES`` in an image."""

_SMALLEST_SAMPLE = 2
"""One cloud can neither be resampled nor split."""

Index = NDArray[np.intp]
Statistic = Callable[[Index, Index], NDArray[np.float64]]
"""Values of a metric, shape (M,), between the clouds of two index arrays (n,)."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of a comparison.

    Attributes:
        name: What is compared: a feature, or the number of nodes.
        metric: How: ``"W1"``.
        unit: Unit of ``value``, ``error``, ``floor`` and ``floor_95``; empty for a pure number.
        value: Distance between generated and real clouds; lower is better.
        error: Standard error of ``value``.
        floor: Mean distance between two real samples of the same size.
        floor_95: Their 95th percentile: a value below it could be a real sample's.
    """

    name: str
    metric: str
    unit: str
    value: float
    error: float
    floor: float
    floor_95: float

    @property
    def ratio(self) -> float | None:
        """Value in units of the floor, or None where the floor is 0."""
        return self.value / self.floor if self.floor > 0 else None


@dataclasses.dataclass(frozen=True)
class Report:
    """What :func:`compare` found.

    Attributes:
        rows: One figure each.
        num_clouds: Clouds on each side of every value and floor.
        num_real: Real clouds that were given.
        num_generated: Generated clouds that were given.
        num_reference: Further real clouds that were given for the floor.
        num_splits: Splits behind each floor.
        num_bootstrap: Resamplings behind each error.
        seed: Seed of all of them.
    """

    rows: tuple[Row, ...]
    num_clouds: int
    num_real: int
    num_generated: int
    num_reference: int
    num_splits: int
    num_bootstrap: int
    seed: int

    def row(self, name: str, metric: str = "W1") -> Row:
        """The row of one feature and metric.

        Raises:
            ValueError: If the report has no such row.
        """
        for row in self.rows:
            if (row.name, row.metric) == (name, metric):
                return row
        known = ", ".join(f"{row.name} {row.metric}" for row in self.rows)
        raise ValueError(
            f"name and metric must be a row of the report ({known}), got {name} {metric}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON, the ratio of each row included."""
        values = dataclasses.asdict(self)
        values["rows"] = [dataclasses.asdict(row) | {"ratio": row.ratio} for row in self.rows]
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as JSON; a file of that name is replaced, whole or not at all.

        Raises:
            FileNotFoundError: If the folder of ``path`` does not exist.
        """
        with files.whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it does not hold a report.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a saved report, there is no file {path}")
        try:
            values = json.loads(path.read_text())
            fields = [field.name for field in dataclasses.fields(Row)]
            rows = tuple(Row(**{key: row[key] for key in fields}) for row in values["rows"])
            return cls(**(values | {"rows": rows}))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"path must hold a saved report, {path} does not: {error}") from None

    def __str__(self) -> str:
        """The report as an aligned table."""
        cells = [_cells(row) for row in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        ]
        head = (
            f"{self.num_clouds} clouds on each side; floor: real against real, "
            f"{self.num_splits} random splits"
        )
        return "\n".join([head, *(line.rstrip() for line in lines)])


class _Draws(NamedTuple):
    """Resamplings: the clouds that each of them compares, numbered over all samples.

    Attributes:
        first: Indices of clouds, shape (R, n).
        second: Indices of clouds, shape (R, m).
    """

    first: Index
    second: Index


def compare(
    real: Any,
    generated: Any,
    reference: Any = None,
    *,
    seed: int = 0,
    num_splits: int = 200,
    num_bootstrap: int = 100,
) -> Report:
    r"""Compares generated with real clouds, beside what two real samples differ by.

    One row a feature holds the 1-Wasserstein distance of the node feature, pooled over clouds,

    .. math:: W_1 = \int |F_{\mathrm{real}}(t) - F_{\mathrm{generated}}(t)| \, dt,

    F the cumulative distributions (:func:`scipy.stats.wasserstein_distance`). The row
    ``intensity`` is the slides' "intensity comparison" as a number: by how much intensity nodes
    have to change, on average, for the two histograms to agree. A last row compares the numbers
    of nodes a cloud.

    A distance between samples is never 0, and grows as they get smaller. So all values and floors
    are for the same n clouds on each side, the largest n that allows the floor:
    ``min(len(pool) // 2, len(real), len(generated))``, the pool being ``real`` and ``reference``.

    - The floor is the distance between the halves of ``num_splits`` draws of 2n clouds from the
      pool (mean, 95th percentile).
    - The value is the mean over ``num_splits`` random subsets of n real and n generated clouds
      (one is enough where both have n).
    - The error is the standard deviation over ``num_bootstrap`` bootstrap samples of both sides,
      each as large as what was given. It is on the safe side near the floor, where a distance
      cannot fall as far as it can rise.

    Whole clouds are drawn, never pooled nodes: the nodes of one cloud are not independent.

    Args:
        real: Padded points (B, N, F) in data units (x px, y px, intensity), an object with
            ``points`` and ``mask`` (:class:`~gconvae.clouds.Clouds`, a dataset), a pair
            ``(points, mask)``, or PyG ``Data`` objects or a ``Batch``.
        generated: Clouds to judge, likewise; any number of clouds and nodes.
        reference: A second real sample, for the floor; None = random halves of ``real``, which
            halves n.
        seed: Of all draws; the same seed gives the same numbers.
        num_splits: Splits behind each floor, at least 2.
        num_bootstrap: Resamplings behind each error, at least 2.
    Returns:
        The rows x, y, intensity (then ``feature 3``, ...) and nodes.
    Raises:
        ValueError: If a sample is not made of finite clouds with the same number of features, or
            has fewer than 2 clouds, or a number is too small.
    References:
        | On the Evaluation of Generative Models in High Energy Physics (Kansal et al., 2022),
          arXiv:2211.10295
    Example:
        >>> import torch
        >>> real = torch.rand(200, 25, 3, generator=torch.Generator().manual_seed(0))
        >>> report = compare(real, real + torch.tensor([1.0, 0.0, 0.0]))
        >>> round(report.row("x").value, 2), round(report.row("y").floor, 2)
        (1.0, 0.01)
    """
    samples = {"real": as_sample(real, "real"), "generated": as_sample(generated, "generated")}
    if reference is not None:
        samples["reference"] = as_sample(reference, "reference")
    _check_samples(samples)
    _check_numbers(seed=(seed, 0), num_splits=(num_splits, 2), num_bootstrap=(num_bootstrap, 2))
    sizes = [len(sample.points) for sample in samples.values()]
    first, second, *others = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    pool = np.concatenate([first, *others])
    num_clouds = min(len(pool) // 2, len(first), len(second))
    # a stream each, so that a larger num_splits leaves the errors as they are
    streams = [np.random.default_rng([seed, purpose]) for purpose in range(3)]
    statistic = _w1_statistic(list(samples.values()))
    floor = _evaluate(statistic, _splits(pool, num_clouds, num_splits, streams[0]))
    value = _evaluate(statistic, _subsets(first, second, num_clouds, num_splits, streams[1]))
    resampled = _evaluate(statistic, _bootstraps(first, second, num_bootstrap, streams[2]))
    columns = (
        value.mean(0),
        resampled.std(0, ddof=1),
        floor.mean(0),
        np.percentile(floor, 95, axis=0),
    )
    figures = np.stack(columns, axis=1).tolist()  # (M, 4)
    # a data set says if it is no image; bare points are taken for one
    is_image = getattr(real, "image_size", 28) is not None
    labels = _labels(samples["real"].points.shape[-1], is_image)
    rows = [
        Row(name, "W1", unit, *four) for (name, unit), four in zip(labels, figures, strict=True)
    ]
    return Report(
        rows=tuple(rows),
        num_clouds=num_clouds,
        num_real=len(first),
        num_generated=len(second),
        num_reference=len(pool) - len(first),
        num_splits=int(num_splits),
        num_bootstrap=int(num_bootstrap),
        seed=int(seed),
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


def as_sample(sample: Any, name: str = "sample") -> clouds.Clouds:
    """Clouds in any of the forms that metrics and plots take, checked.

    Args:
        sample: Padded points (B, N, F), an object with ``points`` and ``mask``
            (:class:`~gconvae.clouds.Clouds`, a dataset), a pair ``(points, mask)``, a PyG
            ``Batch``, or a sequence of PyG ``Data``.
        name: What error messages call ``sample``.
    Raises:
        ValueError: If it is none of these, or a shape, dtype or value is wrong.
    Example:
        >>> as_sample([[[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]]).mask
        tensor([[True, True]])
    """
    if hasattr(sample, "points") and hasattr(sample, "mask"):
        return clouds.as_clouds(sample.points, sample.mask, name=name)
    if clouds.holds_graphs(sample):
        try:
            return clouds.from_data(sample)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(sample, tuple) and len(sample) == 2 and getattr(sample[0], "ndim", 0) == 3:
        return clouds.as_clouds(*sample, name=name)
    return clouds.as_clouds(sample, name=name)


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


def _without_replacement(
    numbers: Index, size: int, number: int, rng: np.random.Generator
) -> Index:
    return np.stack([rng.choice(numbers, size, replace=False) for _ in range(number)])


def _nodes(sample: clouds.Clouds) -> NDArray[np.float64]:
    nodes: NDArray[np.float64] = sample.points[sample.mask].detach().cpu().double().numpy()
    return nodes  # (P, F)


def _labels(num_features: int, is_image: bool) -> list[tuple[str, str]]:
    """Name and unit of each row."""
    units = UNITS if is_image else ("", "", "")
    extra = [(f"feature {i}", "") for i in range(len(clouds.FEATURES), num_features)]
    named = list(zip(clouds.FEATURES, units, strict=True))[:num_features]
    return [*named, *extra, ("nodes", "nodes")]


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


def _cells(row: Row) -> tuple[str, ...]:
    unit = f" ({row.unit})" if row.unit else ""
    # digits of the smaller of error and floor, so that both show two
    small = min((abs(x) for x in (row.error, row.floor) if x > 0), default=1.0)
    digits = max(0, 1 - math.floor(math.log10(small)))
    ratio = "-" if row.ratio is None else f"{row.ratio:.3g} x floor"
    return (
        f"{row.name} {row.metric}{unit}",
        f"{row.value:.{digits}f} +- {row.error:.{digits}f}",
        f"floor {row.floor:.{digits}f} (95 %: {row.floor_95:.{digits}f})",
        ratio,
    )
