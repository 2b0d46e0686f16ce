from __future__ import annotations

import sys

import energyflow_values
import generators
import numpy as np
import pytest
from scipy.optimize import linprog

from gconvae.metrics import jets
from gconvae.metrics.jets import energy_mover


@pytest.mark.parametrize("radius", [0.8, 1.0])
def test_distances_are_those_of_energyflow(radius: float) -> None:
    found = jets.energy_movers_distances(energyflow_values.JETS, radius=radius)
    np.testing.assert_allclose(found, energyflow_values.DISTANCES[radius], rtol=2e-6)


def test_distance_is_the_optimum_of_the_linear_program() -> None:
    first, second = np.random.default_rng(0).random((2, 4, 3))
    cost = np.hypot(*(first[:, None, :2] - second[None, :, :2]).transpose(2, 0, 1)) / 0.8
    left, right = first[:, 2], second[:, 2]
    of_rows, of_columns = np.kron(np.eye(4), np.ones(4)), np.kron(np.ones(4), np.eye(4))
    moved = min(left.sum(), right.sum())
    best = linprog(
        cost.ravel(),
        A_ub=np.vstack([of_rows, of_columns]),
        b_ub=np.concatenate([left, right]),
        A_eq=np.ones((1, 16)),
        b_eq=[moved],
    )
    wanted = best.fun + abs(left.sum() - right.sum())
    assert jets.energy_movers_distances(first[None], second[None])[0, 0] == pytest.approx(
        wanted, rel=1e-6
    )


def test_it_is_a_metric() -> None:
    matrix = jets.energy_movers_distances(generators.jets(12, 0)).astype(float)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (matrix.diagonal() == 0).all()
    assert (matrix[~np.eye(12, dtype=bool)] > 0).all()
    detours = matrix[:, :, None] + matrix[None]  # from i over j to k
    assert (matrix <= detours.min(1) + 1e-6).all()


def test_order_and_padding_change_nothing() -> None:
    given, mask = generators.jets(6, 1)
    spoiled = given.masked_fill(~mask.unsqueeze(-1), 5.0)
    found = jets.energy_movers_distances((spoiled.flip(1), mask.flip(1)), (given, mask))
    np.testing.assert_allclose(found, jets.energy_movers_distances((given, mask)), atol=2e-7)


def test_a_particle_of_negative_momentum_counts_as_none() -> None:
    jet = np.array([[[0.0, 0.0, 1.0], [0.5, 0.0, -0.2]]])
    assert jets.energy_movers_distances(jet, jet[:, :1])[0, 0] == 0.0
    nothing = np.array([[[0.0, 0.0, -1.0]]])
    assert jets.energy_movers_distances(nothing, nothing + 0)[0, 0] == 0.0
    assert jets.energy_movers_distances(nothing, jet)[0, 0] == pytest.approx(1.0)


def test_coverage_and_matching_of_known_jets() -> None:
    # two places, 0.4 apart; every generated jet is at the first one
    real = [[[0.0, 0.0, 1.0]], [[0.4, 0.0, 1.0]]]
    coverage, mmd = jets.cov_mmd(real, real[:1], num_eval_samples=40, num_batches=5)
    assert coverage.value == 1 / 40  # one real jet is the nearest of all generated ones
    assert mmd.value == pytest.approx(0.2, abs=0.05)  # half of the real jets are 0.4 away
    assert 0 < mmd.error < 0.06


def test_coverage_of_one_distribution_is_above_that_of_a_narrow_one() -> None:
    points, mask = generators.jets(120, 2)
    real, good, narrow = (points[:60], mask[:60]), (points[60:], mask[60:]), points[60:66]
    found = [
        jets.cov_mmd(real, other, num_eval_samples=40, num_batches=2)
        for other in (good, (narrow, mask[60:66]))
    ]
    assert found[0][0].value > 0.3 > 0.15 > found[1][0].value
    assert found[0][1].value < found[1][1].value


def test_draws_are_a_function_of_the_seed() -> None:
    given = generators.jets(20, 3), generators.jets(20, 4)
    first, again, other = (
        jets.cov_mmd(*given, num_eval_samples=10, num_batches=2, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_without_pot_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    energy_mover._solver.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gconvae\[metrics\]"'):
        jets.energy_movers_distances(generators.jets(2, 0))


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf])
def test_a_wrong_radius_is_an_error(radius: float) -> None:
    with pytest.raises(ValueError, match="radius must be a number above 0"):
        jets.energy_movers_distances(generators.jets(2, 0), radius=radius)
    with pytest.raises(ValueError, match="radius must be a number above 0"):
        jets.cov_mmd(generators.jets(2, 0), generators.jets(2, 0), radius=radius)


def test_a_number_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_eval_samples and num_batches must be at least 1"):
        jets.cov_mmd(generators.jets(2, 0), generators.jets(2, 0), num_batches=0)
