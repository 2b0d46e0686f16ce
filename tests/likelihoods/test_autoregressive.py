"""The distribution over whole clouds on lattices small enough to count all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import gconvae
from gconvae import registry
from gconvae.datasets import SuperpixelMNIST
from gconvae.datasets.transforms import NUM_CHANGES
from gconvae.likelihoods import autoregressive
from gconvae.likelihoods.autoregressive import AutoregressiveLikelihood
from gconvae.likelihoods.base import MeanLikelihood
from gconvae.randomness import initial_weights
from gconvae.vae import VAE

SMALL: dict[str, Any] = {
    "num_points": 4,
    "width": 16,
    "heads": 2,
    "components": 3,
    "steps": 4,
    "batch_size": 8,
}


@pytest.fixture(scope="module", autouse=True)
def _short_fits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoregressive, "WARMUP", 10)
        patch.setattr(autoregressive, "CHECK_EVERY", 4)
        yield


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


@pytest.mark.parametrize("lattice", [(4, 3), (20, 17), (33, 2), (3, 2, 4), (2, 17, 2)])
def test_draws_of_one_node_are_as_frequent_as_their_masses_say(lattice: tuple[int, ...]) -> None:
    likelihood, draws = decided(lattice, num_points=1), 20_000
    mean = one_mean(1, len(lattice), draws).float()
    drawn = likelihood.sample(mean, generator())[:, 0]
    value = every_node(lattice).float().unsqueeze(1)
    with torch.no_grad():
        log_density = likelihood.log_prob(value, mean[: len(value)]).sum((1, 2))
    masses = (log_density.double() - likelihood.lattice_steps.log().sum()).exp().numpy()
    places = torch.round(drawn * likelihood.lattice_steps).long().numpy()
    numbers = np.ravel_multi_index(tuple(places.T), [steps + 1 for steps in lattice])
    counts = np.bincount(numbers, minlength=len(masses))
    # one seed for 5 cases: below 1e-3 only if draws and masses differ
    assert chi_square(counts, draws * masses / masses.sum()) > 1e-3


@pytest.mark.parametrize("num_points", [2, 3])
def test_draws_of_further_nodes_follow_the_masses_given_the_nodes_before(num_points: int) -> None:
    lattice, draws = (2, 1), 20_000
    likelihood = decided(lattice, num_points=num_points)
    network, steps = likelihood.network, likelihood.lattice_steps.tolist()
    told = torch.zeros(1, NUM_CHANGES + 1)
    numbers = torch.cartesian_prod(*[torch.arange(6)] * num_points)
    nodes = every_node(lattice).float()[numbers]  # (6^N, N, F)
    clouds, mean = len(nodes), one_mean(num_points, 2, draws).float()
    with torch.no_grad():
        log_mass = network(nodes, mean[:clouds], told.expand(clouds, -1), steps).sum((1, 2))
        uniform = torch.rand(draws, num_points, 2, 3, generator=generator())
        drawn = network.draw(mean, told.expand(draws, -1), uniform, steps, 1.0)
    masses = log_mass.double().exp().numpy()
    assert masses.sum() == pytest.approx(1.0, abs=1e-5)
    places = torch.round(drawn * likelihood.lattice_steps).long().flatten(1).numpy()
    counts = np.bincount(
        np.ravel_multi_index(tuple(places.T), (3, 2) * num_points), minlength=clouds
    )
    assert chi_square(counts, draws * masses) > 1e-3


@pytest.mark.parametrize("lattice", [(432, 432, 255), (40, 3, 17)])
def test_draws_lie_on_the_lattice_within_the_range(lattice: tuple[int, ...]) -> None:
    likelihood = decided(lattice)
    drawn = likelihood.sample(means(200).float(), generator())
    steps = likelihood.lattice_steps
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert torch.equal(torch.round(drawn * steps) / steps, drawn)


def test_nodes_are_drawn_from_the_top_down() -> None:
    assert is_from_top(make().sample(means(50).float(), generator()))


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
    steps, expected = likelihood.lattice_steps.tolist(), {}
    for share in (0.25, 1.0):
        told = torch.tensor([0.0] * NUM_CHANGES + [share]).expand(50, -1)
        with torch.no_grad():
            made = likelihood.network.draw(mean, told, uniform, steps, likelihood.temperature)
        expected[share] = made[:, 0]
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


# the fit


class Corners:
    """Clouds near one of two places, dark or bright, and means that say which.

    Args:
        seed: Of the clouds.
        places: Where, and how bright.
        before: Called before every batch of clouds with the number of batches so far.
    """

    def __init__(
        self,
        seed: int,
        places: tuple[tuple[float, float, float], ...] = ((0.3, 0.25, 0.2), (0.7, 0.8, 0.9)),
        before: Callable[[int], None] = lambda batches: None,
    ) -> None:
        self.places = torch.tensor(places)
        self.which = torch.arange(40) % len(places)
        noise = torch.randn(40, 4, 3, generator=generator(seed))
        self.unit = self.places[self.which].unsqueeze(1) + 0.03 * noise
        self.mask = torch.arange(4) < (3 + torch.arange(40) // 2 % 2).unsqueeze(1)
        self.before, self.batches = before, 0

    def __len__(self) -> int:
        return len(self.unit)

    def clouds(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        self.before(self.batches)
        self.batches += 1
        noise = torch.rand(len(rows), 4, 3, generator=random) - 0.5
        unit, mask = self.unit[rows] + noise / 432, self.mask[rows]
        return unit.clamp(0, 1).masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def means(self, rows: Tensor, unit: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        middle = unit.sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        noise = 0.01 * torch.randn(unit.shape, generator=random)
        return (middle + noise).clamp(0, 1)


def held_out_nats(
    likelihood: AutoregressiveLikelihood, pairs: Corners, told: Sequence[float] = (0.0,) * 6
) -> float:
    rows = torch.arange(len(pairs))
    unit, mask = pairs.clouds(rows, generator(1))
    mean = pairs.means(rows, unit, mask, generator(2))
    changes = torch.tensor(told).expand(len(pairs), NUM_CHANGES)
    with torch.no_grad():
        return float(likelihood.negative_log_likelihood(unit, mean, mask, changes).mean())


@pytest.fixture(scope="module")
def fitted() -> AutoregressiveLikelihood:
    likelihood = make(steps=160, batch_size=32, augmented=0.5, temperature=1.0)
    likelihood.prepare_fit(Corners(1).unit, Corners(1).mask)
    likelihood.fit(Corners(1), Corners(2), seed=0)
    return likelihood


def test_a_fit_makes_held_out_clouds_likelier(fitted: AutoregressiveLikelihood) -> None:
    before, after = (held_out_nats(each, Corners(3)) for each in (make(), fitted))
    assert after < before - 20


def test_draws_of_a_fit_resemble_the_clouds(fitted: AutoregressiveLikelihood) -> None:
    pairs = Corners(4)
    unit, mask = pairs.clouds(torch.arange(40), generator(1))
    mean = pairs.means(torch.arange(40), unit, mask, generator(2)).repeat(10, 1, 1)
    which, mask = pairs.which.repeat(10), mask.repeat(10, 1)
    drawn = fitted.sample(mean, generator(3), mask)
    for i, place in enumerate(pairs.places):
        nodes = drawn[which == i][mask[which == i]]
        # a short fit has not forgotten all of its long tails
        assert nodes.median(0).values.tolist() == pytest.approx(place.tolist(), abs=0.04)
        gaps = torch.cdist(nodes, pairs.places)
        assert (gaps.argmin(1) == i).float().mean() > 0.9


class Blind(Corners):
    """Clouds at one place, and means that do not say where."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, places=((0.8, 0.7, 0.5),))

    def means(self, rows: Tensor, unit: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        return torch.full_like(unit, 0.5)


def test_a_fit_learns_which_clouds_are_changed() -> None:
    likelihood = make(steps=400, batch_size=64, augmented=0.7)
    likelihood.fit(Blind(1), Blind(2), seed=0)
    nats = held_out_nats(likelihood, Blind(3))
    for mirrors in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        # clouds that are as they were are no mirrored ones
        assert held_out_nats(likelihood, Blind(3), [0.0] * 4 + mirrors) > nats + 1


def test_a_fit_takes_its_random_numbers_from_the_seed_alone() -> None:
    results = []
    for seed, fresh in ((0, 1), (0, 2), (1, 1)):
        likelihood = make()
        torch.manual_seed(fresh)
        before = torch.random.get_rng_state()
        likelihood.fit(Corners(1), Corners(2), seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        results.append(likelihood)
    assert equal_states(results[0], results[1])
    assert not equal_states(results[0], results[2])


def test_a_fit_does_not_ask_whether_gradients_are_on() -> None:
    first, second = make(), make()
    first.fit(Corners(1), Corners(2), seed=0)
    with torch.no_grad():
        second.fit(Corners(1), Corners(2), seed=0)
    assert equal_states(first, second)


def stop_at(batch: int) -> Callable[[int], None]:
    def before(batches: int) -> None:
        if batches >= batch:
            raise KeyboardInterrupt

    return before


@pytest.mark.parametrize("stopped", [0, 3, 6, 9])
def test_a_stopped_fit_goes_on_to_the_same_bits(tmp_path: Path, stopped: int) -> None:
    whole, state = make(steps=10), tmp_path / "state.pt"
    whole.fit(Corners(1), Corners(2), seed=0)
    likelihood = make(steps=10)
    with pytest.raises(KeyboardInterrupt):
        likelihood.fit(Corners(1, before=stop_at(stopped)), Corners(2), seed=0, state=state)
    assert state.exists() == (stopped >= 4)
    # a new process makes the likelihood anew
    likelihood, pairs = make(steps=10), Corners(1)
    likelihood.fit(pairs, Corners(2), seed=0, state=state)
    assert pairs.batches == 10 - stopped // 4 * 4
    assert equal_states(likelihood, whole)


def test_a_fit_without_a_stop_has_the_same_bits_with_a_state(tmp_path: Path) -> None:
    with_state, without = make(), make()
    with_state.fit(Corners(1), Corners(2), seed=0, state=tmp_path / "state.pt")
    without.fit(Corners(1), Corners(2), seed=0)
    assert equal_states(with_state, without)


def test_a_finished_fit_is_not_done_again(tmp_path: Path) -> None:
    first, second, state = make(), make(), tmp_path / "state.pt"
    first.fit(Corners(1), Corners(2), seed=0, state=state)
    second.fit(Corners(1, before=stop_at(0)), Corners(2), seed=0, state=state)
    assert equal_states(first, second)


def misleading(batches: int = 0, stopped: int | None = None) -> Corners:
    """Pairs whose clouds lie elsewhere from the 30th batch on."""
    pairs, elsewhere = Corners(1), Corners(1, places=((0.9, 0.05, 0.5), (0.1, 0.95, 0.5)))

    def before(batches: int) -> None:
        if batches >= 30:
            pairs.unit = elsewhere.unit
        if batches == stopped:
            raise KeyboardInterrupt

    pairs.before, pairs.batches = before, batches
    return pairs


def test_weights_with_the_best_held_out_likelihood_are_kept() -> None:
    start, likelihood = make(), make(steps=60, augmented=0.0, batch_size=16)
    likelihood.fit(misleading(), Corners(2), seed=0)
    assert held_out_nats(likelihood, Corners(3)) < held_out_nats(start, Corners(3)) - 10


def test_the_best_weights_are_kept_over_a_stop(tmp_path: Path) -> None:
    whole, again = (make(steps=60, augmented=0.0, batch_size=16) for _ in range(2))
    whole.fit(misleading(), Corners(2), seed=0)
    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        again.fit(misleading(stopped=50), Corners(2), seed=0, state=state)
    again.fit(misleading(batches=48), Corners(2), seed=0, state=state)
    assert equal_states(again, whole)


def test_a_likelihood_that_is_not_finite_stops_the_fit() -> None:
    class Broken(Corners):
        def means(self, *given: Any) -> Tensor:
            return torch.full_like(super().means(*given), math.nan)

    with pytest.raises(FloatingPointError, match="the likelihood is nan in step 0"):
        make().fit(Broken(1), Corners(2), seed=0)


def test_clouds_are_turned_about_the_middle_of_their_real_nodes() -> None:
    likelihood, unit = make(num_features=2), torch.zeros(2, 4, 2)
    unit[0, :2], unit[1, 0] = torch.tensor([[0.2, 0.1], [0.4, 0.3]]), torch.tensor([0.9, 0.8])
    mask = torch.tensor([[True, True, False, False], [True, False, False, False]])
    unit[~mask] = 77.0
    likelihood.prepare_fit(unit, mask)
    assert likelihood.centre.tolist() == pytest.approx([0.5, 0.4])


# parts


def test_state_dict_holds_everything_that_was_fitted(fitted: AutoregressiveLikelihood) -> None:
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
    stages = make(blocks=blocks).network.stages
    assert [len(stage.blocks) for stage in stages] == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 0}, "num_points must be a whole number of at least 1, got 0"),
        ({"num_features": 1}, "num_features must be at least 2, two positions, got 1"),
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


