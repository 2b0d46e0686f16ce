"""Losses that move mass, ``transport`` and ``sliced`` together."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import properties
import pytest
import torch
from properties import Problem, SetLoss, with_gradients
from torch import Tensor

from gconvae import losses
from gconvae.losses import sliced
from gconvae.losses.sliced import SlicedWasserstein, sliced_wasserstein
from gconvae.losses.transport import Matching, Sinkhorn, matching_loss, sinkhorn_loss

LOSSES: dict[str, Callable[..., Tensor]] = {
    "matching": matching_loss,
    "sliced_wasserstein": sliced_wasserstein,
    "sinkhorn": sinkhorn_loss,
}
ONE_TO_ONE = ["matching", "sliced_wasserstein"]
"""Those that need equal numbers of nodes."""


@pytest.fixture(params=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> SetLoss:
    return LOSSES[request.param]


def random_nodes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (27 * torch.rand(shape, generator=generator, dtype=torch.float64)).to(dtype)


def masks_of_equal_counts(num_clouds: int, *sizes: int) -> list[Tensor]:
    """Real nodes in any places, equally many in both masks of a cloud."""
    generator = torch.Generator().manual_seed(7)
    counts = 1 + torch.arange(num_clouds) % min(sizes)
    ranks = [torch.rand(num_clouds, size, generator=generator).argsort(1) for size in sizes]
    return [rank < counts.unsqueeze(-1) for rank in ranks]


def random_problem(
    device: torch.device, dtype: torch.dtype, num_clouds: int = 6, n: int = 9, m: int = 7
) -> Problem:
    points = random_nodes(num_clouds, n, 3, seed=0), random_nodes(num_clouds, m, 3, seed=1)
    return Problem(
        *(nodes.to(device, dtype) for nodes in points),
        *(mask.to(device) for mask in masks_of_equal_counts(num_clouds, n, m)),
    )


def real_nodes(problem: Problem, cloud: int) -> tuple[Tensor, Tensor]:
    target, output, target_mask, output_mask = (part[cloud].cpu() for part in problem)
    return target[target_mask].double(), output[output_mask].double()


# Slow, obvious loops


def matching_loop(p: Tensor, q: Tensor) -> float:
    """The smallest sum over all permutations."""
    return min(
        sum(float((p[i] - q[j]).square().sum()) for i, j in enumerate(order))
        for order in itertools.permutations(range(len(q)))
    )


def sliced_loop(p: Tensor, q: Tensor, directions: np.ndarray) -> float:
    total = 0.0
    for direction in directions:
        first, second = (
            sorted(sum(a * b for a, b in zip(node, direction, strict=True)) for node in side)
            for side in (p.tolist(), q.tolist())
        )
        total += sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
    return p.shape[1] * total / len(directions)


def entropic_cost(p: np.ndarray, q: np.ndarray, temperature: float) -> float:
    """Value of the entropic plan of uniform weights, by plain Sinkhorn steps on the kernel."""
    cost = 0.5 * ((p[:, None] - q[None]) ** 2).sum(-1)
    kernel = np.exp(-cost / temperature)
    a, b = np.full(len(p), 1 / len(p)), np.full(len(q), 1 / len(q))
    v = np.ones(len(q))
    for _ in range(2000):
        u = 1 / (kernel @ (b * v))
        v = 1 / (kernel.T @ (a * u))
    return temperature * float(a @ np.log(u) + b @ np.log(v))


def sinkhorn_loop(p: Tensor, q: Tensor, blur: float) -> float:
    x, y = p.numpy(), q.numpy()
    cost = partial(entropic_cost, temperature=blur**2)
    return (len(x) + len(y)) * (cost(x, y) - 0.5 * cost(x, x) - 0.5 * cost(y, y))


def test_matching_equals_the_loop_over_all_permutations(
    dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    problem = random_problem(device, dtype, num_clouds=8, n=7, m=5)
    wanted = [matching_loop(*real_nodes(problem, cloud)) for cloud in range(8)]
    got = matching_loss(*problem)
    assert got.dtype == dtype
    assert got.device.type == device.type
    assert got.tolist() == pytest.approx(wanted, rel=tolerance)


@pytest.mark.parametrize("features", range(1, 6))
def test_no_other_assignment_is_cheaper(features: int) -> None:
    target, output = (random_nodes(3, 5, features, seed=seed) for seed in (0, 1))
    got = matching_loss(target, output)
    for order in itertools.permutations(range(5)):
        assert (got <= (target - output[:, order]).square().sum((1, 2)) * (1 + 1e-14)).all()


def test_matching_minimizes_the_sum_of_squares_and_not_of_distances() -> None:
    target = torch.tensor([[[0.0, 0.0], [1.1, 0.0]]], dtype=torch.float64)
    output = torch.tensor([[[1.1, 0.0], [2.1, 0.3]]], dtype=torch.float64)
    straight = 1.1**2 + (1.0**2 + 0.3**2)
    crossed = 0 + (2.1**2 + 0.3**2)
    assert 1.1 + math.hypot(1.0, 0.3) > math.hypot(2.1, 0.3)
    assert straight < crossed
    assert matching_loss(target, output).item() == pytest.approx(straight)


@pytest.mark.parametrize("num_nodes", [1, 25, 200])
def test_on_a_line_the_best_assignment_is_the_order(num_nodes: int) -> None:
    target, output = (random_nodes(4, num_nodes, 1, seed=seed) for seed in (0, 1))
    in_order = (target.sort(1).values - output.sort(1).values).square().sum((1, 2))
    torch.testing.assert_close(matching_loss(target, output), in_order)
    torch.testing.assert_close(sliced_wasserstein(target, output), in_order)


@pytest.mark.parametrize("num_projections", [3, 7, 64])
def test_sliced_wasserstein_equals_the_loop_over_directions(
    num_projections: int, dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    problem = random_problem(device, dtype)
    directions = sliced._directions(num_projections, 3, 0)
    wanted = [sliced_loop(*real_nodes(problem, cloud), directions) for cloud in range(6)]
    got = sliced_wasserstein(*problem, num_projections=num_projections)
    assert got.dtype == dtype
    assert got.tolist() == pytest.approx(wanted, rel=10 * tolerance, abs=10 * tolerance)


@pytest.mark.parametrize("blur", [3.0, 6.0])
def test_sinkhorn_equals_the_loop_of_plain_steps(blur: float, device: torch.device) -> None:
    problem = random_problem(device, torch.float64)
    wanted = [sinkhorn_loop(*real_nodes(problem, cloud), blur) for cloud in range(6)]
    got = sinkhorn_loss(*problem, blur=blur, scaling=0.99)
    assert got.tolist() == pytest.approx(wanted, rel=1e-2)


def test_sinkhorn_of_unequal_counts_equals_the_loop() -> None:
    target, output = random_nodes(1, 6, 3, seed=0), random_nodes(1, 4, 3, seed=1)
    wanted = sinkhorn_loop(target[0], output[0], 5.0)
    got = sinkhorn_loss(target, output, blur=5.0, scaling=0.99)
    assert got.tolist() == pytest.approx([wanted], rel=1e-2)


# Known answers


def test_a_translation_costs_its_squared_length_for_every_node(
    loss: SetLoss, dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    target = random_nodes(4, 25, 3, dtype=dtype).to(device)
    shift = torch.tensor([3.0, -2.0, 1.0], dtype=dtype, device=device)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    got = loss(target, (target + shift)[:, order])
    relative = 1e-5 if loss is sinkhorn_loss else 10 * tolerance
    assert got.tolist() == pytest.approx([25 * 14.0] * 4, rel=relative)


def test_the_gradient_of_a_translation_is_twice_the_shift(loss: SetLoss) -> None:
    target = random_nodes(2, 10, 3)
    shift = torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)
    result = with_gradients(loss, target, target + shift)
    # the entropic plan is found to some digits only
    close = partial(
        torch.testing.assert_close, rtol=2e-5 if loss is sinkhorn_loss else 1e-12, atol=0
    )
    close(result.output_grad.sum(1), 20 * shift.expand(2, 3))
    close(result.target_grad.sum(1), -20 * shift.expand(2, 3))


def test_two_nodes_on_one_place_share_no_partner() -> None:
    # a Chamfer distance gives 0 for the target's own terms: each has a neighbour at distance 0
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]])
    output = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]])
    assert matching_loss(target, output).tolist() == [25.0]


def test_sliced_is_at_most_the_matching_and_near_it() -> None:
    target, output = random_nodes(50, 25, 3, seed=0), random_nodes(50, 25, 3, seed=1)
    ratio = sliced_wasserstein(target, output) / matching_loss(target, output)
    assert (ratio <= 1).all()
    assert (ratio > 0.2).all()


def test_sliced_equals_the_mean_over_all_angles() -> None:
    p, q = random_nodes(1, 6, 2, seed=0), random_nodes(1, 6, 2, seed=1)
    angles = (np.arange(2000) + 0.5) * math.pi / 2000
    wanted = sliced_loop(p[0], q[0], np.stack([np.cos(angles), np.sin(angles)], 1))
    assert sliced_wasserstein(p, q, num_projections=4000).item() == pytest.approx(wanted, rel=0.02)


def test_sinkhorn_nears_the_matching_as_the_blur_falls() -> None:
    target, output = random_nodes(5, 8, 3, seed=0), random_nodes(5, 8, 3, seed=1)
    exact = matching_loss(target, output)
    gaps = [
        (sinkhorn_loss(target, output, blur=blur, scaling=0.95) / exact - 1).abs().max()
        for blur in (8.0, 2.0, 0.2)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.02


# Directions


@pytest.mark.parametrize("features", range(1, 7))
@pytest.mark.parametrize("num_projections", [6, 7, 64])
def test_directions_see_every_axis_alike(features: int, num_projections: int) -> None:
    directions = sliced._directions(num_projections, features, 0)
    wanted = num_projections / features * np.eye(features)
    np.testing.assert_allclose(directions.T @ directions, wanted, atol=1e-12)
    lengths = np.linalg.norm(directions, axis=1)
    if num_projections % features == 0:
        np.testing.assert_allclose(lengths, 1, atol=1e-12)
    elif num_projections == 64:
        np.testing.assert_allclose(lengths, 1, atol=0.1)


def test_directions_depend_on_their_seed_and_on_no_global_generator() -> None:
    target, output = random_nodes(2, 6, 3, seed=0), random_nodes(2, 6, 3, seed=1)
    before = torch.random.get_rng_state()
    sliced._directions.cache_clear()
    first = sliced_wasserstein(target, output)
    torch.manual_seed(5)
    sliced._directions.cache_clear()
    assert torch.equal(sliced_wasserstein(target, output), first)
    assert not torch.equal(sliced_wasserstein(target, output, seed=1), first)
    torch.random.set_rng_state(before)
    sliced._directions.cache_clear()
    sliced_wasserstein(target, output)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_directions_of_an_evaluation_serve_a_training() -> None:
    target, output = random_nodes(2, 6, 3, seed=0), random_nodes(2, 6, 3, seed=1)
    sliced._directions.cache_clear()
    with torch.inference_mode():
        sliced_wasserstein(target, output)
    with_gradients(sliced_wasserstein, target, output)


# Properties


def test_symmetric(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_symmetric(loss, random_problem(device, dtype))


def test_zero_on_itself(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    target, _, mask, _ = random_problem(device, dtype)
    result = with_gradients(loss, target, target, mask, mask)
    assert not result.value.any()
    # forces that cancel leave a rounding error
    allowed = {torch.float32: 1e-3, torch.float64: 1e-12}[dtype] * (loss is sinkhorn_loss)
    assert result.target_grad.abs().max() <= allowed
    assert result.output_grad.abs().max() <= allowed


def test_above_zero_between_different_sets(loss: SetLoss) -> None:
    target = random_nodes(3, 6, 3)
    for node in range(6):
        output = target.clone()
        output[:, node, 2] += 0.5
        assert loss(target, output).min() > 0.02


def test_permutation_invariant(loss: SetLoss, device: torch.device) -> None:
    properties.assert_permutation_invariant(loss, random_problem(device, torch.float64))


@pytest.mark.parametrize("garbage", [0.0, -3.0, 1e30, math.inf, math.nan])
def test_ignores_masked_nodes(
    loss: SetLoss, dtype: torch.dtype, device: torch.device, garbage: float
) -> None:
    properties.assert_ignores_masked_nodes(loss, random_problem(device, dtype), garbage)


def test_batch_equals_loop(loss: SetLoss, dtype: torch.dtype, device: torch.device) -> None:
    properties.assert_batch_equals_loop(loss, random_problem(device, dtype))


def test_padded_equals_unpadded(loss: SetLoss, device: torch.device) -> None:
    properties.assert_padded_equals_unpadded(loss, random_problem(device, torch.float64))


def test_both_precisions_agree(loss: SetLoss, device: torch.device) -> None:
    single, double = (
        with_gradients(loss, *random_problem(device, dtype))
        for dtype in (torch.float32, torch.float64)
    )
    for one, other in zip(single, double, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-3)


def test_one_mask_of_all_real_nodes_changes_nothing(loss: SetLoss) -> None:
    target, output = random_nodes(3, 6, 3, seed=0), random_nodes(3, 6, 3, seed=1)
    mask = torch.ones(3, 6, dtype=torch.bool)
    bare = loss(target, output)
    for masks in ((mask, None), (None, mask), (mask, mask)):
        assert torch.equal(loss(target, output, *masks), bare)


def test_inputs_are_left_as_they_were(loss: SetLoss, device: torch.device) -> None:
    problem = random_problem(device, torch.float64)
    before = [part.clone() for part in problem]
    loss(*problem)
    assert all(torch.equal(*pair) for pair in zip(problem, before, strict=True))


# Gradients


@pytest.mark.parametrize("name", ONE_TO_ONE)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_equal_finite_differences(name: str, masked: bool) -> None:
    sizes = (5, 4) if masked else (4, 4)
    points = [random_nodes(3, size, 3, seed=k).requires_grad_() for k, size in enumerate(sizes)]
    masks = masks_of_equal_counts(3, *sizes) if masked else []
    assert torch.autograd.gradcheck(lambda p, q: LOSSES[name](p, q, *masks), points)


def test_gradients_of_sinkhorn_equal_finite_differences_of_the_loop() -> None:
    target, output = (random_nodes(1, 3, 3, seed=seed) for seed in (0, 1))
    wanted = torch.zeros(3, 3, dtype=torch.float64)
    step = 1e-4
    for node, feature in itertools.product(range(3), range(3)):
        for sign in (1, -1):
            moved = output[0].clone()
            moved[node, feature] += sign * step
            wanted[node, feature] += sign * sinkhorn_loop(target[0], moved, 8.0) / (2 * step)
    solved = partial(sinkhorn_loss, blur=8.0, scaling=0.99)
    got = with_gradients(solved, target, output).output_grad[0]
    torch.testing.assert_close(got, wanted, rtol=0, atol=0.01 * float(wanted.abs().max()))


def test_gradients_are_finite_where_all_nodes_are_one_place(
    loss: SetLoss, dtype: torch.dtype, device: torch.device
) -> None:
    ones = torch.ones(2, 25, 3, dtype=dtype, device=device)
    result = with_gradients(loss, ones, 3 * ones)
    assert result.value.tolist() == pytest.approx([25 * 12.0] * 2, rel=1e-5)
    torch.testing.assert_close(result.output_grad, 4 * ones, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_node_that_is_not_finite_shows_in_its_own_cloud_only(
    loss: SetLoss, broken: float
) -> None:
    target, output = random_nodes(3, 5, 3, seed=0), random_nodes(3, 5, 3, seed=1)
    wanted = loss(target, output)
    output[1, 2, 0] = broken
    got = loss(target, output)
    assert not got[1].isfinite()
    torch.testing.assert_close(got[[0, 2]], wanted[[0, 2]])


# Wrong input


@pytest.mark.parametrize("name", ONE_TO_ONE)
def test_unequal_numbers_of_nodes_are_refused_by_the_number_of_the_cloud(name: str) -> None:
    points = random_nodes(3, 5, 3)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    message = "equal numbers of real nodes, cloud 1 has 5 and 3"
    with pytest.raises(ValueError, match=message):
        LOSSES[name](points, points, None, mask)
    with pytest.raises(ValueError, match="cloud 0 has 5 and 4"):
        LOSSES[name](points, points[:, :4])


@pytest.mark.parametrize(
    ("target", "output", "message"),
    [
        ((5, 3), (2, 5, 3), r"must have shape \(clouds, nodes, features\), got \(5, 3\)"),
        ((2, 5, 3), (3, 5, 3), r"same number of clouds and features, got \(2, 5, 3\) and \(3,"),
        ((2, 5, 3), (2, 5, 4), r"same number of clouds and features"),
        ((2, 0, 3), (2, 0, 3), r"at least one node"),
    ],
)
def test_shapes_that_do_not_match_are_refused(
    loss: SetLoss, target: tuple[int, ...], output: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(target), torch.zeros(output))


def test_a_cloud_without_real_nodes_is_refused_by_its_number(loss: SetLoss) -> None:
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[2] = False
    with pytest.raises(ValueError, match="target_mask must .* cloud 2 has none"):
        loss(torch.zeros(4, 5, 3), torch.ones(4, 5, 3), mask, mask)


def test_a_wrong_mask_is_refused_by_its_name(loss: SetLoss) -> None:
    points = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match=r"output_mask must hold booleans of shape \(2, 5\)"):
        loss(points, points, output_mask=torch.ones(2, 7, dtype=torch.bool))


def test_fewer_directions_than_features_are_refused() -> None:
    with pytest.raises(ValueError, match="at least the number of features, got 2 for 3"):
        sliced_wasserstein(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), num_projections=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(SlicedWasserstein, num_projections=0), "num_projections must be .* 1, got 0"),
        (partial(SlicedWasserstein, seed=-1), "seed must be a whole number .* got -1"),
        (partial(Sinkhorn, blur=0.0), "blur must be above 0 and finite, got 0.0"),
        (partial(Sinkhorn, blur=math.nan), "blur must be above 0 and finite, got nan"),
        (partial(Sinkhorn, scaling=1.0), "scaling must be between 0 and 1, got 1.0"),
        (partial(Sinkhorn, diameter=0.1), "diameter must be at least blur and finite, got 0.1"),
    ],
)
def test_wrong_options_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_without_geomloss_sinkhorn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geomloss", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"gconvae\[sinkhorn\]\""):
        sinkhorn_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))


# Modules


@pytest.mark.parametrize(
    ("text", "module", "function"),
    [
        ("matching", Matching(), matching_loss),
        (
            "sliced_wasserstein(num_projections=8, seed=3)",
            SlicedWasserstein(num_projections=8, seed=3),
            partial(sliced_wasserstein, num_projections=8, seed=3),
        ),
        (
            "sinkhorn(blur=2, scaling=0.6, diameter=30)",
            Sinkhorn(2, 0.6, 30),
            partial(sinkhorn_loss, blur=2, scaling=0.6, diameter=30),
        ),
    ],
)
def test_modules_equal_the_functions_with_their_options(
    text: str, module: torch.nn.Module, function: SetLoss, device: torch.device
) -> None:
    problem = random_problem(device, torch.float32)
    named = losses.create(text)
    assert repr(named) == repr(module)
    assert torch.equal(module(*problem), function(*problem))
    assert torch.equal(named(*problem), function(*problem))
