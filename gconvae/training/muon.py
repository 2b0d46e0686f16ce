"""Muon, an optimizer of matrices, with all matrices of one shape as one product."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gconvae.threads import side_by_side

__all__ = ["Muon", "orthogonalized"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial that brings singular values from (0, 1] to about 1."""

ITERATIONS = 5
"""Of that polynomial."""


class Muon(torch.optim.Optimizer):
    r"""Momentum whose matrices are made orthogonal.

    .. math::
        M_t = \mu M_{t-1} + (1 - \mu) G_t, \quad U_t = (1 - \mu) G_t + \mu M_t, \quad
        W_t = (1 - r \lambda) W_{t-1} - r \sqrt{\max(1, n / m)} \, O(U_t)

    with G the gradient of an n x m matrix and O(U) the orthogonal matrix next to U up to some
    tenths (:func:`orthogonalized`). It is ``torch.optim.Muon``, which takes one matrix after
    another and rounds them to 16 bits; the small matrices of a small network take a fifth of the
    time together (decision 0011).

    Args:
        params: Matrices, or stacks of them, shape (..., n, m).
        lr: r.
        weight_decay: :math:`\lambda`.
        momentum: :math:`\mu`.
    Raises:
        ValueError: If a parameter has fewer than two dimensions.
    References:
        | Muon (Jordan et al., 2024), https://kellerjordan.github.io/posts/muon
    Example:
        >>> weight = nn.Parameter(torch.ones(2, 3))
        >>> optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> bool((weight < 1).all())
        True
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 2e-2,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.dim() < 2:
                    raise ValueError(
                        f"params must be matrices or stacks of them, got {tuple(weight.shape)}"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Of all matrices."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step(weights, group)
        return loss

    def _step(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        means = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, means, group["momentum"])
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        by_shape: dict[tuple[int, int], list[int]] = {}
        for number, update in enumerate(updates):
            rows, columns = update.shape[-2:]
            by_shape.setdefault((rows, columns), []).append(number)

        def move(shape: tuple[int, int], numbers: list[int]) -> None:
            stacked = torch.cat([updates[n].reshape(-1, *shape) for n in numbers])
            # a rate may be a tensor, in a step that a GPU records
            rate = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
            sizes = [updates[n].numel() // math.prod(shape) for n in numbers]
            steps = (orthogonalized(stacked) * rate).split(sizes)
            ours = [weights[n] for n in numbers]
            shaped = [one.view_as(weight) for one, weight in zip(steps, ours, strict=True)]
            torch._foreach_sub_(ours, shaped)

        calls = [functools.partial(move, *pair) for pair in by_shape.items()]
        if weights[0].is_cuda:
            for call in calls:
                call()
        else:
            side_by_side(calls)


def orthogonalized(matrices: Tensor) -> Tensor:
    r"""Matrices with the same singular vectors and singular values near 1.

    .. math:: X \leftarrow a X + (b X X^\top + c (X X^\top)^2) X

    five times, from :math:`X / \|X\|`.

    Args:
        matrices: Shape (K, n, m).
    Returns:
        Shape (K, n, m).
    Example:
        >>> orthogonalized(torch.diag(torch.tensor([4.0, 1.0]))[None]).round(decimals=1)
        tensor([[[0.7000, 0.0000],
                 [0.0000, 0.7000]]])
    """
    a, b, c = COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if is_tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if is_tall else x
