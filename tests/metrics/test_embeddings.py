from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.optimize import curve_fit

from gconvae.metrics import embeddings
from gconvae.metrics.embeddings import (
    classifier_auc,
    frechet_distance,
    frechet_extrapolated,
    kernel_distance,
)

Array = NDArray[np.float64]


def normal(size: int, features: int, *key: int, shift: float = 0.0, scale: float = 1.0) -> Array:
    return shift + scale * np.random.default_rng(key).normal(size=(size, features))


def correlated(size: int, features: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, features)) @ rng.normal(size=(features, features))


def kernel_loop(first: Array, second: Array, degree: int) -> float:
    """Pair after pair."""

    def mean_kernel(a: Array, b: Array, same: bool) -> float:
        values = [
            (sum(x * y for x, y in zip(u, v, strict=True)) / len(u) + 1) ** degree
            for i, u in enumerate(a)
            for j, v in enumerate(b)
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    same = mean_kernel(first, first, True) + mean_kernel(second, second, True)
    return float(same - 2 * mean_kernel(first, second, False))


# Frechet distance


def test_frechet_equals_the_formula_with_a_matrix_root() -> None:
    first, second = correlated(200, 6, 0), correlated(150, 6, 1) + 1.0
    shift = first.mean(0) - second.mean(0)
    s1, s2 = np.cov(first.T), np.cov(second.T)
    wanted = shift @ shift + np.trace(s1 + s2 - 2 * sqrtm(s1 @ s2).real)
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-9)


def test_frechet_of_one_feature_is_that_of_means_and_deviations() -> None:
    first, second = normal(50, 1, 0), normal(80, 1, 1, shift=2.0, scale=3.0)
    means, deviations = (
        [f(x) for x in (first, second)] for f in (np.mean, lambda x: x.std(ddof=1))
    )
    wanted = (means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-12)


def test_frechet_of_shifted_rows_is_the_squared_shift() -> None:
    sample = correlated(60, 4, 0)
    assert frechet_distance(sample, sample + [1.0, 0.0, -2.0, 0.0]) == pytest.approx(5.0, rel=1e-9)


def test_frechet_of_rows_scaled_by_two_is_mean_square_and_variance() -> None:
    sample = correlated(60, 4, 0)
    wanted = (sample.mean(0) ** 2).sum() + np.trace(np.cov(sample.T))
    assert frechet_distance(sample, 2 * sample) == pytest.approx(wanted, rel=1e-9)


def test_frechet_is_symmetric_and_blind_to_rotations_and_order() -> None:
    first, second = correlated(60, 4, 0), correlated(70, 4, 1)
    turn, _ = np.linalg.qr(normal(4, 4, 2))
    value = frechet_distance(first, second)
    assert frechet_distance(second, first) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(first[::-1], second) == pytest.approx(value, rel=1e-9)


def test_frechet_of_a_sample_to_itself_is_zero_to_rounding() -> None:
    sample = correlated(60, 4, 0)
    assert 0.0 <= frechet_distance(sample, sample) < 1e-12


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_frechet_of_singular_covariances_is_that_without_the_empty_directions(rank: int) -> None:
    first, second = normal(30, rank + 1, 0), normal(30, rank + 1, 1)
    wide = [np.pad(x, ((0, 0), (0, 5))) for x in (first, second)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(first, second), rel=1e-9)


def test_frechet_falls_as_one_over_the_number_of_rows_for_one_distribution() -> None:
    values = {
        size: np.mean(
            [frechet_distance(normal(size, 5, i), normal(size, 5, i, 1)) for i in range(40)]
        )
        for size in (100, 400)
    }
    assert values[100] / values[400] == pytest.approx(4.0, rel=0.2)


def test_extrapolation_takes_the_part_of_the_sample_size_away() -> None:
    pairs = [(normal(200, 8, i), normal(200, 8, i, 1, shift=0.2)) for i in range(25)]
    found = np.array([frechet_extrapolated(*pair).value for pair in pairs])
    plain = np.array([frechet_distance(*pair) for pair in pairs])
    standard_error = found.std(ddof=1) / 5
    assert abs(found.mean() - 8 * 0.2**2) < 3 * standard_error
    assert plain.mean() - 8 * 0.2**2 > 8 * standard_error


def test_error_of_the_extrapolation_is_the_spread_over_fresh_samples() -> None:
    pairs = [(normal(200, 4, i), normal(200, 4, i, 1, shift=0.5)) for i in range(40)]
    values, errors = np.array([frechet_extrapolated(*pair) for pair in pairs]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.3)


