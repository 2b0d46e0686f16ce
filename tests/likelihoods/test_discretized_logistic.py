"""Masses against differences of logistic distribution functions, and draws against masses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gconvae.likelihoods import discretized_logistic
from gconvae.likelihoods.discretized_logistic import (
    SMALLEST_LOG_SCALE,
    log_cumulative,
    log_prob,
    sample,
)

LATTICES = (1, 10, 27, 432)
ROUNDING = {torch.float32: 2e-3, torch.float64: 1e-9}
ONE_COMPONENT = {
    "narrow": (0.0, 0.4, -7.0),
    "narrower than the smallest": (0.0, 0.4, -50.0),
    "between two cells": (0.0, 0.45, -5.0),
    "wide": (0.0, 0.5, -1.0),
    "wider than the range": (0.0, 0.3, 3.0),
    "below the range": (0.0, -0.3, -2.0),
    "above the range": (0.0, 1.6, -1.5),
    "far above the range": (0.0, 40.0, 0.0),
}


def sampled(parameters: Tensor, steps: int, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """Numbers in [0, 1], not their places."""
    place = discretized_logistic.sample(parameters, steps, uniform, temperature)
    assert place.dtype == torch.long
    return place.to(parameters.dtype) / steps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many_components(components: int, seed: int = 0) -> list[float]:
    """Logits, means beyond the range too, and log-scales from tiny to wide."""
    drawn = torch.rand(3, components, generator=generator(seed))
    logits, means, log_scales = 4 * drawn[0] - 2, 2 * drawn[1] - 0.5, 8 * drawn[2] - 9
    return torch.cat([logits, means, log_scales]).tolist()


PARAMETERS = {**ONE_COMPONENT, "20 components": many_components(20)}

every_kind = pytest.mark.parametrize("kind", PARAMETERS)


def places(steps: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.arange(steps + 1, dtype=dtype) / steps


def log_masses(kind: str, steps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    parameters = torch.tensor(PARAMETERS[kind], dtype=dtype, device=device)
    value = places(steps, dtype).to(device)
    return discretized_logistic.log_prob(value, parameters.expand(steps + 1, -1), steps)


def sigmoid_loop(argument: float) -> float:
    if argument > 0:
        return 1 / (1 + math.exp(-argument))
    return math.exp(argument) / (1 + math.exp(argument))


def log_mass_of_component_loop(mean: float, scale: float, place: int, steps: int) -> float:
    """Of one logistic distribution, in Python's floats."""
    lower = -math.inf if place == 0 else ((place - 0.5) / steps - mean) / scale
    upper = math.inf if place == steps else ((place + 0.5) / steps - mean) / scale
    if lower > 0:  # mirrored, since numbers near 0 have more digits than numbers near 1
        lower, upper = -upper, -lower
    if upper < -40:  # down there, a sigmoid is an exponential
        return upper + math.log1p(-math.exp(lower - upper))
    return math.log(sigmoid_loop(upper) - sigmoid_loop(lower))


def log_mass_loop(parameters: list[float], place: int, steps: int) -> float:
    """Of one cell, one component after another."""
    components = len(parameters) // 3
    weights = [math.exp(logit) for logit in parameters[:components]]
    terms = []
    for k in range(components):
        mean, log_scale = parameters[components + k], parameters[2 * components + k]
        scale = math.exp(max(log_scale, SMALLEST_LOG_SCALE))
        log_mass = log_mass_of_component_loop(mean, scale, place, steps)
        terms.append(math.log(weights[k] / sum(weights)) + log_mass)
    return max(terms) + math.log(sum(math.exp(term - max(terms)) for term in terms))


def oracle(kind: str, steps: int, dtype: torch.dtype) -> list[float]:
    parameters = torch.tensor(PARAMETERS[kind], dtype=dtype).tolist()
    return [log_mass_loop(parameters, place, steps) for place in range(steps + 1)]


# masses


@pytest.mark.parametrize("steps", [1, 10, 27])
@every_kind
def test_masses_that_matter_are_differences_of_distribution_functions(
    kind: str, steps: int, dtype: torch.dtype, device: torch.device
) -> None:
    wanted = torch.tensor(oracle(kind, steps, dtype), dtype=torch.float64)
    found = log_masses(kind, steps, dtype, device).double().cpu()
    likely = wanted > math.log(1e-4)
    assert likely.any()
    torch.testing.assert_close(found[likely], wanted[likely], rtol=0, atol=ROUNDING[dtype])


@pytest.mark.parametrize("steps", [1, 10, 27])
@every_kind
def test_masses_far_in_the_tails_are_those_of_their_cells_too(
    kind: str, steps: int, dtype: torch.dtype, device: torch.device
) -> None:
    wanted = torch.tensor(oracle(kind, steps, dtype), dtype=torch.float64)
    found = log_masses(kind, steps, dtype, device).double().cpu()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=ROUNDING[dtype])


