from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

from gconvae.priors import StandardNormal
from gconvae.randomness import generator


def test_log_prob_equals_torch_distributions(dtype: torch.dtype, device: torch.device) -> None:
    z = torch.randn(40, 6, dtype=torch.float64, generator=generator(0, "test")).mul(3)
    z = z.to(device, dtype)
    peer = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    torch.testing.assert_close(StandardNormal(6).log_prob(z), peer.log_prob(z))


def test_log_prob_of_the_origin_in_one_dimension() -> None:
    value = StandardNormal(1).log_prob(torch.zeros(1, 1, dtype=torch.float64))
    assert value.item() == pytest.approx(-0.9189385332046727, rel=1e-14)  # -log(2 pi) / 2


def test_density_integrates_to_one() -> None:
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    density = StandardNormal(2).log_prob(z).exp().sum() * (axis[1] - axis[0]) ** 2
    assert density.item() == pytest.approx(1.0, abs=1e-10)


def test_log_prob_keeps_the_leading_axes() -> None:
    z = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator(0, "test"))
    prior = StandardNormal(5)
    each = torch.stack([torch.stack([prior.log_prob(row) for row in block]) for block in z])
    torch.testing.assert_close(prior.log_prob(z), each)


def test_log_prob_is_differentiable_with_gradient_minus_z() -> None:
    z = torch.randn(4, 3, generator=generator(0, "test")).requires_grad_()
    StandardNormal(3).log_prob(z).sum().backward()
    torch.testing.assert_close(z.grad, -z.detach())


def test_samples_have_the_moments_of_a_standard_normal() -> None:
    z = StandardNormal(4).sample(40_000, generator(0, "sample")).double()
    covariance = z.T.cov()
    # five standard errors of a mean, a covariance and a kurtosis
    assert z.mean(0).abs().max() < 5 / 200
    assert (covariance - torch.eye(4)).abs().max() < 5 * 2**0.5 / 200
    assert (z.pow(4).mean(0) - 3).abs().max() < 5 * 96**0.5 / 200


def test_samples_depend_on_the_generator_only() -> None:
    prior = StandardNormal(3)
    first = prior.sample(5, generator(1, "sample"))
    torch.randn(7)
    before = torch.random.get_rng_state()
    assert torch.equal(prior.sample(5, generator(1, "sample")), first)
    assert not torch.equal(prior.sample(5, generator(2, "sample")), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.shape == (5, 3)


def test_prior_has_nothing_to_train_or_save() -> None:
    assert StandardNormal(3).state_dict() == {}


@pytest.mark.parametrize("latent_dim", [0, -2])
def test_latent_dim_below_one_is_refused(latent_dim: int) -> None:
    with pytest.raises(ValueError, match=f"latent_dim must be at least 1, got {latent_dim}"):
        StandardNormal(latent_dim)
