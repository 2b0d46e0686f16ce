"""Clouds drawn node by node: densities that sum to 1, draws that follow them, fits that repeat."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae import augment, autoregressive
from gconvae.autoregressive import AutoregressiveObservation
from gconvae.randomness import initial_weights


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(seed: int = 0, **options: object) -> AutoregressiveObservation:
    """An untrained observation whose weights are large enough to matter."""
    small = {"num_points": 4, "width": 16, "heads": 2, "components": 3, "temperature": 1.0}
    with initial_weights(seed):
        observation = AutoregressiveObservation(**{**small, **options})  # type: ignore[arg-type]
        for weight in observation.network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return observation


def on_lattice(steps: list[int], *, seed: int = 0, **options: object) -> AutoregressiveObservation:
    """One whose lattice is so coarse that all clouds can be counted."""
    observation = tiny(seed, num_features=len(steps), **options)
    observation.lattice_steps.copy_(torch.tensor(steps))
    return observation


def every_node(steps: list[int]) -> Tensor:
    """All nodes of a lattice, shape (nodes, F)."""
    places = itertools.product(*(range(number + 1) for number in steps))
    return torch.tensor(list(places)) / torch.tensor(steps)


def masses(observation: AutoregressiveObservation, clouds: Tensor, mean: Tensor) -> Tensor:
    """Of whole clouds, shape (B,)."""
    log_density = observation.log_prob(clouds, mean.expand(len(clouds), -1, -1))
    log_mass = log_density - observation.lattice_steps.to(clouds).log()
    return log_mass.double().sum((1, 2)).exp()


class TwoPlaces:
    """Clouds of two nodes near two places, and the middle of them as the decoder's output."""

    def __init__(self, number: int, stop_after: int | None = None) -> None:
        noise = 0.02 * torch.randn(number, 2, 3, generator=generator(number))
        self.points = torch.tensor([[0.25, 0.2, 0.9], [0.75, 0.8, 0.3]]) + noise
        self.stop_after, self.asked = stop_after, 0

    def __len__(self) -> int:
        return len(self.points)

    def clouds(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        self.asked += 1
        if self.stop_after is not None and self.asked > self.stop_after:
            raise KeyboardInterrupt
        return self.points[rows], torch.ones(len(rows), 2, dtype=torch.bool)

    def means(self, rows: Tensor, unit: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        return torch.full_like(unit, 0.5)


def fitted(
    seed: int = 0,
    steps: int = 60,
    state: Path | None = None,
    stop_after: int | None = None,
    augmented: float = 0.9,
) -> AutoregressiveObservation:
    shape = {"num_points": 2, "width": 16, "heads": 2, "components": 3, "batch_size": 16}
    with initial_weights(0):
        observation = AutoregressiveObservation(**shape, steps=steps, augmented=augmented)
    pairs = TwoPlaces(200, stop_after)
    observation.prepare_fit(*pairs.clouds(torch.arange(200), generator()))
    observation.fit(pairs, TwoPlaces(50), seed=seed, state=state)
    return observation


def bits(observation: AutoregressiveObservation) -> list[Tensor]:
    return list(observation.state_dict().values())


def are_same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("steps", [[20, 33], [4, 3], [31, 2], [16, 16]])
def test_masses_of_all_clouds_of_a_node_sum_to_one(steps: list[int]) -> None:
    observation = on_lattice(steps, num_points=1)
    nodes = every_node(steps).unsqueeze(1)  # (nodes, 1, 2)
    total = masses(observation, nodes, torch.rand(1, 1, 2, generator=generator())).sum()
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def test_masses_of_the_second_node_sum_to_one_whatever_the_first() -> None:
    steps = [5, 6, 3]
    observation = on_lattice(steps, num_points=2)
    second = every_node(steps)
    first = torch.zeros_like(second)  # nothing lies above or left of it
    mean = torch.rand(1, 2, 3, generator=generator())
    pairs = torch.stack([first, second], dim=1)  # (nodes, 2, 3)
    log_density = observation.log_prob(pairs, mean.expand(len(pairs), -1, -1))
    log_mass = (log_density - observation.lattice_steps.log()).double()
    # where both are alike but for the intensity, either may come first
    is_later = (second[:, :2] > 0).any(1)
    given_first = log_mass[is_later, 1].sum(1).exp().sum()
    assert 0.5 < given_first < 1 + 1e-4
    torch.testing.assert_close(
        log_mass[is_later, 0], log_mass[is_later, 0][:1].expand(int(is_later.sum()), -1)
    )


def test_draws_are_as_frequent_as_their_masses_say() -> None:
    steps, draws = [3, 20], 40_000
    observation = on_lattice(steps, num_points=1)
    mean = torch.rand(1, 1, 2, generator=generator())
    drawn = observation.sample(mean.expand(draws, -1, -1), generator(1))
    nodes = every_node(steps)
    wanted = masses(observation, nodes.unsqueeze(1), mean)
    places = torch.round(drawn[:, 0] * torch.tensor(steps)).long()
    counts = torch.bincount(places[:, 0] * 21 + places[:, 1], minlength=len(nodes))
    deviation = (counts - draws * wanted) / (draws * wanted + 1).sqrt()
    assert deviation.abs().max() < 5
    assert deviation.square().mean() < 1.6


def test_a_lower_temperature_draws_closer_clouds() -> None:
    observation, spreads = fitted(steps=300, augmented=0.0), []
    for temperature in (1.0, 0.5):
        observation.temperature = temperature
        drawn = observation.sample(torch.full((500, 2, 3), 0.5), generator())
        spreads.append((drawn - drawn.median(0).values).abs().mean())
    assert spreads[1] < 0.8 * spreads[0]


def test_densities_do_not_depend_on_the_order_of_nodes() -> None:
    observation, order = tiny(), torch.tensor([2, 0, 3, 1])
    value, mean = torch.rand(2, 6, 4, 3, generator=generator())
    expected = observation.log_prob(value, mean)
    torch.testing.assert_close(observation.log_prob(value[:, order], mean), expected[:, order])
    torch.testing.assert_close(observation.log_prob(value, mean[:, order]), expected)


def test_a_node_does_not_see_the_ones_below_it() -> None:
    observation = tiny()
    value, mean = torch.rand(2, 6, 4, 3, generator=generator())
    value[..., 1] = torch.tensor([0.1, 0.3, 0.5, 0.9])
    lower = value.clone()
    lower[:, 3, 0] = 1 - lower[:, 3, 0]
    before, after = (observation.log_prob(cloud, mean) for cloud in (value, lower))
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])


