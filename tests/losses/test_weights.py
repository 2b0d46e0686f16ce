"""Weights and factors of Chamfer distances: what weighs nothing is not there; ties have a rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gconvae.losses import matched_intensity_chamfer, third_axis_chamfer

BACKENDS = ("torch-cluster", "dense", "native")
FAR = 1e25
"""Its square leaves single precision."""

every_backend = pytest.mark.parametrize("backend", BACKENDS)


def value_and_gradient(target: Tensor, output: Tensor, **options: Any) -> tuple[float, Tensor]:
    output = output.clone().requires_grad_()
    value = third_axis_chamfer(target, output, **options)
    value.sum().backward()
    assert output.grad is not None
    return value.item(), output.grad


@every_backend
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_side_that_weighs_nothing_may_be_infinite(backend: str, dtype: torch.dtype) -> None:
    far = 300.0 if dtype == torch.float16 else FAR
    target = torch.zeros(1, 1, 1, dtype=dtype)
    output = torch.tensor([[[0.0], [far]]], dtype=dtype)
    value, gradient = value_and_gradient(target, output, precision_weight=0, backend=backend)
    assert value == 0
    assert gradient.tolist() == [[[0.0], [0.0]]]
    backward = third_axis_chamfer(output, target, coverage_weight=0, backend=backend)
    assert backward.item() == 0


@every_backend
def test_a_node_that_weighs_nothing_may_be_infinite(backend: str) -> None:
    target = torch.zeros(1, 1, 2)
    output = torch.tensor([[[1.0, 0.0], [FAR, 0.0]]])
    weight = torch.tensor([[2.0, 0.0]])
    value, gradient = value_and_gradient(target, output, output_weight=weight, backend=backend)
    assert value == 3.0  # 1 + 2 * 1
    assert gradient.tolist() == [[[6.0, 0.0], [0.0, 0.0]]]


@every_backend
def test_intensities_that_weigh_nothing_may_be_infinite(backend: str) -> None:
    target = torch.tensor([[[0.0, 0.0, FAR]]])
    output = torch.tensor([[[3.0, 4.0, -FAR]]])
    found = matched_intensity_chamfer(target, output, intensity_weight=0, backend=backend)
    assert found.item() == 50.0


@pytest.mark.parametrize("loss", [third_axis_chamfer, matched_intensity_chamfer])
@pytest.mark.parametrize("side", ["target", "output"])
def test_negative_weights_are_refused(loss: Any, side: str) -> None:
    clouds = torch.rand(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(2, 4)
    weight[1, 2] = -0.5
    with pytest.raises(ValueError, match=f"{side}_weight must be at least 0 everywhere, got -0.5"):
        loss(*clouds, **{f"{side}_weight": weight})


@every_backend
def test_both_factors_0_give_0(backend: str) -> None:
    clouds = torch.rand(2, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    found = third_axis_chamfer(*clouds, coverage_weight=0, precision_weight=0, backend=backend)
    assert found.tolist() == [0.0, 0.0]


@every_backend
def test_at_a_tie_the_node_that_comes_first_has_the_gradient(backend: str) -> None:
    target = torch.tensor([[[0.0, 0.0]]])
    output = torch.tensor([[[0.0, 2.0], [2.0, 0.0], [0.0, -2.0]]])
    value, gradient = value_and_gradient(target, output, precision_weight=0, backend=backend)
    assert value == 4.0
    assert gradient.tolist() == [[[0.0, 4.0], [0.0, 0.0], [0.0, 0.0]]]
    turned = value_and_gradient(target, output.flip(1), precision_weight=0, backend=backend)[1]
    assert turned.tolist() == [[[0.0, -4.0], [0.0, 0.0], [0.0, 0.0]]]
