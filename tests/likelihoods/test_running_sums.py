"""Tests of what nodes are conditioned on of the nodes before them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.running_sums import RunningSums
from gconvae.scaling import FeatureScaling
from gconvae.schema import JETS, points


def nodes(count: int = 40, number: int = 5) -> Tensor:
    return torch.rand(count, number, 3, generator=torch.Generator().manual_seed(0))


def weighted(seed: int = 0, **options: object) -> AutoregressiveLikelihood:
    """One of few places, whose weights are large enough to tell sums apart."""
    torch.manual_seed(seed)
    shape = {"num_points": 5, "width": 16, "heads": 2, "components": 3}
    likelihood = AutoregressiveLikelihood(**shape | {"weighted": True} | options)  # type: ignore[arg-type]  # options of tests
    likelihood.set_schema(JETS)
    likelihood.set_ranges(torch.tensor([-1.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0]))
    mask = torch.ones(40, 5, dtype=torch.bool)
    likelihood.prepare_fit(nodes(), mask)
    return likelihood


def test_sums_are_those_of_all_nodes_up_to_each() -> None:
    sums, clouds = RunningSums(5, 3, 8), nodes()
    sums.weight = 2
    found = sums.totals(clouds)
    for number, cloud in enumerate(clouds.tolist()):
        for place in range(5):
            before = cloud[: place + 1]
            wanted = [
                sum(w for _, _, w in before),
                *(sum(w * node[f] for node in before for w in node[2:]) for f in (0, 1)),
                *(sum(w * node[f] ** 2 for node in before for w in node[2:]) for f in (0, 1)),
            ]
            assert found[number, place].tolist() == pytest.approx(wanted, rel=1e-5)


def test_a_node_is_told_sums_and_what_is_left_in_units_of_the_last_node() -> None:
    sums, cloud = RunningSums(5, 3, 8), torch.tensor([[[0.1, 0.2, 0.5], [-0.4, 0.0, 0.25]]])
    sums.weight = 2
    whole = torch.tensor([0.9, 0.15, 0.1, 0.055, 0.03])
    found = sums.summary(sums.totals(cloud), whole, cloud)[0, 1].tolist()
    moments = [0.05 - 0.1, 0.1, 0.005 + 0.04, 0.02]  # of both positions, then of their squares
    left = [0.2, 0.0, 0.01, 0.01]
    wanted = [0.75, *moments, *(m / 0.75 for m in moments)]
    wanted += [0.15, *left, *(part / 0.25 for part in left)]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_once_its_weight_is_known_a_node_is_told_where_it_would_lie_as_the_last_one() -> None:
    # weight first, as jets are drawn
    sums, first = RunningSums(5, 3, 8), torch.tensor([[[0.5, 0.1, 0.2]]])
    cloud = torch.cat([first, torch.tensor([[[0.25, -0.3, -0.4]]])], dim=1)
    left = sums.totals(cloud)[:, -1] - sums.totals(first)[:, -1]
    last = cloud[:, 1]
    assert sums.needed(left, last)[0].tolist() == pytest.approx([-0.3, -0.4, 0.09, 0.16])
    # only its weight is known
    assert torch.equal(
        sums.needed(left, last * torch.tensor([1.0, 0.0, 0.0])), sums.needed(left, last)
    )
    assert list(sums.own_features(left, last, 1)) == [1, 2]  # features behind the weight


def test_sums_are_standardized_by_those_of_training_clouds() -> None:
    sums, clouds = RunningSums(5, 3, 8), nodes()
    mask = torch.ones(40, 5, dtype=torch.bool)
    mask[:20, 3:] = False
    whole = sums.totals(clouds)[:, -1]
    sums.fit(whole, clouds, mask)
    totals = sums.summary(sums.totals(clouds), whole.unsqueeze(1), clouds)
    torch.testing.assert_close(sums.mean[1], totals[:, 1].mean(0))
    torch.testing.assert_close(sums.spread[1], totals[:, 1].std(0))
    torch.testing.assert_close(sums.mean[4], totals[20:, 4].mean(0))  # of real nodes alone
    needed = sums.needed(whole - sums.totals(clouds)[:, 0], clouds[:, 1])
    torch.testing.assert_close(sums.own_mean[1], needed.mean(0))
    torch.testing.assert_close(sums.own_spread[1], needed.std(0))


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_units_of_the_weight_do_not_matter(unit: float) -> None:
    torch.manual_seed(0)
    sums, mask = RunningSums(5, 3, 8), torch.ones(40, 5, dtype=torch.bool)
    sums.weight = 2
    wanted = what_is_told(sums, nodes(), mask)
    found = what_is_told(sums, nodes() * torch.tensor([1.0, 1.0, unit]), mask)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert wanted.abs().max() > 0.1


def what_is_told(sums: RunningSums, clouds: Tensor, mask: Tensor) -> Tensor:
    totals = sums.totals(clouds)
    whole = totals[:, -1]
    sums.fit(whole, clouds, mask)
    behind = whole - totals[:, 0]
    own = sums.own_features(behind, clouds[:, 1] * torch.tensor([0.0, 0.0, 1.0]), 1)
    told = sums(sums.summary(totals, whole.unsqueeze(1), clouds)[:, :4], slice(4))
    return torch.cat([told.flatten(1), *own.values()], dim=1).detach()


def test_a_place_that_no_cloud_has_taken_tells_nothing_wild() -> None:
    sums, clouds = RunningSums(5, 3, 8), nodes()
    mask = torch.zeros(40, 5, dtype=torch.bool)
    mask[:, :2] = True
    whole = sums.totals(clouds)[:, 1]
    sums.fit(whole, clouds, mask)
    told = sums.summary(sums.totals(clouds), whole.unsqueeze(1), clouds)
    assert torch.isfinite(sums(told, slice(5))).all()


def test_amounts_are_those_of_the_data() -> None:
    likelihood, unit = weighted(), nodes()
    scaling = FeatureScaling(
        torch.tensor([-1.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0]), 1.0, JETS
    )
    places = likelihood._places(unit)
    found = places.amounts(likelihood._place(unit, places))  # pT, phi, eta
    wanted = scaling.unscale(unit)[..., [2, 1, 0]]
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_draws_are_told_what_the_masses_are_told() -> None:
    likelihood, unit = weighted().double(), nodes().double()
    network, places = likelihood.network, likelihood._places(unit)
    sums, mean = network.sums, likelihood._place(unit, places)
    assert sums is not None
    seen: list[Tensor] = []
    own: list[Tensor] = []

    def told(totals: Tensor, place: int | slice) -> Tensor:
        seen.append(totals)
        return RunningSums.forward(sums, totals, place)

    def needed(left: Tensor, nodes: Tensor) -> Tensor:
        own.append(RunningSums.needed(sums, left, nodes))
        return own[-1]

    sums.forward = told  # type: ignore[method-assign]  # to look at what it is called with
    sums.needed = needed  # type: ignore[method-assign]  # likewise
    uniform = torch.rand(40, 5 * 3 + 5, 3, dtype=torch.float64)
    assert network.totals is not None
    of_totals: list[Tensor] = []
    draw_totals = network.totals.draw

    def drawn_totals(known: Tensor, uniform: Tensor, least_share: float) -> Tensor:
        of_totals.append(draw_totals(known, uniform, least_share))
        return of_totals[0]

    network.totals.draw = drawn_totals  # type: ignore[method-assign]  # likewise
    network.totals.place = lambda totals: of_totals[0]  # type: ignore[method-assign]  # likewise
    mask = torch.ones(40, 5, dtype=torch.bool)
    with torch.no_grad():
        drawn = network.draw(mean, torch.zeros(40, 7).double(), uniform, places, [1.0] * 3)
        one_by_one, at_once = torch.stack(seen[:-1], dim=1), seen
        at_once.clear()
        network(drawn, mask, mean, torch.zeros(40, 7).double(), places)
    torch.testing.assert_close(one_by_one, at_once[0], rtol=1e-9, atol=1e-9)
    *each, whole = own
    torch.testing.assert_close(torch.stack(each, dim=1), whole, rtol=1e-9, atol=1e-9)


def test_the_sums_say_something() -> None:
    likelihood, mean, value = weighted(), nodes(1), nodes(2)[1:]
    found = likelihood.log_prob(value, mean)
    assert likelihood.network.sums is not None
    with torch.no_grad():
        likelihood.network.sums.outer.weight.mul_(3)
    assert not torch.equal(likelihood.log_prob(value, mean), found)


def test_a_saved_likelihood_knows_its_units() -> None:
    likelihood, read = weighted(), weighted(seed=1)
    read.set_ranges(torch.zeros(3), torch.full((3,), 9.0))
    mean = nodes()
    assert not torch.equal(read.log_prob(mean, mean), likelihood.log_prob(mean, mean))
    read.load_state_dict(likelihood.state_dict())
    assert torch.equal(read.log_prob(mean, mean), likelihood.log_prob(mean, mean))


def test_a_schema_without_a_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="schema must name the weight of a node"):
        weighted().set_schema(points("x y", "z"))
