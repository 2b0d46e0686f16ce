"""Dtypes, overflow, weights, empty batches, ties and reductions of the losses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gconvae import losses
from gconvae.losses import matched_intensity_chamfer, third_axis_chamfer

ALL = ["third_axis", "matched_intensity", "matching", "sliced_wasserstein", "sinkhorn"]
BACKENDS = ["native", "dense", "torch-cluster"]
HALVES = [torch.float16, torch.bfloat16]


def clouds(*shape: int, seed: int = 0) -> list[Tensor]:
    """Target and output."""
    made = torch.Generator().manual_seed(seed)
    return [torch.rand(*shape, generator=made) for _ in range(2)]


# ------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("half", HALVES)
def test_two_dtypes_are_promoted(text: str, half: torch.dtype) -> None:
    loss, (target, output) = losses.create(text), clouds(2, 5, 3)
    found = loss(target, output.to(half))
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(target, output.to(half).float()))
    assert loss(target.double(), output).dtype == torch.float64


@pytest.mark.parametrize("text", ALL)
def test_a_training_line_under_autocast(text: str) -> None:
    loss, (target, start) = losses.create(text), clouds(2, 5, 3)
    layer = torch.nn.Linear(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(start)
        value = loss(target, output)
    assert output.dtype == torch.bfloat16
    assert torch.equal(value, loss(target, output.float()))
    value.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("half", HALVES)
def test_half_precision_says_what_float32_can(text: str, half: torch.dtype) -> None:
    loss, far = losses.create(text), torch.zeros(1, 2, 3, dtype=half)
    far[..., 0] = 300
    found = loss(torch.zeros_like(far), far)
    assert found.dtype == torch.float32
    assert found.item() == loss(torch.zeros(1, 2, 3), far.float()).item()
    assert math.isfinite(found.item())


def test_half_precision_does_not_vanish() -> None:
    near = torch.tensor([[[2e-4, 0.0]]], dtype=torch.float16)
    found = third_axis_chamfer(torch.zeros_like(near), near)
    assert found.item() == pytest.approx(2 * near[0, 0, 0].item() ** 2, rel=1e-6)


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (torch.zeros(1, 4, 3, dtype=torch.long), "must hold floating-point numbers, got dtype"),
        ([[[0.0, 0.0, 0.0]]], "must be a tensor, got list"),
        (None, "must be a tensor, got NoneType"),
    ],
)
def test_no_floats_are_refused_by_name(text: str, wrong: Any, match: str) -> None:
    loss = losses.create(text)
    with pytest.raises(ValueError, match=f"target {match}"):
        loss(wrong, torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match=f"output {match}"):
        loss(torch.zeros(1, 4, 3), wrong)


@pytest.mark.parametrize("text", ALL)
def test_a_mask_that_is_a_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="target_mask must be a tensor, got list"):
        losses.create(text)(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), [[True]])


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("nodes", [(0, 0), (5, 5), (0, 5), (5, 0)])
def test_no_clouds_have_no_values(text: str, nodes: tuple[int, int]) -> None:
    if text in ("matching", "sliced_wasserstein") and nodes[0] != nodes[1]:
        nodes = (nodes[0], nodes[0])  # these take equal numbers alone
    sides = [torch.zeros(0, n, 3) for n in nodes]
    assert losses.create(text)(*sides).shape == (0,)


def test_matching_distance_takes_one_feature() -> None:
    target, output = torch.tensor([[[0.0], [5.0]]]), torch.tensor([[[6.0], [0.5]]])
    assert losses.distance(target, output).tolist() == [0.75]
    assert losses.match(target, output).tolist() == [[1, 0]]
    assert losses.matching_loss(target, output).tolist() == [1.25]


# ----------------------------------------------------------------------------- weights


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_weighs_nothing_may_overflow(backend: str) -> None:
    target = torch.tensor([[[0.0, 0.0]]])
    output = torch.tensor([[[0.0, 0.0], [1e30, 0.0]]], requires_grad=True)
    options = {"backend": backend, "target_weight": torch.ones(1, 1)}
    by_factor = third_axis_chamfer(target, output, precision_weight=0, **options)
    weight = torch.tensor([[1.0, 0.0]], requires_grad=True)
    by_weight = third_axis_chamfer(target, output, output_weight=weight, **options)
    assert (by_factor.item(), by_weight.item()) == (0, 0)
    (slope,) = torch.autograd.grad(by_factor + by_weight, output)
    assert slope.abs().max() == 0
    intensity = torch.tensor([[[0.0, 0.0, 1e30]]]), torch.tensor([[[1.0, 0.0, 0.0]]])
    found = matched_intensity_chamfer(*intensity, intensity_weight=0, backend=backend)
    assert found.item() == 2


def test_the_case_of_half_precision() -> None:
    target, output = (torch.tensor(side).half() for side in ([[[0.0]]], [[[0.0], [300.0]]]))
    assert third_axis_chamfer(target, output, precision_weight=0).item() == 0


def test_a_factor_of_zero_both_ways_keeps_the_graph() -> None:
    target, output = clouds(2, 4, 3)
    output.requires_grad_()
    value = third_axis_chamfer(target, output, coverage_weight=0, precision_weight=0)
    value.sum().backward()
    assert output.grad is not None
    assert output.grad.abs().max() == 0


@pytest.mark.parametrize("name", ["target_weight", "output_weight", "cloud_weight"])
@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_negative_weight_is_refused(name: str, value: float) -> None:
    weight = torch.ones(2) if name == "cloud_weight" else torch.ones(2, 4)
    weight[1] = value
    with pytest.raises(ValueError, match=f"{name} must be at least 0 everywhere, got {value:g}"):
        third_axis_chamfer(*clouds(2, 4, 3), **{name: weight})
    with pytest.raises(ValueError, match=f"{name} must be a tensor, got list"):
        third_axis_chamfer(*clouds(2, 4, 3), **{name: weight.tolist()})


@pytest.mark.parametrize("name", ["target_weight", "cloud_weight"])
def test_a_negative_weight_is_refused_where_it_is_transformed(name: str) -> None:
    weight = -torch.ones(2) if name == "cloud_weight" else -torch.ones(2, 4)
    target, output = clouds(2, 4, 3)
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        torch.func.grad(lambda o: third_axis_chamfer(target, o, **{name: weight}).sum())(output)


# -------------------------------------------------------------------------------- ties


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tie_gives_its_gradient_to_the_lowest_index(backend: str) -> None:
    target = torch.tensor([[[0.0, 0.0]]])
    output = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    value = third_axis_chamfer(target, output, precision_weight=0, backend=backend)
    (slope,) = torch.autograd.grad(value, output)
    assert slope.tolist() == [[[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]
    transformed = torch.func.grad(
        lambda o: third_axis_chamfer(target, o, precision_weight=0, backend=backend).sum()
    )(output.detach())
    assert torch.equal(transformed, slope)


@pytest.mark.parametrize("text", ["matching", "sliced_wasserstein"])
def test_gradients_at_ties_are_the_same_every_time(text: str) -> None:
    loss, target = losses.create(text), torch.tensor([[[0.0, 1.0], [0.0, -1.0]]])
    slopes = []
    for _ in range(3):
        output = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
        slopes.append(torch.autograd.grad(loss(target, output).sum(), output)[0])
    assert torch.equal(slopes[0], slopes[1])
    assert torch.equal(slopes[0], slopes[2])


# -------------------------------------------------------------------------- reductions


def test_the_largest_term_of_a_tie_is_the_first() -> None:
    target = torch.zeros(1, 1, 2)
    output = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    value = third_axis_chamfer(target, output, coverage_weight=0, point_reduction="max")
    (slope,) = torch.autograd.grad(value, output)
    assert slope.tolist() == [[[2.0, 0.0], [0.0, 0.0]]]


def test_reductions_are_those_of_the_terms() -> None:
    target, output = clouds(3, 5, 3)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 3:] = False
    terms = third_axis_chamfer(target, output, mask, point_reduction=None)
    counts = mask.sum(1)
    wanted = {
        "sum": terms.target.sum(1) + terms.output.sum(1),
        "mean": terms.target.sum(1) / counts + terms.output.sum(1) / 5,
        "max": terms.target.amax(1) + terms.output.amax(1),
    }
    weight = torch.tensor([1.0, 0.0, 3.0])
    for how, value in wanted.items():
        reduce = {"point_reduction": how, "cloud_weight": weight}
        torch.testing.assert_close(
            third_axis_chamfer(target, output, mask, point_reduction=how), value
        )
        total = third_axis_chamfer(target, output, mask, batch_reduction="sum", **reduce)
        torch.testing.assert_close(total, (weight * value).sum())
        mean = third_axis_chamfer(target, output, mask, batch_reduction="mean", **reduce)
        torch.testing.assert_close(mean, (weight * value).sum() / 4)
        module = losses.create(f"third_axis(point_reduction={how!r})")
        torch.testing.assert_close(module(target, output, mask), value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_norm_one_sums_absolute_differences(backend: str) -> None:
    target, output = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [2.0, 1.5]]])
    # by squares the second is nearer, by absolute differences the first
    options = {"precision_weight": 0, "backend": backend}
    assert third_axis_chamfer(target, output, norm=1, **options).item() == 3
    assert third_axis_chamfer(target, output, **options).item() == 6.25
    root = third_axis_chamfer(target, output, squared=False, **options)
    assert root.item() == 2.5


@pytest.mark.parametrize("norm", [1, 2])
def test_a_root_has_a_finite_gradient_at_zero(norm: int) -> None:
    output = torch.zeros(1, 2, 2, requires_grad=True)
    third_axis_chamfer(torch.zeros(1, 2, 2), output, norm=norm, squared=False).sum().backward()
    assert output.grad is not None
    assert output.grad.tolist() == [[[0.0, 0.0]] * 2]


def test_lengths_are_a_mask() -> None:
    target, output = clouds(3, 5, 3)
    lengths, other = torch.tensor([5, 2, 3]), torch.tensor([1, 5, 4])
    mask, other_mask = (torch.arange(5) < n.unsqueeze(1) for n in (lengths, other))
    found = third_axis_chamfer(target, output, target_lengths=lengths, output_lengths=other)
    assert torch.equal(found, third_axis_chamfer(target, output, mask, other_mask))
    fewer = mask.clone()
    fewer[:, 1] = False
    both = third_axis_chamfer(target, output, fewer, target_lengths=lengths)
    assert torch.equal(both, third_axis_chamfer(target, output, fewer & mask))


@pytest.mark.parametrize(
    ("lengths", "match"),
    [
        (torch.tensor([1, 6]), "target_lengths must be from 0 to 5, cloud 1 has 6"),
        (torch.tensor([-1, 1]), "target_lengths must be from 0 to 5, cloud 0 has -1"),
        (torch.tensor([1.0, 2.0]), "target_lengths must be a tensor of integers, got"),
        ([1, 2], "target_lengths must be a tensor of integers, got list"),
        (torch.tensor([1]), "target_lengths must have shape"),
        (torch.tensor([0, 1]), "target_mask must leave a node in every cloud, cloud 0"),
    ],
)
def test_wrong_lengths_are_refused(lengths: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        third_axis_chamfer(*clouds(2, 5, 3), target_lengths=lengths)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_an_empty_cloud_may_be_zero(backend: str, how: str) -> None:
    target, output = clouds(3, 5, 3)
    output.requires_grad_()
    options = {"backend": backend, "point_reduction": how}
    lengths, other = torch.tensor([0, 5, 4]), torch.tensor([5, 0, 3])
    both = {"target_lengths": lengths, "output_lengths": other}
    found = third_axis_chamfer(target, output, empty="zero", **both, **options)
    alone = third_axis_chamfer(target[2:, :4], output[2:, :3], **options)
    torch.testing.assert_close(found, torch.cat([torch.zeros(2), alone]))
    (slope,) = torch.autograd.grad(found.sum(), output)
    assert slope[:2].abs().max() == 0
    assert slope[2].abs().max() > 0
    nothing = third_axis_chamfer(target[:, :0], output, empty="zero", **options)
    assert nothing.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"point_reduction": "median"}, "point_reduction must be one of 'sum', 'mean', 'max'"),
        ({"batch_reduction": "max"}, "batch_reduction must be one of 'sum', 'mean', None"),
        ({"point_reduction": None, "batch_reduction": "sum"}, "batch_reduction must be None"),
        ({"empty": "skip"}, "empty must be one of 'error', 'zero'"),
        ({"norm": 3}, "norm must be 1 or 2, got 3"),
    ],
)
def test_options_that_are_no_choice_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        third_axis_chamfer(*clouds(2, 5, 3), **options)


def test_a_module_shows_what_is_unusual() -> None:
    assert "norm" not in repr(losses.create("third_axis"))
    assert "norm=1" in repr(losses.create("third_axis(norm=1)"))
    assert losses.create("third_axis(empty='zero')").empty == "zero"
    with pytest.raises(ValueError, match="point_reduction must be one of"):
        losses.create("third_axis", point_reduction=None)
