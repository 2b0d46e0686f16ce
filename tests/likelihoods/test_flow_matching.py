"""Flow matching where the flow is known, and in networks small enough to learn a toy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from gconvae import registry
from gconvae.likelihoods.flow_matching import FlowMatchingLikelihood
from gconvae.likelihoods.velocity import Context
from gconvae.randomness import initial_weights

SMALL: dict[str, Any] = {
    "num_points": 4,
    "width": 16,
    "heads": 2,
    "layers": 2,
    "mean_layers": 1,
    "steps": 4,
    "batch_size": 8,
    "evaluations": 8,
    "solver": "midpoint",
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(seed: int = 0, **options: Any) -> FlowMatchingLikelihood:
    with initial_weights(seed):
        return FlowMatchingLikelihood(**SMALL | options)


def moving(seed: int = 0, **options: Any) -> FlowMatchingLikelihood:
    """One whose last layer is not 0, so that its nodes move."""
    with initial_weights(seed):
        likelihood = FlowMatchingLikelihood(**SMALL | options)
        nn.init.normal_(likelihood.network.velocity.weight, std=0.2)
    return likelihood


class Growing(nn.Module):
    """v = rate * x, whatever the mean."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def context(self, mean: Tensor, mask: Tensor, taken: Tensor) -> Context:
        return Context(mean, mean, taken, mask.unsqueeze(1).to(mean))

    def forward(self, place: Tensor, time: Tensor, context: Context) -> Tensor:
        return self.rate * place


def growing(rate: float, **options: Any) -> FlowMatchingLikelihood:
    likelihood: Any = make(**options)
    likelihood.network = Growing(rate)
    return likelihood


def clouds(num_clouds: int = 6, num_points: int = 4, num_features: int = 3) -> Tensor:
    shape = (num_clouds, num_points, num_features)
    return torch.rand(shape, generator=generator(5), dtype=torch.float64)


def means(num_clouds: int = 6, num_points: int = 4, num_features: int = 3) -> Tensor:
    shape = (num_clouds, num_points, num_features)
    return torch.rand(shape, generator=generator(6), dtype=torch.float64)


def ragged() -> tuple[Tensor, Tensor, Tensor]:
    """Clouds and means of 1 to 4 nodes, real ones first, and their mask."""
    mask = torch.arange(4) < torch.tensor([4, 3, 2, 1, 4, 2]).unsqueeze(1)
    return clouds(), means(), mask


def some_changes(likelihood: FlowMatchingLikelihood, unit: Tensor, mask: Tensor) -> Tensor:
    return likelihood.changed(unit, mask, generator(3), 0.0)[1]


def spoil(points: Tensor, mask: Tensor, garbage: float) -> Tensor:
    return points.masked_fill(~mask.unsqueeze(-1), garbage)


# draws


def test_draws_of_an_untrained_network_are_gaussian_around_the_mean() -> None:
    likelihood, mean = make(spread=0.2), torch.full((4000, 4, 3), 0.5)
    likelihood.scale.copy_(torch.tensor([0.1, 0.2, 0.3]))
    drawn = likelihood.sample(mean, generator())
    wanted = 0.2 * likelihood.scale
    torch.testing.assert_close(drawn.std((0, 1)), wanted, rtol=0.03, atol=0)
    assert (drawn.mean((0, 1)) - 0.5).abs().max() < 3e-3


def test_draws_follow_the_flow() -> None:
    # (1 + r h + (r h)^2 / 2)^4 for four steps of the midpoint rule
    mean = torch.full((3, 4, 3), 0.5, dtype=torch.float64)
    noise = 0.1 * torch.randn(3, 4, 3, generator=generator(), dtype=torch.float64)
    likelihood = growing(0.8).double()
    wanted = 0.5 + likelihood.spread * likelihood.scale * noise * (1 + 0.2 + 0.02) ** 4
    torch.testing.assert_close(likelihood.draw(mean, noise), wanted)