def test_the_mean_changes_the_density() -> None:
    observation = tiny()
    value, first, second = torch.rand(3, 6, 4, 3, generator=generator())
    densities = [observation.log_prob(value, mean).sum((1, 2)) for mean in (first, second)]
    assert not torch.isclose(*densities).any()


def test_draws_lie_on_the_lattice_from_the_top_down_or_nearly() -> None:
    observation = fitted(steps=300, augmented=0.0)
    drawn = observation.sample(torch.full((200, 2, 3), 0.5), generator())
    places = drawn * observation.lattice_steps
    torch.testing.assert_close(places, places.round(), atol=1e-3, rtol=0)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert (drawn[:, 0, 1] <= drawn[:, 1, 1]).float().mean() > 0.9


def test_the_same_generator_draws_the_same_bits() -> None:
    observation, mean = tiny(), torch.rand(5, 4, 3, generator=generator())
    first, again, other = (observation.sample(mean, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_masked_places_hold_changes_nothing() -> None:
    observation = tiny()
    unit, mean = torch.rand(2, 3, 4, 3, generator=generator())
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    changes = torch.zeros(3, augment.NUM_CHANGES)
    expected = observation.negative_log_likelihood(unit, mean, mask, changes)
    hidden = ~mask.unsqueeze(-1)
    found = observation.negative_log_likelihood(
        unit.masked_fill(hidden, 0.7), mean.masked_fill(hidden, 0.1), mask, changes
    )
    torch.testing.assert_close(found, expected)
    fewer = observation.negative_log_likelihood(unit, mean, torch.ones_like(mask), changes)
    assert not torch.isclose(found[1:], fewer[1:]).any()


def test_a_fit_learns_where_nodes_lie() -> None:
    observation = fitted(steps=300, augmented=0.0)
    drawn = observation.sample(torch.full((500, 2, 3), 0.5), generator())
    wanted = torch.tensor([[0.25, 0.2, 0.9], [0.75, 0.8, 0.3]])
    torch.testing.assert_close(drawn.median(0).values, wanted, atol=0.05, rtol=0)


def test_draws_are_not_changed_as_the_training_clouds_were() -> None:
    observation = fitted(steps=600, augmented=0.7)
    drawn = observation.sample(torch.full((500, 2, 3), 0.5), generator())
    is_mirrored = (drawn[:, 0, 0] > 0.5) | (drawn[:, 1, 0] < 0.5)
    assert is_mirrored.float().mean() < 0.1


def test_a_fit_repeats_whatever_was_drawn_before_and_draws_from_no_global_generator() -> None:
    first = bits(fitted(steps=5))
    torch.rand(3)
    state = torch.random.get_rng_state()
    again = bits(fitted(steps=5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert are_same(first, again)
    assert not are_same(first, bits(fitted(seed=1, steps=5)))


def test_a_stopped_fit_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoregressive, "CHECK_EVERY", 3)
    whole = bits(fitted(steps=10))
    state = tmp_path / "observation.ckpt"
    with pytest.raises(KeyboardInterrupt):
        fitted(steps=10, state=state, stop_after=6)
    assert state.exists()
    assert are_same(bits(fitted(steps=10, state=state)), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"augmented": 1.5}, r"augmented must be in \[0, 1\]"),
        ({"blocks": [1, 1]}, "blocks must be one number or 3"),
        ({"num_features": 1}, "num_features must be at least 2"),
        ({"heads": 3}, "heads must divide the width 16"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_another_number_of_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="mean must have 4 nodes, got 5"):
        tiny().sample(torch.rand(2, 5, 3), generator())


# in a model


@pytest.fixture(scope="module")
def eights() -> gconvae.datasets.CloudDataset:
    return gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:60]


def observed(data: gconvae.datasets.CloudDataset, seed: int = 0) -> gconvae.VAE:
    model = gconvae.models.create("convae", hidden=16, channels=(2, 3), seed=0)
    text = "autoregressive(width=16, steps=3, batch_size=8)"
    return model.with_observation(text, data, seed=seed)


def test_samples_lie_on_the_lattice_of_the_data_to_the_last_bit(
    eights: gconvae.datasets.CloudDataset,
) -> None:
    model = observed(eights)
    step = model.observation.step
    assert torch.equal(step, torch.tensor([1 / 16, 1 / 16, 1 / 255]))
    drawn = model.sample(20, seed=0)
    assert torch.equal(torch.round(drawn / step) * step, drawn)


def test_a_fitted_model_repeats_and_leaves_the_other_as_it_was(
    eights: gconvae.datasets.CloudDataset,
) -> None:
    model = gconvae.models.create("convae", hidden=16, channels=(2, 3), seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.with_observation("autoregressive(width=16, steps=2)", eights, seed=0)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    samples = [observed(eights, seed).sample(5, seed=0) for seed in (0, 0, 1)]
    assert torch.equal(*samples[:2])
    assert not torch.equal(samples[0], samples[2])


def test_a_fitted_model_is_saved_and_loaded(
    eights: gconvae.datasets.CloudDataset, tmp_path: Path
) -> None:
    model = observed(eights)
    loaded = gconvae.load(gconvae.save(model, tmp_path / "model"))
    assert torch.equal(loaded.sample(5, seed=1), model.sample(5, seed=1))
