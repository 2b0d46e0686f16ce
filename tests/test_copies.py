"""Copies of training clouds are found, and real clouds are not taken for copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gconvae import copies
from gconvae.datasets import SuperpixelMNIST
from gconvae.reference import features


@pytest.fixture(scope="module")
def train() -> torch.Tensor:
    return SuperpixelMNIST(8, "train").points[:400]


@pytest.fixture(scope="module")
def test() -> torch.Tensor:
    return SuperpixelMNIST(8, "test").points[:400]


def test_distances_are_those_of_a_loop_over_all_pairs(
    train: torch.Tensor, test: torch.Tensor
) -> None:
    found = copies.nearest_distances(test[:5], train[:20])
    wanted = [
        min(float((one - other).norm()) for other in features(train[:20]))
        for one in features(test[:5])
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_training_clouds_are_at_no_distance_and_no_draws_of_real_ones(
    train: torch.Tensor, test: torch.Tensor
) -> None:
    found = copies.copy_test(train[:200], test[:200], train)
    assert found.generated.max() < 1e-3
    assert found.real.min() > 1e-2
    assert found.p_value < 1e-6


def test_real_clouds_are_taken_for_draws_of_real_ones(
    train: torch.Tensor, test: torch.Tensor
) -> None:
    found = copies.copy_test(test[:200], test[200:], train)
    assert found.p_value > 0.01


def test_clouds_far_off_are_no_draws_of_real_ones(train: torch.Tensor, test: torch.Tensor) -> None:
    far = SuperpixelMNIST(3, "test").points[:200]
    found = copies.copy_test(far, test[:200], train)
    assert np.median(found.generated) > 2 * np.median(found.real)
    assert found.p_value < 1e-6


def test_the_text_gives_both_medians_and_the_chance() -> None:
    found = copies.CopyTest(np.array([1.0, 2.0, 3.0]), np.array([4.0]), 0.25)
    assert str(found) == (
        "median distance to the nearest training cloud: generated 2.000, real 4.000, p = 0.25"
    )
