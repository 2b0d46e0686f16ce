"""What JetNet documents of w1p, w1m, fpd and kpd, of our functions."""

from __future__ import annotations

import numpy as np
import pytest

from gconvae.metrics import frechet_distance, jets, kernel_distance


def samples(shift: float, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of jets (B, 6, 3), the second one with more pT by a factor."""
    rng = np.random.default_rng(0)
    first, second = rng.random((2, size, 6, 3))
    second[..., 2] *= 1 + shift
    return first, second


@pytest.mark.parametrize("name", ["w1p", "w1m", "fpd", "kpd"])
def test_a_metric_grows_with_the_difference(name: str) -> None:
    metric = getattr(jets, name)
    values = []
    for shift in (0.0, 0.3, 1.0):
        found = metric(*samples(shift))
        values.append(np.max(getattr(found, "value", found)))
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("name", ["fpd", "kpd"])
def test_a_metric_of_one_distribution_is_zero_within_its_error(name: str) -> None:
    found = getattr(jets, name)(*samples(0.0))
    assert abs(found.value) < max(4 * found.error, 0.02)
    assert found.error > 0


@pytest.mark.parametrize("num_batches", [3, 10])
def test_kpd_is_a_median_over_batches_with_half_the_width_of_the_middle(num_batches: int) -> None:
    found = jets.kpd(*samples(0.5), num_batches=num_batches, batch_size=50)
    again = jets.kpd(*samples(0.5), num_batches=num_batches, batch_size=50)
    assert found == again
    assert found.error > 0


@pytest.mark.parametrize("features", [1, 3])
def test_the_frechet_distance_of_gaussians_is_the_formula(features: int) -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((4000, features))
    second = 2.0 + 3.0 * first  # the same draws: means and variances are exact
    mean, cov = first.mean(0), np.atleast_2d(np.cov(first, rowvar=False))
    wanted = ((mean - (2 + 3 * mean)) ** 2).sum() + (3 - 1) ** 2 * np.trace(cov)
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-6)


def test_the_kernel_distance_is_the_unbiased_estimate_of_degree_four() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 2))

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / 2 + 1) ** 4

    def within(a: np.ndarray) -> float:
        full = kernel(a, a)
        return (full.sum() - np.trace(full)) / (30 * 29)

    wanted = within(x) + within(y) - 2 * kernel(x, y).mean()
    assert kernel_distance(x, y, degree=4) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_kernel_distance_in_batches_of_any_vectors(shift: float) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 600, 3))
    found = jets.kernel_median(first, second + shift, num_batches=20, batch_size=200)
    whole = kernel_distance(first, second + shift, degree=4)
    assert found.value == pytest.approx(whole, abs=3 * found.error)
    assert (found.value > 5 * found.error) == (shift > 0)
