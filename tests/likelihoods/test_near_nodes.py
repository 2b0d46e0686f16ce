"""Tests of the components that lie at the nodes before."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.near_nodes import NearDrawing, NearNodes
from gconvae.likelihoods.places import Places
from gconvae.nn.causal import normal
from gconvae.schema import JETS

CLOUDS, NODES, WIDTH = 4, 5, 8


def parts(seed: int = 0) -> tuple[NearNodes, Places, Tensor, Tensor, Tensor]:
    """The module, its places, and what is known, said and written."""
    torch.manual_seed(seed)
    near, places = NearNodes(3, WIDTH).double(), Places([4095] * 3, torch.zeros(1).double())
    state = torch.randn(3, CLOUDS, NODES, WIDTH).double()
    told = torch.randn(CLOUDS, NODES - 1, WIDTH).double()
    return near, places, state, told, torch.randint(0, 4096, (CLOUDS, NODES, 3))


def components(given: tuple[NearNodes, Places, Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Logits, means and logarithms of scales, shape (F, B, N, N - 1) each."""
    near, places, state, told, place = given
    found = near(state, told, place, places).unflatten(1, (CLOUDS, NODES))
    return list(found.chunk(3, dim=-1))


def test_each_node_before_has_one_where_it_lies() -> None:
    given = parts()
    logits, means, log_scales = components(given)
    cells = given[-1].double() / 16 - 7.5 / 16  # of which 256 are coarse places
    for feature in (1, 2):
        wanted = cells[:, :-1, feature] / 255
        torch.testing.assert_close(means[feature], wanted.unsqueeze(1).expand(-1, NODES, -1))
    shown = torch.ones(NODES, NODES - 1).tril(-1).bool()
    assert torch.equal(torch.isfinite(logits[1:]), shown.expand(2, CLOUDS, -1, -1))
    assert (logits[0] == -math.inf).all()  # the first feature orders the nodes
    assert (log_scales[1:] < -1).all()


def test_what_is_far_in_a_feature_that_is_drawn_has_a_small_share() -> None:
    near, places, state, told, place = parts()
    place[:, :, 1] = torch.tensor([100, 2000, 4000, 150, 3900])  # phi
    with torch.no_grad():
        for layer in (*near.query, *near.key):
            layer.weight.zero_()
            layer.bias.zero_()
        near.query[1].bias[-2] = 3.0  # type: ignore[index, union-attr]  # the rate of eta
    logits, _, _ = components((near, places, state, told, place))
    assert (logits[1, :, 3, :3] == 0).all()  # of phi nothing is known yet
    assert (logits[2, :, 3, :3].argmax(-1) == 0).all()  # 150 is near 100
    assert (logits[2, :, 4].argmax(-1) == 2).all()  # 3900 is near 4000
    apart = (place[:, 3, 1] - place[:, 1, 1]).abs() / 16 / 255
    torch.testing.assert_close(logits[2, :, 3, 1], -math.exp(3.0) * apart.double())


def test_draws_have_the_components_of_the_masses() -> None:
    near, places, state, told, place = given = parts()
    wanted = components(given)
    with torch.no_grad():
        drawing = NearDrawing(near, places, torch.zeros(CLOUDS, NODES, WIDTH).double())
        for node in range(NODES):
            for feature in range(3):
                query = drawing.query(feature)
                known = normal(state[feature, :, node])
                found = drawing.components(feature, known if query is None else query(known))
                if feature == 0 or node == 0:
                    assert found is None
                else:
                    each = [part[feature, :, node, :node] for part in wanted]
                    torch.testing.assert_close(found, torch.cat(each, dim=-1))
                drawing.drawn(feature, place[:, node, feature])
            if node < NODES - 1:
                drawing.ended(told[:, node])


def test_no_node_knows_later_ones() -> None:
    near, places, state, told, place = given = parts()
    before = components(given)
    place[:, 3:], told[:, 3:] = 7, 0.0
    after = components((near, places, state, told, place))
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old[:, :, :3, :3], new[:, :, :3, :3])


def weighted(num_points: int) -> AutoregressiveLikelihood:
    torch.manual_seed(0)
    shape = {"width": 16, "heads": 2, "components": 3}
    likelihood = AutoregressiveLikelihood(num_points, weighted=True, **shape)  # type: ignore[arg-type]  # whole numbers
    likelihood.set_schema(JETS)
    likelihood.set_ranges(torch.tensor([-1.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0]))
    clouds, mask = torch.rand(40, num_points, 3), torch.ones(40, num_points, dtype=torch.bool)
    likelihood.prepare_fit(clouds, mask)
    return likelihood


def test_the_components_say_something_and_learn() -> None:
    likelihood = weighted(5)
    clouds, mask = torch.rand(40, 5, 3), torch.ones(40, 5, dtype=torch.bool)
    found = likelihood.negative_log_likelihood(clouds, clouds, mask)
    found.mean().backward()
    near = likelihood.network.near
    assert near is not None
    assert all(weight.grad is not None and weight.grad.any() for weight in near.parameters())
    with torch.no_grad():
        for layer in near.query:
            layer.bias[-1] -= 3  # type: ignore[index, operator]  # narrower
    assert not torch.equal(likelihood.negative_log_likelihood(clouds, clouds, mask), found)


def test_images_have_none() -> None:
    assert AutoregressiveLikelihood(width=16).network.near is None


def test_a_cloud_of_one_node_is_drawn_and_has_a_mass() -> None:
    likelihood = weighted(1)
    mean, mask = torch.rand(7, 1, 3), torch.ones(7, 1, dtype=torch.bool)
    drawn = likelihood.draw(mean, likelihood.noise((7, 1, 3), torch.Generator().manual_seed(0)))
    assert drawn.shape == (7, 1, 3)
    assert torch.isfinite(likelihood.cloud_log_prob(drawn, mean, mask)).all()


def test_a_rate_beyond_all_numbers_leaves_no_hole() -> None:
    near, places, state, told, place = parts()
    place[:, 1] = place[:, 0]  # no distance at all
    with torch.no_grad():
        near.query[1].bias[-2] = 1e4  # type: ignore[index, union-attr]  # as above
    logits, _, _ = components((near, places, state, told, place))
    assert torch.isfinite(logits[2, :, 1, 0]).all()
    assert not torch.isnan(logits).any()
