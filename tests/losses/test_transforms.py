"""Losses under what torch does to functions: torch.func, forward mode, compilers and traces."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import grad, hessian, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from gconvae import losses

Loss = Callable[..., Tensor]

BACKENDS = ("torch-cluster", "dense", "native")

LOSSES: dict[str, Loss] = {
    **{f"third_axis, {b}": partial(losses.third_axis_chamfer, backend=b) for b in BACKENDS},
    **{
        f"matched_intensity, {b}": partial(losses.matched_intensity_chamfer, backend=b)
        for b in BACKENDS
    },
    "matching": losses.matching_loss,
    "sliced_wasserstein": losses.sliced_wasserstein,
}

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
with_masks = pytest.mark.parametrize("masked", [False, True])


def clouds(seed: int, count: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, 6, 3, generator=random, dtype=torch.float64)


def masks(masked: bool) -> tuple[Tensor, ...]:
    mask = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.7
    mask[:, 0] = True
    return (mask, mask) if masked else ()


TARGET, OUTPUT = clouds(0), clouds(1)


def gradient(loss: Loss) -> Tensor:
    """By the usual backward pass."""
    output = OUTPUT.clone().requires_grad_()
    loss(TARGET, output).sum().backward()
    assert output.grad is not None
    return output.grad


@every_loss
def test_grad(loss: Loss) -> None:
    found = grad(lambda output: loss(TARGET, output).sum())(OUTPUT)
    torch.testing.assert_close(found, gradient(loss))


@every_loss
def test_directional_derivatives(loss: Loss) -> None:
    wanted = gradient(loss).sum()
    step = torch.ones_like(OUTPUT)
    found = jvp(lambda output: loss(TARGET, output).sum(), (OUTPUT,), (step,))[1]
    torch.testing.assert_close(found, wanted)
    with forward_ad.dual_level():
        value = loss(TARGET, forward_ad.make_dual(OUTPUT, step)).sum()
        torch.testing.assert_close(forward_ad.unpack_dual(value).tangent, wanted)


@every_loss
def test_hessian(loss: Loss) -> None:
    output = OUTPUT[:1].clone()
    found = hessian(lambda moved: loss(TARGET[:1], moved).sum())(output)
    wanted = torch.autograd.functional.hessian(lambda moved: loss(TARGET[:1], moved).sum(), output)
    torch.testing.assert_close(found, wanted)


@every_loss
@with_masks
def test_vmap(loss: Loss, masked: bool) -> None:
    given = (TARGET, OUTPUT, *masks(masked))
    found = vmap(lambda *one: loss(*(part[None] for part in one))[0])(*given)
    torch.testing.assert_close(found, loss(*given))


@every_loss
def test_vmap_over_any_axis(loss: Loss) -> None:
    # the axes of many losses stand behind those of the clouds
    moved = [part.movedim(0, -1).contiguous() for part in (TARGET, OUTPUT)]
    found = vmap(lambda *one: loss(*(part[None] for part in one))[0], in_dims=-1)(*moved)
    torch.testing.assert_close(found, loss(TARGET, OUTPUT))


@every_loss
def test_vmap_of_one_side_and_of_gradients(loss: Loss) -> None:
    found = vmap(lambda output: loss(TARGET[:1], output[None])[0])(OUTPUT)
    torch.testing.assert_close(found, loss(TARGET[:1].expand_as(OUTPUT), OUTPUT))
    each = vmap(grad(lambda output, target: loss(target[None], output[None])[0]))
    torch.testing.assert_close(each(OUTPUT, TARGET), gradient(loss))


@every_loss
@with_masks
def test_compiled_as_one_graph(loss: Loss, masked: bool) -> None:
    torch._dynamo.reset()
    given = (TARGET, OUTPUT, *masks(masked))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), loss(*given))


@every_loss
@with_masks
def test_exported_with_any_number_of_clouds(loss: Loss, masked: bool) -> None:
    class Module(nn.Module):
        def forward(self, *given: Any) -> Tensor:
            return loss(*given)

    given = (TARGET, OUTPUT, *masks(masked))
    clouds = torch.export.Dim("clouds", min=2)
    shapes = (tuple({0: clouds} for _ in given),)
    exported = torch.export.export(Module(), given, dynamic_shapes=shapes).module()
    fewer = [part[:3] for part in given]
    torch.testing.assert_close(exported(*fewer), loss(*fewer))


@every_loss
@with_masks
def test_traces_find_partners_anew(loss: Loss, masked: bool) -> None:
    given, swapped = (TARGET, OUTPUT, *masks(masked)), (OUTPUT, TARGET, *masks(masked))

    def traced(*parts: Tensor) -> Tensor:
        return loss(*parts)

    torch.testing.assert_close(make_fx(traced)(*given)(*swapped), loss(*swapped))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jit.trace is deprecated, and says what it keeps
        scripted = torch.jit.trace(traced, given, check_trace=False)
    torch.testing.assert_close(scripted(*swapped), loss(*swapped))


def test_a_trace_of_two_nodes_is_right_for_others() -> None:
    first, other = torch.tensor([[[0.0], [10.0]]]), torch.tensor([[[1.0], [9.0]]])
    traced = make_fx(partial(losses.third_axis_chamfer, backend="native"))(first, other)
    assert traced(first.flip(1), other).tolist() == [4.0]


@every_loss
@with_masks
def test_shapes_alone(loss: Loss, masked: bool) -> None:
    found = loss(*(part.to("meta") for part in (TARGET, OUTPUT, *masks(masked))))
    assert found.is_meta
    assert found.shape == (4,)
    assert found.dtype == torch.float64


@every_loss
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_an_output_of_autocast_is_compared_in_single_precision(
    loss: Loss, half: torch.dtype
) -> None:
    target, output = TARGET.float(), OUTPUT.to(half).requires_grad_()
    found = loss(target, output)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(target, output.float()))
    found.sum().backward()
    assert output.grad is not None
    assert output.grad.dtype == half


@every_loss
def test_halves_give_single_precision(loss: Loss) -> None:
    # the square of 300 is infinite in half precision, that of 1e-4 is 0
    for size in (300.0, 1e-4):
        target = torch.zeros(1, 1, 3, dtype=torch.float16)
        output = torch.tensor([[[size, 0.0, 0.0]]], dtype=torch.float16)
        found = loss(target, output)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(target.float(), output.float()))
        assert 0 < float(found) < float("inf")


@every_loss
@pytest.mark.parametrize("nodes", [0, 5])
def test_no_clouds_have_no_losses(loss: Loss, nodes: int) -> None:
    none = torch.zeros(0, nodes, 3, requires_grad=True)
    found = loss(none, none)
    assert found.shape == (0,)
    found.sum().backward()


@every_loss
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([[[0.0, 0.0, 0.0]]], r"target must be a tensor .*, got list"),
        (torch.zeros(1, 1, 3, dtype=torch.long), "target must hold floating-point numbers, got"),
    ],
)
def test_what_is_no_cloud_is_refused(loss: Loss, target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(target, torch.zeros(1, 1, 3))
