"""Tests of what a whole cloud adds up to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.running_sums import RunningSums
from gconvae.likelihoods.totals import STEPS, STEPS_OF_SPREAD, Totals
from gconvae.metrics.jets import mass
from gconvae.schema import JETS


def jets(count: int = 400, number: int = 6) -> Tensor:
    """eta_rel, phi_rel, pt_rel, hardest first."""
    random = torch.Generator().manual_seed(0)
    angles = 0.1 * torch.randn(count, number, 2, generator=random, dtype=torch.float64)
    pt = torch.rand(count, number, 1, generator=random, dtype=torch.float64).sort(1, True).values
    return torch.cat([angles, 0.2 * pt], dim=-1)


def totals_of(clouds: Tensor) -> Tensor:
    sums = RunningSums(clouds.shape[1], 3, 8)
    sums.weight = 2
    return Totals(3, 8, 3).of_sums(sums.totals(clouds)[:, -1])


def fitted() -> tuple[Totals, Tensor]:
    torch.manual_seed(0)
    totals, amounts = Totals(3, 8, 3).double(), totals_of(jets())
    totals.fit(amounts)
    return totals, amounts


def test_totals_are_weight_centre_and_spread() -> None:
    cloud = jets(1)
    weight, points = cloud[0, :, 2].numpy(), cloud[0, :, :2].numpy()
    centre = np.average(points, axis=0, weights=weight)
    spread = np.average((points - centre) ** 2, axis=0, weights=weight)
    wanted = [spread.sum(), weight.sum(), *centre, spread[0]]
    assert totals_of(cloud)[0].tolist() == pytest.approx(wanted, rel=1e-9)


def test_the_first_total_is_the_mass_over_the_weight() -> None:
    # near the axis, where the hyperbolic functions are the parabolas of the sums
    clouds = jets() * torch.tensor([0.1, 0.1, 1.0])
    totals = totals_of(clouds)
    wanted = (torch.from_numpy(mass(clouds)) / totals[:, 1]).square()
    torch.testing.assert_close(totals[:, 0], wanted, rtol=2e-3, atol=0)


def test_sums_and_totals_are_inverses() -> None:
    totals, amounts = fitted()
    sums = totals.sums(amounts)
    torch.testing.assert_close(totals.of_sums(sums), amounts)


def test_cells_hold_what_they_say() -> None:
    totals, amounts = fitted()
    place = totals.place(amounts)
    assert place.amin(0).tolist() == [0] * 5
    assert place.amax(0).tolist() == totals.steps
    back = totals.amounts(place)
    assert ((back - amounts).abs() <= totals.width / torch.tensor(totals.steps)).all()
    assert torch.equal(totals.place(back), place)


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e6])
def test_units_do_not_matter(unit: float) -> None:
    found = []
    for factor in (1.0, unit):
        totals, amounts = Totals(3, 8, 3).double(), totals_of(jets())
        amounts[:, 3] = 0.25  # never varies
        amounts = amounts * factor
        totals.fit(amounts)
        found.append(totals.place(amounts))
    assert torch.equal(*found)
    assert found[0][:, 0].unique().numel() > 10
    assert not found[0][:, 3].any()


def test_masses_of_the_last_total_sum_to_that_of_the_others() -> None:
    totals, amounts = fitted()
    random = torch.Generator().manual_seed(0)
    known = torch.randn(1, 8, dtype=torch.float64, generator=random).expand(2 * STEPS + 2, -1)
    place = totals.place(amounts[:1]).repeat(2 * STEPS + 2, 1)
    place[:, -1] = torch.arange(STEPS + 1).repeat(2)
    place[STEPS + 1 :, -2] = 0  # another value of the total before the last
    with torch.no_grad():
        each = totals.log_mass(place, known).unflatten(0, (2, -1)).logsumexp(1)
        totals.digits.fine.bias[-1] += torch.randn(16)  # of the last one: moves no other
        totals.digits.coarse.bias[-1] += torch.randn(9)
        moved = totals.log_mass(place, known).unflatten(0, (2, -1)).logsumexp(1)
    torch.testing.assert_close(moved, each)
    assert (each < 0).all()


def test_draws_have_the_masses() -> None:
    totals, _ = fitted()
    random = torch.Generator().manual_seed(1)
    known = torch.randn(1, 8, dtype=torch.float64, generator=random).expand(20_000, -1)
    uniform = torch.rand(20_000, 5, 3, dtype=torch.float64, generator=random)
    with torch.no_grad():
        drawn = totals.draw(known, uniform)
        surprise = -totals.log_mass(drawn, known)
        # two halves of draws have the same surprise, and no draw has mass 0
        halves = surprise[:10_000].mean(), surprise[10_000:].mean()
    assert torch.isfinite(surprise).all()
    assert abs(halves[0] - halves[1]) < 0.1
    every = torch.arange(STEPS_OF_SPREAD + 1)
    first = torch.zeros(STEPS_OF_SPREAD + 1, 5, dtype=torch.long)
    first[:, 0] = every
    masses = torch.bincount(drawn[:, 0], minlength=STEPS_OF_SPREAD + 1) / 20_000
    with torch.no_grad():
        hidden = totals.known(known[: STEPS_OF_SPREAD + 1])
        hidden = hidden + totals.layers[0](hidden)
        state = hidden.expand(5, -1, -1).unsqueeze(2)
        wanted = totals.digits.log_mass(state, first.unsqueeze(1), totals._places(known))
    difference = masses.double().cumsum(0) - wanted[:, 0, 0].exp().cumsum(0)
    assert difference.abs().max() < 0.02


def weighted(num_points: int = 6) -> AutoregressiveLikelihood:
    torch.manual_seed(0)
    likelihood = AutoregressiveLikelihood(
        num_points, width=16, heads=2, components=3, weighted=True, temperature=1.0
    )
    likelihood.set_schema(JETS)
    likelihood.set_ranges(torch.tensor([-1.0, -1.0, 0.0]), torch.ones(3))
    unit = (jets(number=num_points).float() + torch.tensor([1.0, 1.0, 0.0])) / torch.tensor(
        [2.0, 2.0, 1.0]
    )
    likelihood.prepare_fit(unit, torch.ones(unit.shape[:2], dtype=torch.bool))
    return likelihood.double()


def test_totals_are_of_real_nodes_alone() -> None:
    likelihood = weighted()
    unit = torch.rand(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(6).expand(5, 6) < 4
    other = unit.clone()
    other[:, 4:] = 0.9
    first, second = (likelihood.cloud_log_prob(one, unit, mask) for one in (unit, other))
    assert torch.equal(first, second)


def test_nodes_know_the_totals() -> None:
    likelihood = weighted()
    assert likelihood.network.totals is not None
    mean = torch.rand(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    places = likelihood._places(mean)
    told, condition = likelihood._place(mean, places), torch.zeros(5, 7, dtype=torch.float64)
    random = torch.Generator().manual_seed(2)
    uniform = torch.rand(5, 6 * 3 + 5, 3, dtype=torch.float64, generator=random)
    with torch.no_grad():
        first = likelihood.network.draw(told, condition, uniform, places, [1.0] * 3)
        uniform[:, 18:] = 1 - uniform[:, 18:]
        second = likelihood.network.draw(told, condition, uniform, places, [1.0] * 3)
    assert not torch.equal(first, second)


def test_the_density_of_the_totals_is_shared_out() -> None:
    likelihood = weighted()
    random = torch.Generator().manual_seed(0)
    unit, mean = 0.1 + 0.8 * torch.rand(2, 5, 6, 3, dtype=torch.float64, generator=random)
    mask = torch.ones(5, 6, dtype=torch.bool)
    volume = likelihood.lattice_steps.double().log().sum() * 6
    volume = volume + likelihood.cells.log_slope(unit).sum((1, 2))
    found = likelihood.log_prob(unit, mean).sum((1, 2))
    torch.testing.assert_close(found, likelihood.cloud_log_prob(unit, mean, mask) + volume)


def test_totals_and_nodes_leave_rare_components_out() -> None:
    likelihood = weighted()
    totals = likelihood.network.totals
    assert totals is not None
    with torch.no_grad():
        for digits in (likelihood.network.digits, totals.digits):
            digits.coarse.bias[:, 0] -= 2.5  # a share of some percent
    mean = torch.rand(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    random = torch.Generator().manual_seed(3)
    uniform = torch.rand(500, 5, 3, dtype=torch.float64, generator=random)
    known = torch.zeros(500, 16, dtype=torch.float64)
    assert not torch.equal(totals.draw(known, uniform, 0.2), totals.draw(known, uniform))
    noise, found = likelihood.noise((5, 6, 3), random), []
    totals.draw = lambda known, *_: torch.zeros(5, 5, dtype=torch.long)  # type: ignore[method-assign]  # so that only nodes can differ
    for least_share in (0.0, 0.2):
        likelihood.least_share = least_share
        found.append(likelihood.draw(mean, noise))
    assert not torch.equal(*found)


def test_later_totals_know_the_earlier_ones_in_masses_and_in_draws() -> None:
    totals, amounts = fitted()
    random = torch.Generator().manual_seed(0)
    known = torch.randn(1, 8, dtype=torch.float64, generator=random)
    place = totals.place(amounts[:1]).repeat(4, 1)
    place[1::2, -1] = (place[0, -1] + 5) % STEPS  # another last total
    place[2:, 0] = (place[0, 0] + 5) % STEPS  # and another first one
    uniform = torch.rand(500, 5, 3, dtype=torch.float64, generator=random)
    with torch.no_grad():
        for layer in totals.values:
            layer.waves.weight.mul_(20)
        mass = totals.log_mass(place, known.expand(4, -1))
        drawn = totals.draw(known.expand(500, -1), uniform)
        totals.values[0].waves.weight.neg_()
        other = totals.draw(known.expand(500, -1), uniform)
    assert abs((mass[0] - mass[1]) - (mass[2] - mass[3])) > 1e-3
    assert torch.equal(drawn[:, 0], other[:, 0])
    assert not torch.equal(drawn[:, 1], other[:, 1])


def test_every_node_is_told_the_totals_beside_what_is_left() -> None:
    likelihood = weighted()
    totals = likelihood.network.totals
    assert totals is not None
    random = torch.Generator().manual_seed(0)
    unit, mean = 0.1 + 0.8 * torch.rand(2, 5, 6, 3, dtype=torch.float64, generator=random)
    noise = likelihood.noise((5, 6, 3), random)
    before = likelihood.log_prob(unit, mean), likelihood.draw(mean, noise)
    with torch.no_grad():
        totals.context[2].bias.add_(10 * torch.randn(16, dtype=torch.float64, generator=random))
    assert not torch.equal(likelihood.log_prob(unit, mean), before[0])
    assert not torch.equal(likelihood.draw(mean, noise), before[1])


def test_sums_of_clouds_leave_masked_nodes_out() -> None:
    network, clouds = weighted().network, jets(5)
    mask = torch.arange(6).expand(5, 6) < 4
    every = torch.ones(5, 4, dtype=torch.bool)
    found = network._whole(clouds, mask)
    torch.testing.assert_close(found, network._whole(clouds[:, :4], every))
    assert (found - network._whole(clouds, torch.ones_like(mask))).abs().max() > 1e-3


def test_no_node_weighs_more_than_what_is_left() -> None:
    likelihood = weighted()
    totals, told = likelihood.network.totals, list[Tensor]()
    assert totals is not None
    draw = totals.draw

    def drawn(*given: object) -> Tensor:
        told.append(draw(*given))  # type: ignore[arg-type]  # what it is called with
        return told[-1]

    totals.draw = drawn  # type: ignore[method-assign]  # to look at what nodes are told
    mean = torch.rand(500, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noise = likelihood.noise((500, 6, 3), torch.Generator().manual_seed(2))
    assert likelihood.units is not None
    pt = likelihood.units.unscale(likelihood.draw(mean, noise))[..., 2]
    most = totals.ends(told[0])[1][:, totals.weight]
    # a draw lies anywhere in its cell, of which there are 4,096
    assert (pt.sum(1) <= 1.02 * most).all()
    assert (pt.sum(1) > 0.9 * most).any()


def test_the_rule_of_the_weight_keeps_real_clouds() -> None:
    likelihood = weighted()
    places = likelihood._places(torch.zeros(1, dtype=torch.float64))
    totals, clouds = likelihood.network.totals, jets()
    assert totals is not None
    assert places.first_adds_up
    unit = (clouds + torch.tensor([1.0, 1.0, 0.0])) / torch.tensor([2.0, 2.0, 1.0])
    amounts = places.amounts(likelihood._place(unit, places))  # pT, phi, eta
    weight = amounts[..., 0].sum(1)
    place = totals.place(totals_of(amounts[..., [2, 1, 0]]))
    low, high = (end[:, totals.weight] for end in totals.ends(place))
    assert (high >= (1 - 1e-6) * weight).all()
    assert (low <= (1 + 1e-6) * weight).all()
    assert (high - low < totals.width[totals.weight] / 10).all()
    mask = torch.ones(400, 6, dtype=torch.bool)
    assert torch.isfinite(likelihood.cloud_log_prob(unit, unit, mask)).all()


def test_nodes_whose_weights_may_be_negative_follow_no_such_rule() -> None:
    likelihood = weighted()
    likelihood.set_ranges(torch.full((3,), -1.0), torch.ones(3))
    assert not likelihood._places(torch.zeros(1, dtype=torch.float64)).first_adds_up
    mean = torch.rand(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noise = likelihood.noise((5, 6, 3), torch.Generator().manual_seed(2))
    mask = torch.ones(5, 6, dtype=torch.bool)
    assert torch.isfinite(
        likelihood.cloud_log_prob(likelihood.draw(mean, noise), mean, mask)
    ).all()
