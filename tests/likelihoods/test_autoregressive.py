"""The distribution over whole clouds on lattices small enough to count all of them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gconvae import registry
from gconvae.datasets.transforms import NUM_CHANGES
from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.places import CONTINUOUS_STEPS, Places
from gconvae.randomness import initial_weights
from gconvae.schema import JETS, SUPERPIXELS, CloudSchema, points

SMALL: dict[str, Any] = {
    "num_points": 4,
    "width": 16,
    "heads": 2,
    "components": 3,
    "steps": 4,
    "batch_size": 8,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(seed: int = 0, **options: Any) -> AutoregressiveLikelihood:
    with initial_weights(seed):
        return AutoregressiveLikelihood(**SMALL | options)


def decided(lattice: tuple[int, ...], **options: Any) -> AutoregressiveLikelihood:
    """One whose weights are large enough to tell values apart, on a lattice of few places."""
    likelihood = make(num_features=len(lattice), temperature=1.0, **options)
    likelihood.lattice_steps.copy_(torch.tensor(lattice))
    with torch.no_grad():
        for parameter in likelihood.network.parameters():
            parameter.mul_(2)
    return likelihood


def every_node(lattice: tuple[int, ...]) -> Tensor:
    """All nodes of a lattice, shape (nodes, F)."""
    places = itertools.product(*(range(steps + 1) for steps in lattice))
    return torch.tensor(list(places), dtype=torch.float64) / torch.tensor(lattice)


def apart(num_clouds: int, num_points: int = 4, num_features: int = 3) -> Tensor:
    """Clouds on the lattice, the nodes from the top down and far from each other."""
    shape = (num_clouds, num_points, num_features)
    points = torch.rand(shape, generator=generator(5), dtype=torch.float64)
    points[..., 1] = (torch.arange(num_points) + 0.6 * points[..., 1]) / num_points
    steps = make(num_features=num_features).lattice_steps
    return torch.round(points * steps) / steps


def means(num_clouds: int, num_points: int = 4, num_features: int = 3, seed: int = 6) -> Tensor:
    shape = (num_clouds, num_points, num_features)
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def one_mean(num_points: int, num_features: int, num_clouds: int) -> Tensor:
    return means(1, num_points, num_features).expand(num_clouds, -1, -1)


def is_from_top(clouds: Tensor) -> bool:
    """Node by node: lower than the one before, or as high and not to its left."""
    for cloud in clouds.tolist():
        for before, after in itertools.pairwise(cloud):
            if (after[1], after[0]) < (before[1], before[0]):
                return False
    return True


def equal_states(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def chi_square(counts: np.ndarray, wanted: np.ndarray) -> float:
    """The p-value, rare outcomes counted as one."""
    rare = wanted < 5
    pooled = [np.append(each[~rare], each[rare].sum()) for each in (counts, wanted)]
    if pooled[1][-1] < 5:
        pooled = [np.append(each[:-2], each[-2:].sum()) for each in pooled]
    pooled[1] *= pooled[0].sum() / pooled[1].sum()
    return float(stats.chisquare(*pooled).pvalue)


# the density


@pytest.mark.parametrize(
    "lattice",
    [(4, 3), (20, 33), (20, 37), (16, 15), (32, 47), (432, 3), (2, 432), (3, 2, 4), (5, 18, 2)],
)
def test_masses_of_all_clouds_of_one_node_sum_to_one(
    lattice: tuple[int, ...], dtype: torch.dtype
) -> None:
    likelihood = decided(lattice, num_points=1).to(dtype)
    value = every_node(lattice).unsqueeze(1).to(dtype)
    mean = one_mean(1, len(lattice), len(value)).to(dtype)
    with torch.no_grad():
        log_density = likelihood.log_prob(value, mean).sum((1, 2))
    total = (log_density.double() - likelihood.lattice_steps.log().sum()).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize(("num_points", "column"), [(1, 0), (1, 1), (1, 2), (4, 0), (4, 2)])
def test_masses_of_all_values_of_a_feature_of_the_last_node_sum_to_one(
    num_points: int, column: int
) -> None:
    likelihood = make(num_points=num_points)
    steps = int(likelihood.lattice_steps[column])
    value = apart(1, num_points).repeat(steps + 1, 1, 1)
    value[:, -1, column] = torch.arange(steps + 1) / steps
    with torch.no_grad():
        found = likelihood.log_prob(value.float(), one_mean(num_points, 3, steps + 1).float())
    masses = found[:, -1, column].double().exp() / steps
    assert float(masses.sum()) == pytest.approx(1.0, abs=2e-5)


def test_density_does_not_see_the_order_of_nodes() -> None:
    likelihood, value, mean = make().double(), apart(6), means(6)
    found, order = likelihood.log_prob(value, mean), [2, 0, 3, 1]
    shuffled = likelihood.log_prob(value[:, order], mean)
    assert torch.equal(shuffled, found[:, order])


def test_density_does_not_see_the_order_of_the_means_nodes() -> None:
    likelihood, value, mean = make().double(), apart(6), means(6)
    found = likelihood.log_prob(value, mean)
    assert torch.equal(likelihood.log_prob(value, mean[:, [2, 0, 3, 1]]), found)


@pytest.mark.parametrize("side", ["value", "mean"])
def test_density_does_not_see_the_order_of_nodes_at_one_place(side: str) -> None:
    likelihood, pair = make().double(), {"value": apart(6), "mean": means(6)}
    pair[side][:, 2, :2] = pair[side][:, 1, :2]
    found = likelihood.log_prob(**pair)
    pair[side] = pair[side][:, [0, 2, 1, 3]]
    shuffled = likelihood.log_prob(**pair)
    torch.testing.assert_close(shuffled.sum((1, 2)), found.sum((1, 2)))


@pytest.mark.parametrize("place", range(12))
def test_a_value_is_known_to_all_that_come_later_and_to_none_before(place: int) -> None:
    # of each node first y, then x, then the intensity
    node, column = place // 3, (1, 0, 2)[place % 3]
    likelihood, value, mean = make().double(), apart(8), means(8)
    changed = value.clone()
    steps = likelihood.lattice_steps[column]
    changed[:, node, column] += torch.where(value[:, node, column] > 0.5, -7, 7) / steps
    if column == 1:  # not so far that nodes change places
        changed[:, node, column] = value[:, node, column] + 3 / steps
    before, after = (
        likelihood.log_prob(each, mean)[..., [1, 0, 2]].flatten(1) for each in (value, changed)
    )
    torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-12)
    assert (after[:, place:] - before[:, place:]).abs().amin(1).min() > 1e-9


@pytest.mark.parametrize("node", range(4))
def test_every_node_of_the_mean_is_told_to_every_place(node: int) -> None:
    likelihood, value, mean = make().double(), apart(8), apart(8)
    moved = mean.clone()
    moved[:, node, 2] = 1 - moved[:, node, 2]
    difference = likelihood.log_prob(value, moved) - likelihood.log_prob(value, mean)
    assert difference.abs().min() > 1e-9


def test_density_is_constant_within_a_cell() -> None:
    likelihood, value, mean = make().double(), apart(6), means(6)
    steps = likelihood.lattice_steps
    shift = 0.98 * torch.rand(value.shape, generator=generator(), dtype=torch.float64) - 0.49
    found = likelihood.log_prob(value, mean)
    assert torch.equal(likelihood.log_prob(value + shift / steps, mean), found)
    assert not torch.equal(likelihood.log_prob(value + 0.51 / steps, mean), found)


def test_every_parameter_gets_a_gradient() -> None:
    likelihood = make()
    mask = torch.arange(4) < torch.tensor([4, 3, 4, 2, 4, 1, 4, 4]).unsqueeze(1)
    changes = torch.randn(8, NUM_CHANGES, generator=generator())
    nats = likelihood.negative_log_likelihood(apart(8).float(), means(8).float(), mask, changes)
    nats.sum().backward()
    for name, parameter in likelihood.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


# draws


def assert_draws_fit_masses(
    likelihood: AutoregressiveLikelihood, lattice: tuple[int, ...]
) -> None:
    """Of clouds of one node."""
    draws = 20_000
    mean = one_mean(1, len(lattice), draws).float()
    drawn = likelihood.sample(mean, generator())[:, 0]
    value = every_node(lattice).float().unsqueeze(1)
    with torch.no_grad():
        log_density = likelihood.log_prob(value, mean[: len(value)]).sum((1, 2))
    masses = (log_density.double() - likelihood.lattice_steps.log().sum()).exp().numpy()
    assert masses.sum() == pytest.approx(1.0, abs=2e-5)
    places = torch.round(drawn * likelihood.lattice_steps).long().numpy()
    numbers = np.ravel_multi_index(tuple(places.T), [steps + 1 for steps in lattice])
    counts = np.bincount(numbers, minlength=len(masses))
    # one seed for 8 cases: below 1e-3 only if draws and masses differ
    assert chi_square(counts, draws * masses / masses.sum()) > 1e-3


@pytest.mark.parametrize("lattice", [(4, 3), (20, 17), (33, 2), (3, 2, 4), (2, 17, 2)])
def test_draws_of_one_node_are_as_frequent_as_their_masses_say(lattice: tuple[int, ...]) -> None:
    assert_draws_fit_masses(decided(lattice, num_points=1), lattice)


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (points("x", "charge mass"), (0, 1, 2)),
        (points("x y", "charge"), (1, 0, 2)),
        (points("x y z"), (2, 1, 0)),
        (JETS, (2, 1, 0)),
        (points("x y", "charge").replace(order=("-charge",)), (2, 1, 0)),
        (SUPERPIXELS, (1, 0, 2)),  # an image is written line by line
    ],
)
def test_a_schema_says_the_order_of_drawing(schema: CloudSchema, columns: tuple[int, ...]) -> None:
    likelihood, lattice = decided((3, 18, 2), num_points=1), (3, 18, 2)
    likelihood.set_schema(schema)
    assert likelihood.order.columns == columns
    assert_draws_fit_masses(likelihood, lattice)


def test_a_lattice_that_changes_is_looked_at_anew() -> None:
    likelihood, mean = decided((432, 432, 255)), means(50)
    for lattice in ((40, 3, 17), (17, 40, 3)):
        for dtype in (torch.float32, torch.float64):
            likelihood.to(dtype).sample(mean.to(dtype), generator())
            likelihood.lattice_steps.copy_(torch.tensor(lattice))
            drawn = likelihood.sample(mean.to(dtype), generator())
            steps = likelihood.lattice_steps
            assert drawn.dtype == dtype
            assert torch.equal(torch.round(drawn * steps) / steps, drawn)


@pytest.mark.parametrize("num_points", [2, 3])
def test_draws_of_further_nodes_follow_the_masses_given_the_nodes_before(num_points: int) -> None:
    lattice, draws = (2, 1), 20_000
    likelihood = decided(lattice, num_points=num_points)
    # features in the order of drawing, y first
    network, places = likelihood.network, Places(lattice[::-1], torch.zeros(1))
    told = torch.zeros(1, NUM_CHANGES + 1)
    numbers = torch.cartesian_prod(*[torch.arange(6)] * num_points)
    nodes = places.of(every_node(lattice[::-1]).float()[numbers])  # (6^N, N, F)
    clouds, mean = len(nodes), places.of(one_mean(num_points, 2, draws).float())
    with torch.no_grad():
        every = torch.ones(clouds, num_points, dtype=torch.bool)
        given = every, mean[:clouds], told.expand(clouds, -1), places
        log_mass = network(nodes, *given)[0].sum((1, 2))
        uniform = torch.rand(draws, num_points * 2, 3, generator=generator())
        drawn = network.draw(mean, told.expand(draws, -1), uniform, places, [1.0] * 3)
    masses = log_mass.double().exp().numpy()
    assert masses.sum() == pytest.approx(1.0, abs=1e-5)
    outcomes = np.ravel_multi_index(tuple(drawn.flatten(1).numpy().T), (2, 3) * num_points)
    counts = np.bincount(outcomes, minlength=clouds)
    assert chi_square(counts, draws * masses) > 1e-3


@pytest.mark.parametrize("lattice", [(432, 432, 255), (40, 3, 17)])
def test_draws_lie_on_the_lattice_within_the_range(lattice: tuple[int, ...]) -> None:
    likelihood = decided(lattice)
    drawn = likelihood.sample(means(200).float(), generator())
    steps = likelihood.lattice_steps
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert torch.equal(torch.round(drawn * steps) / steps, drawn)


def test_draws_of_a_continuous_feature_lie_anywhere_in_their_cells() -> None:
    likelihood = decided((432, CONTINUOUS_STEPS, CONTINUOUS_STEPS))
    likelihood.step[1] = 1 / CONTINUOUS_STEPS  # a lattice that happens to be as fine
    drawn = likelihood.sample(means(2000).float(), generator())
    places = drawn.double() * likelihood.lattice_steps
    inside = places - torch.round(places)
    assert inside[..., :2].abs().max() < 1e-3
    assert ((drawn >= 0) & (drawn <= 1)).all()
    in_the_middle = (places[..., 2] > 0.5) & (places[..., 2] < CONTINUOUS_STEPS - 0.5)
    found = inside[..., 2][in_the_middle].numpy()
    assert stats.kstest(found, "uniform", (-0.5, 1)).pvalue > 1e-3


def test_nodes_are_drawn_from_the_top_down() -> None:
    assert is_from_top(make().sample(means(50).float(), generator()))


def test_particles_of_a_jet_are_drawn_hardest_first() -> None:
    likelihood = make()
    likelihood.set_schema(JETS)
    drawn = likelihood.sample(means(50).float(), generator())
    assert (drawn[..., 2].diff(dim=1) <= 0).all()
    assert not (drawn[..., 1].diff(dim=1) <= 0).all()


def ordered_pairs(places: int) -> Tensor:
    """All clouds of two nodes whose first feature does not rise, shape (clouds, 2, 3)."""
    nodes = list(itertools.product(range(places + 1), range(2), range(2)))
    pairs = torch.tensor(list(itertools.product(nodes, nodes)))
    return pairs[pairs[:, 1, 0] <= pairs[:, 0, 0]]


def test_masses_are_those_of_clouds_in_order_alone() -> None:
    likelihood = decided((1, 1, 40), num_points=2)
    likelihood.set_schema(JETS)
    network, places = likelihood.network, Places([40, 1, 1], torch.zeros(1))
    clouds, draws = ordered_pairs(40), 20_000
    told = torch.zeros(1, NUM_CHANGES + 1)
    mean = torch.zeros(1, 2, 3, dtype=torch.long)
    with torch.no_grad():
        every = (part.expand(len(clouds), *part.shape[1:]) for part in (mean, told))
        real = torch.ones(clouds.shape[:2], dtype=torch.bool)
        masses = network(clouds, real, *every, places)[0].sum((1, 2)).double().exp()
        uniform = torch.rand(draws, 6, 3, generator=generator())
        every = (part.expand(draws, *part.shape[1:]) for part in (mean, told))
        drawn = network.draw(*every, uniform, places, [1.0] * 3)
    assert masses.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (drawn[:, 1, 0] <= drawn[:, 0, 0]).all()
    number = clouds[:, 0, 0] * 41 + clouds[:, 1, 0]
    wanted = torch.zeros(41 * 41, dtype=torch.float64).index_add_(0, number, masses).numpy()
    counts = np.bincount(drawn[:, 0, 0] * 41 + drawn[:, 1, 0], minlength=41 * 41)
    assert chi_square(counts, draws * wanted) > 1e-3


def test_a_feature_follows_those_before_it_in_the_order_of_the_schema() -> None:
    likelihood, mean = decided((20, 17, 30), num_points=1), one_mean(1, 3, 1).float()
    likelihood.set_schema(JETS)
    value = torch.full((1, 1, 3), 0.5)
    found = likelihood.log_prob(value, mean)[0, 0]
    for column, changed in ((0, [0]), (1, [0, 1]), (2, [0, 1, 2])):
        other = value.clone()
        other[..., column] = 0.2
        differs = likelihood.log_prob(other, mean)[0, 0] != found
        assert differs.nonzero().flatten().tolist() == changed


def test_a_density_of_crowded_nodes_is_one_of_the_unit_interval() -> None:
    likelihood = make(num_points=1, num_features=1, temperature=1.0)
    likelihood.set_schema(points("x"))
    likelihood.set_ranges(torch.zeros(1), torch.ones(1))
    unit = (0.3 + 0.02 * torch.randn(4000, 1, 1, generator=generator())).clamp(0, 1)
    mask = torch.ones(4000, 1, dtype=torch.bool)
    likelihood.prepare_fit(unit, mask)
    mean = torch.full((200_000, 1, 1), 0.5)
    drawn = likelihood.sample(mean, generator())[:, 0, 0].double().numpy()
    value = torch.linspace(0, 1, 400_001, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        density = likelihood.double().log_prob(value, mean[:1].double().expand(len(value), -1, -1))
    cumulative = np.cumsum(density.exp().flatten().numpy()) / 400_000
    assert cumulative[-1] == pytest.approx(1.0, abs=2e-3)
    for end in (0.1, 0.25, 0.28, 0.3, 0.31, 0.35, 0.7):
        share = (drawn <= end).mean()
        assert share == pytest.approx(cumulative[int(end * 400_000)], abs=5e-3)


def test_draws_do_not_see_the_order_of_the_means_nodes() -> None:
    likelihood, mean = make(), means(20).float()
    first = likelihood.sample(mean, generator())
    assert torch.equal(likelihood.sample(mean[:, [3, 1, 0, 2]], generator()), first)


def test_same_seed_gives_the_same_bits() -> None:
    likelihood, mean = make(), means(20).float()
    torch.manual_seed(0)
    first = likelihood.sample(mean, generator(1))
    torch.manual_seed(1)  # the global generator has no say
    assert torch.equal(likelihood.sample(mean, generator(1)), first)
    assert not torch.equal(likelihood.sample(mean, generator(2)), first)


@pytest.mark.parametrize("feature", [0, 1, 2])
def test_a_temperature_is_that_of_its_feature(feature: int) -> None:
    def drawn(cold: float) -> Tensor:
        each = [cold if column == feature else 1.0 for column in range(3)]
        likelihood = make(num_points=1, temperature=each)
        return likelihood.sample(torch.full((200, 1, 3), 0.5), generator())[:, 0]

    warm, cold = drawn(1.0), drawn(1e-6)
    order = [1, 0, 2]  # y is written first
    for column in order[: order.index(feature)]:
        assert torch.equal(warm[:, column], cold[:, column])
    assert cold[:, feature].std() < 0.9 * warm[:, feature].std()


def test_a_lower_temperature_keeps_closer_to_what_is_likely() -> None:
    spreads = []
    for temperature in (0.1, 0.5, 1.0):
        likelihood = make(num_points=1, components=1, temperature=temperature)
        drawn = likelihood.sample(one_mean(1, 3, 2000).float(), generator())
        # y, the first that is drawn: the others follow it
        spreads.append(float(drawn[..., 1].std()))
    assert spreads[0] < 0.5 * spreads[1] < 0.4 * spreads[2]


# masks


def ragged() -> tuple[Tensor, Tensor, Tensor]:
    """Clouds and means of 1 to 4 nodes, real ones first, and their mask."""
    mask = torch.arange(4) < torch.tensor([4, 3, 2, 1, 4, 2]).unsqueeze(1)
    return apart(6), means(6), mask


def spoil(points: Tensor, mask: Tensor, garbage: float) -> Tensor:
    return points.masked_fill(~mask.unsqueeze(-1), garbage)


@pytest.mark.parametrize("garbage", [0.7, -3.0, 1e9, math.nan])
def test_likelihood_ignores_what_masked_places_hold(garbage: float) -> None:
    likelihood, (unit, mean, mask) = make().double(), ragged()
    changes = torch.zeros(6, NUM_CHANGES, dtype=torch.float64)
    wanted = likelihood.negative_log_likelihood(unit, mean, mask, changes)
    spoiled = spoil(unit, mask, garbage), spoil(mean, mask, garbage)
    assert torch.equal(likelihood.negative_log_likelihood(*spoiled, mask, changes), wanted)


def test_likelihood_does_not_see_where_masked_places_are() -> None:
    likelihood, (unit, mean, mask) = make().double(), ragged()
    changes = torch.zeros(6, NUM_CHANGES, dtype=torch.float64)
    wanted = likelihood.negative_log_likelihood(unit, mean, mask, changes)
    order = [3, 1, 0, 2]
    found = likelihood.negative_log_likelihood(
        unit[:, order], mean[:, order], mask[:, order], changes
    )
    assert torch.equal(found, wanted)


def test_likelihood_of_full_clouds_is_their_density_times_the_cells() -> None:
    likelihood, unit, mean = make().double(), apart(6), means(6)
    mask = torch.ones(6, 4, dtype=torch.bool)
    changes = torch.zeros(6, NUM_CHANGES, dtype=torch.float64)
    found = likelihood.negative_log_likelihood(unit, mean, mask, changes)
    log_mass = likelihood.log_prob(unit, mean) - likelihood.lattice_steps.double().log()
    torch.testing.assert_close(found, -log_mass.sum((1, 2)))


def test_likelihood_counts_real_nodes_only() -> None:
    # one more node is unlikely, none is certain
    likelihood, (unit, mean, mask) = make().double(), ragged()
    changes = torch.zeros(6, NUM_CHANGES, dtype=torch.float64)
    nats = likelihood.negative_log_likelihood(unit, mean, mask, changes) / mask.sum(1)
    full = likelihood.negative_log_likelihood(unit, mean, torch.ones_like(mask), changes) / 4
    torch.testing.assert_close(nats, full, rtol=0.3, atol=0)


def test_likelihood_of_a_batch_is_that_of_each_cloud() -> None:
    likelihood, (unit, mean, mask) = make().double(), ragged()
    changes = torch.randn(6, NUM_CHANGES, generator=generator()).double()
    together = likelihood.negative_log_likelihood(unit, mean, mask, changes)
    for i in range(6):
        row = slice(i, i + 1)
        alone = likelihood.negative_log_likelihood(unit[row], mean[row], mask[row], changes[row])
        torch.testing.assert_close(alone, together[row])


def test_likelihood_depends_on_every_change() -> None:
    likelihood, unit, mean = make().double(), apart(6), means(6)
    full = torch.ones(6, 4, dtype=torch.bool)
    none = torch.zeros(6, NUM_CHANGES, dtype=torch.float64)
    wanted = likelihood.negative_log_likelihood(unit, mean, full, none)
    for i in range(NUM_CHANGES):
        changes = none.clone()
        changes[:, i] = 1.0
        found = likelihood.negative_log_likelihood(unit, mean, full, changes)
        assert (found != wanted).all()


@pytest.mark.parametrize("garbage", [0.7, 1e9, math.nan])
def test_real_nodes_of_draws_ignore_masked_nodes_of_means(garbage: float) -> None:
    likelihood, (_, mean, mask) = make(), ragged()
    first, second = (
        likelihood.sample(each.float(), generator(), mask)
        for each in (mean, spoil(mean, mask, garbage))
    )
    assert torch.equal(first[mask], second[mask])


def test_draws_are_told_the_share_of_places_that_are_real() -> None:
    # one real node, so that nothing is put in order after it was drawn
    likelihood, mean = make(), torch.zeros(50, 4, 3)
    alone = (torch.arange(4) < 1).expand(50, 4)
    drawn = likelihood.sample(mean, generator(), alone)[:, 0]
    uniform = torch.rand(50, 4, 3, 3, generator=generator(), dtype=torch.float64).float()
    order, expected = list(likelihood.order.columns), {}
    places = Places([int(likelihood.lattice_steps[column]) for column in order], mean)
    for share in (0.25, 1.0):
        told = torch.tensor([0.0] * NUM_CHANGES + [share]).expand(50, -1)
        numbers = uniform[:, :, order].flatten(1, 2)
        given = places.of(mean), told, numbers, places, [0.9] * 3
        with torch.no_grad():
            made = places.values(likelihood.network.draw(*given))
        expected[share] = made[:, 0][:, [order.index(column) for column in range(3)]]
    assert torch.equal(drawn, expected[0.25])
    assert not torch.equal(drawn, expected[1.0])


def test_likelihood_is_told_the_share_of_places_that_are_real() -> None:
    # masked nodes of the mean are 0, and here the others are too
    likelihood, value = make().double(), apart(6)
    mean, mask = torch.zeros_like(value), (torch.arange(4) < 2).expand(6, 4)
    changes = torch.zeros(6, NUM_CHANGES, dtype=torch.float64)
    found = -likelihood.negative_log_likelihood(value, mean, mask, changes)
    log_mass = likelihood.log_prob(value, mean) - likelihood.lattice_steps.double().log()
    assert (found - log_mass[:, :2].sum((1, 2))).abs().min() > 1e-9


def test_clouds_are_turned_about_the_middle_of_their_real_nodes() -> None:
    likelihood, unit = make(num_features=2), torch.zeros(2, 4, 2)
    unit[0, :2], unit[1, 0] = torch.tensor([[0.2, 0.1], [0.4, 0.3]]), torch.tensor([0.9, 0.8])
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])
    unit[~mask] = 77.0
    likelihood.prepare_fit(unit, mask)
    assert likelihood.centre.tolist() == pytest.approx([0.5, 0.4])


# parts


def test_state_dict_holds_everything_that_was_fitted() -> None:
    fitted = decided((432, 432, 255))
    fitted.prepare_fit(torch.rand(2, 4, 3), torch.ones(2, 4, dtype=torch.bool))
    loaded = make(seed=1, temperature=1.0)
    loaded.load_state_dict(fitted.state_dict())
    mean = means(5).float()
    assert torch.equal(loaded.sample(mean, generator()), fitted.sample(mean, generator()))
    assert torch.equal(loaded.centre, fitted.centre)


@pytest.mark.parametrize("blocks", [1, 2, [1, 3, 2]])
def test_options_are_remembered(blocks: int | list[int]) -> None:
    text = f"autoregressive(width=16, heads=2, blocks={blocks}, temperature=0.7)"
    made: Any = registry.create("likelihood", text, num_points=4)
    term = registry.describe("likelihood", made)
    assert term is not None
    assert term.name == "autoregressive"
    again: Any = registry.create("likelihood", term.name, **term.options)
    again.load_state_dict(made.state_dict())
    assert again.temperature == 0.7
    mean = means(5).float()
    assert torch.equal(again.sample(mean, generator()), made.sample(mean, generator()))


@pytest.mark.parametrize(("blocks", "wanted"), [(1, [2, 1, 1]), (2, [4, 2, 2]), ([1, 3, 2],) * 2])
def test_blocks_are_those_before_each_feature(blocks: Any, wanted: list[int]) -> None:
    assert [len(part) for part in make(blocks=blocks).network.blocks] == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 0}, "num_points must be a whole number of at least 1, got 0"),
        ({"num_features": 0}, "num_features must be a whole number of at least 1, got 0"),
        ({"lattice": "none"}, "lattice must be 'auto', 'fine', None or a list of 3"),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"heads": 0}, "heads must be a whole number of at least 1, got 0"),
        ({"heads": 3}, "heads must divide the width 16, got 3"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1, got 0"),
        ({"blocks": [1, 0, 1]}, r"blocks must be one or more whole numbers above 0, got \[1, 0"),
        ({"blocks": [1, 1]}, r"blocks must be one number or 3, got \[1, 1\]"),
        ({"components": 0}, "components must be a whole number of at least 1, got 0"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"augmented": -0.1}, r"augmented must be in \[0, 1\], got -0.1"),
        ({"augmented": 1.1}, r"augmented must be in \[0, 1\], got 1.1"),
        ({"augmented": math.nan}, r"augmented must be in \[0, 1\], got nan"),
        ({"temperature": 0.0}, "temperature must be above 0 and finite, got 0.0"),
        ({"temperature": math.inf}, "temperature must be above 0 and finite, got inf"),
        ({"temperature": math.nan}, "temperature must be above 0 and finite, got nan"),
    ],
)
def test_wrong_options_are_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_wrong_shapes_are_an_error() -> None:
    likelihood, mean = make(), torch.zeros(2, 4, 3)
    with pytest.raises(ValueError, match="mean must have 4 nodes, got 5"):
        likelihood.sample(torch.zeros(2, 5, 3), generator())
    with pytest.raises(ValueError, match=r"mean must have shape \(clouds, nodes, 3\), got \(2, 4"):
        likelihood.sample(torch.zeros(2, 4, 2), generator())
    with pytest.raises(ValueError, match=r"value must have mean's shape \(2, 4, 3\), got \(2, 3,"):
        likelihood.log_prob(mean[:, :3], mean)
    with pytest.raises(ValueError, match="mean must have 4 nodes, got 3"):
        likelihood.log_prob(mean[:, :3], mean[:, :3])
    with pytest.raises(ValueError, match=r"target must have mean's shape \(2, 4, 3\), got \(2, 3"):
        likelihood.calibrate(mean[:, :3], mean)
