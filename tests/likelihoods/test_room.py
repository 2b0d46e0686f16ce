"""Tests of what totals leave to the nodes to come."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.likelihoods.places import Places
from gconvae.likelihoods.reach import Reach
from gconvae.likelihoods.room import Room, weight_left
from gconvae.likelihoods.running_sums import RunningSums
from gconvae.likelihoods.totals import Totals

STEPS = 4095


def drawn_order(count: int = 400, number: int = 6) -> Tensor:
    """Places of weight, phi and eta, the heaviest node first."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randint(1, 600, (count, number), generator=random).sort(1, True).values
    angles = torch.randn(count, number, 2, generator=random, dtype=torch.float64)
    angles = (2000 + 300 * angles).long().clamp(0, STEPS)
    return torch.cat([weight.unsqueeze(-1), angles], dim=-1)


def parts() -> tuple[Totals, Places, Tensor, Tensor]:
    """Totals of clouds, places of nodes, and both written down."""
    amounts = [torch.linspace(low, high, STEPS + 1).double() for low, high in ((0, 1), *PAIRS)]
    places = Places([STEPS] * 3, torch.zeros(1).double(), amounts=amounts)
    nodes = drawn_order()
    sums = RunningSums(nodes.shape[1], 3, 8).totals(places.amounts(nodes))[:, -1]
    totals = Totals(3, 8, 3).double()
    found = totals.of_sums(sums)
    totals.fit(found)
    return totals, places, nodes, totals.place(found)


PAIRS = ((-0.5, 0.5), (9.0, 11.0))  # eta lies far from 0
ETA_STEP = 2 / STEPS


def test_all_real_nodes_have_room() -> None:
    totals, places, nodes, written = parts()
    room, amounts = Room(totals, written, places, Reach()), places.amounts(nodes)
    taken = amounts[..., 0].cumsum(1) - amounts[..., 0]
    left = weight_left(totals, written, taken, places)
    for number, node in enumerate(nodes.unbind(1)):
        most = room.most()
        assert torch.equal(most, left[:, number])
        assert (node[:, 0] <= most + 1).all()  # but for rounding
        for feature in range(3):
            held = room.held(feature, node[:, feature])
            # float32 knots of the cells are off by some 1e-7
            assert ((held - node[:, feature]).abs() <= 1).all()
        room.ended()


def test_a_node_that_is_too_far_out_is_put_where_there_is_room() -> None:
    totals, places, nodes, written = parts()
    for end in (0, STEPS):
        room = Room(totals, written, places, Reach())
        low, high = totals.ends(written)
        centre, off = (low + high)[:, 2:4] / 2, (high - low)[:, 2:4] / 2
        spread = high[:, 1] * (high[:, 0] + off.square().sum(1))
        weight = places.amount(0, room.held(0, nodes[:, 0, 0]))
        found = torch.stack(
            [room.held(feature, torch.full_like(nodes[:, 0, 0], end)) for feature in (1, 2)], 1
        )
        apart = places.amounts(torch.cat([nodes[:, 0, :1], found], 1))[:, 1:] - centre
        assert (weight * apart.square().sum(1) <= spread * (1 + 1e-9)).all()
        assert (weight * apart[:, 0].square() > 0.9 * spread).float().mean() > 0.9  # on the bound
        assert ((found[:, 0] > 0) & (found[:, 0] < STEPS)).any()


def test_nodes_behind_one_that_took_too_much_do_not_all_lie_at_the_centre() -> None:
    totals, places, nodes, written = parts()
    room = Room(totals, written, places, Reach())
    room.spread = torch.zeros_like(room.spread)
    room.held(0, torch.full_like(nodes[:, 0, 0], 2))
    found = room.held(1, nodes[:, 0, 1])
    assert found.unique().numel() > 50


def test_a_node_that_weighs_nothing_may_lie_anywhere() -> None:
    totals, places, nodes, written = parts()
    room = Room(totals, written, places, Reach())
    room.held(0, torch.zeros_like(nodes[:, 0, 0]))
    for feature in (1, 2):
        for end in (0, STEPS):
            asked = torch.full_like(nodes[:, 0, 0], end)
            assert torch.equal(room.held(feature, asked), asked)


def test_nodes_of_a_cloud_share_its_spread() -> None:
    totals, places, nodes, written = parts()
    room, far = Room(totals, written, places, Reach()), torch.full_like(nodes[:, 0, 0], STEPS)
    whole, centre = room.spread.clone(), room.centre.clone()
    used = torch.zeros_like(whole)
    for node in nodes.unbind(1):
        weight = places.amount(0, room.held(0, node[:, 0]))
        found = [places.amount(f, room.held(f, far)) for f in (1, 2)]  # as far out as they may
        apart = (torch.stack(found, dim=1) - centre).square().sum(1)
        # what is left, or the hundredth that a node may always take; where that is less than one
        # cell of eta, 2 / 4095, the node lies in the cell of the centre
        allowed = torch.maximum(whole - used, 0.01 * whole) + weight * (2 / STEPS) ** 2
        assert (weight * apart <= allowed * (1 + 1e-9)).all()
        used = used + weight * apart
        room.ended()
    torch.testing.assert_close(room.spread, whole - used)


def test_no_node_lies_farther_out_than_training_nodes_of_its_weight() -> None:
    totals, places, nodes, written = parts()
    room, reach = Room(totals, written, places, Reach()), Reach()
    centre = room.centre
    apart = (places.amounts(nodes)[..., 1:] - centre.unsqueeze(1)).square().sum(-1).sqrt()
    inner = apart.clamp(max=0.05)  # as if nodes had been seen near the centre alone
    reach.fit(nodes[..., 0], inner, torch.ones_like(nodes[..., 0], dtype=torch.bool), STEPS)
    room = Room(totals, written, places, reach)
    room.held(0, nodes[:, 0, 0])
    found = [room.held(feature, torch.full_like(nodes[:, 0, 0], STEPS)) for feature in (1, 2)]
    held = places.amounts(torch.stack([nodes[:, 0, 0], *found], dim=1))[:, 1:] - centre
    assert (held[:, 0] <= 0.05).all()
    rest = held[:, 1].abs().clamp(min=ETA_STEP) - ETA_STEP
    assert ((held[:, 0].square() + rest.square()).sqrt() <= 0.05 + 1e-9).all()
    assert (held.square().sum(1).sqrt() > 0.045).all()
