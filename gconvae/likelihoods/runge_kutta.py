"""Differential equations solved in steps of fixed length by explicit Runge-Kutta methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["METHODS", "Method", "integrate"]


class Method(NamedTuple):
    """An explicit method without a look back: each evaluation needs the one before it alone.

    Attributes:
        times: Where the velocity is evaluated, as shares of a step; the first is 0.
        weights: Of the evaluations in the step, of sum 1.
    """

    times: tuple[float, ...]
    weights: tuple[float, ...]


METHODS = {
    "euler": Method((0.0,), (1.0,)),
    "midpoint": Method((0.0, 1 / 2), (0.0, 1.0)),
    "heun": Method((0.0, 1.0), (1 / 2, 1 / 2)),
    "heun3": Method((0.0, 1 / 3, 2 / 3), (1 / 4, 0.0, 3 / 4)),
    "rk4": Method((0.0, 1 / 2, 1 / 2, 1.0), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
"""By name, of orders 1, 2, 2, 3 and 4."""


def integrate(
    velocity: Callable[[Tensor, float], Tensor],
    start: Tensor,
    evaluations: int,
    method: str = "midpoint",
    *,
    backward: bool = False,
) -> Tensor:
    r"""The state at time 1 of a movement that begins at time 0, or the other way round.

    .. math:: \frac{dx}{dt} = v(x, t), \quad
        x_{n+1} = x_n + h \sum_i b_i k_i, \quad k_i = v(x_n + h \, c_i k_{i-1}, t_n + h \, c_i)

    All steps have one length. A solver that chooses it by the error of a batch, as those of zuko
    and torchdiffeq do, would make each cloud depend on those that are drawn with it.

    Args:
        velocity: From a state, of the shape of ``start``, and a time to its derivative.
        start: State at time 0; at time 1 where it goes backward.
        evaluations: Of the velocity, rounded up to whole steps.
        method: A name of :data:`METHODS`.
        backward: From time 1 to time 0.
    Returns:
        The state at the other end, of the shape of ``start``.
    References:
        | Solving Ordinary Differential Equations I (Hairer, Norsett and Wanner, 1993), II.1
    Example:
        >>> import torch
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> error = integrate(lambda x, t: x, one, 16, "rk4") - one.exp()
        >>> bool(error.abs() < 1e-4)
        True
    """
    times, weights = METHODS[method]
    steps = -(-evaluations // len(times))
    length = (-1.0 if backward else 1.0) / steps
    state = start
    for step in range(steps):
        begin = (steps - step if backward else step) / steps
        change, slope = 0.0 * state, state
        for time, weight in zip(times, weights, strict=True):
            place = state + length * time * slope if time else state
            slope = velocity(place, begin + length * time)
            change = change + weight * slope if weight else change
        state = state + length * change
    return state
