"""Masses of all places of a feature, and draws against these masses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gconvae.likelihoods.digits import Digits, Drawing
from gconvae.likelihoods.discretized_logistic import log_prob
from gconvae.likelihoods.places import Places
from gconvae.randomness import initial_weights

WIDTH, COMPONENTS = 8, 3
LATTICES = [(432,), (5,), (40, 7), (255, 432), (16, 15), (33, 5, 432, 20)]

every_lattice = pytest.mark.parametrize("steps", LATTICES)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(num_features: int, seed: int = 0) -> Digits:
    """With weights that tell states and digits apart, and norms that are not 1 and 0."""
    with initial_weights(seed):
        digits = Digits(num_features, WIDTH, COMPONENTS).double()
    with torch.no_grad():
        for weight in digits.parameters():
            weight.mul_(2 if weight.dim() == 3 else 1)
        digits.scale.add_(0.5 * random(num_features, WIDTH, seed=1))
        digits.shift.add_(0.5 * random(num_features, WIDTH, seed=2))
    return digits


def lattice(steps: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Places:
    return Places(steps, torch.zeros(1, dtype=dtype))


@torch.no_grad()
def masses(digits: Digits, states: Tensor, places: Places, feature: int) -> Tensor:
    """Logarithms of those of all places of a feature, shape (B, S + 1), at states (F, B, W)."""
    count, batch = places.steps[feature] + 1, states.shape[1]
    place = torch.zeros(batch, count, len(places.steps), dtype=torch.long)
    place[:, :, feature] = torch.arange(count)
    wide = states.unsqueeze(2).expand(-1, -1, count, -1)  # (F, B, S + 1, W)
    return digits.log_mass(wide, place, places)[:, :, feature]


def of_feature(state: Tensor, feature: int, num_features: int) -> Tensor:
    """States of which only one feature's matter."""
    states = random(num_features, *state.shape, seed=9).to(state)
    states[feature] = state
    return states


# masses


@every_lattice
def test_masses_of_all_places_of_each_feature_sum_to_one(
    steps: tuple[int, ...], dtype: torch.dtype
) -> None:
    digits, places = made(len(steps)).to(dtype), lattice(steps, dtype)
    states = 3 * random(len(steps), 6, WIDTH).to(dtype)
    for feature in range(len(steps)):
        found = masses(digits, states, places, feature).double()
        assert found.isfinite().all()
        tolerance = 2e-5 if dtype == torch.float32 else 1e-9
        torch.testing.assert_close(
            found.exp().sum(1), torch.ones(6).double(), rtol=0, atol=tolerance
        )


@every_lattice
def test_masses_are_those_of_a_loop_over_features_and_nodes(steps: tuple[int, ...]) -> None:
    digits, places, num_features = made(len(steps)), lattice(steps), len(steps)
    rows = torch.rand(2, 3, num_features, generator=torch.Generator().manual_seed(0))
    place, states = places.of(rows.double()), random(num_features, 2, 3, WIDTH)
    with torch.no_grad():
        found = digits.log_mass(states, place, places)
        for cloud, node, feature in np.ndindex(2, 3, num_features):
            wanted = mass_loop(digits, feature, steps[feature], states[feature, cloud, node])
            number = int(place[cloud, node, feature])
            assert float(found[cloud, node, feature]) == pytest.approx(wanted[number], abs=1e-9)


