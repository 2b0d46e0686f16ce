"""Tests of how far from the centre nodes lie, by their weight."""

from __future__ import annotations

import math

import torch

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.reach import BINS, Reach
from gconvae.schema import JETS

STEPS = 4095


def fitted() -> tuple[Reach, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of clouds whose heavy nodes lie near the centre; the masked ones lie anywhere."""
    random = torch.Generator().manual_seed(0)
    place = torch.randint(0, STEPS + 1, (300, 8), generator=random)
    apart = (1.5 - place / STEPS) * torch.rand(300, 8, generator=random)
    mask = torch.rand(300, 8, generator=random) < 0.7
    apart = torch.where(mask, apart, 100.0)
    reach = Reach()
    reach.fit(place, apart, mask, STEPS)
    return reach, place[mask], apart[mask], mask


def test_before_nodes_are_seen_any_distance_is_allowed() -> None:
    assert (Reach()(torch.arange(STEPS + 1), STEPS) == math.inf).all()


def test_no_training_node_lies_beyond() -> None:
    reach, place, apart, _ = fitted()
    assert (apart <= reach(place, STEPS)).all()


def test_each_bound_is_the_distance_of_a_node_that_weighs_as_much_or_more() -> None:
    reach, place, apart, _ = fitted()
    width = (STEPS + 1) // BINS
    for number, farthest in enumerate(reach.farthest.tolist()):
        assert farthest == apart[place >= number * width].max().item()


def test_a_heavier_node_never_reaches_farther() -> None:
    bounds = fitted()[0](torch.arange(STEPS + 1), STEPS)
    assert (bounds.diff() <= 0).all()
    assert bounds[0] > 1.2 > 0.7 > bounds[-1]


def test_weights_above_all_that_were_seen_reach_as_far_as_the_heaviest() -> None:
    reach = Reach()
    place, mask = torch.tensor([[10, 1000]]), torch.ones(1, 2, dtype=torch.bool)
    reach.fit(place, torch.tensor([[0.8, 0.3]]), mask, STEPS)
    torch.testing.assert_close(
        reach(torch.tensor([0, 200, 1000, STEPS]), STEPS), torch.tensor([0.8, 0.3, 0.3, 0.3])
    )


def test_bounds_are_saved() -> None:
    reach, read = fitted()[0], Reach()
    read.load_state_dict(reach.state_dict())
    assert torch.equal(read.farthest, reach.farthest)
    assert read.farthest.isfinite().all()


def test_a_likelihood_learns_how_far_its_training_nodes_reach() -> None:
    unit = torch.rand(200, 4, 3, generator=torch.Generator().manual_seed(0))
    likelihood = AutoregressiveLikelihood(num_points=4, width=16, weighted=True)
    likelihood.set_schema(JETS)
    likelihood.set_ranges(torch.tensor([-1.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 2.0]))
    likelihood.prepare_fit(unit, torch.ones(200, 4, dtype=torch.bool))
    assert likelihood.units is not None
    assert likelihood.network.reach is not None
    nodes = likelihood.units.unscale(unit)
    weight = nodes[..., 2:]
    centre = (weight * nodes[..., :2]).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    farthest = (nodes[..., :2] - centre).norm(dim=-1).max()
    found = likelihood.network.reach.farthest
    torch.testing.assert_close(found[0], farthest, rtol=0, atol=5e-3)  # in cells
    assert (found.diff() <= 0).all()
