"""Nearest members of clouds from lists: the same as from the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gconvae.metrics.neighbor_lists import NeighborLists
from gconvae.metrics.sets import resample, values


def symmetric(number: int, seed: int, *, ties: bool) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(1, 5, (number, number)) if ties else rng.random((number, number))
    found = np.triu(matrix, 1).astype(np.float32)
    return found + found.T


def nearest_loop(
    matrix: NDArray[np.float32], clouds: NDArray[np.intp], members: NDArray[np.intp]
) -> tuple[list[float], list[int]]:
    distances, holders = [], set()
    for cloud in clouds.tolist():
        others = [member for member in members.tolist() if member != cloud]
        smallest = min(float(matrix[cloud, member]) for member in others)
        distances.append(smallest)
        holders |= {member for member in others if matrix[cloud, member] == smallest}
    return distances, sorted(holders)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_nearest_members_equal_the_loop_for_lists_of_any_length(length: int, ties: bool) -> None:
    matrix, rng = symmetric(30, 0, ties=ties), np.random.default_rng(1)
    columns = rng.permutation(30)[:20]
    lists = NeighborLists(matrix, columns, length)
    for _ in range(10):
        clouds, members = rng.permutation(30)[:12], rng.permutation(columns)[:7]
        found = lists.nearest(clouds, members)
        distances, holders = nearest_loop(matrix, clouds, members)
        assert found.distances.tolist() == distances
        assert found.holders.tolist() == holders


def test_a_missing_distance_counts_as_endless() -> None:
    matrix = symmetric(4, 0, ties=False)
    matrix[0, 1] = matrix[1, 0] = np.nan
    lists = NeighborLists(matrix, np.arange(4))
    assert lists.nearest(np.array([0]), np.array([0, 1, 2])).distances[0] == matrix[0, 2]
    assert lists.nearest(np.array([0]), np.array([0, 1])).distances[0] == np.inf


def test_the_matrix_is_left_as_it_was() -> None:
    matrix = symmetric(6, 0, ties=False)
    kept = matrix.copy()
    NeighborLists(matrix, np.arange(6)).nearest(np.arange(6), np.arange(3))
    assert np.array_equal(matrix, kept)


@pytest.mark.parametrize("ties", [False, True])
def test_draws_of_many_clouds_have_the_values_of_their_blocks(ties: bool) -> None:
    matrix, rng = symmetric(120, 0, ties=ties), np.random.default_rng(1)
    drawn = np.stack([rng.permutation(120)[:80] for _ in range(5)]).reshape(5, 2, 40)
    for row, (a, b) in zip(resample(matrix, drawn[:, 0], drawn[:, 1]), drawn, strict=True):
        blocks = (matrix[np.ix_(*pair)] for pair in ((a, a), (a, b), (b, b)))
        assert tuple(row) == values(*blocks)


def test_a_cloud_that_is_drawn_twice_is_its_own_neighbour() -> None:
    matrix = symmetric(8, 0, ties=False)
    a, b = np.array([0, 0, 1]), np.array([4, 5, 5])
    blocks = (matrix[np.ix_(*pair)] for pair in ((a, a), (a, b), (b, b)))
    assert tuple(resample(matrix, a[None], b[None])[0]) == values(*blocks)
