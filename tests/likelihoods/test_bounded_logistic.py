"""Mixtures of which nothing lies beyond the lattice, against truncated distributions of scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gconvae.likelihoods.digits import Digits, Drawing
from gconvae.likelihoods.discretized_logistic import log_cumulative, log_prob, sample
from gconvae.likelihoods.places import CONTINUOUS_STEPS, Places

STEPS = 27
HALF = 0.5 / STEPS

KINDS = {
    "inside": [0.0, 0.4, -3.0],
    "beside an end": [0.0, 0.98, -2.5],
    "wide": [0.0, 0.5, 0.0],
    "below the range": [0.0, -0.3, -2.0],
    "above the range": [0.0, 1.6, -1.5],
    "three": [0.5, -0.5, 0.0, 0.2, 0.9, 1.1, -3.0, -1.0, -2.0],
}

every_kind = pytest.mark.parametrize("kind", KINDS)


def every_place() -> Tensor:
    return torch.arange(STEPS + 1, dtype=torch.float64) / STEPS


def parameters(kind: str, rows: int = STEPS + 1) -> Tensor:
    return torch.tensor(KINDS[kind], dtype=torch.float64).expand(rows, -1)


def masses(kind: str) -> Tensor:
    return log_prob(every_place(), parameters(kind), STEPS, True).exp()


def truncated(kind: str) -> np.ndarray:
    """Differences of the distribution function over that of the whole range."""
    logits, means, log_scales = np.array(KINDS[kind]).reshape(3, -1)
    edges = (np.arange(STEPS + 2) - 0.5) / STEPS
    below = stats.logistic(means, np.exp(log_scales)).cdf(edges[:, None])
    shares = np.exp(logits) / np.exp(logits).sum()
    found = np.diff(below @ shares)
    return found / found.sum()


@every_kind
def test_masses_are_those_of_the_truncated_distribution(kind: str) -> None:
    np.testing.assert_allclose(masses(kind).numpy(), truncated(kind), rtol=1e-9)


@every_kind
def test_they_sum_to_one(kind: str) -> None:
    assert masses(kind).sum().item() == pytest.approx(1, abs=1e-12)


@every_kind
def test_cumulative_masses_are_their_sums(kind: str) -> None:
    found = log_cumulative(every_place(), parameters(kind), STEPS, True).exp()
    torch.testing.assert_close(found, masses(kind).cumsum(0), rtol=1e-9, atol=1e-12)


@every_kind
@pytest.mark.parametrize("most", [None, 0, 9, STEPS])
def test_draws_are_as_frequent_as_their_masses(kind: str, most: int | None) -> None:
    count = 100_000
    uniform = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)).double()
    end = None if most is None else torch.full((count,), most)
    drawn = sample(parameters(kind, count), STEPS, uniform, most=end, bounded=True)
    expected = masses(kind)
    if most is not None:
        expected = expected[: most + 1] / expected[: most + 1].sum()
    found = torch.bincount(drawn, minlength=len(expected))
    assert len(found) == len(expected)
    torch.testing.assert_close(found.double() / count, expected, rtol=0, atol=6e-3)


def test_a_component_wider_than_the_range_is_even() -> None:
    wide = torch.tensor([0.0, 0.5, 6.0], dtype=torch.float64).expand(STEPS + 1, 3)
    found = log_prob(every_place(), wide, STEPS, True).exp()
    torch.testing.assert_close(found, torch.full_like(found, 1 / (STEPS + 1)), rtol=1e-4, atol=0)
    # what lies beyond would else be in the cells at the ends
    assert log_prob(every_place(), wide, STEPS).exp()[0] > 0.49


def test_rows_may_be_bounded_or_not() -> None:
    bounded = torch.tensor([[True], [False]])
    both = log_prob(
        every_place().expand(2, -1), parameters("three").expand(2, -1, -1), STEPS, bounded
    )
    torch.testing.assert_close(both[0].exp(), masses("three"))
    torch.testing.assert_close(both[1], log_prob(every_place(), parameters("three"), STEPS))


@pytest.mark.parametrize("log_scale", [-1e30, 0.0, 80.0, 1e30])
@pytest.mark.parametrize("mean", [-3.0, 0.5, 4.0])
def test_masses_and_gradients_are_finite(mean: float, log_scale: float) -> None:
    given = torch.tensor([0.0, mean, log_scale]).repeat(STEPS + 1, 1).requires_grad_()
    found = log_prob(every_place().float(), given, STEPS, True)
    found.sum().backward()
    assert found.isfinite().all()
    assert given.grad is not None
    assert given.grad.isfinite().all()


def test_the_gradient_is_right() -> None:
    given = parameters("three").clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: log_prob(every_place(), p, STEPS, True), (given,))


def test_features_on_no_lattice_are_bounded() -> None:
    places = Places([432, CONTINUOUS_STEPS], torch.zeros(1))
    assert places.bounded.tolist() == [False, True]
    assert places.any_bounded
    assert not Places([432, 255], torch.zeros(1)).any_bounded


@torch.no_grad()
def far_digits() -> Digits:
    """All components lie far beyond the last cell."""
    torch.manual_seed(0)
    digits = Digits(1, 8, 3)
    digits.coarse.weight.zero_()
    digits.coarse.bias.copy_(torch.tensor([[0.0, 0, 0, 3, 3, 3, 1, 1, 1]]))
    return digits


@torch.no_grad()
def test_digits_of_a_feature_on_no_lattice_leave_nothing_beyond_its_ends() -> None:
    places = Places([CONTINUOUS_STEPS], torch.zeros(1))
    every = torch.arange(CONTINUOUS_STEPS + 1).view(1, -1, 1)
    state = torch.randn(1, 1, 1, 8).expand(-1, -1, CONTINUOUS_STEPS + 1, -1)
    mass = far_digits().log_mass(state, every, places).exp().flatten()
    assert mass.sum().item() == pytest.approx(1, abs=1e-4)
    assert mass[-16:].sum() < 0.02


@torch.no_grad()
def test_nor_do_their_draws() -> None:
    places = Places([CONTINUOUS_STEPS], torch.zeros(1))
    drawing = Drawing(far_digits(), 0, places, 1.0)
    uniform = torch.rand(3, 20_000, generator=torch.Generator().manual_seed(0))
    drawn = drawing(torch.randn(1, 8).expand(20_000, -1), uniform)
    assert (drawn >= CONTINUOUS_STEPS - 15).float().mean() < 0.02
    quarters = torch.bincount(drawn * 4 // (CONTINUOUS_STEPS + 1), minlength=4) / 20_000
    edges = torch.tensor([-0.5, 63.5, 127.5, 191.5, 255.5]) / 255  # of the coarse lattice
    below = torch.sigmoid((edges - 3) / torch.e)
    torch.testing.assert_close(quarters, below.diff() / (below[-1] - below[0]), rtol=0, atol=0.015)