def test_draws_lie_in_the_unit_interval() -> None:
    drawn = growing(3.0).sample(means().float(), generator())
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (drawn == 0).any()
    assert (drawn == 1).any()


def test_a_lower_temperature_keeps_closer_to_the_mean() -> None:
    mean = torch.full((2000, 4, 3), 0.5)
    spreads = [
        float((make(spread=0.2, temperature=share).sample(mean, generator()) - mean).std())
        for share in (0.5, 1.0)
    ]
    assert spreads[0] == pytest.approx(0.5 * spreads[1], rel=1e-5)


def test_same_seed_gives_the_same_bits() -> None:
    likelihood, mean = moving(), means().float()
    torch.manual_seed(0)
    first = likelihood.sample(mean, generator(1))
    torch.manual_seed(1)  # the global generator has no say
    assert torch.equal(likelihood.sample(mean, generator(1)), first)
    assert not torch.equal(likelihood.sample(mean, generator(2)), first)


def test_a_draw_is_a_function_of_its_own_mean_and_noise() -> None:
    likelihood, mean = moving().double(), means()
    noise = likelihood.noise((6, 4, 3), generator())
    whole = likelihood.draw(mean, noise)
    others = likelihood.draw(torch.cat([mean[:1], means().flip(0)[:5]]), noise)
    assert torch.equal(others[0], whole[0])
    for row in range(6):
        alone = likelihood.draw(mean[row : row + 1], noise[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-12)


def test_permuted_noise_and_means_give_permuted_draws() -> None:
    likelihood, mean, order = moving().double(), means(), [2, 0, 3, 1]
    noise = likelihood.noise((6, 4, 3), generator())
    found = likelihood.draw(mean[:, order], noise[:, order])
    torch.testing.assert_close(found, likelihood.draw(mean, noise)[:, order])


def test_every_node_of_the_mean_is_told_to_every_node() -> None:
    likelihood, mean = moving().double(), means()
    noise, moved = likelihood.noise((6, 4, 3), generator()), mean.clone()
    moved[:, 3, 2] = 1 - moved[:, 3, 2]
    difference = likelihood.draw(moved, noise) - likelihood.draw(mean, noise)
    assert difference[:, :3].abs().amax(2).min() > 1e-9


@pytest.mark.parametrize("garbage", [0.7, 1e9, math.nan])
def test_real_nodes_of_draws_ignore_masked_nodes(garbage: float) -> None:
    likelihood, (_, mean, mask) = moving().double(), ragged()
    noise = likelihood.noise((6, 4, 3), generator())
    wanted = likelihood.draw(mean, noise, mask)
    found = likelihood.draw(spoil(mean, mask, garbage), spoil(noise, mask, garbage), mask)
    assert torch.equal(found, wanted)
    assert not wanted[~mask].any()


def test_draws_are_told_the_share_of_places_that_are_real() -> None:
    mean, noise = means()[:, :2], torch.randn(6, 2, 3, generator=generator()).double()
    found = [moving(num_points=n).double().draw(mean, noise) for n in (2, 4)]
    assert (found[0] - found[1]).abs().amax((1, 2)).min() > 1e-9


# the density


def test_density_of_an_untrained_network_is_that_of_a_gaussian() -> None:
    likelihood, (unit, mean, _) = make(spread=0.3).double(), ragged()
    likelihood.scale.copy_(torch.tensor([0.1, 0.2, 0.3]))
    normal = torch.distributions.Normal(mean, 0.3 * likelihood.scale)
    torch.testing.assert_close(likelihood.log_prob(unit, mean), normal.log_prob(unit))


@pytest.mark.parametrize("rate", [-1.0, 0.7])
def test_density_of_a_growing_flow_is_that_of_a_wider_gaussian(rate: float) -> None:
    likelihood, unit, mean = growing(rate, evaluations=64, solver="rk4"), clouds(), means()
    likelihood.double()
    stddev = math.exp(rate) * likelihood.spread * likelihood.scale
    normal = torch.distributions.Normal(mean, stddev)
    found = likelihood.log_prob(unit, mean)
    torch.testing.assert_close(found, normal.log_prob(unit), rtol=1e-6, atol=1e-6)


def one_node(values: Tensor, likelihood: FlowMatchingLikelihood) -> Tensor:
    """Log-density of clouds of one number around 0.5."""
    value = values.view(-1, 1, 1)
    return likelihood.log_prob(value, torch.full_like(value, 0.5)).flatten()


def test_density_integrates_to_one_and_draws_have_it() -> None:
    options: dict[str, Any] = {"num_points": 1, "num_features": 1, "solver": "rk4"}
    likelihood = moving(**options, evaluations=64, spread=0.2, lattice=None).double()
    values = torch.linspace(0, 1, 801, dtype=torch.float64)
    density = one_node(values, likelihood).exp()
    summed = torch.cumulative_trapezoid(density, values)
    assert float(summed[-1]) == pytest.approx(1.0, abs=1e-3)
    mean = torch.full((2000, 1, 1), 0.5, dtype=torch.float64)
    drawn = likelihood.sample(mean, generator()).flatten().numpy()
    found = stats.kstest(drawn, lambda x: np.interp(x, values[1:].numpy(), summed.numpy()))
    assert found.pvalue > 1e-3


def test_density_of_clouds_does_not_see_the_order_of_nodes() -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    full, order = torch.ones_like(mask), [3, 1, 0, 2]
    wanted = likelihood.cloud_log_prob(unit, mean, full)
    for pair in ((unit[:, order], mean), (unit, mean[:, order])):
        torch.testing.assert_close(likelihood.cloud_log_prob(*pair, full), wanted)
    wanted = likelihood.cloud_log_prob(unit, mean, mask)
    shuffled = unit[:, order], mean[:, order], mask[:, order]
    torch.testing.assert_close(likelihood.cloud_log_prob(*shuffled), wanted)


@pytest.mark.parametrize("garbage", [0.7, 1e9, math.nan])
def test_density_ignores_masked_nodes(garbage: float) -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    wanted = likelihood.cloud_log_prob(unit, mean, mask)
    spoiled = spoil(unit, mask, garbage), spoil(mean, mask, garbage)
    assert torch.equal(likelihood.cloud_log_prob(*spoiled, mask), wanted)
    few = likelihood.cloud_log_prob(unit[2:3, :2], mean[2:3, :2], mask[2:3, :2])
    torch.testing.assert_close(few, wanted[2:3])


def test_density_is_the_same_whatever_a_caller_has_switched_on() -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    wanted = likelihood.cloud_log_prob(unit, mean, mask)
    with torch.inference_mode():
        found = likelihood.cloud_log_prob(unit.clone(), mean.clone(), mask.clone())
    assert torch.equal(found, wanted)
    assert not found.requires_grad


# the loss


def test_loss_of_an_untrained_network_is_the_squared_length_of_the_paths() -> None:
    likelihood, unit, mean = make(num_points=1).double(), clouds(6, 1), means(6, 1)
    mask = torch.ones(6, 1, dtype=torch.bool)
    changes = some_changes(likelihood, unit, mask)
    noise = changes[:, 1:].view(6, 1, 3)
    path = (unit - mean) / (likelihood.spread * likelihood.scale) - noise
    found = likelihood.negative_log_likelihood(unit, mean, mask, changes)
    torch.testing.assert_close(found, path.square().sum((1, 2)))


def test_nodes_are_matched_to_the_noise() -> None:
    # two nodes of a mean in one place: the noise says which is which
    likelihood = make(num_points=2, num_features=1, lattice=None).double()
    likelihood.scale.fill_(1.0)
    unit, mean = torch.tensor([[[0.2], [0.8]]]).double(), torch.full((1, 2, 1), 0.5).double()
    mask = torch.ones(1, 2, dtype=torch.bool)
    for signs in ((1.0, -1.0), (-1.0, 1.0)):
        changes = torch.tensor([[0.3, *signs]]).double()
        found = likelihood.negative_log_likelihood(unit, mean, mask, changes)
        # from 0.5 + 0.5 to 0.8 and from 0.5 - 0.5 to 0.2, in units of the spread 0.5
        torch.testing.assert_close(found, torch.tensor([2 * 0.4**2]).double())


def test_loss_of_a_batch_is_that_of_each_cloud() -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    for changes in (some_changes(likelihood, unit, mask), None):
        together = likelihood.negative_log_likelihood(unit, mean, mask, changes)
        for i in range(6):
            row = slice(i, i + 1)
            own = None if changes is None else changes[row]
            alone = likelihood.negative_log_likelihood(unit[row], mean[row], mask[row], own)
            torch.testing.assert_close(alone, together[row])


def test_loss_of_held_out_clouds_has_the_same_noise_in_every_call() -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    torch.manual_seed(0)
    first = likelihood.negative_log_likelihood(unit, mean, mask)
    torch.manual_seed(1)
    assert torch.equal(likelihood.negative_log_likelihood(unit, mean, mask), first)


@pytest.mark.parametrize("garbage", [0.7, -3.0, 1e9, math.nan])
def test_loss_ignores_what_masked_places_hold(garbage: float) -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    changes = some_changes(likelihood, unit, mask)
    wanted = likelihood.negative_log_likelihood(unit, mean, mask, changes)
    spoiled = spoil(unit, mask, garbage), spoil(mean, mask, garbage)
    assert torch.equal(likelihood.negative_log_likelihood(*spoiled, mask, changes), wanted)


def test_loss_does_not_see_the_order_of_nodes() -> None:
    likelihood, (unit, mean, mask) = moving().double(), ragged()
    full, order = torch.ones_like(mask), [3, 1, 0, 2]
    changes = some_changes(likelihood, unit, full)
    wanted = likelihood.negative_log_likelihood(unit, mean, full, changes)
    found = likelihood.negative_log_likelihood(unit[:, order], mean, full, changes)
    torch.testing.assert_close(found, wanted)


def test_times_of_a_batch_lie_one_in_each_part_of_the_unit_interval() -> None:
    likelihood, unit = make(), torch.zeros(50, 4, 3)
    mask = torch.ones(50, 4, dtype=torch.bool)
    same, changes = likelihood.changed(unit, mask, generator(), 0.5)
    assert same is unit
    times = changes[:, 0]
    assert sorted((times * 50).long().tolist()) == list(range(50))
    assert not torch.equal(times, times.sort().values)
    assert changes.shape == (50, 1 + 12)
    again = likelihood.changed(unit, mask, generator(), 0.5)[1]
    assert torch.equal(again, changes)


def test_every_parameter_gets_a_gradient() -> None:
    likelihood, (unit, mean, mask) = moving(), ragged()
    unit, mean = unit.float(), mean.float()
    changes = some_changes(likelihood, unit, mask)
    likelihood.negative_log_likelihood(unit, mean, mask, changes).sum().backward()
    for name, parameter in likelihood.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_a_toy_is_learned() -> None:
    """Two nodes, both near 0.2 or both near 0.8; the mean, always 0.5, does not say which."""
    likelihood = make(
        num_points=2, num_features=1, lattice=None, mean_layers=1, spread=1.0, evaluations=16
    )
    random, mask = generator(7), torch.ones(128, 2, dtype=torch.bool)
    mean = torch.full((128, 2, 1), 0.5)

    def batch() -> Tensor:
        side = torch.randint(2, (128, 1, 1), generator=random)
        return 0.2 + 0.6 * side + 0.02 * torch.randn(128, 2, 1, generator=random)

    likelihood.prepare_fit(batch(), mask)
    optimizer = torch.optim.Adam(likelihood.network.parameters(), lr=1e-2)
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 200)
        unit, changes = likelihood.changed(batch(), mask, random, step / 200)
        optimizer.zero_grad()
        likelihood.negative_log_likelihood(unit, mean, mask, changes).mean().backward()
        optimizer.step()
    drawn = likelihood.sample(mean.repeat(8, 1, 1), generator(8))[..., 0]  # (1024, 2)
    near = torch.minimum((drawn - 0.2).abs(), (drawn - 0.8).abs()) < 0.1
    assert near.float().mean() > 0.9
    high = drawn > 0.5
    assert (high[:, 0] == high[:, 1]).float().mean() > 0.95
    assert 0.4 < high.float().mean() < 0.6


