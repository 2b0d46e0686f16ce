"""Copies, fresh clouds and clouds that are too far off must be told from each other."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.datasets import SuperpixelMNIST
from gconvae.metrics import classifier, memorization
from gconvae.metrics.memorization import CopyTest
from gconvae.schema import JETS, SUPERPIXELS

SIZE = 400

copy_test = partial(memorization.copy_test, schema=SUPERPIXELS)
nearest_distances = partial(memorization.nearest_distances, schema=SUPERPIXELS)


@pytest.fixture(scope="module")
def training() -> Tensor:
    return SuperpixelMNIST(digit=8, split="train").points[:800]


@pytest.fixture(scope="module")
def halves() -> tuple[Tensor, Tensor]:
    """Held-out clouds; every other one, since MNIST's first test images are the tidier ones."""
    points = SuperpixelMNIST(digit=8, split="test").points
    return points[::2][:SIZE], points[1::2][:SIZE]


def nearest_loop(sample: Tensor, training: Tensor) -> list[float]:
    """One pair of feature vectors after another, in Python's floats."""
    vectors = [classifier.features(part).tolist() for part in (sample, training)]
    return [min(math.dist(one, other) for other in vectors[1]) for one in vectors[0]]


def shaken(points: Tensor, pixels: float) -> Tensor:
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    moved = points + noise * torch.tensor([pixels, pixels, 0.0])
    return torch.minimum(moved.clamp(min=0), torch.tensor([27.0, 27.0, 1.0]))


# distances


def test_distances_equal_the_loop(training: Tensor, halves: tuple[Tensor, Tensor]) -> None:
    sample, few = halves[0][:15], training[:40]
    found = nearest_distances(sample, few)
    assert found.dtype == np.float64
    assert found.tolist() == pytest.approx(nearest_loop(sample, few), rel=1e-9)


def test_training_clouds_are_at_distance_zero(training: Tensor) -> None:
    assert not nearest_distances(training, training).any()


def test_the_order_of_clouds_and_nodes_does_not_matter(
    training: Tensor, halves: tuple[Tensor, Tensor]
) -> None:
    sample = halves[0][:20]
    found = nearest_distances(sample, training[:60])
    again = nearest_distances(sample.flip(0, 1), training[:60].flip(0, 1))
    assert again[::-1] == pytest.approx(found, abs=1e-4)


def test_masked_places_do_not_count(training: Tensor, halves: tuple[Tensor, Tensor]) -> None:
    mask = (torch.arange(25) < 20).expand(10, 25)
    sample, spoiled = halves[0][:10], halves[0][:10].clone()
    spoiled[:, 20:] = 5.0
    found = nearest_distances(Clouds(spoiled, mask, None), training[:30])
    assert found == pytest.approx(nearest_distances(sample[:, :20], training[:30]), abs=1e-4)


def test_data_sets_are_taken_as_their_points_are() -> None:
    data = SuperpixelMNIST(digit=8, split="test")[:20]
    found = nearest_distances(data[:5], data[5:])
    assert np.array_equal(found, nearest_distances(data[:5].points, data[5:].points))


# the test


def test_copies_of_training_clouds_are_found_out(
    training: Tensor, halves: tuple[Tensor, Tensor]
) -> None:
    found = copy_test(training[:SIZE], halves[0], training)
    assert found.generated == pytest.approx(np.zeros(SIZE), abs=1e-3)
    assert float(np.median(found.real)) > 0.5
    assert found.p_value < 1e-6


def test_real_clouds_pass_for_real(training: Tensor, halves: tuple[Tensor, Tensor]) -> None:
    assert copy_test(halves[0], halves[1], training).p_value > 0.01


def test_clouds_that_are_too_far_off_are_found_out(
    training: Tensor, halves: tuple[Tensor, Tensor]
) -> None:
    found = copy_test(shaken(halves[0], 3.0), halves[1], training)
    assert float(np.median(found.generated)) > float(np.median(found.real))
    assert found.p_value < 1e-6


def test_some_copies_among_real_clouds_are_found_out(
    training: Tensor, halves: tuple[Tensor, Tensor]
) -> None:
    mixed = torch.cat([training[: SIZE // 4], halves[0][SIZE // 4 :]])
    assert copy_test(mixed, halves[1], training).p_value < 1e-6


def test_distances_of_both_sides_are_those_to_the_training_clouds(
    training: Tensor, halves: tuple[Tensor, Tensor]
) -> None:
    generated, real, few = halves[0][:10], halves[1][:12], training[:50]
    found = copy_test(generated, real, few)
    assert np.array_equal(found.generated, nearest_distances(generated, few))
    assert np.array_equal(found.real, nearest_distances(real, few))


def test_the_text_says_medians_and_p_value() -> None:
    found = CopyTest(np.array([1.0, 2.0, 40.0]), np.array([2.0, 4.5]), 0.01234)
    assert str(found) == (
        "median distance to the nearest training cloud: generated 2.000, real 3.250, p = 0.012"
    )


# clouds that the bundled classifier does not know


def jets(number: int, seed: int) -> Tensor:
    """Clouds (B, 8, 3) with a spread of their own, pT shares that fall off."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(8, 0.5), number)
    spread = rng.gamma(4.0, 0.05, (number, 1))
    return torch.from_numpy(np.stack([*(spread * rng.normal(size=(2, number, 8))), share], -1))


def test_copies_of_custom_clouds_are_found_out() -> None:
    training, real, fresh = jets(150, 0), jets(80, 1), jets(80, 2)
    found = memorization.copy_test(training[:80], real, training, schema=JETS)
    assert found.generated == pytest.approx(np.zeros(80), abs=1e-3)
    assert found.p_value < 1e-6
    assert memorization.copy_test(fresh, real, training, schema=JETS).p_value > 0.01


def test_distances_are_between_vectors_of_the_callers_embedding() -> None:
    training, sample = jets(20, 0), jets(5, 1)
    found = memorization.nearest_distances(
        sample, training, schema=JETS, embedding=lambda nodes, mask: nodes.mean(1)
    )
    loop = [min(math.dist(a, b) for b in training.mean(1).tolist()) for a in sample.mean(1)]
    assert found == pytest.approx(loop, rel=1e-9)


def test_an_embedding_that_fails_is_an_error() -> None:
    with pytest.raises(ValueError, match="embedding must return numbers, got str"):
        memorization.copy_test(
            *(jets(5, seed) for seed in range(3)), embedding=lambda nodes, mask: "no"
        )


# errors


@pytest.mark.parametrize("side", ["generated", "real", "training"])
def test_clouds_of_another_number_of_features_are_an_error(side: str) -> None:
    samples = {name: torch.rand(5, 4, 3) for name in ("generated", "real", "training")}
    samples[side] = torch.rand(5, 4, 2)
    with pytest.raises(ValueError, match=f"{side} must have 3 features a node .*, got 2"):
        copy_test(**samples)


@pytest.mark.parametrize("side", ["generated", "real", "training"])
def test_clouds_that_are_not_finite_are_an_error(side: str) -> None:
    samples = {each: torch.rand(5, 4, 3) for each in ("generated", "real", "training")}
    samples[side][2, 1, 0] = math.nan
    with pytest.raises(ValueError, match=f"{side} must be finite"):
        copy_test(**samples)
