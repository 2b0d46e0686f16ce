"""Densities and masses: they sum to 1, and draws have them."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases, random
from torch.distributions import Independent, Normal, kl_divergence

from gconvae.likelihoods import GaussianLikelihood, discretized_logistic
from gconvae.likelihoods.equal_cells import EqualCells
from gconvae.losses import free_bits, kl_per_latent, kl_standard_normal
from gconvae.priors import StandardNormal
from gconvae.priors.mixture import GaussianMixture

seeds = st.integers(0, 10**6)


def parameters(seed: int, components: int) -> torch.Tensor:
    """Logits, means and log-scales of a mixture, shape (3 K,)."""
    values = torch.randn(3, components, generator=random(seed), dtype=torch.float64)
    values[1], values[2] = values[1].sigmoid(), values[2] - 2
    return values.flatten()


@cases
@given(seeds, st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_masses_of_all_places_sum_to_1(
    seed: int, components: int, steps: int, bounded: bool
) -> None:
    value = torch.arange(steps + 1, dtype=torch.float64) / steps
    mixture = parameters(seed, components).expand(steps + 1, -1)
    mass = discretized_logistic.log_prob(value, mixture, steps, bounded=bounded).exp()
    assert abs(float(mass.sum()) - 1) < 1e-9
    below = discretized_logistic.log_cumulative(value, mixture, steps, bounded=bounded).exp()
    torch.testing.assert_close(below, mass.cumsum(0), rtol=1e-8, atol=1e-9)


@cases
@given(seeds, st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_draws_have_the_masses_of_their_places(
    seed: int, components: int, steps: int, bounded: bool
) -> None:
    uniform = (torch.rand(4000, 2, generator=random(seed), dtype=torch.float64),)
    mixture = parameters(seed, components)
    drawn = discretized_logistic.sample(mixture.expand(4000, -1), steps, *uniform, bounded=bounded)
    value = torch.arange(steps + 1, dtype=torch.float64) / steps
    mass = discretized_logistic.log_prob(
        value, mixture.expand(steps + 1, -1), steps, bounded=bounded
    ).exp()
    found = torch.bincount(drawn, minlength=steps + 1) / 4000
    # five standard deviations of a share of 4,000
    assert ((found - mass).abs() < 5 * (mass * (1 - mass) / 4000).sqrt() + 1e-3).all()


@cases
@given(seeds, st.floats(0.02, 2.0), st.floats(0.0, 1.0))
def test_a_cut_gaussian_integrates_to_1(seed: int, scale: float, mean: float) -> None:
    likelihood = GaussianLikelihood(num_features=1, lattice=None)
    likelihood.scale.fill_(scale)
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    value = grid.view(1, -1, 1)
    density = likelihood.log_prob(value, torch.full_like(value, mean)).exp()
    assert abs(float(density.mean()) - 1) < 2e-3


@cases
@given(seeds, st.floats(0.02, 2.0), st.floats(0.0, 1.0))
def test_draws_of_a_cut_gaussian_have_its_density(seed: int, scale: float, mean: float) -> None:
    likelihood = GaussianLikelihood(num_features=1, lattice=None)
    likelihood.scale.fill_(scale)
    where = torch.full((1, 4000, 1), mean, dtype=torch.float64)
    drawn = likelihood.draw(where, likelihood.noise((1, 4000, 1), random(seed))).flatten()
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5).view(1, -1, 1) / 4000
    mass = likelihood.log_prob(grid, where).exp().view(10, -1).mean(1) / 10  # of tenths
    found = torch.histc(drawn.double(), 10, 0, 1) / 4000
    # five standard deviations of a share of 4,000
    assert ((found - mass).abs() < 5 * (mass * (1 - mass).clamp(min=0) / 4000).sqrt() + 1e-3).all()


@cases
@given(seeds, st.integers(1, 4))
def test_a_mixture_in_one_dimension_integrates_to_1(seed: int, components: int) -> None:
    prior = GaussianMixture(latent_dim=1, components=components)
    with torch.no_grad():
        prior.logits.copy_(torch.randn(1, components, generator=random(seed)))
        prior.means.copy_(torch.randn(1, components, 1, generator=random(seed + 1)))
        prior.factors.copy_(torch.rand(1, components, 1, 1, generator=random(seed + 2)))
    grid = torch.linspace(-12, 12, 4801).unsqueeze(1)
    total = float(prior.log_prob(grid).detach().exp().sum()) * 24 / 4800
    assert abs(total - 1) < 1e-4


@cases
@given(seeds, st.integers(1, 5), st.integers(1, 6))
def test_kl_terms_are_those_of_torch(seed: int, clouds: int, latents: int) -> None:
    mean = torch.randn(clouds, latents, generator=random(seed), dtype=torch.float64)
    stddev = torch.rand(clouds, latents, generator=random(seed + 1), dtype=torch.float64) + 0.01
    posterior = Independent(Normal(mean, stddev), 1)
    normal = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    wanted = kl_divergence(posterior, normal)
    torch.testing.assert_close(kl_standard_normal(posterior), wanted)
    each = kl_per_latent(posterior)
    torch.testing.assert_close(each.sum(1), wanted)
    assert (each >= -1e-12).all()
    torch.testing.assert_close(free_bits(each, 0.0), wanted.mean())
    assert float(free_bits(each, 0.5)) >= float(free_bits(each, 0.1)) - 1e-12


@cases
@given(seeds, st.integers(1, 6))
def test_the_normal_prior_is_torchs(seed: int, latents: int) -> None:
    z = torch.randn(5, latents, generator=random(seed))
    wanted = -0.5 * z.square().sum(1) - 0.5 * latents * math.log(2 * math.pi)
    torch.testing.assert_close(StandardNormal(latents).log_prob(z), wanted)


@cases
@given(seeds, st.integers(2, 300))
def test_the_map_of_cells_is_monotonic_and_inverts(seed: int, nodes: int) -> None:
    values = torch.rand(nodes, 2, generator=random(seed)).square()
    cells = EqualCells(2)
    cells.fit(values, torch.tensor([True, True]))
    grid = torch.linspace(0, 1, 101).unsqueeze(1).expand(-1, 2)
    mapped = cells(grid)
    assert (mapped.diff(dim=0) >= -1e-6).all()
    assert mapped[0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(mapped[-1], torch.ones(2))
    torch.testing.assert_close(cells(cells.back(mapped)), mapped, rtol=0, atol=1e-4)
