from __future__ import annotations

from collections.abc import Callable

import generators
import numpy as np
import pytest
import torch

from gconvae.metrics import Estimate, frechet_distance, jets, kernel_distance
from gconvae.metrics.jets import physics_distances
from gconvae.metrics.jets.physics_distances import kernel_median


def test_frechet_distance_is_of_polynomials_over_the_largest_real_one() -> None:
    points, mask = generators.jets(400, 0)
    real, wide = (points, mask), (points * torch.tensor([1.5, 1.5, 1.0]), mask)
    columns = [jets.energy_flow_polynomials(sample) for sample in (real, wide)]
    largest = np.abs(columns[0]).max(0)
    wanted = frechet_distance(*(part / largest for part in columns))
    found = jets.fpd(real, wide)
    assert found.value == pytest.approx(wanted, rel=0.05)  # the rest is what 1 / N takes away
    assert found.value > 5 * found.error
    assert jets.fpd(wide, real).value < found.value  # other units: the largest of the wide ones


@pytest.mark.parametrize("metric", [jets.fpd, jets.kpd])
def test_distance_of_one_distribution_is_far_below_that_of_wider_jets(
    metric: Callable[..., Estimate],
) -> None:
    points, mask = generators.jets(1200, 1)
    real, others = (points[:600], mask[:600]), (points[600:], mask[600:])
    wide = points[600:] * torch.tensor([1.1, 1.1, 1.0]), mask[600:]
    assert abs(metric(real, others).value) < 0.1 * metric(real, wide).value


def test_polynomials_that_vanish_for_all_real_jets_are_not_divided_by() -> None:
    single = np.array([[[0.1, 0.0, pt]] for pt in np.linspace(0.8, 1.0, 20)])
    assert jets.fpd(single, single).value == pytest.approx(0.0, abs=0.01)
    assert physics_distances.largest(np.array([[0.0, -2.0]])).tolist() == [1.0, 2.0]


def test_large_samples_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        physics_distances,
        "frechet_extrapolated",
        lambda first, second, seed: seen.append((len(first), len(second))),
    )
    monkeypatch.setattr(physics_distances, "MOST_JETS", 15)
    jets.fpd(generators.jets(20, 0), generators.jets(10, 1))
    assert seen == [(15, 10)]


def test_kernel_distance_is_the_median_over_batches_of_half_the_rows() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 60, 3))
    second = second[:40] + 1.0
    found = kernel_median(first, second, num_batches=2000, seed=1)
    plain = kernel_distance(first, second, degree=4)
    # the whole samples' value is the mean over all batches
    assert found.value == pytest.approx(plain, rel=0.1)
    assert found.error > 0
    few = kernel_median(first, second, num_batches=1, batch_size=10, seed=1)
    assert few.error == 0.0


def test_too_few_jets_are_an_error() -> None:
    with pytest.raises(ValueError, match="samples at least 4 rows"):
        jets.kpd(generators.jets(3, 0), generators.jets(9, 1))
    with pytest.raises(ValueError, match="must have at least 4 rows"):
        jets.fpd(generators.jets(3, 0), generators.jets(9, 1))