def mass_loop(digits: Digits, feature: int, steps: int, state: Tensor) -> list[float]:
    """Logarithms of the masses of all places of one feature, given one state."""
    centred = (state - state.mean()) / (state.var(correction=0) + 1e-5).sqrt()
    known = digits.scale[feature] * centred + digits.shift[feature]

    def layer(name: str, vector: Tensor) -> Tensor:
        part = getattr(digits, name)
        return part.weight[feature] @ vector + part.bias[feature]

    gelu = torch.nn.functional.gelu
    mixture, cells = layer("coarse", gelu(layer("coarse_state", known))), steps // 16
    result = []
    for cell in range(cells + 1):
        inside = min(16, steps + 1 - 16 * cell)
        centre = 2 * 16 * cell / steps - 1
        phases = [centre * math.pi * 2**octave for octave in range(6)]
        sines, cosines = ([f(phase) for phase in phases] for f in (math.sin, math.cos))
        waves = torch.tensor([centre, *sines, *cosines], dtype=torch.float64)
        logits = layer("fine", gelu(layer("fine_state", known) + layer("fine_cell", waves)))
        of_cell = 0.0
        if cells:
            number = torch.tensor(cell / cells, dtype=torch.float64)
            of_cell = float(log_prob(number, mixture, cells))
        result += [of_cell + m for m in torch.log_softmax(logits[:inside], 0).tolist()]
    return result


def test_a_feature_does_not_see_the_states_and_places_of_others() -> None:
    steps, digits = (33, 5, 432, 20), made(4)
    places, rows = lattice(steps), torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    place, states = places.of(rows.double()), random(4, 3, 4, WIDTH)
    with torch.no_grad():
        before = digits.log_mass(states, place, places)
        for feature in range(4):
            other, moved = states.clone(), place.clone()
            other[feature] = random(3, 4, WIDTH, seed=7)
            moved[..., feature] = (place[..., feature] + 1) % (steps[feature] + 1)
            changed = (digits.log_mass(other, moved, places) - before).abs()
            rest = [column for column in range(4) if column != feature]
            assert changed[..., rest].max() < 1e-12
            assert changed[..., feature].min() > 1e-9


@every_lattice
def test_masses_do_not_depend_on_the_lattices_beside(steps: tuple[int, ...]) -> None:
    digits, states = made(len(steps)), random(len(steps), 5, WIDTH)
    together = lattice(steps)
    for feature, count in enumerate(steps):
        alike = lattice((count,) * len(steps))
        found, wanted = (masses(digits, states, each, feature) for each in (together, alike))
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("steps", [(40, 7), (33, 5, 432)])
def test_gradient_of_the_mass_is_right(steps: tuple[int, ...]) -> None:
    digits, places = made(len(steps)), lattice(steps)
    rows = torch.rand(2, 2, len(steps), generator=torch.Generator().manual_seed(1))
    place, states = places.of(rows.double()), random(len(steps), 2, 2, WIDTH)
    assert torch.autograd.gradcheck(
        lambda given: digits.log_mass(given, place, places), (states.requires_grad_(),)
    )


def test_every_weight_gets_a_gradient() -> None:
    digits, places = made(3), lattice((33, 5, 432))
    rows = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(1))
    digits.log_mass(random(3, 4, 5, WIDTH), places.of(rows.double()), places).sum().backward()
    for name, weight in digits.named_parameters():
        assert weight.grad is not None, name
        # a lattice of one cell has no coarse digit
        features = (0, 2) if name.startswith("coarse") else (0, 1, 2)
        for feature in range(3):
            assert bool(weight.grad[feature].any()) == (feature in features), (name, feature)


# draws


