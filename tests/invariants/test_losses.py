"""What every set loss fulfils, over many clouds, masks and scales."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import chamfer_loop
from strategies import Pair, cases, pairs, random

from gconvae.losses import (
    distance,
    matched_intensity_chamfer,
    matching_loss,
    sinkhorn_loss,
    sliced_wasserstein,
    third_axis_chamfer,
)

BACKENDS = ("torch-cluster", "dense", "native")


def close(found: torch.Tensor, wanted: torch.Tensor, size: float = 1.0) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9 * max(1.0, size))


@cases
@given(pairs(), st.sampled_from(BACKENDS))
def test_chamfer_is_that_of_a_loop(pair: Pair, backend: str) -> None:
    wanted = []
    for p, q, m, n in zip(*pair, strict=True):
        apart = ((p[m][:, None] - q[n][None]) ** 2).sum(-1)
        wanted.append(apart.min(1).values.sum() + apart.min(0).values.sum())
    close(third_axis_chamfer(*pair, backend=backend), torch.stack(wanted), 1e12)


@cases
@given(pairs(), st.floats(0, 5))
def test_matched_intensities_are_those_of_a_loop(pair: Pair, weight: float) -> None:
    if pair.target.shape[-1] == 1:  # a position and its intensity
        pair = pair._replace(
            target=pair.target.expand(-1, -1, 2), output=pair.output.expand(-1, -1, 2)
        )
    positions = pair.target.shape[-1] - 1
    found = matched_intensity_chamfer(*pair, num_positions=positions, intensity_weight=weight)
    wanted = chamfer_loop(*pair, search=positions, intensity_weight=weight)
    close(found, torch.tensor(wanted, dtype=torch.float64), 1e12)


@cases
@given(pairs(equal=True), st.sampled_from([third_axis_chamfer, matching_loss]))
def test_sides_may_be_swapped(pair: Pair, loss: object) -> None:
    swapped = Pair(pair.output, pair.target, pair.output_mask, pair.target_mask)
    close(loss(*pair), loss(*swapped), float(loss(*pair).max()))


@cases
@given(pairs(), st.sampled_from([third_axis_chamfer, matching_loss, sliced_wasserstein]))
def test_a_cloud_is_at_0_of_itself_in_any_order(pair: Pair, loss: object) -> None:
    order = torch.rand(pair.target.shape[1], generator=random(0)).argsort()
    turned = pair.target[:, order], pair.target_mask[:, order]
    options = {"num_projections": 4} if loss is sliced_wasserstein else {}
    found = loss(pair.target, turned[0], pair.target_mask, turned[1], **options)
    close(found, torch.zeros_like(found), 1e-3 * float(pair.target.abs().max()))


@cases
@given(pairs(equal=True), st.sampled_from([third_axis_chamfer, matching_loss, sliced_wasserstein]))
def test_no_loss_is_below_0(pair: Pair, loss: object) -> None:
    options = {"num_projections": 4} if loss is sliced_wasserstein else {}
    assert (loss(*pair, **options) >= 0).all()


@cases
@given(pairs(equal=True), st.sampled_from([third_axis_chamfer, matching_loss, sliced_wasserstein]))
def test_a_batch_is_a_loop_over_its_clouds(pair: Pair, loss: object) -> None:
    options = {"num_projections": 4} if loss is sliced_wasserstein else {}
    each = [
        loss(*(part[row : row + 1] for part in pair), **options) for row in range(len(pair.target))
    ]
    found = loss(*pair, **options)
    close(found, torch.cat(each), float(found.max()))


@cases
@given(pairs(), st.floats(-1e3, 1e3), st.sampled_from([math.nan, math.inf, 1e30]))
def test_masked_nodes_do_not_count_whatever_they_hold(
    pair: Pair, value: float, garbage: float
) -> None:
    target = pair.target.masked_fill(~pair.target_mask.unsqueeze(-1), value)
    output = pair.output.masked_fill(~pair.output_mask.unsqueeze(-1), garbage)
    other = third_axis_chamfer(target, output, pair.target_mask, pair.output_mask)
    assert torch.equal(other, third_axis_chamfer(*pair))


@cases
@given(pairs(equal=True))
def test_matching_is_never_below_chamfer_one_way_or_sliced(pair: Pair) -> None:
    matched = matching_loss(*pair)
    one_way = third_axis_chamfer(*pair, precision_weight=0)
    sliced = sliced_wasserstein(*pair, num_projections=4)
    room = 1e-9 * (1 + matched)
    assert (one_way <= matched + room).all()
    assert (sliced <= matched + room).all()


@cases
@given(
    pairs(equal=True),
    st.sampled_from([third_axis_chamfer, matching_loss, sliced_wasserstein]),
    st.integers(-50, 50),  # whole numbers, which leave lattices what they are
)
def test_a_shift_of_both_sides_changes_nothing(pair: Pair, loss: object, shift: int) -> None:
    options = {"num_projections": 4} if loss is sliced_wasserstein else {}
    moved = pair._replace(target=pair.target + shift, output=pair.output + shift)
    size = float(pair.target.abs().max()) ** 2
    close(loss(*moved, **options), loss(*pair, **options), size)


@cases
@given(pairs(equal=True), st.integers(-5, 5))
def test_sinkhorn_is_symmetric_0_on_itself_shifted_and_a_loop(pair: Pair, shift: int) -> None:
    target, output, first, second = pair
    target, output = target.remainder(10), output.remainder(10)
    found = sinkhorn_loss(target, output, first, second)
    same = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(found, sinkhorn_loss(output, target, second, first), **same)
    own = sinkhorn_loss(target, target, first, first)
    torch.testing.assert_close(own, torch.zeros_like(own), **same)
    moved = sinkhorn_loss(target + shift, output + shift, first, second)
    torch.testing.assert_close(moved, found, **same)
    each = [
        sinkhorn_loss(p[m].unsqueeze(0), q[n].unsqueeze(0))
        for p, q, m, n in zip(target, output, first, second, strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(each), **same)
    assert (found >= -1e-6).all()


@cases
@given(pairs(equal=True))
def test_the_matching_distance_is_a_metric(pair: Pair) -> None:
    target, output, first, second = pair
    there = distance(target, output, first, second, missing_cost=10)
    back = distance(output, target, second, first, missing_cost=10)
    close(there, back, float(there.max()))
    own = distance(target, target, first, first, missing_cost=10)
    assert own.tolist() == [0.0] * len(own)


@cases
@given(pairs(), st.integers(0, 5))
def test_a_copy_of_an_output_node_costs_its_own_term_at_most(pair: Pair, node: int) -> None:
    node %= pair.output.shape[1]
    output = torch.cat([pair.output, pair.output[:, node : node + 1]], 1)
    mask = torch.cat([pair.output_mask, pair.output_mask[:, node : node + 1]], 1)
    one_way = {"precision_weight": 0}
    more = third_axis_chamfer(pair.target, output, pair.target_mask, mask, **one_way)
    assert torch.equal(more, third_axis_chamfer(*pair, **one_way))


@pytest.mark.parametrize("backend", BACKENDS)
@cases
@given(pairs())
def test_gradients_of_a_backend_are_those_of_autograd(backend: str, pair: Pair) -> None:
    found = []
    for one in (backend, "dense"):
        output = pair.output.clone().requires_grad_()
        third_axis_chamfer(pair.target, output, *pair[2:], backend=one).sum().backward()
        found.append(output.grad)
    assert torch.equal(*found)
