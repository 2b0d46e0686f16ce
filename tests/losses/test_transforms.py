"""Losses under torch.func, forward-mode AD, torch.compile, torch.export and other recorders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, func, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from gconvae import losses

CHAMFERS = [
    f"{name}(backend={backend!r})"
    for name in ("third_axis", "matched_intensity")
    for backend in ("native", "dense", "torch-cluster")
]
OTHERS = ["matching", "sliced_wasserstein", "sinkhorn(blur=0.5, diameter=4)"]
ALL = [*CHAMFERS, *OTHERS]
FEWER = [*CHAMFERS[:4], *OTHERS]
"""Where a call takes long: the other loss has the same searches."""

TRACERS: dict[str, Callable[..., Any]] = {
    "make_fx": lambda f, given: make_fx(f)(*given),
    "make_fx, fake": lambda f, given: make_fx(f, tracing_mode="fake")(*given),
    "make_fx, pre-dispatch": lambda f, given: make_fx(f, pre_dispatch=True)(*given),
    "jit.trace": lambda f, given: torch.jit.trace(
        lambda *sides: f(*sides), given, check_trace=False
    ),
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def clouds(count: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Target and output, shape (B, 5, 3)."""
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 5, 3, generator=made, dtype=dtype) for _ in range(2)]


def masks(count: int = 3) -> list[Tensor]:
    """One node of the first cloud is not real on either side."""
    both = torch.ones(2, count, 5, dtype=torch.bool)
    both[0, 0, 1] = both[1, 0, 4] = False
    return list(both)


def gradient(loss: nn.Module, target: Tensor, output: Tensor, *of_masks: Tensor) -> Tensor:
    """Of the sum over clouds, by reverse mode as in a training."""
    output = output.clone().requires_grad_()
    return torch.autograd.grad(loss(target, output, *of_masks).sum(), output)[0]


# ------------------------------------------------------------------ torch.func


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("masked", [False, True])
def test_func_grad_is_the_gradient(text: str, masked: bool) -> None:
    loss, (target, output) = losses.create(text), clouds()
    extra = masks() if masked else []
    found = func.grad(lambda side: loss(target, side, *extra).sum())(output)
    torch.testing.assert_close(found, gradient(loss, target, output, *extra))


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("how", ["func.jvp", "forward_ad"])
def test_forward_mode_is_the_gradient_along_a_direction(text: str, how: str) -> None:
    loss, (target, output) = losses.create(text), clouds()
    along = clouds(seed=1)[0]
    if how == "func.jvp":
        slope = func.jvp(lambda side: loss(target, side), (output,), (along,))[1]
    else:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(output, along)
            slope = forward_ad.unpack_dual(loss(target, dual)).tangent
    wanted = (gradient(loss, target, output) * along).sum((1, 2))
    torch.testing.assert_close(slope, wanted)


@pytest.mark.parametrize("text", ALL)
def test_hessian_is_that_of_double_backward(text: str) -> None:
    loss, (target, output) = losses.create(text), clouds(1)
    found = func.hessian(lambda side: loss(target, side).sum())(output)
    wanted = torch.autograd.functional.hessian(lambda side: loss(target, side).sum(), output)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("masked", [False, True])
def test_vmap_is_a_loop(text: str, masked: bool) -> None:
    loss = losses.create(text)
    sides = [side.view(2, 3, 5, 3) for side in clouds(6)]
    sides += [mask.view(2, 3, 5) for mask in masks(6)] if masked else []
    found = func.vmap(loss)(*sides)
    wanted = torch.stack([loss(*(side[i] for side in sides)) for i in range(2)])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("text", ALL)
def test_one_target_for_many_outputs_and_a_gradient_for_each(text: str) -> None:
    loss, (target, _) = losses.create(text), clouds(1)
    outputs = clouds(4, seed=1)[0].unsqueeze(1)
    each = func.vmap(func.grad(lambda side: loss(target, side).sum()))(outputs)
    wanted = torch.stack([gradient(loss, target, output) for output in outputs])
    torch.testing.assert_close(each, wanted)


@pytest.mark.parametrize("text", ALL)
def test_a_jacobian_of_all_clouds_at_once(text: str) -> None:
    loss, (target, output) = losses.create(text), clouds()
    found = torch.autograd.functional.jacobian(
        lambda side: loss(target, side), output, vectorize=True
    )
    wanted = func.jacrev(lambda side: loss(target, side))(output)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("text", ALL)
def test_an_error_is_ours_also_where_it_is_mapped(text: str) -> None:
    loss, (target, output), (mask, other) = losses.create(text), clouds(), masks()
    mask[1] = False
    with pytest.raises(ValueError, match="target_mask must leave a node in every cloud"):
        func.grad(lambda side: loss(target, side, mask, other).sum())(output)


# ------------------------------------------------------------------ recorders


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("tracer", list(TRACERS))
def test_what_was_recorded_finds_the_partners_anew(text: str, tracer: str) -> None:
    loss, first, second = losses.create(text), clouds(seed=1), clouds(seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is on its way out
        recorded = TRACERS[tracer](loss, tuple(first))
    torch.testing.assert_close(recorded(*second), loss(*second))


def test_the_case_of_the_report() -> None:
    loss = losses.create("third_axis(backend='native')")
    target, output = torch.tensor([[[0.0], [10.0]]]), torch.tensor([[[1.0], [9.0]]])
    assert make_fx(loss)(target, output)(target.flip(1), output).item() == 4


@pytest.mark.parametrize("text", FEWER)
@pytest.mark.parametrize("masked", [False, True])
def test_one_graph_of_torch_compile(text: str, masked: bool) -> None:
    loss, sides = losses.create(text), clouds() + (masks() if masked else [])
    traced = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(traced(*sides), loss(*sides))
    torch.testing.assert_close(gradient(traced, *sides), gradient(loss, *sides))


@pytest.mark.parametrize("text", FEWER)
@pytest.mark.parametrize("masked", [False, True])
def test_an_exported_loss_takes_any_number_of_clouds(text: str, masked: bool) -> None:
    loss = losses.create(text)
    batch = torch.export.Dim("batch", min=2)
    given = [*clouds(3), *(masks(3) if masked else [])]
    exported = torch.export.export(loss, tuple(given), dynamic_shapes=[{0: batch}] * len(given))
    other = [*clouds(7, seed=1), *(masks(7) if masked else [])]
    torch.testing.assert_close(exported.module()(*other), loss(*other))


# ------------------------------------------------------------------ shapes alone


@pytest.mark.parametrize("text", ALL)
@pytest.mark.parametrize("masked", [False, True])
def test_meta_tensors_give_shape_and_dtype(text: str, masked: bool) -> None:
    sides = [side.to("meta") for side in clouds() + (masks() if masked else [])]
    made = losses.create(text)(*sides)
    assert (made.device.type, made.shape, made.dtype) == ("meta", (3,), torch.float64)
