"""What every loss between two sets of nodes must fulfil, each as one assertion."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class SetLoss(Protocol):
    """A loss (target, output, target_mask, output_mask, ...) to (B,)."""

    def __call__(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
        *,
        target_weight: Tensor | None = None,
        output_weight: Tensor | None = None,
    ) -> Tensor: ...


class Problem(NamedTuple):
    """Arguments of a set loss, in its order."""

    target: Tensor
    output: Tensor
    target_mask: Tensor
    output_mask: Tensor


class Result(NamedTuple):
    """Per-cloud values (B,) and the gradients of their sum."""

    value: Tensor
    target_grad: Tensor
    output_grad: Tensor


def with_gradients(
    loss: SetLoss,
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
) -> Result:
    target, output = (points.detach().clone().requires_grad_() for points in (target, output))
    value = loss(target, output, target_mask, output_mask)
    value.sum().backward()
    assert target.grad is not None
    assert output.grad is not None
    return Result(value.detach(), target.grad, output.grad)


def assert_symmetric(loss: SetLoss, problem: Problem) -> None:
    target, output, target_mask, output_mask = problem
    torch.testing.assert_close(
        loss(target, output, target_mask, output_mask),
        loss(output, target, output_mask, target_mask),
    )


def assert_no_term_below_zero(loss: SetLoss, problem: Problem) -> None:
    """Each node's own term, singled out by its weight."""
    target, output, target_mask, output_mask = problem
    nothing = [torch.zeros_like(points[..., 0]) for points in (target, output)]
    for side, points in enumerate((target, output)):
        for node in range(points.shape[1]):
            weights = [weight.clone() for weight in nothing]
            weights[side][:, node] = 1.0
            term = loss(*problem, target_weight=weights[0], output_weight=weights[1])
            assert term.min() >= 0, f"a term of node {node} of side {side} is {term.min()}"


def assert_zero_on_itself(loss: SetLoss, problem: Problem) -> None:
    target, _, mask, _ = problem
    result = with_gradients(loss, target, target, mask, mask)
    for tensor in result:
        assert torch.equal(tensor, torch.zeros_like(tensor))


def assert_permutation_invariant(loss: SetLoss, problem: Problem, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    shuffled = []
    for points, mask in zip(problem[:2], problem[2:], strict=True):
        order = torch.rand(mask.shape, generator=generator).argsort(1).to(points.device)  # (B, N)
        shuffled.append((points.gather(1, order.unsqueeze(-1).expand_as(points)), mask, order))
    (target, target_mask, target_order), (output, output_mask, output_order) = shuffled
    moved = with_gradients(
        loss,
        target,
        output,
        target_mask.gather(1, target_order),
        output_mask.gather(1, output_order),
    )
    still = with_gradients(loss, *problem)
    torch.testing.assert_close(moved.value, still.value)
    for got, wanted, order in (
        (moved.target_grad, still.target_grad, target_order),
        (moved.output_grad, still.output_grad, output_order),
    ):
        torch.testing.assert_close(got, wanted.gather(1, order.unsqueeze(-1).expand_as(wanted)))


def assert_ignores_masked_nodes(loss: SetLoss, problem: Problem, garbage: float) -> None:
    """Whatever stands in masked places, values and gradients have the same bits."""
    filled = [
        points.masked_fill(~mask.unsqueeze(-1), garbage)
        for points, mask in zip(problem[:2], problem[2:], strict=True)
    ]
    got = with_gradients(loss, *filled, *problem[2:])
    wanted = with_gradients(loss, *problem)
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one, other)
    for gradient, mask in ((got.target_grad, problem[2]), (got.output_grad, problem[3])):
        assert not gradient[~mask].any()


def assert_batch_equals_loop(loss: SetLoss, problem: Problem) -> None:
    together = with_gradients(loss, *problem)
    for cloud in range(len(problem.target)):
        alone = with_gradients(loss, *(part[cloud : cloud + 1] for part in problem))
        for got, wanted in zip(alone, together, strict=True):
            torch.testing.assert_close(got, wanted[cloud : cloud + 1])


def assert_padded_equals_unpadded(loss: SetLoss, problem: Problem) -> None:
    padded = with_gradients(loss, *problem)
    for cloud in range(len(problem.target)):
        target, output, target_mask, output_mask = (part[cloud] for part in problem)
        bare = with_gradients(loss, target[target_mask][None], output[output_mask][None])
        torch.testing.assert_close(bare.value[0], padded.value[cloud])
        torch.testing.assert_close(bare.target_grad[0], padded.target_grad[cloud][target_mask])
        torch.testing.assert_close(bare.output_grad[0], padded.output_grad[cloud][output_mask])
