"""Schedules of learning rates against their formulas, step by step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gconvae.training.optimization import trapezoid, warmed_cosine

STEPS = 40


def rates(make: Any, **options: float) -> list[float]:
    """Of every step, from a rate of 0.5."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = make(optimizer, STEPS, **options)
    found = []
    for _ in range(STEPS + 5):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("given", "warmup"), [(0, 0), (1, 1), (4, 4), (10, 5)])
@pytest.mark.parametrize("fall", [0.25, 0.5, 1.0])
def test_a_trapezoid_grows_stays_and_falls(given: int, warmup: int, fall: float) -> None:
    found = rates(trapezoid, warmup=given, fall=fall)
    for step, rate in enumerate(found[:STEPS]):
        rising = 1.0 if step + 1 >= warmup else (step + 1) / warmup
        left = (STEPS - step) / STEPS
        falling = left / fall if left < fall else 1.0
        assert rate == pytest.approx(0.5 * rising * falling), step
    assert found[STEPS:] == [0.0] * 5


@pytest.mark.parametrize("warmup", [0, 10])
def test_a_cosine_falls_from_the_first_step(warmup: int) -> None:
    found = rates(warmed_cosine, warmup=warmup)
    for step, rate in enumerate(found[:STEPS]):
        rising = 1.0 if step + 1 >= warmup else (step + 1) / warmup
        assert rate == pytest.approx(0.25 * rising * (1 + math.cos(math.pi * step / STEPS)))
    assert found[-1] == pytest.approx(0.0, abs=1e-12)
