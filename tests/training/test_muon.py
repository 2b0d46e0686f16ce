"""Muon against a loop over matrices in double precision, and against torch's own."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gconvae.training.muon import Muon, orthogonalized

SHAPES = [(4, 4), (3, 7), (7, 3), (1, 5), (5, 1), (1, 1), (16, 48), (48, 16)]
STACKS = [(3, 4, 6), (3, 6, 4), (2, 2, 5, 5)]
OPTIONS: list[dict[str, float]] = [
    {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.95},
    {"lr": 0.03, "weight_decay": 0.7, "momentum": 0.6},
    {"lr": 0.5, "weight_decay": 0.05, "momentum": 0.0},
]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(shape: tuple[int, ...], steps: int = 5) -> list[Tensor]:
    """Different in each step, and of sizes from small to large."""
    return [10.0 ** (step - 2) * random(*shape, seed=step + 1) for step in range(steps)]


def weight(shape: tuple[int, ...], **options: Any) -> nn.Parameter:
    return nn.Parameter(random(*shape, **options))


def trained(weights: list[nn.Parameter], steps: list[list[Tensor]], **options: float) -> Muon:
    """After steps with given gradients, one a weight."""
    optimizer = Muon(weights, **options)
    for given in steps:
        for one, gradient in zip(weights, given, strict=True):
            one.grad = gradient.to(one.dtype).clone()
        optimizer.step()
    return optimizer


def orthogonal_loop(matrix: np.ndarray) -> np.ndarray:
    """The polynomial, applied five times."""
    if len(matrix) > len(matrix[0]):
        return orthogonal_loop(matrix.T).T
    x = matrix / math.sqrt((matrix**2).sum())
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x


def muon_loop(
    start: Tensor, steps: list[Tensor], lr: float, weight_decay: float, momentum: float
) -> np.ndarray:
    """One matrix."""
    value, mean = start.numpy().copy(), np.zeros(start.shape)
    for gradient in steps:
        g = gradient.numpy()
        mean = momentum * mean + (1 - momentum) * g
        ahead = momentum * mean + (1 - momentum) * g
        rate = lr * math.sqrt(max(1.0, len(value) / len(value[0])))
        value = (1 - lr * weight_decay) * value - rate * orthogonal_loop(ahead)
    return value


every_option = pytest.mark.parametrize("options", OPTIONS)


@every_option
@pytest.mark.parametrize("shape", SHAPES)
def test_five_steps_equal_the_loop(shape: tuple[int, ...], options: dict[str, float]) -> None:
    made, steps = weight(shape), gradients(shape)
    wanted = muon_loop(made.detach(), steps, **options)
    trained([made], [[each] for each in steps], **options)
    np.testing.assert_allclose(made.detach().numpy(), wanted, rtol=1e-10, atol=1e-11)


@every_option
@pytest.mark.parametrize("shape", STACKS)
def test_a_stack_equals_its_matrices_one_by_one(
    shape: tuple[int, ...], options: dict[str, float]
) -> None:
    made, steps = weight(shape), gradients(shape)
    every = [each.reshape(-1, *shape[-2:]) for each in (made.detach(), *steps)]
    wanted = [
        muon_loop(every[0][k], [step[k] for step in every[1:]], **options)
        for k in range(len(every[0]))
    ]
    trained([made], [[each] for each in steps], **options)
    found = made.detach().reshape(-1, *shape[-2:]).numpy()
    np.testing.assert_allclose(found, np.array(wanted), rtol=1e-10, atol=1e-11)


@every_option
def test_matrices_of_many_shapes_are_each_what_they_are_alone(options: dict[str, float]) -> None:
    # matrices of one shape lie apart, and among them is a stack of that shape
    shapes: list[tuple[int, ...]] = [(3, 4), (4, 3), (3, 4), (5, 3, 4), (2, 2), (3, 4), (4, 3)]
    weights = [weight(shape, seed=k) for k, shape in enumerate(shapes)]
    alone = copy.deepcopy(weights)
    each = [[g * (k + 1) for g in gradients(shape)] for k, shape in enumerate(shapes)]
    trained(weights, [list(step) for step in zip(*each, strict=True)], **options)
    for one, own, steps in zip(weights, alone, each, strict=True):
        trained([own], [[step] for step in steps], **options)
        torch.testing.assert_close(one, own, rtol=1e-10, atol=1e-12)


@every_option
@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (64, 192)])
def test_it_is_torchs_muon_up_to_what_16_bits_round(
    shape: tuple[int, int], options: dict[str, float]
) -> None:
    made = weight(shape, dtype=torch.float32)
    theirs = nn.Parameter(made.detach().clone())
    start, other = made.detach().clone(), torch.optim.Muon([theirs], **options)
    for gradient in gradients(shape):
        theirs.grad = gradient.float()
        other.step()
    trained([made], [[each] for each in gradients(shape)], **options)
    gap = torch.linalg.matrix_norm((made - theirs).detach())
    assert gap < 0.03 * torch.linalg.matrix_norm(theirs.detach() - start)


def test_groups_have_their_own_rates() -> None:
    shapes = [(3, 4), (3, 4)]
    weights = [weight(shape, seed=k) for k, shape in enumerate(shapes)]
    starts = [one.detach().clone() for one in weights]
    groups: list[dict[str, Any]] = [
        {"params": weights[:1], "lr": 0.2, "momentum": 0.5},
        {"params": weights[1:], "weight_decay": 0.9},
    ]
    optimizer = Muon(groups, lr=0.01, weight_decay=0.1, momentum=0.9)
    steps = gradients((3, 4))
    for gradient in steps:
        for one in weights:
            one.grad = gradient.clone()
        optimizer.step()
    wanted = [
        muon_loop(starts[0], steps, lr=0.2, weight_decay=0.1, momentum=0.5),
        muon_loop(starts[1], steps, lr=0.01, weight_decay=0.9, momentum=0.9),
    ]
    for one, other in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-10, atol=1e-11)


def test_a_rate_that_a_schedule_sets_is_the_rate_of_the_next_step() -> None:
    made, steps = weight((3, 4)), gradients((3, 4), steps=2)
    wanted = muon_loop(made.detach(), steps[:1], lr=0.1, weight_decay=0.2, momentum=0.9)
    optimizer = trained([made], [steps[:1]], lr=0.1, weight_decay=0.2, momentum=0.9)
    optimizer.param_groups[0]["lr"] = 0.0
    made.grad = steps[1].clone()
    optimizer.step()
    np.testing.assert_allclose(made.detach().numpy(), wanted, rtol=1e-10)


def test_a_rate_may_be_a_tensor() -> None:
    first, second = weight((3, 4)), weight((3, 4))
    steps = [[each] for each in gradients((3, 4))]
    trained([first], steps, lr=0.25, weight_decay=0.5)
    rate: Any = torch.tensor(0.25, dtype=torch.float64)
    trained([second], steps, lr=rate, weight_decay=0.5)
    torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-12)


def test_a_step_keeps_the_gradients_and_returns_the_loss_of_a_closure() -> None:
    made = weight((3, 4))
    optimizer = Muon([made], lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (made**2).sum()
        loss.backward()
        return loss

    start = made.detach().clone()
    assert optimizer.step(closure) == (start**2).sum()
    assert made.grad is not None
    assert torch.equal(made.grad, 2 * start)
    assert not torch.equal(made, start)


def test_steps_make_a_loss_smaller() -> None:
    made, target = weight((6, 4)), random(6, 4, seed=9)
    optimizer, losses = Muon([made], lr=0.05, weight_decay=0.0), []
    for _ in range(100):
        optimizer.zero_grad()
        loss = ((made - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


# what is left alone


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 4, 4)])
def test_a_gradient_of_zero_moves_nothing(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    made = weight(shape, dtype=dtype)
    start = made.detach().clone()
    trained([made], [[torch.zeros(shape)]] * 3, lr=0.1, weight_decay=0.0)
    assert torch.equal(made, start)


def test_one_zero_matrix_of_a_stack_does_not_touch_the_others() -> None:
    made, gradient = weight((3, 4, 4)), random(3, 4, 4, seed=1)
    gradient[1] = 0.0
    start = made.detach().clone()
    trained([made], [[gradient]], lr=0.1, weight_decay=0.0)
    assert torch.equal(made[1], start[1])
    for k in (0, 2):
        wanted = muon_loop(start[k], [gradient[k]], lr=0.1, weight_decay=0.0, momentum=0.95)
        np.testing.assert_allclose(made[k].detach().numpy(), wanted, rtol=1e-10)


def test_weights_without_a_gradient_are_left_alone() -> None:
    used, unused = weight((3, 4)), weight((3, 4), seed=1)
    start = unused.detach().clone()
    optimizer = Muon([unused, used], lr=0.1, weight_decay=0.5)
    optimizer.step()
    used.grad = random(3, 4, seed=2)
    before = used.detach().clone()
    optimizer.step()
    assert torch.equal(unused, start)
    assert unused not in optimizer.state
    assert not torch.equal(used, before)


@pytest.mark.parametrize("shape", [(3,), ()])
def test_vectors_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        Muon([weight((2, 2)), weight(shape)])
    assert str(caught.value) == f"params must be matrices or stacks of them, got {shape}"


# going on


def test_a_loaded_state_goes_on_to_the_same_bits(dtype: torch.dtype) -> None:
    shapes: list[tuple[int, ...]] = [(3, 4), (4, 3), (2, 3, 4)]
    options = {"lr": 0.1, "weight_decay": 0.3, "momentum": 0.8}
    weights = [weight(shape, seed=k, dtype=dtype) for k, shape in enumerate(shapes)]
    steps = [list(step) for step in zip(*(gradients(s, 6) for s in shapes), strict=True)]
    first = trained(weights, steps[:3], **options)
    others = copy.deepcopy(weights)
    second = Muon(others)  # whose options are those of the state too
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for given in steps[3:]:
        for optimizer, mine in ((first, weights), (second, others)):
            for one, gradient in zip(mine, given, strict=True):
                one.grad = gradient.to(dtype)
            optimizer.step()
    for one, other in zip(weights, others, strict=True):
        assert torch.equal(one, other)


# the orthogonal matrix


@pytest.mark.parametrize("shape", [(8, 16), (16, 8), (4, 64), (64, 16), (32, 96), (1, 9)])
def test_singular_values_are_near_one(shape: tuple[int, int], dtype: torch.dtype) -> None:
    for scale in (1e-4, 1.0, 1e5):
        made = orthogonalized(scale * random(10, *shape, dtype=dtype))
        values = torch.linalg.svdvals(made)
        assert ((values > 0.5) & (values < 1.3)).all(), scale


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3)])
def test_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalized(matrix[None])[0] @ right.T
    torch.testing.assert_close(inner, inner.diagonal().diag(), rtol=0, atol=1e-12)
    assert (inner.diagonal() > 0).all()


def test_a_matrix_and_its_transpose_have_transposed_results() -> None:
    matrices = random(4, 3, 7)
    found = orthogonalized(matrices.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, orthogonalized(matrices), rtol=1e-12, atol=1e-12)


def test_the_matrix_given_stays_as_it_was() -> None:
    matrices = random(2, 3, 4)
    orthogonalized(matrices)
    assert torch.equal(matrices, random(2, 3, 4))
