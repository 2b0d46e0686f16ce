"""Chamfer distances: loops, closed cases, other libraries, finite differences."""

from __future__ import annotations

import math
from functools import partial

import properties
import pytest
import torch
from oracles import chamfer_loop
from properties import Problem, SetLoss, with_gradients
from torch import Tensor

from gconvae.losses import (
    MatchedIntensityChamfer,
    ThirdAxisChamfer,
    matched_intensity_chamfer,
    third_axis_chamfer,
)

LOSSES = {
    "third_axis": (third_axis_chamfer, None),
    "matched_intensity": (matched_intensity_chamfer, 2),
}
"""Each loss, and how many features its oracle searches by (None = all)."""

SHAPES = [(1, 1, 1), (1, 25, 25), (1, 25, 17), (7, 13, 25), (300, 5, 4)]
"""Clouds, nodes of the target, nodes of the output."""


@pytest.fixture(params=list(LOSSES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def loss(name: str, backend: str) -> SetLoss:
    return partial(LOSSES[name][0], backend=backend)


def random_nodes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (27 * torch.rand(shape, generator=generator, dtype=torch.float64) - 9).to(dtype)


def random_mask(num_clouds: int, num_nodes: int, seed: int = 0) -> Tensor:
    """Real nodes in any places, at least one a cloud."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(num_clouds, num_nodes, generator=generator) < 0.6
    mask[torch.arange(num_clouds), torch.arange(num_clouds) % num_nodes] = True
    return mask


def random_problem(
    device: torch.device, dtype: torch.dtype, num_clouds: int = 6, n: int = 9, m: int = 7
) -> Problem:
    masks = random_mask(num_clouds, n, 2), random_mask(num_clouds, m, 3)
    assert not all(mask.all() for mask in masks)
    points = random_nodes(num_clouds, n, 3, seed=0), random_nodes(num_clouds, m, 3, seed=1)
    return Problem(
        *(nodes.to(device, dtype) for nodes in points), *(mask.to(device) for mask in masks)
    )


def close(got: Tensor, wanted: list[float], tolerance: float) -> None:
    assert got.dim() == 1
    assert got.tolist() == pytest.approx(wanted, rel=tolerance, abs=tolerance)


# Against the loops


@pytest.mark.parametrize("features", range(2, 9))
@pytest.mark.parametrize("shape", SHAPES)
def test_third_axis_equals_the_loop(
    shape: tuple[int, int, int],
    features: int,
    dtype: torch.dtype,
    tolerance: float,
    device: torch.device,
    backend: str,
) -> None:
    num_clouds, n, m = shape
    target = random_nodes(num_clouds, n, features, seed=0, dtype=dtype)
    output = random_nodes(num_clouds, m, features, seed=1, dtype=dtype)
    got = third_axis_chamfer(target.to(device), output.to(device), backend=backend)
    assert got.dtype == dtype
    assert got.device.type == device.type
    close(got, chamfer_loop(target, output), tolerance)


@pytest.mark.parametrize("features", range(3, 9))
@pytest.mark.parametrize("shape", SHAPES)
def test_matched_intensity_equals_the_loop(
    shape: tuple[int, int, int],
    features: int,
    dtype: torch.dtype,
    tolerance: float,
    device: torch.device,
    backend: str,
) -> None:
    num_clouds, n, m = shape
    target = random_nodes(num_clouds, n, features, seed=0, dtype=dtype)
    output = random_nodes(num_clouds, m, features, seed=1, dtype=dtype)
    got = matched_intensity_chamfer(
        target.to(device), output.to(device), intensity_weight=0.3, backend=backend
    )
    assert got.dtype == dtype
    wanted = chamfer_loop(target, output, search=2, intensity_weight=0.3)
    close(got, wanted, tolerance)


@pytest.mark.parametrize("backend", ["torch-cluster", "dense", "native"])
@pytest.mark.parametrize(("positions", "features"), [(1, 2), (1, 4), (2, 5), (3, 4), (3, 6)])
def test_matched_intensity_of_any_positions_equals_the_loop(
    positions: int, features: int, backend: str, dtype: torch.dtype, tolerance: float
) -> None:
    points = [random_nodes(4, n, features, seed=n, dtype=dtype) for n in (9, 7)]
    masks = [random_mask(4, n, seed=n) for n in (9, 7)]
    got = matched_intensity_chamfer(
        *points, *masks, num_positions=positions, intensity_weight=0.3, backend=backend
    )
    wanted = chamfer_loop(*points, *masks, search=positions, intensity_weight=0.3)
    close(got, wanted, tolerance)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_masks_and_weights_equal_the_loop(
    shape: tuple[int, int, int],
    name: str,
    loss: SetLoss,
    dtype: torch.dtype,
    tolerance: float,
    device: torch.device,
) -> None:
    num_clouds, n, m = shape
    points = [random_nodes(num_clouds, size, 3, seed=size, dtype=dtype) for size in (n, m)]
    masks = [random_mask(num_clouds, size, seed=size + 1) for size in (n, m)]
    weights = [random_nodes(num_clouds, size, seed=size + 2, dtype=dtype).abs() for size in (n, m)]
    everything = [*points, *masks, *weights]
    target, output, target_mask, output_mask, w, v = (part.to(device) for part in everything)
    got = loss(target, output, target_mask, output_mask, target_weight=w, output_weight=v)
    close(got, chamfer_loop(*everything, search=LOSSES[name][1]), tolerance)


def test_many_ties_equal_the_loop(name: str, loss: SetLoss, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    target, output = (
        torch.randint(0, 4, (40, size, 3), generator=generator).float() for size in (12, 9)
    )
    got = loss(target.to(device), output.to(device))
    close(got, chamfer_loop(target, output, search=LOSSES[name][1]), 0)  # whole numbers: exact


# Closed cases


def test_known_good_values_of_kaolin(
    dtype: torch.dtype, device: torch.device, backend: str
) -> None:
    p = [
        [[8.8977, 4.1709, 1.2839], [8.5640, 7.7767, 9.4214]],
        [[0.5431, 6.4495, 11.4914], [3.2126, 8.0865, 3.1018]],
    ]
    q = [
        [[6.9340, 6.1152, 3.4435], [0.1032, 9.8181, 11.3350]],
        [[11.4006, 2.2154, 7.9589], [4.2586, 1.4133, 7.2606]],
    ]
    target, output = (torch.tensor(nodes, dtype=dtype, device=device) for nodes in (p, q))
    got = third_axis_chamfer(target, output, backend=backend)
    assert got.tolist() == pytest.approx([145.1677, 302.1618], abs=1e-4)


def test_squared_summed_and_not_averaged(loss: SetLoss) -> None:
    # four target nodes at distance 3 from one output node, one of them is its nearest
    target = torch.tensor([[[3.0, 0, 0], [-3.0, 0, 0], [0, 3.0, 0], [0, -3.0, 0]]])
    assert loss(target, torch.zeros(1, 1, 3)).tolist() == [4 * 9 + 9]


def test_small_shift_of_separated_nodes_costs_twice_the_squared_shifts(
    loss: SetLoss, dtype: torch.dtype, tolerance: float
) -> None:
    axis = 10 * torch.arange(5, dtype=dtype)
    target = torch.cat([torch.cartesian_prod(axis, axis), torch.zeros(25, 1, dtype=dtype)], 1)
    output = target + torch.tensor([0.5, -1.0, 2.0], dtype=dtype)
    close(loss(target[None], output[None]), [2 * 25 * (0.25 + 1.0 + 4.0)], tolerance)


def test_third_axis_search_sees_the_intensity() -> None:
    # by position the first output node is nearer, in three dimensions the second one is
    target = torch.tensor([[[0.0, 0.0, 5.0]]])
    output = torch.tensor([[[1.0, 0.0, 0.0], [2.0, 0.0, 5.0]]])
    assert third_axis_chamfer(target, output).tolist() == [4 + (1 + 25) + 4]


def test_matched_intensity_search_sees_positions_only() -> None:
    target = torch.tensor([[[0.0, 0.0, 5.0]]])
    output = torch.tensor([[[1.0, 0.0, 0.0], [2.0, 0.0, 5.0]]])
    assert matched_intensity_chamfer(target, output).tolist() == [(1 + 25) + (1 + 25) + 4]


def test_matched_intensity_tie_keeps_the_first_node(backend: str) -> None:
    target = torch.tensor([[[0.0, 0.0, 5.0]]])
    near_then_far = torch.tensor([[[1.0, 0.0, 4.0], [0.0, 1.0, 2.0], [-1.0, 0.0, 5.0]]])
    own_terms = (1 + 1) + (1 + 9) + (1 + 0)
    loss = partial(matched_intensity_chamfer, backend=backend)
    assert loss(target, near_then_far).tolist() == [1 + 1 + own_terms]
    assert loss(target, near_then_far.flip(1)).tolist() == [1 + 0 + own_terms]


def test_intensity_weight_scales_the_intensity_terms_only() -> None:
    target, output = random_nodes(4, 6, 3, seed=0), random_nodes(4, 5, 3, seed=1)
    values = [
        matched_intensity_chamfer(target, output, intensity_weight=weight)
        for weight in (0.0, 1.0, 3.0)
    ]
    torch.testing.assert_close(values[0], third_axis_chamfer(target[..., :2], output[..., :2]))
    torch.testing.assert_close(values[2] - values[0], 3 * (values[1] - values[0]))


def test_distance_to_many_nodes_counts_each_of_them_in_its_own_direction(loss: SetLoss) -> None:
    # PyTorch3D's convention: both directions, no double counting of a shared neighbour
    target = torch.zeros(1, 1, 3)
    output = torch.tensor([[[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]]])
    assert loss(target, output).tolist() == [1 + (1 + 4 + 9)]


# Weights


def test_a_target_weight_multiplies_its_own_term_only(loss: SetLoss) -> None:
    target = torch.tensor([[[0.0, 0, 0], [0, 10.0, 0]]])
    output = torch.tensor([[[1.0, 0, 0], [0, 12.0, 0], [0, 13.0, 0]]])
    got = loss(target, output, target_weight=torch.tensor([[5.0, 7.0]]))
    assert got.tolist() == [5 * 1 + 7 * 4 + (1 + 4 + 9)]


def test_an_output_weight_multiplies_its_own_term_only(loss: SetLoss) -> None:
    target = torch.tensor([[[0.0, 0, 0], [0, 10.0, 0]]])
    output = torch.tensor([[[1.0, 0, 0], [0, 12.0, 0], [0, 13.0, 0]]])
    got = loss(target, output, output_weight=torch.tensor([[5.0, 7.0, 11.0]]))
    assert got.tolist() == [(1 + 4) + 5 * 1 + 7 * 4 + 11 * 9]


def test_a_weight_does_not_change_which_node_is_nearest(loss: SetLoss) -> None:
    target = torch.tensor([[[0.0, 0, 0]]])
    output = torch.tensor([[[1.0, 0, 0], [2.0, 0, 0]]])
    got = loss(target, output, output_weight=torch.tensor([[0.0, 100.0]]))
    assert got.tolist() == [1 + 100 * 4]


def test_zero_weights_give_one_zero_a_cloud(loss: SetLoss) -> None:
    target, output = random_nodes(4, 6, 3, seed=0), random_nodes(4, 5, 3, seed=1)
    zeros = {"target_weight": torch.zeros(4, 6), "output_weight": torch.zeros(4, 5)}
    assert loss(target, output, **zeros).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_gradient_of_a_weight_is_its_term(loss: SetLoss) -> None:
    target = torch.tensor([[[0.0, 0, 0], [0, 10.0, 0]]])
    output = torch.tensor([[[1.0, 0, 0], [0, 12.0, 0]]])
    weight = torch.ones(1, 2, requires_grad=True)
    loss(target, output, target_weight=weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1.0, 4.0]]


# Coverage against precision


def test_coverage_weighs_the_terms_of_the_target_and_precision_those_of_the_output(
    loss: SetLoss,
) -> None:
    target = torch.tensor([[[0.0, 0, 0], [0, 10.0, 0]]])
    output = torch.tensor([[[1.0, 0, 0], [0, 12.0, 0], [0, 13.0, 0]]])
    coverage, precision = 1 + 4, 1 + 4 + 9
    assert loss(target, output, coverage_weight=3.0).tolist() == [3 * coverage + precision]
    assert loss(target, output, precision_weight=0.5).tolist() == [coverage + 0.5 * precision]
    assert loss(target, output, coverage_weight=0.0).tolist() == [precision]


def test_a_forgotten_node_costs_coverage_and_a_stray_one_precision(loss: SetLoss) -> None:
    places = torch.tensor([[[0.0, 0, 0], [20.0, 0, 0]]])
    forgotten, stray = places[:, :1], torch.cat([places, places[:, :1] + 5], 1)
    assert loss(places, forgotten, coverage_weight=0.0).tolist() == [0.0]
    assert loss(places, forgotten, precision_weight=0.0).tolist() == [400.0]
    assert loss(places, stray, precision_weight=0.0).tolist() == [0.0]
    assert loss(places, stray, coverage_weight=0.0).tolist() == [75.0]


def test_directions_of_weight_one_sum_to_the_bits_of_the_loss(
    loss: SetLoss, dtype: torch.dtype, device: torch.device
) -> None:
    problem = random_problem(device, dtype)
    plain = with_gradients(loss, *problem)
    weighted = with_gradients(partial(loss, coverage_weight=1, precision_weight=1), *problem)
    for one, other in zip(plain, weighted, strict=True):
        assert torch.equal(one, other)
    coverage, precision = loss(*problem, precision_weight=0), loss(*problem, coverage_weight=0)
    assert torch.equal(coverage + precision, plain.value)


@pytest.mark.parametrize("weight", ["coverage_weight", "precision_weight"])
@pytest.mark.parametrize("value", [-0.5, math.inf, math.nan])
def test_a_negative_direction_is_refused_by_its_name(
    loss: SetLoss, weight: str, value: float
) -> None:
    message = f"{weight} must be at least 0 and finite, got {value}"
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), **{weight: value})
    for kind in (ThirdAxisChamfer, MatchedIntensityChamfer):
        with pytest.raises(ValueError, match=message):
            kind(**{weight: value})


# Properties of both losses


def test_symmetric(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_symmetric(loss, random_problem(device, dtype))


def test_no_term_below_zero(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_no_term_below_zero(loss, random_problem(device, dtype))


def test_zero_on_itself(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_zero_on_itself(loss, random_problem(device, dtype))


def test_permutation_invariant(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_permutation_invariant(loss, random_problem(device, dtype))


@pytest.mark.parametrize("garbage", [0.0, -3.0, 1e6, 1e30, math.inf, math.nan])
def test_ignores_masked_nodes(
    loss: SetLoss, dtype: torch.dtype, device: torch.device, garbage: float
) -> None:
    properties.assert_ignores_masked_nodes(loss, random_problem(device, dtype), garbage)


def test_ignores_weights_of_masked_nodes(loss: SetLoss) -> None:
    target = random_nodes(2, 3, 3, seed=0).requires_grad_()
    output = random_nodes(2, 3, 3, seed=1).requires_grad_()
    mask = torch.tensor([[True, True, False], [True, False, True]])
    wanted = loss(target, output, mask, mask)
    weight = torch.ones(2, 3).masked_fill(~mask, math.nan)
    got = loss(target, output, mask, mask, target_weight=weight, output_weight=weight)
    assert torch.equal(got, wanted)
    gradients = [torch.autograd.grad(value.sum(), (target, output)) for value in (got, wanted)]
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_batch_equals_loop(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_batch_equals_loop(loss, random_problem(device, dtype))


def test_padded_equals_unpadded(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_padded_equals_unpadded(loss, random_problem(device, dtype))


def test_not_zero_between_different_sets(loss: SetLoss) -> None:
    target = random_nodes(3, 6, 3)
    for node in range(6):
        output = target.clone()
        output[:, node, 2] += 0.5
        assert loss(target, output).min() >= 0.25


def test_inputs_are_left_as_they_were(loss: SetLoss, device: torch.device) -> None:
    problem = random_problem(device, torch.float32)
    before = [part.clone() for part in problem]
    loss(*problem)
    assert all(torch.equal(*pair) for pair in zip(problem, before, strict=True))


# Gradients


def check_gradients(loss: SetLoss, masked: bool) -> None:
    # 5 and 4 nodes: the two nearest candidates of each differ by far more than gradcheck's step
    target, output = (
        random_nodes(3, size, 4, seed=size, dtype=torch.float64).requires_grad_()
        for size in (5, 4)
    )
    weights = [
        random_nodes(3, size, seed=size + 1, dtype=torch.float64).abs().requires_grad_()
        for size in (5, 4)
    ]
    masks = (random_mask(3, 5, 2), random_mask(3, 4, 3)) if masked else (None, None)

    def value(p: Tensor, q: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return loss(p, q, *masks, target_weight=w, output_weight=v)

    assert torch.autograd.gradcheck(value, (target, output, *weights))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_equal_finite_differences(loss: SetLoss, masked: bool) -> None:
    check_gradients(loss, masked)


def test_gradients_are_zero_and_finite_where_nodes_coincide(
    loss: SetLoss, dtype: torch.dtype, device: torch.device
) -> None:
    # the same five places, in another order and one of them twice
    places = random_nodes(2, 5, 3, dtype=dtype).to(device)
    result = with_gradients(loss, places, places[:, [4, 2, 2, 0, 1, 3]])
    for tensor in result:
        assert torch.equal(tensor, torch.zeros_like(tensor))


def test_gradients_are_finite_where_all_nodes_are_one_place(
    loss: SetLoss, dtype: torch.dtype, device: torch.device
) -> None:
    ones = torch.ones(2, 25, 3, dtype=dtype, device=device)
    result = with_gradients(loss, ones, 3 * ones)
    assert result.value.tolist() == [2 * 25 * 12.0] * 2
    # every node pulls at its own neighbour, which is the first one of the other side
    assert result.output_grad.sum(1).tolist() == [[2 * 25 * 4.0] * 3] * 2
    assert result.target_grad.sum(1).tolist() == [[-2 * 25 * 4.0] * 3] * 2
    assert result.output_grad[:, 1:].unique().tolist() == [4.0]


# Extreme values


def test_an_outlier_at_a_million_counts_exactly_once(
    loss: SetLoss, dtype: torch.dtype, device: torch.device, tolerance: float
) -> None:
    target = torch.zeros(1, 4, 3, dtype=dtype, device=device)
    target[0, :, 0] = torch.tensor([0.0, 4.0, 8.0, 1e6])
    output = target[:, :3] + 0.5
    result = with_gradients(loss, target, output)
    near = 6 * 0.75
    far = (1e6 - 8.5) ** 2 + 2 * 0.25
    close(result.value, [near + far], tolerance)
    assert all(gradient.isfinite().all() for gradient in result)
    # the outlier's gradient does not drown that of the node beside it
    assert result.target_grad[0, 0].tolist() == pytest.approx([-2.0, -2.0, -2.0], rel=tolerance)


def test_an_outlier_does_not_touch_the_other_clouds(
    loss: SetLoss, dtype: torch.dtype, device: torch.device
) -> None:
    problem = random_problem(device, dtype)
    wanted = with_gradients(loss, *problem)
    target = problem.target.clone()
    target[0][problem.target_mask[0].nonzero()[0]] = 1e6
    got = with_gradients(loss, target, *problem[1:])
    assert got.value[0] > 1e12
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one[1:], other[1:])


def test_small_clouds_a_million_away_keep_their_digits(
    loss: SetLoss, dtype: torch.dtype, device: torch.device
) -> None:
    # all numbers are exact in float32; a distance as a*a + b*b - 2*a*b would lose every digit
    target = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 4.0, 2.0]], dtype=dtype)
    output = target + torch.tensor([0.5, 0.25, 0.125], dtype=dtype)
    got = loss(target.to(device)[None] + 1e6, output.to(device)[None] + 1e6)
    assert got.tolist() == [6 * (0.25 + 0.0625 + 0.015625)]


# Both searches


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("kind", ["random", "lattice", "coincident", "outlier"])
@pytest.mark.parametrize("masked", [False, True])
def test_both_searches_give_the_same_bits(
    name: str, kind: str, masked: bool, dtype: torch.dtype
) -> None:
    points = [random_nodes(20, size, 3, seed=size, dtype=dtype) for size in (25, 19)]
    if kind == "lattice":
        points = [(nodes / 9).round() for nodes in points]
    if kind == "coincident":
        points = [(nodes[:, :, :1] / 18).round().expand_as(nodes) for nodes in points]
    if kind == "outlier":
        points[0][:, 3] = 1e6
    masks = (random_mask(20, 25), random_mask(20, 19)) if masked else (None, None)
    one, other = (
        with_gradients(partial(LOSSES[name][0], backend=choice), *points, *masks)
        for choice in ("torch-cluster", "dense")
    )
    for pair in zip(one, other, strict=True):
        assert torch.equal(*pair)


# Wrong input


@pytest.mark.parametrize(
    ("target_real", "output_real"), [(False, True), (True, False), (False, False)]
)
def test_a_cloud_without_real_nodes_is_refused_by_its_number(
    loss: SetLoss, target_real: bool, output_real: bool
) -> None:
    target_mask, output_mask = torch.ones(4, 5, dtype=torch.bool), torch.ones(4, 6).bool()
    target_mask[2], output_mask[2] = target_real, output_real
    with pytest.raises(ValueError, match="cloud 2 has none"):
        loss(torch.zeros(4, 5, 3), torch.ones(4, 6, 3), target_mask, output_mask)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 0), (0, 0)])
def test_clouds_of_no_nodes_are_refused(loss: SetLoss, n: int, m: int) -> None:
    with pytest.raises(ValueError, match="cloud 0 has none|at least one"):
        loss(torch.zeros(2, n, 3), torch.zeros(2, m, 3))


@pytest.mark.parametrize(
    ("target", "output", "message"),
    [
        ((5, 3), (2, 5, 3), r"must have shape \(clouds, nodes, features\), got \(5, 3\)"),
        ((2, 5, 3), (1, 2, 5, 3), r"must have shape \(clouds, nodes, features\)"),
        ((2, 5, 3), (3, 5, 3), r"same number of clouds and features, got \(2, 5, 3\) and \(3,"),
        ((2, 5, 3), (1, 5, 3), r"same number of clouds and features"),
        ((2, 5, 3), (2, 5, 4), r"same number of clouds and features"),
    ],
)
def test_shapes_that_do_not_match_are_refused(
    loss: SetLoss, target: tuple[int, ...], output: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(target), torch.zeros(output))


@pytest.mark.parametrize(("features", "positions"), [(2, 2), (3, 3), (1, 2)])
def test_matched_intensity_needs_more_than_positions(features: int, positions: int) -> None:
    points = torch.zeros(1, 4, features)
    said = f"behind {positions} positions .* got {features} features; third_axis .*chamfer"
    with pytest.raises(ValueError, match=said):
        matched_intensity_chamfer(points, points, num_positions=positions)
    with pytest.raises(ValueError, match="num_positions must be a whole number of at least 1"):
        MatchedIntensityChamfer(num_positions=0)


@pytest.mark.parametrize("side", ["target", "output"])
@pytest.mark.parametrize(
    "mask",
    [torch.ones(2, 7, dtype=torch.bool), torch.ones(2, 5, dtype=torch.long), torch.ones(5).bool()],
    ids=["nodes", "dtype", "axes"],
)
def test_a_wrong_mask_is_refused_by_its_name(loss: SetLoss, side: str, mask: Tensor) -> None:
    points = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match=f"{side}_mask must"):
        loss(points, points, **{f"{side}_mask": mask})


@pytest.mark.parametrize("side", ["target", "output"])
@pytest.mark.parametrize("shape", [(2, 1), (5,), (1, 5), (2, 5, 1), (2, 6)])
def test_a_wrong_weight_is_refused_by_its_name(
    loss: SetLoss, side: str, shape: tuple[int, ...]
) -> None:
    points = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match=rf"{side}_weight must have shape \(2, 5\), got"):
        loss(points, points, **{f"{side}_weight": torch.ones(shape)})


def test_an_unknown_search_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="backend must be one of .*, got 'kdtree'"):
        LOSSES[name][0](torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), backend="kdtree")


# Modules


def test_classes_equal_the_functions(backend: str, device: torch.device) -> None:
    problem = random_problem(device, torch.float32)
    weights = {
        "target_weight": random_nodes(6, 9, seed=5).abs().to(device),
        "output_weight": random_nodes(6, 7, seed=6).abs().to(device),
    }
    own = {"backend": backend, "coverage_weight": 3.0, "precision_weight": 0.5}
    third = ThirdAxisChamfer(**own)(*problem, **weights)
    assert torch.equal(third, third_axis_chamfer(*problem, **weights, **own))
    own["intensity_weight"] = 0.2
    matched = MatchedIntensityChamfer(**own)(*problem, **weights)
    wanted = matched_intensity_chamfer(*problem, **weights, **own)
    assert torch.equal(matched, wanted)


def test_slides_weight_of_the_intensity_is_the_default() -> None:
    target, output = random_nodes(2, 5, 3, seed=0), random_nodes(2, 5, 3, seed=1)
    close(MatchedIntensityChamfer()(target, output), chamfer_loop(target, output, search=2), 1e-5)


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_intensity_weight_below_zero_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="intensity_weight must be at least 0 and finite, got"):
        MatchedIntensityChamfer(intensity_weight=weight)