# in a model


TERM = "autoregressive(width=16, heads=2, steps=3)"


def small_model() -> VAE:
    return gconvae.models.create("convae", hidden=16, channels=(2, 3), seed=0)


@pytest.fixture(scope="module")
def eights() -> Any:
    return SuperpixelMNIST(digit=8, split="test")[:60]


@pytest.fixture(scope="module")
def model(eights: Any) -> VAE:
    return small_model().with_likelihood(TERM, eights, seed=0)


def test_the_original_model_stays_as_it_was(eights: Any) -> None:
    original = small_model()
    made = original.with_likelihood(TERM, eights, seed=0)
    assert isinstance(made.likelihood, AutoregressiveLikelihood)
    assert isinstance(original.likelihood, MeanLikelihood)
    assert equal_states(original, small_model())
    for kind in ("encoder", "decoder", "prior"):
        assert equal_states(getattr(made, kind), getattr(original, kind))


def test_a_model_with_it_is_a_function_of_the_seed(model: VAE, eights: Any) -> None:
    torch.manual_seed(77)
    before = torch.random.get_rng_state()
    again = small_model().with_likelihood(TERM, eights, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal_states(again, model)
    assert torch.equal(again.sample(10, seed=1), model.sample(10, seed=1))
    assert not equal_states(small_model().with_likelihood(TERM, eights, seed=1), model)


def test_samples_of_a_model_lie_on_the_lattice_of_its_clouds(model: VAE, eights: Any) -> None:
    step = model.likelihood.step
    assert torch.equal(step, torch.tensor([1 / 16, 1 / 16, 1 / 255]))
    for points in (model.sample(50, seed=1), eights.points):
        assert torch.equal(torch.round(points / step) * step, points)


def test_samples_of_a_model_are_the_same_after_saving(model: VAE, tmp_path: Path) -> None:
    loaded = gconvae.load(gconvae.save(model, tmp_path / "model"))
    assert equal_states(loaded, model)
    assert torch.equal(loaded.sample(20, seed=3), model.sample(20, seed=3))