# parts


def test_features_are_standardized_over_real_nodes() -> None:
    likelihood, unit = make(num_features=2), torch.zeros(2, 4, 2)
    unit[0, :2], unit[1, 0] = torch.tensor([[0.2, 0.1], [0.4, 0.1]]), torch.tensor([0.9, 0.1])
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])
    unit[~mask] = 77.0
    likelihood.prepare_fit(unit, mask)
    assert likelihood.centre.tolist() == pytest.approx([0.5, 0.1])
    assert likelihood.scale.tolist() == pytest.approx([math.sqrt(0.26 / 3), 1e-6])


def test_state_dict_holds_everything_that_was_fitted() -> None:
    fitted = moving()
    fitted.prepare_fit(0.5 * clouds().float(), torch.ones(6, 4, dtype=torch.bool))
    loaded = make(seed=1)
    loaded.load_state_dict(fitted.state_dict())
    mean = means().float()
    assert torch.equal(loaded.sample(mean, generator()), fitted.sample(mean, generator()))


def test_options_are_remembered() -> None:
    text = "flow_matching(width=16, heads=2, layers=1, solver='heun', temperature=0.7)"
    made: Any = registry.create("likelihood", text, num_points=4)
    term = registry.describe("likelihood", made)
    assert term is not None
    assert term.name == "flow_matching"
    again: Any = registry.create("likelihood", term.name, **term.options)
    again.load_state_dict(made.state_dict())
    assert (again.solver, again.temperature) == ("heun", 0.7)
    mean = means().float()
    assert torch.equal(again.sample(mean, generator()), made.sample(mean, generator()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 0}, "num_points must be a whole number of at least 1, got 0"),
        ({"num_features": 0}, "num_features must be a whole number of at least 1, got 0"),
        ({"lattice": "none"}, "lattice must be 'auto', 'fine', None or a list of 3"),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"heads": 3}, "heads must divide the width 16, got 3"),
        ({"layers": 0}, "layers must be a whole number of at least 1, got 0"),
        ({"mean_layers": 0}, "mean_layers must be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"evaluations": 0}, "evaluations must be a whole number of at least 1, got 0"),
        ({"solver": "dopri5"}, "solver must be one of euler, midpoint, .*, got 'dopri5'"),
        ({"spread": 0.0}, "spread must be above 0 and finite, got 0.0"),
        ({"spread": math.nan}, "spread must be above 0 and finite, got nan"),
        ({"temperature": math.inf}, "temperature must be above 0 and finite, got inf"),
    ],
)
def test_wrong_options_are_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_wrong_shapes_are_an_error() -> None:
    likelihood, mean = make(), torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match=r"mean must have shape \(clouds, nodes, 3\), got \(2, 4"):
        likelihood.sample(torch.zeros(2, 4, 2), generator())
    with pytest.raises(ValueError, match=r"value must have mean's shape \(2, 4, 3\), got \(2, 3,"):
        likelihood.log_prob(mean[:, :3], mean)
    with pytest.raises(ValueError, match=r"target must have mean's shape \(2, 4, 3\), got \(2, 3"):
        likelihood.calibrate(mean[:, :3], mean)
