"""Metrics on sets: loops, cases counted by hand, samples with known defects."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gconvae import losses
from gconvae.clouds import Clouds, as_clouds
from gconvae.losses import assignment
from gconvae.metrics import distances
from gconvae.metrics.distances import DISTANCES, cross_matrix
from gconvae.metrics.sets import (
    Values,
    coverage,
    minimum_matching_distance,
    nearest_neighbor_accuracy,
    resample,
    values,
)
from gconvae.schema import SUPERPIXELS

DIAMETER = 27.0 * 3**0.5

Matrix = NDArray[np.floating]


def toy_clouds(
    number: int, seed: int, *, num_nodes: int = 5, shift: float = 0.0, spread: float = 1.0
) -> Tensor:
    """Nodes (B, N, 3) around a centre of their own, x and y in px, intensities near 0.5."""
    rng = np.random.default_rng(seed)
    centre, own = rng.normal(size=(number, 1, 3)), rng.normal(size=(number, num_nodes, 3))
    nodes = spread * (centre + 0.5 * own) * [1, 1, 1 / 27] + [14 + shift, 14, 0.5]
    return torch.from_numpy(nodes)


FACTORS = [1.0, 1.0, 27.0]
"""Of superpixels."""


def as_pixels(points: Any, mask: Any = None) -> Clouds:
    """Clouds of superpixels; of plain numbers where there are not three features."""
    clouds = as_clouds(points, mask)
    return clouds._replace(schema=SUPERPIXELS) if clouds.points.shape[-1] == 3 else clouds


def ragged(points: Tensor, seed: int) -> Clouds:
    """The same clouds with some nodes masked and at least one left, in any places."""
    mask = np.random.default_rng(seed).random(points.shape[:2]) < 0.6
    mask[np.arange(len(mask)), np.arange(len(mask)) % mask.shape[1]] = True
    return as_pixels(points, torch.from_numpy(mask))


def real_nodes(sample: Clouds, extent: float = 27.0) -> list[list[list[float]]]:
    return [
        [
            [value * (extent if feature == 2 else 1.0) for feature, value in enumerate(node)]
            for node in points[mask].tolist()
        ]
        for points, mask in zip(sample.points, sample.mask, strict=True)
    ]


_distance = partial(assignment.distance, missing_cost=27.0 * math.sqrt(3))


def chamfer_loop(p: list[list[float]], q: list[list[float]]) -> float:
    def one_way(nodes: list[list[float]], others: list[list[float]]) -> float:
        gaps = [
            min(sum((a - b) ** 2 for a, b in zip(n, o, strict=True)) for o in others)
            for n in nodes
        ]
        return sum(gaps) / len(gaps)

    return one_way(p, q) + one_way(q, p)


def matching_loop(p: list[list[float]], q: list[list[float]]) -> float:
    return float(_distance(*(torch.tensor([nodes]).double() for nodes in (p, q))))


LOOPS = {"chamfer": chamfer_loop, "matching": matching_loop}


def accuracy_loop(rr: Matrix, rg: Matrix, gg: Matrix) -> float:
    """Each cloud votes for the samples of its nearest neighbours; a split vote is one half."""
    number = len(rg)
    union = np.block([[rr, rg], [rg.T, gg]]).tolist()
    total = 0.0
    for i in range(2 * number):
        others = [j for j in range(2 * number) if j != i]
        smallest = min(union[i][j] for j in others)
        same = {(i < number) == (j < number) for j in others if union[i][j] == smallest}
        total += 0.5 if len(same) == 2 else float(same == {True})
    return total / (2 * number)


def coverage_loop(rg: Matrix) -> float:
    covered = set()
    for column in rg.T.tolist():
        covered |= {i for i, value in enumerate(column) if value == min(column)}
    return len(covered) / len(rg)


def random_matrices(number: int, seed: int, *, ties: bool = False) -> list[Matrix]:
    rng = np.random.default_rng(seed)
    matrices = rng.integers(1, 4, (3, number, number)) if ties else rng.random((3, number, number))
    return [m + m.T if i != 1 else m for i, m in enumerate(matrices.astype(np.float64))]


def of_samples(real: Tensor, generated: Tensor, distance: str) -> Values:
    r, g = as_pixels(real), as_pixels(generated)
    matrices = ((r, None), (r, g), (g, None))
    return values(*(cross_matrix(*pair, distance) for pair in matrices))


# Distances between all clouds


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("num_features", [2, 3, 5])
def test_matrix_equals_the_loop(distance: str, num_features: int) -> None:
    points = torch.from_numpy(np.random.default_rng(0).random((15, 9, num_features)))
    first, second = ragged(points[:7], 0), ragged(points[7:, :6], 1)
    wanted = [[LOOPS[distance](p, q) for q in real_nodes(second)] for p in real_nodes(first)]
    factors = [*FACTORS, 1.0, 1.0][:num_features]
    found = cross_matrix(first, second, distance, factors=factors, missing_cost=DIAMETER)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_features_are_multiplied_by_the_given_factors(distance: str) -> None:
    sample = ragged(toy_clouds(6, 0), 0)
    nodes = real_nodes(sample, extent=3.0)
    wanted = [[LOOPS[distance](p, q) for q in nodes] for p in nodes]
    found = cross_matrix(sample, distance=distance, factors=[1.0, 1.0, 3.0], missing_cost=DIAMETER)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_sample_against_itself_is_symmetric_with_zeros_on_the_diagonal(distance: str) -> None:
    sample = ragged(toy_clouds(11, 0), 0)
    found = cross_matrix(sample, distance=distance)
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()
    np.testing.assert_allclose(found, cross_matrix(sample, sample, distance), rtol=1e-6)


def test_chamfer_is_the_third_axis_loss_over_the_number_of_nodes() -> None:
    first, second = toy_clouds(4, 0), toy_clouds(4, 1)
    scale = torch.tensor([1.0, 1.0, 27.0])
    wanted = losses.third_axis_chamfer(first * scale, second * scale) / 5
    found = cross_matrix(as_pixels(first), as_pixels(second)).diagonal()
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)


def test_price_of_missing_nodes_is_handed_on() -> None:
    whole = as_pixels(toy_clouds(1, 0))
    half = as_pixels(whole.points[:, :2])
    assert cross_matrix(whole, half, "matching", missing_cost=10.0).tolist() == [[6.0]]


@pytest.mark.parametrize("distance", DISTANCES)
def test_threads_and_parts_change_no_bit(distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ragged(toy_clouds(9, 0), 0), ragged(toy_clouds(8, 1), 1)
    wanted = cross_matrix(first, second, distance, workers=1)
    inside = cross_matrix(first, distance=distance, workers=1)
    for workers, entries in itertools.product((None, 2, 5), (2**20, 40, 1)):
        monkeypatch.setattr(distances, "CHUNK_ENTRIES", entries)
        assert np.array_equal(cross_matrix(first, second, distance, workers=workers), wanted)
        found = cross_matrix(first, distance=distance, workers=workers)
        assert np.array_equal(found, inside)


@pytest.mark.parametrize("distance", DISTANCES)
def test_order_of_nodes_and_content_of_padding_are_irrelevant(distance: str) -> None:
    first, second = ragged(toy_clouds(9, 0), 0), ragged(toy_clouds(8, 1), 1)
    order = torch.tensor([3, 0, 4, 1, 2])
    spoiled = first.points.masked_fill(~first.mask.unsqueeze(-1), torch.nan)
    moved = Clouds(spoiled[:, order], first.mask[:, order])
    np.testing.assert_allclose(
        cross_matrix(moved, second, distance), cross_matrix(first, second, distance), rtol=1e-6
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_copies_lie_at_the_same_distance_from_others_to_the_bit(distance: str) -> None:
    real, reals = toy_clouds(40, 0, num_nodes=9), toy_clouds(40, 1, num_nodes=9)
    rng = np.random.default_rng(2)
    copies = torch.stack([cloud[torch.from_numpy(rng.permutation(9))] for cloud in real])
    ways = cross_matrix(as_pixels(real), as_pixels(reals), distance)
    assert np.array_equal(cross_matrix(as_pixels(copies), as_pixels(reals), distance), ways)
    assert np.array_equal(cross_matrix(as_pixels(reals), as_pixels(copies), distance).T, ways)
    assert not cross_matrix(as_pixels(real), as_pixels(copies), distance).diagonal().any()


def test_points_are_left_as_they_were() -> None:
    points = toy_clouds(3, 0)
    before = points.clone()
    cross_matrix(as_pixels(points))
    assert torch.equal(points, before)


# Metrics of matrices


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("number", [2, 3, 20])
def test_values_equal_the_loops(number: int, ties: bool) -> None:
    for seed in range(5):
        rr, rg, gg = random_matrices(number, seed, ties=ties)
        found = values(rr, rg, gg)
        assert found.coverage == coverage_loop(rg)
        wanted = sum(min(row) for row in rg.tolist()) / number
        assert found.minimum_matching_distance == pytest.approx(wanted, rel=1e-12)
        wanted = accuracy_loop(rr, rg, gg)
        assert found.nearest_neighbor_accuracy == pytest.approx(wanted, rel=1e-12)


def test_samples_of_different_size_have_coverage_and_matching_distance() -> None:
    rg = [[1.0, 5.0, 2.0], [3.0, 4.0, 9.0]]
    assert (coverage(rg), minimum_matching_distance(rg)) == (1.0, 2.0)


def test_of_equal_real_clouds_all_are_covered() -> None:
    assert coverage([[1.0], [1.0], [2.0]]) == 2 / 3


def test_cloud_between_both_samples_counts_one_half() -> None:
    ones = np.ones((3, 3))
    assert nearest_neighbor_accuracy(ones, ones, ones) == 0.5


def test_accuracy_has_no_favourite_sample() -> None:
    for ties in (False, True):
        rr, rg, gg = random_matrices(15, 0, ties=ties)
        swapped = nearest_neighbor_accuracy(gg, rg.T, rr)
        assert nearest_neighbor_accuracy(rr, rg, gg) == swapped


def test_diagonals_are_not_looked_at() -> None:
    rr, rg, gg = random_matrices(15, 0)
    wanted = values(rr, rg, gg)
    for matrix in (rr, gg):
        np.fill_diagonal(matrix, np.nan)
    assert values(rr, rg, gg) == wanted
    assert np.isnan(rr.diagonal()).all()  # and left as they were


# Samples with known defects


@pytest.mark.parametrize("distance", DISTANCES)
def test_memorized_clouds_have_accuracy_zero(distance: str) -> None:
    real = toy_clouds(50, 0)
    copies = real[torch.from_numpy(np.random.default_rng(1).permutation(50))].flip(1)
    assert of_samples(real, copies, distance) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_cloud_over_and_over_covers_one(distance: str) -> None:
    real, new = toy_clouds(50, 0), toy_clouds(1, 1).expand(50, -1, -1)
    found = of_samples(real, new, distance)
    assert found.coverage == 1 / 50
    assert found.nearest_neighbor_accuracy > 0.9


@pytest.mark.parametrize("distance", DISTANCES)
def test_copies_of_one_real_cloud_tie_with_it(distance: str) -> None:
    real = toy_clouds(50, 0)
    found = of_samples(real, real[7].expand(50, -1, -1), distance)
    assert found.coverage == 1 / 50
    rr = cross_matrix(as_pixels(real), distance=distance)
    votes = 50 * 0.5  # each copy lies on the other copies and on the real cloud
    for i in set(range(50)) - {7}:
        nearest = min(rr[i, j] for j in range(50) if j != i)
        votes += 0.5 if nearest == rr[i, 7] else 1.0
    assert votes < 50 * 0.5 + 49
    assert found.nearest_neighbor_accuracy == votes / 100


@pytest.mark.parametrize("distance", DISTANCES)
def test_dropped_mode_halves_coverage(distance: str) -> None:
    def two_modes(number: int, seed: int) -> Tensor:
        return torch.cat([toy_clouds(number, seed), toy_clouds(number, seed + 1, shift=20.0)])

    real, both = two_modes(60, 0), two_modes(60, 2)
    one = toy_clouds(120, 4)
    good, dropped = of_samples(real, both, distance), of_samples(real, one, distance)
    assert dropped.coverage <= 0.5 < good.coverage
    apart = {"chamfer": 100.0, "matching": 7.0}[distance]  # half of the clouds, at 15 px or more
    assert dropped.minimum_matching_distance > apart > 5 * good.minimum_matching_distance
    # of the kept mode there are twice as many generated clouds as real ones: their clouds are
    # called right in 2 of 3 cases and the real ones in 1 of 3; those of the other mode always
    assert dropped.nearest_neighbor_accuracy == pytest.approx(2 / 3, abs=0.05)
    assert good.nearest_neighbor_accuracy == pytest.approx(1 / 2, abs=0.08)


@pytest.mark.parametrize("distance", DISTANCES)
def test_good_narrow_wide_and_shifted_samples_are_ranked(distance: str) -> None:
    real = toy_clouds(150, 0)
    found = {
        name: of_samples(real, toy_clouds(150, 1, **options), distance)
        for name, options in {
            "good": {},
            "narrow": {"spread": 0.5},
            "wide": {"spread": 2.0},
            "shifted": {"shift": 2.0},
        }.items()
    }
    good = found.pop("good")
    assert abs(good.nearest_neighbor_accuracy - 0.5) < 0.1
    for bad in found.values():
        assert bad.nearest_neighbor_accuracy > 0.65
        assert bad.minimum_matching_distance > good.minimum_matching_distance
    assert found["narrow"].coverage < 0.6 * good.coverage
    assert found["shifted"].coverage < 0.8 * good.coverage
    # the blind spot: clouds that lie too far out take nothing from those that do not
    assert found["wide"].coverage > 0.85 * good.coverage


# Many draws


def square(number: int, seed: int) -> Matrix:
    rr, rg, gg = random_matrices(number, seed)
    return np.block([[rr, rg], [rg.T, gg]])


def test_each_draw_has_the_values_of_its_clouds() -> None:
    matrix, rng = square(10, 0), np.random.default_rng(0)
    drawn = np.stack([rng.permutation(20)[:14] for _ in range(6)])
    found = resample(matrix, drawn[:, :7], drawn[:, 7:])
    assert found.shape == (6, 3)
    for row, clouds in zip(found, drawn, strict=True):
        a, b = clouds[:7], clouds[7:]
        blocks = (matrix[np.ix_(*pair)] for pair in ((a, a), (a, b), (b, b)))
        assert tuple(row) == values(*blocks)


def test_pairs_that_no_draw_holds_may_be_missing() -> None:
    matrix = square(4, 0)
    first, second = np.array([[0, 1, 2]]), np.array([[4, 5, 6]])
    wanted = resample(matrix, first, second)
    matrix[3], matrix[:, 7] = np.nan, np.nan
    assert np.array_equal(resample(matrix, first, second), wanted)
    with pytest.raises(ValueError, match="distances must be numbers, got NaN"):
        resample(matrix, first, second + 1)


def test_halves_without_replacement_err_on_the_safe_side() -> None:
    number, found, errors = 60, [], []
    for seed in range(60):
        both = torch.cat([toy_clouds(number, 2 * seed), toy_clouds(number, 2 * seed + 1)])
        matrix = cross_matrix(as_pixels(both))
        rng = np.random.default_rng(seed)
        halves = np.stack([rng.permutation(number)[: number // 2] for _ in range(60)]).reshape(
            2, 30, -1
        )
        found.append(resample(matrix, *np.arange(2 * number).reshape(2, 1, -1))[0])
        errors.append(resample(matrix, halves[0], halves[1] + number).std(0, ddof=1))
    ratio = np.mean(errors, axis=0) / np.std(found, axis=0, ddof=1)
    assert (ratio > 0.9).all()
    assert (ratio < 1.6).all()


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": "emd"}, "distance must be one of .*, got 'emd'"),
        ({"distance": "matching", "missing_cost": -1.0}, "missing_cost must be finite"),
        ({"workers": 0}, "workers must be an integer of at least 1 or None, got 0"),
        ({"workers": True}, "workers must be an integer"),
        ({"factors": [1.0, 1.0, 0.0]}, "factors must be 3 finite numbers above 0, got"),
        ({"factors": [1.0, 1.0, float("nan")]}, "factors must be 3 finite numbers above 0"),
        ({"factors": [1.0]}, "factors must be 3 finite numbers above 0"),
        ({"second": as_pixels(torch.zeros(3, 5, 2))}, "second must have 3 features a node"),
        ({"second": Clouds(torch.full((3, 5, 3), torch.nan), torch.ones(3, 5).bool())}, "second"),
        ({"first": Clouds(torch.zeros(3, 5, 3), torch.zeros(3, 5).bool())}, "first must have a"),
    ],
)
def test_wrong_argument_of_the_matrix_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cross_matrix(**({"first": as_pixels(toy_clouds(3, 0))} | options))


@pytest.mark.parametrize("wrong", [[1.0], [[]], [["a"]], [[True]], np.zeros((2, 2, 2))])
def test_what_is_no_matrix_is_an_error_that_names_it(wrong: Any) -> None:
    good = np.ones((2, 2))
    with pytest.raises(ValueError, match="real_generated must be a matrix of numbers"):
        coverage(wrong)
    with pytest.raises(ValueError, match="real_generated must be a matrix of numbers"):
        minimum_matching_distance(wrong)
    for i, name in enumerate(("real_real", "real_generated", "generated_generated")):
        with pytest.raises(ValueError, match=f"{name} must be a matrix of numbers"):
            nearest_neighbor_accuracy(*(wrong if i == j else good for j in range(3)))


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (3, 2), (1, 1)])
def test_samples_of_different_size_have_no_accuracy(i: int, shape: tuple[int, int]) -> None:
    matrices = [np.ones((2, 2)) for _ in range(3)]
    matrices[i] = np.ones(shape)
    with pytest.raises(ValueError, match="matrices must all have one shape"):
        nearest_neighbor_accuracy(*matrices)


def test_one_cloud_a_sample_has_no_accuracy() -> None:
    with pytest.raises(ValueError, match=r"\(A, A\) with A of at least 2"):
        nearest_neighbor_accuracy([[0.0]], [[1.0]], [[0.0]])


@pytest.mark.parametrize("metric", [coverage, minimum_matching_distance])
def test_distances_that_are_not_a_number_are_an_error(metric: Any) -> None:
    with pytest.raises(ValueError, match="distances must be numbers, got NaN"):
        metric([[1.0, np.nan], [2.0, 3.0]])


def test_draws_of_different_shape_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"first and second must have one shape \(R, n\)"):
        resample(square(3, 0), np.zeros((2, 3), dtype=int), np.zeros((2, 2), dtype=int))