@pytest.mark.parametrize("steps", LATTICES)
@every_kind
def test_masses_of_all_cells_sum_to_one(
    kind: str, steps: int, dtype: torch.dtype, device: torch.device
) -> None:
    total = log_masses(kind, steps, dtype, device).double().exp().sum()
    assert float(total) == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("log_scale", [-1e30, -100.0, 0.0, 80.0, 90.0, 1e30])
@pytest.mark.parametrize("mean", [-1e6, -3.0, 0.5, 1e6])
@pytest.mark.parametrize("steps", LATTICES)
def test_no_parameter_gives_a_mass_or_a_gradient_that_is_not_finite(
    steps: int, mean: float, log_scale: float, dtype: torch.dtype
) -> None:
    parameters = torch.tensor([0.0, mean, log_scale], dtype=dtype).repeat(steps + 1, 1)
    parameters.requires_grad_()
    found = discretized_logistic.log_prob(places(steps, dtype), parameters, steps)
    found.sum().backward()
    assert found.isfinite().all()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()


def test_no_mass_is_above_one() -> None:
    parameters = torch.tensor(many_components(5, seed=1)).expand(28, 15)
    assert (discretized_logistic.log_prob(places(27, torch.float32), parameters, 27) <= 1e-6).all()


def test_the_mass_of_one_sure_place_is_all() -> None:
    masses = log_masses("narrow", 10, torch.float64, torch.device("cpu")).exp()
    assert masses.tolist() == pytest.approx([0.0] * 4 + [1.0] + [0.0] * 6, abs=1e-9)


def test_a_mean_between_two_cells_gives_each_a_half() -> None:
    masses = log_masses("between two cells", 10, torch.float64, torch.device("cpu")).exp()
    assert masses[4:6].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


def test_a_scale_below_the_smallest_is_the_smallest(dtype: torch.dtype) -> None:
    parameters = torch.tensor([[0.0, 0.45, -50.0], [0.0, 0.45, SMALLEST_LOG_SCALE]], dtype=dtype)
    value = torch.tensor([0.4, 0.4], dtype=dtype)
    tiny, smallest = discretized_logistic.log_prob(value, parameters, 10)
    assert tiny == smallest


def test_weights_are_the_softmax_of_the_logits() -> None:
    parameters = [math.log(2.0), math.log(6.0), 0.2, 0.7, -7.0, -7.0]
    every = torch.tensor(parameters, dtype=torch.float64).expand(11, 6)
    masses = discretized_logistic.log_prob(places(10), every, 10).exp()
    assert masses[[2, 7]].tolist() == pytest.approx([0.25, 0.75], abs=1e-9)


def test_the_order_of_components_does_not_matter() -> None:
    parameters = torch.tensor(many_components(6)).double()
    swapped = parameters.unflatten(0, (3, 6)).flip(1).flatten()
    first, second = (
        discretized_logistic.log_prob(places(27), each.expand(28, -1), 27)
        for each in (parameters, swapped)
    )
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def test_every_value_has_its_own_parameters() -> None:
    parameters = torch.stack([torch.tensor(many_components(4, seed)) for seed in range(6)])
    value = places(5, torch.float32)
    together = discretized_logistic.log_prob(value.reshape(2, 3), parameters.reshape(2, 3, 12), 5)
    for i in range(6):
        alone = discretized_logistic.log_prob(value[i], parameters[i], 5)
        torch.testing.assert_close(together.flatten()[i], alone)


def test_values_may_lie_on_lattices_of_their_own(dtype: torch.dtype) -> None:
    rows = [many_components(4, seed) for seed in range(len(LATTICES))]
    parameters = torch.tensor(rows, dtype=dtype).unsqueeze(1).expand(-1, 5, -1)
    steps = torch.tensor(LATTICES, dtype=dtype).unsqueeze(1)
    share = torch.linspace(0, 1, 5, dtype=dtype)  # both ends and some places between
    value = torch.round(share * steps) / steps
    together = discretized_logistic.log_prob(value, parameters, steps)
    for i, one in enumerate(LATTICES):
        alone = discretized_logistic.log_prob(value[i], parameters[i], one)
        torch.testing.assert_close(together[i], alone)


@pytest.mark.parametrize("steps", [1, 10, 432])
def test_gradient_of_the_mass_is_right(steps: int) -> None:
    rows = [many_components(3, seed) for seed in range(8)]
    parameters = torch.tensor(rows, dtype=torch.float64)
    parameters[:, 6:] = parameters[:, 6:].clamp(min=-4)  # smoother than the steps of the check
    # both ends and some places between
    value = torch.round(torch.linspace(0, 1, 8, dtype=torch.float64) * steps) / steps
    assert torch.autograd.gradcheck(
        lambda given: discretized_logistic.log_prob(value, given, steps),
        (parameters.requires_grad_(),),
    )


