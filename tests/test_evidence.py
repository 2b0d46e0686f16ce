"""The bound on log p(x) against the exact value of a linear Gaussian model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal

from gconvae import models
from gconvae.likelihoods import GaussianLikelihood
from gconvae.priors import StandardNormal
from gconvae.scaling import FeatureScaling
from gconvae.vae import VAE

SIGMA = 0.03
"""Noise on the unit interval, narrow enough that no cut at its ends counts."""


class Line(nn.Module):
    """x_hat = 1/2 + W z for clouds of one node."""

    num_points = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.03, 0.01], [-0.02, 0.03], [0.01, 0.02]]))

    def forward(self, z: Tensor) -> Tensor:
        return (0.5 + z @ self.weight.T).unsqueeze(1)


class Exact(nn.Module):
    """The posterior of :class:`Line`, its correlation left out, or a wider one."""

    def __init__(self, decoder: Line, extent: float, wider: float) -> None:
        super().__init__()
        precision = torch.eye(2) + decoder.weight.T @ decoder.weight / SIGMA**2
        covariance = precision.inverse().detach()
        self.gain = (covariance @ decoder.weight.T / SIGMA**2).detach()
        self.stddev = wider * covariance.diagonal().sqrt()
        self.extent = extent

    def forward(self, points: Tensor, mask: Tensor) -> Independent[Any]:
        mean = (points[:, 0] / self.extent - 0.5) @ self.gain.T
        return Independent(Normal(mean, self.stddev.expand_as(mean)), 1)


def linear(wider: float = 1.2) -> VAE:
    scaling = FeatureScaling(torch.tensor([0.0, -1.0, 10.0]), torch.tensor([10.0, 1.0, 30.0]))
    decoder = Line()
    likelihood = GaussianLikelihood(3, lattice=None)
    likelihood.scale.fill_(SIGMA)
    encoder = Exact(decoder, scaling.extent, wider)
    return VAE(encoder, decoder, StandardNormal(2), scaling, likelihood)


def exact(model: VAE, points: Tensor) -> Tensor:
    """log N(x; centre, span^2 (W W^T + sigma^2)), shape (B,)."""
    weight = model.decoder.weight.detach().double()
    span = (model.scaling.high - model.scaling.low).double()
    covariance = weight @ weight.T + SIGMA**2 * torch.eye(3, dtype=torch.float64)
    centre = model.scaling.low + 0.5 * span
    covariance = span[:, None] * covariance * span
    return MultivariateNormal(centre.double(), covariance).log_prob(points[:, 0].double())


def test_many_draws_give_the_exact_value_of_a_linear_model() -> None:
    model = linear()
    points = model.sample(40, seed=0)
    found = model.log_likelihood(points, samples=1000, seed=1)
    distance = found.value - exact(model, points)
    assert (distance.abs() < 5 * found.error + 1e-4).all()
    assert found.error.max() < 0.1
    # errors are as large as they say
    assert 0.5 < (distance / found.error).square().mean().sqrt() < 2


def test_few_draws_give_less_on_average() -> None:
    model = linear(wider=2.0)
    points = model.sample(300, seed=0)
    wanted = exact(model, points).mean()
    few, more = (model.log_likelihood(points, samples=k).value.mean() for k in (2, 20))
    assert few < more < wanted + 0.01


def test_value_is_a_function_of_the_seed_and_of_the_cloud_alone() -> None:
    model = linear()
    points = model.sample(20, seed=0)
    first = model.log_likelihood(points, samples=5, seed=3)
    assert torch.equal(model.log_likelihood(points, samples=5, seed=3).value, first.value)
    assert not torch.equal(model.log_likelihood(points, samples=5, seed=4).value, first.value)


def small(likelihood: str) -> VAE:
    networks = {
        "encoder": "deep_sets(node_hidden=[16], cloud_hidden=[16])",
        "decoder": "dense(hidden=[16])",
    }
    return models.create(**networks, num_points=4, likelihood=likelihood, seed=0)


def test_mass_of_an_autoregressive_model_is_that_of_its_own_likelihood() -> None:
    """At a posterior without a spread and a prior that cancels it, the bound is log p(x|z)."""
    model = small("autoregressive(width=8, heads=2, components=2)")
    points = torch.rand(5, 4, 3) * torch.tensor([27.0, 27.0, 1.0])
    found = model.log_likelihood(points, samples=50)
    assert (found.value < 0).all()  # a mass, however fine the lattice
    z = model.embed(points)
    unit = model.scaling.to_unit(points)
    mask = torch.ones(5, 4, dtype=torch.bool)
    nats = model.likelihood.cloud_log_prob(unit, model.decode_unit(z), mask)
    # the untrained posterior is nearly the prior, so that all weights are nearly alike
    assert (found.value - nats).abs().max() < 15
    assert torch.isfinite(found.error).all()


def test_density_does_not_see_the_order_of_nodes() -> None:
    model = small("gaussian")
    model.likelihood.scale.fill_(0.3)
    points = torch.rand(5, 4, 3) * torch.tensor([27.0, 27.0, 1.0])
    first = model.log_likelihood(points, samples=3)
    again = model.log_likelihood(points[:, [2, 0, 3, 1]], samples=3)
    torch.testing.assert_close(first.value, again.value)


def test_masked_nodes_do_not_count() -> None:
    model = small("gaussian")
    model.likelihood.scale.fill_(0.3)
    points = torch.rand(5, 4, 3) * torch.tensor([27.0, 27.0, 1.0])
    mask = torch.tensor([[True, True, False, True]]).expand(5, -1)
    spoiled = points.clone()
    spoiled[:, 2] = 1e3
    first, again = (model.log_likelihood((p, mask), samples=3) for p in (points, spoiled))
    assert torch.equal(first.value, again.value)


def test_units_of_the_data_shift_the_value_by_their_volume() -> None:
    model, wide = linear(), linear()
    points = model.sample(10, seed=0)
    wide.scaling.low.mul_(2)
    wide.scaling.high.mul_(2)
    one, two = (
        each.log_likelihood(factor * points, samples=4, seed=0).value
        for each, factor in ((model, 1), (wide, 2))
    )
    torch.testing.assert_close(two, one - 3 * math.log(2), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 0, 2.0, True])
def test_a_wrong_number_of_draws_is_an_error(samples: Any) -> None:
    with pytest.raises(ValueError, match="samples must be a whole number of at least 2"):
        linear().log_likelihood(torch.zeros(1, 1, 3), samples=samples)


def test_a_mean_has_no_density() -> None:
    with pytest.raises(ValueError, match=r"with_likelihood\('gaussian', data\)"):
        small("mean").log_likelihood(torch.rand(2, 4, 3))
