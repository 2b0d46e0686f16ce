"""Solvers against equations whose solutions are known, and their orders."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.likelihoods.runge_kutta import METHODS, integrate

ORDERS = {"euler": 1, "midpoint": 2, "heun": 2, "heun3": 3, "rk4": 4}


def growing(state: Tensor, time: float) -> Tensor:
    """dx/dt = 2 t x, so that x(1) = e x(0)."""
    return 2 * time * state


def error(method: str, steps: int, backward: bool = False) -> float:
    start = torch.ones(1, dtype=torch.float64)
    evaluations = steps * len(METHODS[method].times)
    found = integrate(growing, start, evaluations, method, backward=backward)
    return abs(float(found) - math.exp(-1.0 if backward else 1.0))


def test_there_is_an_order_for_every_method() -> None:
    assert ORDERS.keys() == METHODS.keys()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("method", "order"), ORDERS.items())
def test_error_falls_with_the_order(method: str, order: int, backward: bool) -> None:
    ratio = error(method, 40, backward) / error(method, 80, backward)
    assert math.log2(ratio) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_velocity_is_exact(method: str) -> None:
    start = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = integrate(lambda x, t: torch.full_like(x, 3.0), start, 8, method)
    torch.testing.assert_close(found, start + 3.0)


@pytest.mark.parametrize(("method", "wanted"), [("euler", 5), ("midpoint", 6), ("rk4", 8)])
def test_evaluations_are_rounded_up_to_whole_steps(method: str, wanted: int) -> None:
    times = []

    def velocity(state: Tensor, time: float) -> Tensor:
        times.append(time)
        return state

    integrate(velocity, torch.ones(1), 5, method)
    assert len(times) == wanted
    assert min(times) == 0.0
    assert max(times) <= 1.0
