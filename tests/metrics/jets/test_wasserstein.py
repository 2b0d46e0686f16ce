from __future__ import annotations

from collections.abc import Callable
from typing import Any

import generators
import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from gconvae import randomness
from gconvae.metrics import jets
from gconvae.metrics.wasserstein import values_w1_statistic


def draws(seed: int, numbers: tuple[int, int], size: int, batches: int) -> Any:
    """Rows of both samples, batch after batch, as the functions draw them."""
    rng = np.random.default_rng(randomness.derive_seed(seed, "batches"))
    for _ in range(batches):
        yield rng.choice(numbers[0], size), rng.choice(numbers[1], size)


def test_mass_distance_is_scipys_over_batches_with_replacement() -> None:
    real, generated = generators.jets(40, 0), generators.jets(30, 1)
    masses = jets.mass(real), jets.mass(generated)
    wanted = [
        wasserstein_distance(masses[0][first], masses[1][second])
        for first, second in draws(3, (40, 30), 100, 4)
    ]
    found = jets.w1m(real, generated, num_eval_samples=100, num_batches=4, seed=3)
    assert found.value == pytest.approx(np.mean(wanted), rel=1e-9)
    assert found.error == pytest.approx(np.std(wanted), rel=1e-9)  # of JetNet: not of n - 1


def test_particle_distances_are_scipys_over_pooled_real_particles() -> None:
    (points, mask), (others, hidden) = generators.jets(20, 0), generators.jets(25, 1)
    wanted = []
    for first, second in draws(0, (20, 25), 50, 2):
        nodes = points[first][mask[first]].numpy(), others[second][hidden[second]].numpy()
        wanted.append([wasserstein_distance(nodes[0][:, i], nodes[1][:, i]) for i in range(3)])
    found = jets.w1p((points, mask), (others, hidden), num_eval_samples=50, num_batches=2)
    np.testing.assert_allclose(found.batches, wanted, rtol=1e-9)
    assert found.mean.value == pytest.approx(np.mean(wanted), rel=1e-9)
    assert found.mean.error == pytest.approx(np.mean(wanted, axis=1).std(), rel=1e-9)


def test_energy_flow_distance_is_the_mean_of_five() -> None:
    real, generated = generators.jets(20, 0), generators.jets(25, 1)
    columns = [
        jets.energy_flow_polynomials(sample, jets.PRIMES_OF_FOUR) for sample in (real, generated)
    ]
    wanted = [
        [wasserstein_distance(columns[0][a, i], columns[1][b, i]) for i in range(5)]
        for a, b in draws(0, (20, 25), 50, 3)
    ]
    found = jets.w1efp(real, generated, num_eval_samples=50, num_batches=3)
    np.testing.assert_allclose(found.batches, wanted, rtol=1e-8)
    np.testing.assert_allclose(found.values, np.mean(wanted, axis=0), rtol=1e-8)
    np.testing.assert_allclose(found.errors, np.std(wanted, axis=0), rtol=1e-6)


def test_jets_that_are_twice_as_wide_have_twice_the_angle_and_about_twice_the_mass() -> None:
    points, mask = generators.jets(200, 2)
    wide = points * torch.tensor([2.0, 2.0, 1.0])
    sides = (points, mask), (wide, mask)
    found = jets.w1p(*sides, num_eval_samples=2000).values
    assert found[0] == pytest.approx(float(points[mask][:, 0].abs().mean()), rel=0.1)
    assert found[2] < 2e-3
    assert jets.w1m(*sides).value == pytest.approx(jets.mass(sides[0]).mean(), rel=0.1)


def test_columns_are_measured_one_by_one_with_ties_and_repeats() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (50, 3)).astype(float)
    first, second = rng.choice(50, 30), rng.choice(50, 70)
    found = values_w1_statistic(values)(first, second)
    wanted = [wasserstein_distance(values[first, i], values[second, i]) for i in range(3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("metric", [jets.w1m, jets.w1p, jets.w1efp])
@pytest.mark.parametrize("option", ["num_eval_samples", "num_batches"])
def test_a_number_below_one_is_an_error(metric: Callable[..., Any], option: str) -> None:
    with pytest.raises(ValueError, match="num_eval_samples and num_batches must be at least 1"):
        metric(generators.jets(2, 0), generators.jets(2, 1), **{option: 0})


@pytest.mark.parametrize("metric", [jets.w1m, jets.w1p, jets.fpd, jets.kpd])
def test_a_message_says_which_sample_is_wrong(metric: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="generated must have 3 features"):
        metric(generators.jets(4, 0), np.ones((4, 5, 2)))
