"""KL terms and their weight: closed cases, torch's own, sampling errors, schedules."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from gconvae.losses import (
    free_bits,
    kl_monte_carlo,
    kl_per_latent,
    kl_standard_normal,
    kl_weight,
)
from gconvae.priors import StandardNormal


def diagonal(mean: Tensor, stddev: Tensor) -> Independent:
    return Independent(Normal(mean, stddev), 1)


def random_posterior(
    num_clouds: int, latents: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Independent:
    generator = torch.Generator().manual_seed(seed)
    mean, log_std = torch.randn(2, num_clouds, latents, generator=generator, dtype=dtype)
    return diagonal(mean, (0.5 * log_std).exp())


@pytest.mark.parametrize(
    ("mean", "stddev", "wanted"),
    [
        (0.0, 1.0, 0.0),
        (1.0, 1.0, 0.5),
        (-3.0, 1.0, 4.5),
        (0.0, math.e, (math.e**2 - 1) / 2 - 1),
        (0.0, 1 / math.e, (math.e**-2 - 1) / 2 + 1),
        (2.0, math.e, 2 + (math.e**2 - 1) / 2 - 1),
    ],
)
def test_kl_of_closed_cases_is_summed_over_latents(
    mean: float, stddev: float, wanted: float, dtype: torch.dtype, device: torch.device
) -> None:
    full = partial(torch.full, (3, 10), dtype=dtype, device=device)
    got = kl_standard_normal(diagonal(full(mean), full(stddev)))
    assert got.dtype == dtype
    assert got.tolist() == pytest.approx([10 * wanted] * 3, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("latents", [1, 2, 10])
@pytest.mark.parametrize("num_clouds", [1, 300])
def test_kl_equals_torch_distributions(num_clouds: int, latents: int, dtype: torch.dtype) -> None:
    posterior = random_posterior(num_clouds, latents, dtype)
    unit = diagonal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean))
    torch.testing.assert_close(kl_standard_normal(posterior), kl_divergence(posterior, unit))


@pytest.mark.parametrize("stddev", [1e-30, 1e-8, 1e3])
def test_kl_of_extreme_widths_keeps_its_digits_in_float32(stddev: float) -> None:
    got = kl_standard_normal(diagonal(torch.zeros(1, 1), torch.full((1, 1), stddev)))
    assert got.item() == pytest.approx((stddev**2 - 1) / 2 - math.log(stddev), rel=1e-5)


def test_kl_gradients_equal_finite_differences() -> None:
    posterior = random_posterior(3, 4)
    mean, stddev = posterior.mean.requires_grad_(), posterior.stddev.detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, s: kl_standard_normal(diagonal(m, s)), (mean, stddev)
    )


def test_each_latent_has_its_own_kl(dtype: torch.dtype, device: torch.device) -> None:
    mean = torch.tensor([[0.0, 1.0, -3.0]], dtype=dtype, device=device)
    stddev = torch.tensor([[1.0, 1.0, math.e]], dtype=dtype, device=device)
    got = kl_per_latent(diagonal(mean, stddev))
    assert got.shape == (1, 3)
    wanted = [0.0, 0.5, 4.5 + (math.e**2 - 1) / 2 - 1]
    assert got[0].tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_kl_of_the_latents_sums_to_the_kl(dtype: torch.dtype) -> None:
    posterior = random_posterior(30, 10, dtype)
    torch.testing.assert_close(kl_per_latent(posterior).sum(-1), kl_standard_normal(posterior))


def test_free_bits_compare_the_mean_over_clouds_with_the_minimum() -> None:
    kl = torch.tensor([[0.0, 3.0, 0.9], [0.2, 5.0, 0.1]])  # means 0.1, 4, 0.5
    assert free_bits(kl, 0.0).item() == pytest.approx(0.1 + 4 + 0.5)
    assert free_bits(kl, 0.25).item() == pytest.approx(0.25 + 4 + 0.5)
    assert free_bits(kl, 1.0).item() == pytest.approx(1 + 4 + 1)
    assert free_bits(kl, 9.0).item() == pytest.approx(27)


def test_free_latents_get_no_gradient_and_the_others_all_of_it() -> None:
    kl = torch.tensor([[0.0, 3.0], [0.2, 5.0]], requires_grad=True)
    free_bits(kl, 0.5).backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]


@pytest.mark.parametrize("minimum", [-0.1, math.nan])
def test_free_bits_below_zero_are_refused(minimum: float) -> None:
    with pytest.raises(ValueError, match="minimum must be at least 0 and finite, got"):
        free_bits(torch.zeros(2, 3), minimum)


def test_free_bits_need_the_kl_of_each_latent() -> None:
    with pytest.raises(ValueError, match=r"kl must have shape \(clouds, latents\), got \(2,\)"):
        free_bits(torch.zeros(2), 1.0)


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ({}, [0.3] * 10),
        ({"warmup": 1}, [0.0] + [0.3] * 9),
        ({"warmup": 5}, [0.0, 0.06, 0.12, 0.18, 0.24] + [0.3] * 5),
        ({"warmup": 20}, [0.015 * epoch for epoch in range(10)]),
        ({"cycle": 10}, [0.0, 0.06, 0.12, 0.18, 0.24] + [0.3] * 5),
        ({"cycle": 2}, [0.0, 0.3] * 5),
        ({"cycle": 5}, [0.0, 0.12, 0.24, 0.3, 0.3] * 2),
        ({"cycle": 4}, [0.0, 0.15, 0.3, 0.3, 0.0, 0.15, 0.3, 0.3, 0.0, 0.15]),
    ],
)
def test_weight_of_the_kl_in_each_epoch(schedule: dict[str, int], wanted: list[float]) -> None:
    got = [kl_weight(epoch, beta=0.3, **schedule) for epoch in range(10)]
    assert got == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 3, "cycle": 2}, "warmup or cycle must be 0, got 3 and 2"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, got -1"),
        ({"warmup": 2.5}, "warmup must be a whole number of at least 0, got 2.5"),
        ({"cycle": True}, "cycle must be a whole number of at least 0, got True"),
        ({"cycle": 1}, "cycle must be 0 or at least 2 epochs, got 1"),
        ({"epoch": -1}, "epoch must be a whole number of at least 0, got -1"),
        ({"beta": -0.5}, "beta must be at least 0 and finite, got -0.5"),
        ({"beta": math.inf}, "beta must be at least 0 and finite, got inf"),
    ],
)
def test_a_wrong_schedule_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kl_weight(**({"epoch": 0, "beta": 1.0} | options))


def draws_of(posterior: Independent, prior: object, num_draws: int, seed: int = 0) -> Tensor:
    """Single-sample estimates, shape (num_draws, B)."""
    rows = posterior.mean.shape
    mean, stddev = (
        part.expand(num_draws, *rows).reshape(-1, rows[-1])
        for part in (posterior.mean, posterior.stddev)
    )
    generator = torch.Generator().manual_seed(seed)
    return kl_monte_carlo(diagonal(mean, stddev), prior, generator).reshape(num_draws, rows[0])


def assert_agree_within_errors(draws: Tensor, wanted: Tensor) -> None:
    error = draws.std(0) / len(draws) ** 0.5
    assert (error > 0).all()
    assert ((draws.mean(0) - wanted).abs() < 4 * error).all()


def test_kl_by_sampling_agrees_with_the_closed_form(dtype: torch.dtype) -> None:
    posterior = random_posterior(4, 3, dtype)
    draws = draws_of(posterior, StandardNormal(3), 20_000)
    assert draws.dtype == dtype
    assert_agree_within_errors(draws.double(), kl_standard_normal(posterior).double())


def test_kl_by_sampling_averages_over_its_samples(dtype: torch.dtype) -> None:
    posterior, num_samples = random_posterior(4, 3, dtype), 20_000
    error = draws_of(posterior, StandardNormal(3), 2_000, seed=1).std(0) / num_samples**0.5
    got = kl_monte_carlo(
        posterior, StandardNormal(3), torch.Generator().manual_seed(0), num_samples
    )
    assert got.shape == (4,)
    assert ((got - kl_standard_normal(posterior)).abs() < 4 * error).all()


def test_kl_by_sampling_takes_any_gaussian_prior() -> None:
    posterior = random_posterior(4, 3)
    prior = diagonal(
        torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.5, 2.0, 1.5]).double()
    )
    wanted = kl_divergence(posterior, prior.expand((4,)))
    assert_agree_within_errors(draws_of(posterior, prior, 20_000), wanted)


def test_kl_by_sampling_takes_a_mixture_prior() -> None:
    parts = diagonal(torch.tensor([[-2.0], [1.5]]).double(), torch.tensor([[0.5], [1.0]]).double())
    prior = MixtureSameFamily(Categorical(torch.tensor([0.3, 0.7]).double()), parts)
    posterior = random_posterior(3, 1)
    z = torch.linspace(-15, 15, 60_001, dtype=torch.float64).reshape(-1, 1, 1)
    log_q = posterior.log_prob(z)  # (Z, B)
    integrand = log_q.exp() * (log_q - prior.log_prob(z))
    wanted = torch.trapezoid(integrand, dx=30 / 60_000, dim=0)
    assert_agree_within_errors(draws_of(posterior, prior, 20_000), wanted)


def test_kl_by_sampling_is_zero_without_noise_where_posterior_and_prior_agree() -> None:
    posterior = diagonal(torch.zeros(5, 3).double(), torch.ones(5, 3).double())
    draws = draws_of(posterior, StandardNormal(3), 100)
    torch.testing.assert_close(draws, torch.zeros_like(draws), rtol=0, atol=1e-14)


def test_kl_by_sampling_depends_on_its_generator_only() -> None:
    posterior, prior = random_posterior(4, 3), StandardNormal(3)
    before = torch.random.get_rng_state()
    first, again, other = (
        kl_monte_carlo(posterior, prior, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gradients_of_kl_by_sampling_agree_with_the_closed_form() -> None:
    exact = random_posterior(1, 3)
    closed = [part.detach().requires_grad_() for part in (exact.mean, exact.stddev)]
    wanted = torch.autograd.grad(kl_standard_normal(diagonal(*closed)).sum(), closed)
    num_draws = 20_000
    each = [part.detach().repeat(num_draws, 1).requires_grad_() for part in closed]
    sampled = kl_monte_carlo(
        diagonal(*each), StandardNormal(3), torch.Generator().manual_seed(0)
    ).sum()
    for draws, closed_form in zip(torch.autograd.grad(sampled, each), wanted, strict=True):
        assert_agree_within_errors(draws, closed_form[0])


class AroundItsContext:
    """N(c, 1), a prior that needs a context with an entry a latent."""

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        assert context.shape == z.shape
        return diagonal(context, torch.ones_like(context)).log_prob(z)


@pytest.mark.parametrize("num_samples", [1, 5])
def test_kl_by_sampling_hands_its_context_to_the_prior(num_samples: int) -> None:
    # posterior and prior agree in every cloud, so that no noise is left
    context = random_posterior(4, 3).mean
    posterior = diagonal(context, torch.ones_like(context))
    draws = torch.Generator().manual_seed(0)
    got = kl_monte_carlo(posterior, AroundItsContext(), draws, num_samples, context)
    torch.testing.assert_close(got, torch.zeros_like(got), rtol=0, atol=1e-12)
    moved = kl_monte_carlo(posterior, AroundItsContext(), draws, 20_000, context=context + 1)
    assert moved.tolist() == pytest.approx([3 / 2] * 4, abs=0.1)


@pytest.mark.parametrize("num_samples", [0, -1])
def test_kl_by_sampling_needs_a_sample(num_samples: int) -> None:
    with pytest.raises(ValueError, match=f"num_samples must be at least 1, got {num_samples}"):
        kl_monte_carlo(random_posterior(2, 3), StandardNormal(3), torch.Generator(), num_samples)
