"""Matching distances of near clouds: bounds that hold, and the metrics of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gconvae.losses import assignment
from gconvae.metrics import near_matching
from gconvae.metrics.distances import PackedNodes, chamfer, rows_of
from gconvae.metrics.near_matching import chamfer_and_bound, near_matrix
from gconvae.metrics.resampling import Draws, halves, splits
from gconvae.metrics.sets import resample

COST = 12.0


def packed(number: int, seed: int, *, sizes: tuple[int, int], shift: float = 0.0) -> PackedNodes:
    """Clouds of 3 features whose nodes share a shift of their own."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(sizes[0], sizes[1] + 1, number)
    own = 2.0 * rng.normal(size=(number, 3)).repeat(counts, axis=0)
    nodes = shift + own + rng.normal(size=(counts.sum(), 3))
    return PackedNodes(nodes, np.concatenate([[0], counts.cumsum()]))


def joined(*parts: PackedNodes) -> PackedNodes:
    sizes = np.concatenate([part.sizes for part in parts])
    return PackedNodes(
        np.concatenate([part.nodes for part in parts]), np.concatenate([[0], sizes.cumsum()])
    )


def whole(clouds: PackedNodes, cost: float) -> NDArray[np.float32]:
    rows = [
        assignment.distances(
            clouds.cloud(i), clouds.nodes, clouds.bounds[:-1], missing_cost=cost
        ).astype(np.float32)
        for i in range(len(clouds.sizes))
    ]
    upper = np.triu(np.stack(rows), 1)
    return upper + upper.T


def lower_bounds(clouds: PackedNodes, cost: float) -> NDArray[np.float32]:
    def measure(*parts: NDArray[np.float64]) -> NDArray[np.float64]:
        return chamfer_and_bound(*parts, missing_cost=cost)

    number = len(clouds.sizes)
    spans = [range(number)] * number
    upper = np.triu([row[1] for row in rows_of(clouds, clouds, spans, measure)], 1)
    return upper + upper.T


@pytest.mark.parametrize("sizes", [(1, 1), (7, 7), (1, 9)])
@pytest.mark.parametrize("cost", [0.0, 1.0, COST])
def test_no_matching_is_cheaper_than_its_bound(sizes: tuple[int, int], cost: float) -> None:
    clouds = packed(40, 0, sizes=sizes)
    bounds, distances = lower_bounds(clouds, cost), whole(clouds, cost)
    assert (bounds <= distances * (1 + 1e-6)).all()


def test_bounds_are_near_the_distances_and_exact_for_one_node_or_copies() -> None:
    single, seven = packed(30, 0, sizes=(1, 1)), packed(30, 0, sizes=(7, 7))
    np.testing.assert_allclose(lower_bounds(single, COST), whole(single, COST), atol=1e-4)
    off = ~np.eye(30, dtype=bool)
    assert np.median(lower_bounds(seven, COST)[off] / whole(seven, COST)[off]) > 0.85
    assert not lower_bounds(joined(seven, seven), COST)[np.arange(30), 30 + np.arange(30)].any()


def test_chamfer_beside_the_bound_is_that_of_chamfer_alone() -> None:
    clouds = packed(20, 0, sizes=(1, 9))
    parts = clouds.cloud(0), clouds.nodes, clouds.bounds[:-1]
    found = chamfer_and_bound(*parts, missing_cost=COST)[0]
    np.testing.assert_allclose(found, chamfer(*parts), rtol=1e-12)


@pytest.mark.parametrize("sizes", [(6, 6), (2, 9)])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_draws_have_the_metrics_of_the_whole_matrix(sizes: tuple[int, int], shift: float) -> None:
    real, generated = packed(80, 0, sizes=sizes), packed(40, 1, sizes=sizes, shift=shift)
    # some are copies, so that distances tie at 0
    clouds = joined(real, generated.subset(np.arange(30)), real.subset(np.arange(10)))
    rng = np.random.default_rng(2)
    draws = [
        Draws(np.arange(40)[None], np.arange(80, 120)[None]),
        Draws.of(halves(np.arange(40), np.arange(80, 120), 20, rng)),
        Draws.of(splits(np.arange(80), 40, 20, rng)),
    ]
    distances = whole(clouds, COST)
    found = near_matrix(clouds, lower_bounds(clouds, COST), draws, missing_cost=COST)
    assert np.array_equal(found, found.T)
    known = np.isfinite(found)
    assert np.array_equal(found[known], distances[known])
    for pair in draws:
        assert np.array_equal(resample(found, *pair), resample(distances, *pair))


def test_clouds_far_apart_are_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_matching, "SEEDS", 4)
    clouds = joined(*(packed(30, 0, sizes=(5, 5), shift=100.0 * i) for i in range(4)))
    rng = np.random.default_rng(0)
    draws = [Draws.of(splits(np.arange(120), 60, 3, rng))]
    shares: list[float] = []
    found = near_matrix(
        clouds, lower_bounds(clouds, COST), draws, missing_cost=COST, advance=shares.append
    )
    assert np.isfinite(found).mean() < 0.3
    assert sum(shares) == pytest.approx(1.0)


def test_threads_change_no_bit() -> None:
    clouds = packed(60, 0, sizes=(3, 6))
    bounds = lower_bounds(clouds, COST)
    draws = [Draws.of(splits(np.arange(60), 30, 4, np.random.default_rng(0)))]
    one, three = (near_matrix(clouds, bounds, draws, missing_cost=COST, workers=n) for n in (1, 3))
    assert np.array_equal(one, three)


@pytest.mark.parametrize("far", [1e4, 1e12, 1e30])
def test_bounds_hold_beside_nodes_that_are_far_off(far: float) -> None:
    clouds = packed(20, 0, sizes=(4, 6))
    clouds.nodes[7, 0] = far
    with np.errstate(all="ignore"):
        bounds = lower_bounds(clouds, far)
    assert (bounds <= whole(clouds, far) * (1 + 1e-6)).all()
