"""What POT and geomloss compute, of our matching, sliced and Sinkhorn losses."""

from __future__ import annotations

import itertools

import numpy as np
import ot
import pytest
import torch
from geomloss import SamplesLoss
from torch import Tensor

from gconvae.losses import distance, matching_loss, sinkhorn_loss, sliced_wasserstein


def pair(size: int, features: int, seed: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    sides = (torch.rand(1, size, features, generator=made) for _ in range(2))
    first, second = (side.double() for side in sides)
    return first, second


CASES = [(1, 2), (2, 1), (5, 2), (5, 3), (25, 3), (40, 5)]


@pytest.mark.parametrize(("size", "features"), CASES)
def test_emd2_of_euclidean_costs_is_our_distance(size: int, features: int) -> None:
    first, second = pair(size, features, 0)
    costs = ot.dist(first[0].numpy(), second[0].numpy(), metric="euclidean")
    wanted = ot.emd2(np.full(size, 1 / size), np.full(size, 1 / size), costs)
    assert distance(first, second).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("size", "features"), CASES)
def test_emd2_of_squared_costs_is_our_loss_of_a_node(size: int, features: int) -> None:
    first, second = pair(size, features, 1)
    costs = ot.dist(first[0].numpy(), second[0].numpy())
    wanted = ot.emd2(np.full(size, 1 / size), np.full(size, 1 / size), costs)
    assert matching_loss(first, second).item() / size == pytest.approx(wanted, rel=1e-12)


def test_the_assignment_is_the_best_of_all_permutations() -> None:
    first, second = pair(6, 3, 2)
    costs = ot.dist(first[0].numpy(), second[0].numpy())
    best = min(costs[range(6), order].sum() for order in itertools.permutations(range(6)))
    assert matching_loss(first, second).item() == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("size", [1, 5, 25])
def test_sliced_of_one_feature_is_emd2_1d(size: int) -> None:
    first, second = pair(size, 1, 3)
    wanted = ot.emd2_1d(first[0, :, 0].numpy(), second[0, :, 0].numpy())
    found = sliced_wasserstein(first, second, num_projections=4)
    assert found.item() / size == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("size", "features"), [(5, 2), (25, 3)])
def test_sliced_agrees_with_many_projections_of_pot(size: int, features: int) -> None:
    first, second = pair(size, features, 4)
    value = ot.sliced_wasserstein_distance(
        first[0].numpy(), second[0].numpy(), n_projections=20_000, seed=0
    )
    found = sliced_wasserstein(first, second, num_projections=2_000)
    assert found.item() / size == pytest.approx(features * value**2, rel=0.05)


@pytest.mark.parametrize(("size", "features"), [(5, 2), (25, 3)])
@pytest.mark.parametrize("blur", [0.05, 0.2])
@pytest.mark.parametrize("scaling", [0.5, 0.9])
def test_sinkhorn_is_that_of_geomloss(
    size: int, features: int, blur: float, scaling: float
) -> None:
    first, second = pair(size, features, 5)
    solve = SamplesLoss("sinkhorn", p=2, blur=blur, scaling=scaling, diameter=2.0)
    found = sinkhorn_loss(first, second, blur=blur, scaling=scaling, diameter=2.0)
    assert found.item() == pytest.approx(2 * size * solve(first, second).item(), rel=1e-9)


@pytest.mark.parametrize("size", [5, 25])
def test_sinkhorn_of_a_small_blur_is_the_matching(size: int) -> None:
    first, second = pair(size, 3, 6)
    found = sinkhorn_loss(first, second, blur=0.005, scaling=0.99, diameter=2.0)
    assert found.item() == pytest.approx(matching_loss(first, second).item(), rel=5e-3)