# draws


def ranks(*numbers: float, component: float = 0.5) -> Tensor:
    return torch.tensor([[component, number] for number in numbers])


def one(mean: float, scale: float, draws: int) -> Tensor:
    return torch.tensor([0.0, mean, math.log(scale)]).expand(draws, 3)


def rank_of(deviation: float) -> float:
    """Where a logistic distribution reaches so many scales above its mean."""
    return 1 / (1 + math.exp(-deviation))


def test_a_draw_is_the_inverse_of_the_distribution_function() -> None:
    uniform = ranks(rank_of(-9.0), rank_of(-2.0), 0.5, rank_of(1.2), rank_of(2.3), rank_of(9.0))
    drawn = sampled(one(0.5, 0.1, 6), 10, uniform)
    assert drawn.tolist() == pytest.approx([0.0, 0.3, 0.5, 0.6, 0.7, 1.0])


def test_the_first_uniform_number_chooses_the_component_by_its_weight() -> None:
    weights, means = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.1, 0.5, 0.9])
    parameters = torch.cat([weights.log(), means, torch.full((3,), -7.0)]).expand(6, 9)
    chosen = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 0.999])
    drawn = sampled(parameters, 10, torch.stack([chosen, torch.full((6,), 0.5)], 1))
    assert drawn.tolist() == pytest.approx([0.1, 0.1, 0.5, 0.5, 0.9, 0.9])


def test_temperature_divides_the_logits() -> None:
    # weights of 1/4 and 3/4 become 1/10 and 9/10
    parameters = torch.tensor([0.0, math.log(3.0), 0.2, 0.8, -7.0, -7.0]).expand(2, 6)
    uniform = torch.tensor([[0.09, 0.5], [0.11, 0.5]])
    drawn = sampled(parameters, 10, uniform, temperature=0.5)
    assert drawn.tolist() == pytest.approx([0.2, 0.8])


def test_temperature_multiplies_the_scales() -> None:
    uniform = ranks(rank_of(-4.0), rank_of(4.0))
    drawn = sampled(one(0.5, 0.1, 2), 10, uniform, temperature=0.5)
    assert drawn.tolist() == pytest.approx([0.3, 0.7])


def test_a_temperature_of_one_is_the_default() -> None:
    uniform = torch.rand(1000, 2, generator=generator())
    parameters = torch.tensor(many_components(4)).expand(1000, -1)
    drawn = sampled(parameters, 432, uniform)
    assert torch.equal(sampled(parameters, 432, uniform, temperature=1.0), drawn)
    assert not torch.equal(sampled(parameters, 432, uniform, temperature=0.9), drawn)


def test_a_lower_temperature_draws_no_farther_from_a_mean() -> None:
    rank = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    uniform = torch.stack([torch.full_like(rank, 0.3), rank], dim=1)
    parameters = torch.tensor([0.0, 0.5, -3.0], dtype=torch.float64).expand(999, 3)
    gaps = [
        (sampled(parameters, 432, uniform, temperature) - 0.5).abs()
        for temperature in (0.2, 0.6, 1.0)
    ]
    assert (gaps[0] <= gaps[1]).all()
    assert (gaps[1] <= gaps[2]).all()
    assert gaps[0].mean() < 0.5 * gaps[1].mean() < 0.4 * gaps[2].mean()


@pytest.mark.parametrize("kind", ["between two cells", "wide", "above the range", "20 components"])
def test_draws_are_as_frequent_as_their_masses_say(kind: str) -> None:
    parameters, draws, steps = torch.tensor(PARAMETERS[kind]), 50_000, 27
    uniform = torch.rand(draws, 2, generator=generator(3))
    drawn = sampled(parameters.expand(draws, -1), steps, uniform)
    counts = torch.bincount(torch.round(drawn * steps).long(), minlength=steps + 1).numpy()
    masses = log_masses(kind, steps, torch.float64, torch.device("cpu")).exp()
    wanted = draws * (masses / masses.sum()).numpy()
    often = wanted >= 5
    pooled = [np.append(each[often], each[~often].sum()) for each in (counts, wanted)]
    if pooled[1][-1] < 5:
        assert pooled[0][-1] <= 20
        pooled = [np.append(each[:-2], each[-2:].sum()) for each in pooled]
    # one seed for 4 cases: below 1e-3 only if draws and masses differ
    assert stats.chisquare(*pooled).pvalue > 1e-3