def test_extrapolation_is_a_function_of_its_seed() -> None:
    first, second = normal(50, 3, 0), normal(40, 3, 1)
    found = frechet_extrapolated(first, second, seed=1)
    np.random.default_rng().random()
    assert frechet_extrapolated(first, second, seed=1) == found
    assert frechet_extrapolated(first, second, seed=2) != found


# kernel distance


@pytest.mark.parametrize("degree", [1, 3, 4])
def test_kernel_equals_a_loop_over_pairs(degree: int) -> None:
    first, second = normal(7, 3, 0), normal(5, 3, 1, shift=1.0)
    wanted = kernel_loop(first, second, degree)
    assert kernel_distance(first, second, degree=degree) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("size", [5, 50])
def test_kernel_is_zero_on_average_for_one_distribution_of_any_size(size: int) -> None:
    values = np.array(
        [kernel_distance(normal(size, 2, i), normal(size, 2, i, 1)) for i in range(400)]
    )
    assert abs(values.mean()) < 3 * values.std() / 20
    assert values.min() < 0


def test_kernel_of_degree_one_is_the_squared_shift_of_the_means_over_the_features() -> None:
    first, second = normal(3000, 2, 0), normal(3000, 2, 1, shift=1.0)
    assert kernel_distance(first, second, degree=1) == pytest.approx(1.0, abs=0.1)


def test_kernel_sees_a_third_moment_that_frechet_is_blind_to() -> None:
    skewed = np.random.default_rng(0).exponential(size=(800, 1))
    skewed = (skewed - skewed.mean()) / skewed.std(ddof=1)
    plain = normal(800, 1, 1)
    floor = [kernel_distance(normal(800, 1, i, 2), normal(800, 1, i, 3)) for i in range(8)]
    assert kernel_distance(plain, skewed) > 3 * np.max(np.abs(floor))
    assert frechet_distance(plain, skewed) < 0.01


# classifier


def test_auc_of_far_samples_is_one_and_of_one_distribution_near_a_half() -> None:
    first, second = normal(100, 2, 0), normal(100, 2, 1)
    assert classifier_auc(first, second + 10.0) == (1.0, 0.0)
    same = classifier_auc(first, second)
    assert abs(same.value - 0.5) < 3 * same.error


def test_auc_error_is_the_spread_over_fresh_samples() -> None:
    found = [
        classifier_auc(normal(60, 1, i), normal(60, 1, i, 1, shift=0.7), seed=i) for i in range(25)
    ]
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.4)


def test_auc_of_the_fewest_rows_sees_what_is_far_off_and_of_fewer_is_an_error() -> None:
    first, second = normal(50, 2, 0), normal(50, 2, 1) + 10.0
    assert classifier_auc(first, second).value == 1.0
    # trees that cannot be split gave 0.5, as of two samples of one distribution
    with pytest.raises(ValueError, match="second must have at least 50 rows, got 49"):
        classifier_auc(first, second[:49])


def test_auc_of_equal_scores_is_a_half() -> None:
    assert classifier_auc(np.zeros((50, 1)), np.zeros((50, 1))) == (0.5, 0.0)


def test_auc_of_copies_is_below_a_half() -> None:
    sample = normal(150, 2, 0)
    estimate = classifier_auc(sample, sample[::-1])
    assert estimate.value < 0.5 - 2 * estimate.error


def test_auc_needs_equal_sizes_and_cuts_the_larger_sample_by_a_draw() -> None:
    small = normal(60, 2, 0)
    large = np.concatenate([normal(60, 2, 1), normal(240, 2, 2, shift=10.0)])
    # the first 60 rows alone would look like the small sample
    assert classifier_auc(small, large).value > 0.7
    assert classifier_auc(large, small).value > 0.7


def test_auc_is_a_function_of_its_seed() -> None:
    first, second = normal(60, 2, 0), normal(60, 2, 1, shift=0.5)
    found = classifier_auc(first, second, seed=3)
    np.random.default_rng().random()
    assert classifier_auc(first, second, seed=3) == found
    assert classifier_auc(first, second, seed=4) != found


def test_delong_error_equals_that_of_the_pairs() -> None:
    low, high = normal(12, 1, 0)[:, 0].round(1), normal(15, 1, 1, shift=0.5)[:, 0].round(1)
    wins = np.array([[(h > x) + 0.5 * (h == x) for h in high] for x in low], dtype=float)
    variance = wins.mean(0).var(ddof=1) / 15 + wins.mean(1).var(ddof=1) / 12
    found = embeddings._auc(low, high)
    assert found == pytest.approx((wins.mean(), variance**0.5), rel=1e-12)


def test_classifier_without_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gconvae\[metrics\]"'):
        classifier_auc(normal(50, 2, 0), normal(50, 2, 1))


# JetNet 0.2.5 as oracle; its functions are named fpd and kpd