def drawn(
    digits: Digits,
    feature: int,
    places: Places,
    state: Tensor,
    uniform: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    with torch.no_grad():
        return Drawing(digits, feature, places, temperature)(state, uniform)


@pytest.mark.parametrize(
    ("steps", "feature"), [((432,), 0), ((40, 7), 0), ((40, 7), 1), ((33, 5, 20, 16), 3)]
)
def test_draws_are_as_frequent_as_their_masses_say(steps: tuple[int, ...], feature: int) -> None:
    digits, places, draws = made(len(steps)), lattice(steps), 20_000
    state = random(1, WIDTH, seed=3)
    uniform = torch.rand(3, draws, generator=torch.Generator().manual_seed(4)).double()
    found = drawn(digits, feature, places, state.expand(draws, -1), uniform)
    log_mass = masses(digits, of_feature(state, feature, len(steps)), places, feature)
    counts = np.bincount(found.numpy(), minlength=steps[feature] + 1)
    wanted = draws * log_mass[0].exp().numpy()
    often = wanted >= 5
    pooled = [np.append(each[often], each[~often].sum()) for each in (counts, wanted)]
    if pooled[1][-1] < 5:
        pooled = [np.append(each[:-2], each[-2:].sum()) for each in pooled]
    assert len(pooled[0]) > 3
    # one seed for 4 cases: below 1e-3 only if draws and masses differ
    assert stats.chisquare(*pooled).pvalue > 1e-3


@every_lattice
def test_no_place_without_mass_is_drawn(steps: tuple[int, ...], dtype: torch.dtype) -> None:
    digits, places = made(len(steps)).to(dtype), lattice(steps, dtype)
    # a double below 1 may be 1 in single precision
    ends = torch.tensor([0.0, 1e-7, 0.5, 1 - 1e-7, 1.0], dtype=dtype)
    extreme = torch.cartesian_prod(ends, ends, ends).T  # (3, 125)
    inner = torch.rand(3, 1000, generator=torch.Generator().manual_seed(5)).to(dtype)
    uniform = torch.cat([extreme, inner], dim=1)
    states = 3 * random(uniform.shape[1], WIDTH, seed=6).to(dtype)
    for feature, count in enumerate(steps):
        found = drawn(digits, feature, places, states, uniform)
        assert found.dtype == torch.long
        assert ((found >= 0) & (found <= count)).all()
        assert (found // 16 == count // 16).any()  # in the cell of which digits are missing


@every_lattice
def test_a_draw_is_the_one_that_its_ranks_say(steps: tuple[int, ...]) -> None:
    """At a low temperature, the likeliest cell; in it, the digit where the masses pass a rank."""
    digits, places = made(len(steps)), lattice(steps)
    states, ranks = (
        random(50, WIDTH, seed=7),
        torch.rand(50, generator=torch.Generator().manual_seed(1)).double(),
    )
    for feature, count in enumerate(steps):
        uniform = torch.stack([torch.full((50,), 0.5).double()] * 2 + [ranks])
        found = drawn(digits, feature, places, states, uniform, temperature=1e-6)
        log_mass = masses(digits, of_feature(states, feature, len(steps)), places, feature)
        for row, place in enumerate(found.tolist()):
            first, last = place // 16 * 16, min(place // 16 * 16 + 15, count)
            of_cell = log_mass[row, first : last + 1].softmax(0).cumsum(0)
            below = float(of_cell[place - first - 1]) if place > first else 0.0
            assert below <= ranks[row] + 1e-9
            assert ranks[row] <= float(of_cell[place - first]) + 1e-9


def test_temperature_is_that_of_the_coarse_digit_alone() -> None:
    digits, places = made(2), lattice((432, 7))
    states, numbers = random(2000, WIDTH, seed=8), torch.Generator().manual_seed(9)
    uniform = torch.rand(3, 2000, generator=numbers).double()
    cool, warm = (drawn(digits, 0, places, states, uniform, t) for t in (0.3, 1.0))
    assert not torch.equal(cool // 16, warm // 16)
    same = cool // 16 == warm // 16
    assert torch.equal(cool[same], warm[same])
    one_cell = [drawn(digits, 1, places, states, uniform, t) for t in (0.3, 1.0)]
    assert torch.equal(*one_cell)


@every_lattice
def test_clouds_are_drawn_each_by_itself(steps: tuple[int, ...]) -> None:
    digits, places = made(len(steps)), lattice(steps)
    states = random(20, WIDTH, seed=8)
    uniform = torch.rand(3, 20, generator=torch.Generator().manual_seed(9)).double()
    for feature in range(len(steps)):
        drawing = Drawing(digits, feature, places, 0.9)
        with torch.no_grad():
            together = drawing(states, uniform)
            alone = [drawing(states[k : k + 1], uniform[:, k : k + 1]) for k in range(20)]
        assert torch.equal(torch.cat(alone), together)