@pytest.mark.parametrize("steps", LATTICES)
@every_kind
def test_draws_lie_on_the_lattice_within_the_range(
    kind: str, steps: int, dtype: torch.dtype, device: torch.device
) -> None:
    parameters = torch.tensor(PARAMETERS[kind], dtype=dtype, device=device).expand(40, 25, -1)
    uniform = torch.rand(40, 25, 2, generator=generator(), dtype=dtype).to(device)
    drawn = sampled(parameters, steps, uniform)
    assert drawn.dtype == dtype
    assert drawn.shape == (40, 25)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert torch.equal(torch.round(drawn * steps) / steps, drawn)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@every_kind
def test_uniform_numbers_at_the_ends_give_draws_too(
    kind: str, temperature: float, dtype: torch.dtype
) -> None:
    # a double below 1 may be 1 in single precision
    ends = [0.0, torch.finfo(dtype).tiny, 1 - torch.finfo(dtype).eps / 2, 1.0]
    uniform = torch.cartesian_prod(*[torch.tensor(ends, dtype=dtype)] * 2)  # (16, 2)
    parameters = torch.tensor(PARAMETERS[kind], dtype=dtype).expand(16, -1)
    drawn = sampled(parameters, 27, uniform, temperature)
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_rank_at_an_end_does_not_throw_a_narrow_draw_across_the_range(
    end: float, dtype: torch.dtype
) -> None:
    parameters = torch.tensor([[0.0, 0.4, SMALLEST_LOG_SCALE]], dtype=dtype)
    drawn = sampled(parameters, 10, torch.tensor([[0.5, end]], dtype=dtype))
    assert drawn.tolist() == pytest.approx([0.4])


def test_a_higher_rank_never_draws_a_lower_value() -> None:
    rank = torch.linspace(0, 1, 1000, dtype=torch.float64)
    uniform = torch.stack([torch.full_like(rank, 0.3), rank], dim=1)
    parameters = torch.tensor(many_components(4), dtype=torch.float64).expand(1000, -1)
    assert (sampled(parameters, 432, uniform).diff() >= 0).all()


# the lower part of a distribution


@pytest.mark.parametrize("most", [0, 1, 4, 9, 10])
def test_draws_up_to_a_place_are_those_of_the_lower_part(most: int) -> None:
    torch.manual_seed(0)
    parameters, draws = torch.randn(9).mul(0.5).expand(20_000, 9), 20_000
    values = torch.arange(11) / 10
    masses = log_prob(values, parameters[:11], 10).exp().double().numpy()
    end = torch.full((draws,), most)
    uniform = torch.rand(draws, 2, generator=torch.Generator().manual_seed(1))
    drawn = sample(parameters, 10, uniform, most=end)
    assert int(drawn.max()) <= most
    wanted = np.where(np.arange(11) <= most, masses, 0.0)
    wanted /= wanted.sum()
    shares = np.bincount(drawn, minlength=11) / draws
    np.testing.assert_allclose(shares, wanted, atol=0.015)
    below = log_cumulative(values[most], parameters[0], 10).exp().item()
    assert below == pytest.approx(masses[: most + 1].sum(), abs=1e-5)


def test_rare_components_are_not_drawn_from() -> None:
    # shares 0.9, 0.08 and 0.02, each at a place of its own
    weights = torch.tensor([0.9, 0.08, 0.02]).log()
    parameters = torch.cat([weights, torch.tensor([0.2, 0.5, 0.8]), torch.full((3,), -7.0)])
    uniform = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0))
    parameters = parameters.expand(len(uniform), -1)

    def shares(least: float) -> list[float]:
        drawn = sample(parameters, 10, uniform, least_share=least)
        return (torch.bincount(drawn, minlength=11)[[2, 5, 8]] / len(drawn)).tolist()

    assert shares(0.0) == pytest.approx([0.9, 0.08, 0.02], abs=0.01)
    assert shares(0.05) == pytest.approx([0.9 / 0.98, 0.08 / 0.98, 0.0], abs=0.01)
    assert shares(0.05)[2] == 0
    assert shares(0.1) == [1, 0, 0]


def test_spared_components_are_drawn_from_whatever_their_weight() -> None:
    logits, means = torch.tensor([4.0, 0.0, 0.0]), torch.tensor([0.1, 0.5, 0.9])
    parameters = torch.cat([logits, means, torch.full((3,), -9.0)]).expand(2000, 9)
    uniform = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
    for spared, wanted in ((0, [1]), (1, [1, 9]), (2, [1, 5, 9])):
        drawn = discretized_logistic.sample(
            parameters, 10, uniform, least_share=0.1, spared=spared
        )
        assert drawn.unique().tolist() == wanted
