"""Metrics against loops and scipy, and what does not change them."""

from __future__ import annotations

import numpy as np
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Pair, cases, pairs, random

from gconvae import metrics
from gconvae.metrics import coverage, f_score, feature_w1, nearest_neighbor_accuracy

numbers = st.integers(0, 10**6)


def sample(seed: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def matrix(seed: int, size: int) -> np.ndarray:
    """Symmetric distances of whole numbers, so that there are ties."""
    values = np.random.default_rng(seed).integers(1, 6, (2 * size, 2 * size)).astype(float)
    values = values + values.T
    np.fill_diagonal(values, 0)
    return values


@cases
@given(numbers, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_w1_of_features_is_scipys(seed: int, first: int, second: int, nodes: int) -> None:
    a = torch.rand(first, nodes, 2, generator=random(seed))
    b = torch.rand(second, nodes + 1, 2, generator=random(seed + 1))
    wanted = [
        scipy.stats.wasserstein_distance(a[..., f].flatten(), b[..., f].flatten())
        for f in range(2)
    ]
    np.testing.assert_allclose(feature_w1(a, b), wanted, atol=1e-7)
    np.testing.assert_allclose(feature_w1(b, a), wanted, atol=1e-7)


@cases
@given(numbers, st.integers(2, 6))
def test_set_metrics_are_those_of_loops(seed: int, size: int) -> None:
    table = matrix(seed, size)
    between = table[:size, size:]
    covered = {i for j in range(size) for i in range(size) if between[i, j] == between[:, j].min()}
    assert coverage(between) == len(covered) / size
    own = []
    for cloud in range(2 * size):
        mine = [j for j in range(2 * size) if (j < size) == (cloud < size) and j != cloud]
        other = [j for j in range(2 * size) if (j < size) != (cloud < size)]
        near, far = table[cloud, mine].min(), table[cloud, other].min()
        own.append(1.0 if near < far else 0.5 if near == far else 0.0)
    found = nearest_neighbor_accuracy(table[:size, :size], between, table[size:, size:])
    assert abs(found - np.mean(own)) < 1e-12


@cases
@given(numbers, st.integers(2, 6))
def test_set_metrics_do_not_see_the_order_of_clouds(seed: int, size: int) -> None:
    table = matrix(seed, size)
    order = np.random.default_rng(seed).permutation(size)
    rows, columns = table[:size, :size], table[:size, size:]
    turned = nearest_neighbor_accuracy(
        rows[np.ix_(order, order)], columns[order], table[size:, size:]
    )
    assert turned == nearest_neighbor_accuracy(rows, columns, table[size:, size:])
    assert coverage(columns[order]) == coverage(columns)


@cases
@given(numbers, st.integers(2, 30), st.integers(2, 30), st.integers(1, 4))
def test_frechet_distance_is_symmetric_and_sees_shifts(
    seed: int, first: int, second: int, columns: int
) -> None:
    a, b = sample(seed, first, columns), sample(seed + 1, second, columns)
    there = metrics.frechet_distance(a, b)
    assert there >= 0
    assert abs(there - metrics.frechet_distance(b, a)) < 1e-8 * (1 + there)
    assert metrics.frechet_distance(a, a) < 1e-9
    assert abs(metrics.frechet_distance(a, a + 3) - 9 * columns) < 1e-8
    assert abs(metrics.frechet_distance(a + 5, b + 5) - there) < 1e-6


@cases
@given(numbers, st.integers(2, 12), st.integers(1, 3), st.sampled_from([2, 3, 4]))
def test_kernel_distance_is_that_of_a_loop(
    seed: int, rows: int, columns: int, degree: int
) -> None:
    a, b = sample(seed, rows, columns), sample(seed + 1, rows + 1, columns)

    def kernel(u: np.ndarray, v: np.ndarray) -> float:
        return float((u @ v / columns + 1) ** degree)

    def within(s: np.ndarray) -> float:
        values = [kernel(u, v) for i, u in enumerate(s) for j, v in enumerate(s) if i != j]
        return float(np.mean(values))

    wanted = within(a) + within(b) - 2 * np.mean([kernel(u, v) for u in a for v in b])
    assert abs(metrics.kernel_distance(a, b, degree=degree) - wanted) < 1e-8 * (1 + abs(wanted))


@cases
@given(pairs(), st.floats(0, 3))
def test_an_f_score_lies_between_0_and_1_and_has_no_sides(pair: Pair, radius: float) -> None:
    target, output, first, second = pair
    found = f_score(target, output, radius, first, second)
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.allclose(found, f_score(output, target, radius, second, first))
    assert f_score(target, target, 0.0, first, first).tolist() == [1.0] * len(target)
