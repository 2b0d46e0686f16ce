from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gconvae.schema import (
    SUPERPIXELS,
    Tail,
    distance_factors,
    findings,
    from_numbers,
    points,
    with_offsets,
)

RANDOM = np.random.default_rng(0)


def nodes(count: int = 1000, features: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(size=(count, features))


@pytest.mark.parametrize("features", range(1, 7))
def test_the_first_two_features_are_positions(features: int) -> None:
    schema = from_numbers(nodes(features=features))
    assert schema.num_features == features
    assert schema.num_positions == min(2, features)


def test_numbers_are_never_called_pixels_or_intensities() -> None:
    whole = RANDOM.integers(0, 28, size=(500, 3)).astype(float)  # as whole pixels of an image
    schema = from_numbers(whole)
    assert schema.names == ("x", "y", "feature 3")
    assert schema.units == ("", "", "")
    assert all(feature.low is None for feature in schema.features)
    assert schema.name == ""


HEAVY = {
    "Pareto": lambda rng, n: rng.pareto(1.5, n),
    "log-normal": lambda rng, n: rng.lognormal(0, 1.5, n),
    "minus Pareto": lambda rng, n: -rng.pareto(1.5, n),
    "Cauchy": lambda rng, n: rng.standard_cauchy(n),
}
LIGHT = {
    "Gaussian": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "two values": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "constant": lambda rng, n: np.full(n, 3.0),
}


@pytest.mark.parametrize("kind", HEAVY)
def test_a_heavy_tail_is_found(kind: str) -> None:
    values = nodes(20_000)
    values[:, 2] = HEAVY[kind](np.random.default_rng(2), 20_000)
    schema = from_numbers(values)
    assert [feature.tail is None for feature in schema.features] == [True, True, False]
    assert findings(schema) == [
        "feature 3 has a heavy tail and is scaled by a log; a schema says otherwise"
    ]


@pytest.mark.parametrize("kind", LIGHT)
@pytest.mark.parametrize("count", [50, 1000, 100_000])
def test_other_distributions_have_none(kind: str, count: int) -> None:
    values = nodes(count)
    values[:, 2] = LIGHT[kind](np.random.default_rng(3), count)
    schema = from_numbers(values)
    assert [feature.tail for feature in schema.features] == [None] * 3
    assert findings(schema) == []


def test_a_log_bends_at_the_median_size() -> None:
    values = np.random.default_rng(4).pareto(1.0, size=(5000, 1))
    assert from_numbers(values).features[0].tail == Tail("log", float(np.median(values)))


def test_numbers_far_from_zero_get_an_offset() -> None:
    values = 1e8 + np.random.default_rng(5).uniform(size=(100, 3))
    values[:, 1] -= 1e8
    schema = from_numbers(values)
    assert [feature.offset for feature in schema.features] == [1e8, 0.0, 1e8]
    assert "float32 cannot tell nodes apart in x near 1e+08" in findings(schema)[0]


def test_single_precision_gets_none_since_its_digits_are_gone() -> None:
    values = (1e8 + np.random.default_rng(5).uniform(size=(100, 3))).astype(np.float32)
    assert from_numbers(values).features[0].offset == 0.0


def test_a_heavy_tail_far_from_zero_bends_where_the_data_lie() -> None:
    values = 1e8 + np.random.default_rng(6).pareto(1.5, size=(5000, 1))
    feature = from_numbers(values).features[0]
    assert feature.offset > 0.99e8
    assert feature.tail is not None
    assert feature.tail.scale < 1e3


def test_a_given_schema_keeps_all_but_its_offsets() -> None:
    schema = points("x y", "charge", unit="mm")
    found = with_offsets(schema, 1e8 + np.random.default_rng(5).uniform(size=(100, 3)))
    assert found.features[0].offset == 1e8
    assert schema.same_nodes(found)
    assert with_offsets(schema, nodes()) == schema


def test_positions_of_one_unit_share_their_distance_factor() -> None:
    values = nodes(50_000) * np.array([3.0, 4.0, 10.0])
    factors = distance_factors(points("x y", "charge", unit="mm"), values)
    assert factors[0] == factors[1] == pytest.approx(1 / np.sqrt(12.5), rel=0.02)
    assert factors[2] == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("far", [1e5, 1e200, 1e308])
def test_nodes_far_off_do_not_change_a_distance_factor(far: float) -> None:
    values = nodes(2000)
    wanted = distance_factors(points("x y", "charge"), values)
    assert wanted == pytest.approx(1.0, rel=0.1)
    values[0, 0], values[1, 0], values[2, 2] = far, -far, far
    found = distance_factors(points("x y", "charge"), values)
    assert found == pytest.approx(wanted, rel=0.01)


def test_a_feature_that_few_nodes_have_is_measured_by_its_standard_deviation() -> None:
    values = nodes(1000)
    values[:, 2] = np.arange(1000) < 20
    found = distance_factors(points("x y", "flag"), values)
    assert found[2] == pytest.approx(1 / np.sqrt(0.02 * 0.98))


def test_a_flat_position_shares_the_spread_of_the_others() -> None:
    values = nodes(50_000) * np.array([1.0, 0.0, 1.0])
    values[0, 1] = 1e5  # alone, its standard deviation would be 447
    found = distance_factors(points("x y", "charge"), values)
    assert found[:2] == pytest.approx(2**0.5, rel=0.02)


def test_numbers_without_finite_squares_have_the_factor_one() -> None:
    assert distance_factors(points("x y"), 1e200 * nodes(features=2)).tolist() == [1.0, 1.0]


def test_a_schema_that_says_its_distances_is_followed() -> None:
    assert distance_factors(SUPERPIXELS, nodes()).tolist() == [1.0, 1.0, 27.0]


def test_a_feature_that_never_changes_has_the_factor_one() -> None:
    values = nodes()
    values = np.tile(values, (13, 1))
    values[:, 2] = 0.1  # whose mean over so many nodes is not quite itself
    assert distance_factors(points("x y", "charge"), values)[2] == 1.0
