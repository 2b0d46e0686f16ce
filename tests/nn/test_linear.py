"""A dense layer with its products given to oneDNN: the same as torch's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gconvae.nn import linear
from gconvae.nn.linear import Linear


@pytest.fixture(autouse=True, params=["oneDNN's", "torch's"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds whoever makes the products on this machine."""
    monkeypatch.setattr(linear, "_half_used", lambda: request.param == "oneDNN's")
    return str(request.param)


def pair(bias: bool = True, inputs: int = 40, outputs: int = 30) -> tuple[Linear, nn.Linear]:
    """Ours and torch's with the same weights."""
    ours = Linear(inputs, outputs, bias=bias)
    torchs = nn.Linear(inputs, outputs, bias=bias)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def used(layer: nn.Module, hidden: Tensor) -> bool:
    """Whether oneDNN has the product."""
    with torch.profiler.profile() as profile:
        layer(hidden)
    return any(event.key == "mkldnn::_linear_pointwise" for event in profile.key_averages())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_the_output_is_that_of_torch(bias: bool, rows: int) -> None:
    ours, torchs = pair(bias)
    hidden = torch.randn(rows, 40)
    torch.testing.assert_close(ours(hidden), torchs(hidden))


@pytest.mark.parametrize("bias", [True, False])
def test_the_gradients_are_those_of_torch(bias: bool) -> None:
    ours, torchs = pair(bias)
    inputs = [torch.randn(50, 40).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    weight = torch.randn(50, 30)
    for layer, hidden in zip((ours, torchs), inputs, strict=True):
        (layer(hidden) * weight).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for mine, its in zip(ours.parameters(), torchs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_it_has_the_initial_weights_of_torch() -> None:
    torch.manual_seed(3)
    ours = Linear(5, 4)
    torch.manual_seed(3)
    assert torch.equal(ours.weight, nn.Linear(5, 4).weight)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_are_left_to_torch(dtype: torch.dtype) -> None:
    ours, torchs = (layer.to(dtype) for layer in pair())
    hidden = torch.randn(7, 40, dtype=dtype)
    assert torch.equal(ours(hidden), torchs(hidden))


def test_more_axes_and_no_rows_are_left_to_torch() -> None:
    ours, torchs = pair()
    for shape in ((2, 3, 40), (0, 40), (40,)):
        hidden = torch.randn(shape)
        assert torch.equal(ours(hidden), torchs(hidden))


def test_strided_inputs_are_taken_as_they_are() -> None:
    ours, torchs = pair()
    hidden = torch.randn(40, 9).t()
    torch.testing.assert_close(ours(hidden), torchs(hidden))


def test_double_gradients_are_right() -> None:
    ours, torchs = pair()
    grads: list[Any] = []
    start = torch.randn(4, 40)
    for layer in (ours, torchs):
        hidden = start.clone().requires_grad_()
        (first,) = torch.autograd.grad(layer(hidden).square().sum(), hidden, create_graph=True)
        grads.append(torch.autograd.grad(first.square().sum(), layer.weight)[0])
    torch.testing.assert_close(*grads)


def test_autocast_gives_bfloat16_as_in_torch() -> None:
    ours, torchs = pair()
    hidden = torch.randn(6, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(hidden), torchs(hidden))
        assert ours(hidden).dtype == torch.bfloat16


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Makes the machine one of another CPU."""
    monkeypatch.undo()
    choose = linear._half_used

    def pretend(capability: str, maker: str) -> bool:
        told = tmp_path / "cpuinfo"
        told.write_text(f"vendor_id : {maker}\n")
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(linear, "Path", lambda _: told)
        choose.cache_clear()
        return choose()

    yield pretend
    choose.cache_clear()


@pytest.mark.parametrize(
    ("capability", "maker", "half"),
    [
        ("AVX512", "AuthenticAMD", True),
        ("AVX512_VNNI", "AuthenticAMD", True),
        ("AVX512", "GenuineIntel", False),
        ("AVX2", "AuthenticAMD", False),
        ("DEFAULT", "", False),
    ],
)
def test_onednn_is_for_wide_registers_of_another_maker(
    machine: Any, capability: str, maker: str, half: bool
) -> None:
    assert machine(capability, maker) is half


def test_the_choice_decides_about_the_product(products: str) -> None:
    assert used(pair()[0], torch.randn(6, 40)) is (products == "oneDNN's")


def test_switching_onednn_off_switches_it_off() -> None:
    ours, torchs = pair()
    hidden = torch.randn(6, 40)
    # torch.backends.mkldnn.flags sets more, and warns of it
    was_on = torch.backends.mkldnn.enabled
    torch._C._set_mkldnn_enabled(False)
    try:
        assert not used(ours, hidden)
        assert torch.equal(ours(hidden), torchs(hidden))
    finally:
        torch._C._set_mkldnn_enabled(was_on)


def test_a_copy_is_one_too() -> None:
    ours = copy.deepcopy(pair()[0])
    assert isinstance(ours, Linear)