def constant(value: float) -> Array:
    return np.full((50, 2), value)


def gammas() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.gamma(2.0, size=(3000, 4)), rng.gamma(2.2, size=(3000, 4))


def over_largest(first: Array, second: Array) -> tuple[Array, Array]:
    """What ``normalise=True`` does there: largest absolute values of the first sample are 1."""
    largest = np.abs(first).max(0)
    return first / largest, second / largest


def unchanged(first: Array, second: Array) -> tuple[Array, Array]:
    return first, second


Prepare = Callable[[Array, Array], tuple[Array, Array]]


@pytest.mark.parametrize(
    ("prepare", "fpd", "kpd"), [(over_largest, 2.0, 15.0), (unchanged, 8.0, 624.0)]
)
def test_constants_of_jetnet_are_found(prepare: Prepare, fpd: float, kpd: float) -> None:
    # fpd(twos, zeros, normalise=...)[0], kpd(twos, zeros, normalise=...)[0], 50,000 rows of 2
    twos, zeros = prepare(constant(2.0), constant(0.0))
    assert frechet_distance(twos, zeros) == pytest.approx(fpd, rel=1e-12)
    assert frechet_extrapolated(twos, zeros).value == pytest.approx(fpd, rel=1e-12)
    assert kernel_distance(twos, zeros, degree=4) == pytest.approx(kpd, rel=1e-12)


@pytest.mark.parametrize(
    ("prepare", "fpd"),
    [(over_largest, 0.0010258012600676174), (unchanged, 0.13756838364259688)],
)
def test_distances_on_the_draws_of_jetnet_give_its_fpd(prepare: Prepare, fpd: float) -> None:
    # fpd(*gammas(), min_samples=1000, max_samples=3000, num_batches=5, num_points=4,
    #     normalise=...)[0]: a line in 1 / N through means over draws with replacement, by a fit
    # with bounds that stops 1 % away from the best line
    first, second = prepare(*gammas())
    rng = np.random.default_rng(42)
    sizes = (1 / np.linspace(1 / 1000, 1 / 3000, 4)).astype(int)
    means = [
        np.mean(
            [
                frechet_distance(*(x[rng.choice(3000, size=n)] for x in (first, second)))
                for _ in range(5)
            ]
        )
        for n in sizes
    ]
    bounds = ([0.0, 0.0], [np.inf, np.inf])
    line, _ = curve_fit(lambda x, value, slope: value + slope * x, 1 / sizes, means, bounds=bounds)
    assert line[0] == pytest.approx(fpd, rel=1e-6)
    assert np.polyfit(1 / sizes, means, 1)[1] == pytest.approx(fpd, rel=0.02)


@pytest.mark.parametrize(
    ("prepare", "kpd"),
    [(over_largest, 0.0012515294172197322), (unchanged, 225.99006058552537)],
)
def test_median_over_the_draws_of_jetnet_is_its_kpd(prepare: Prepare, kpd: float) -> None:
    # kpd(*gammas(), num_batches=5, batch_size=300, normalise=...)[0]
    first, second = prepare(*gammas())
    values = []
    for batch in range(5):
        rng = np.random.default_rng(42 + 1000 * batch)
        drawn = (x[rng.choice(3000, size=300)] for x in (first, second))
        values.append(kernel_distance(*drawn, degree=4))
    assert np.median(values) == pytest.approx(kpd, rel=1e-9)


# input


METRICS = (frechet_distance, frechet_extrapolated, kernel_distance, classifier_auc)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros(20), r"second must have shape \(rows, features\), got \(20,\)"),
        (np.zeros((20, 0)), "second must have shape"),
        (np.zeros((1, 2)), "second must have at least [0-9]+ rows, got 1"),
        (np.full((50, 2), np.nan), "second must be finite"),
        (np.zeros((50, 3)), "second must have 2 features a row like first, got 3"),
    ],
)
def test_wrong_features_are_an_error_that_names_them(
    metric: Callable[..., Any], second: Array, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(np.zeros((50, 2)), second)


def test_a_degree_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="degree must be at least 1, got 0"):
        kernel_distance(np.zeros((5, 2)), np.zeros((5, 2)), degree=0)


@pytest.mark.parametrize("degree", [1, 3, 4])
def test_kernel_of_many_draws_is_that_of_each(degree: int) -> None:
    rows, rng = normal(30, 4, 0), np.random.default_rng(0)
    drawn = np.stack([rng.permutation(30)[:22] for _ in range(5)])
    found = embeddings.kernel_distances(rows, drawn[:, :10], drawn[:, 10:], degree=degree)
    wanted = [kernel_distance(rows[d[:10]], rows[d[10:]], degree=degree) for d in drawn]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
