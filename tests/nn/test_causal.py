"""Causal attention against one place, one head and one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae.nn.causal import CausalBlock, Past
from gconvae.randomness import generator, initial_weights

SHAPES = [(8, 2), (6, 1), (6, 3), (4, 4)]

every_shape = pytest.mark.parametrize(("width", "heads"), SHAPES)


def made(width: int, heads: int) -> CausalBlock:
    """With norms whose factors and shifts are not 1 and 0."""
    with initial_weights(0):
        block = CausalBlock(width, heads).double()
        for norm in (block.norm_attention, block.norm_dense):
            torch.nn.init.normal_(norm.weight, mean=1.0, std=0.3)
            torch.nn.init.normal_(norm.bias, std=0.3)
    return block


def places(width: int, num_clouds: int = 3, num_places: int = 6) -> Tensor:
    shape = (num_clouds, num_places, width)
    return torch.randn(shape, generator=generator(0, "hidden"), dtype=torch.float64)


def block_loop(block: CausalBlock, hidden: Tensor, width: int, heads: int) -> np.ndarray:
    """One cloud."""
    state = {key: value.numpy() for key, value in block.state_dict().items()}

    def dense(key: str, vector: np.ndarray) -> np.ndarray:
        return state[f"{key}.weight"] @ vector + state[f"{key}.bias"]

    def normed(key: str, vector: np.ndarray) -> np.ndarray:
        centred = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
        return centred * state[f"{key}.weight"] + state[f"{key}.bias"]

    def gelu(number: float) -> float:
        return number * 0.5 * (1 + math.erf(number / math.sqrt(2)))

    size, rows = width // heads, hidden.numpy()
    triples = [dense("queries_keys_values", normed("norm_attention", row)) for row in rows]
    result = []
    for i, row in enumerate(rows):
        seen = np.zeros(width)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            query = triples[i][:width][part]
            keys = [triples[j][width : 2 * width][part] for j in range(i + 1)]
            values = [triples[j][2 * width :][part] for j in range(i + 1)]
            weights = [math.exp(query @ key / math.sqrt(size)) for key in keys]
            for weight, value in zip(weights, values, strict=True):
                seen[part] += weight / sum(weights) * value
        changed = row + dense("out", seen)
        inner = dense("dense.0", normed("norm_dense", changed))
        result.append(changed + dense("dense.2", np.array([gelu(number) for number in inner])))
    return np.array(result)


@torch.no_grad()
def continued(block: CausalBlock, hidden: Tensor, read_first: int) -> tuple[Tensor, Past]:
    """The first places at once, the others one by one."""
    out, past = block(hidden[:, :read_first])
    outs = [out]
    for i in range(read_first, hidden.shape[1]):
        out, past = block(hidden[:, i : i + 1], past)
        outs.append(out)
    return torch.cat(outs, dim=1), past


@every_shape
@torch.no_grad()
def test_block_equals_the_loop(width: int, heads: int) -> None:
    block, hidden = made(width, heads), places(width)
    for found, cloud in zip(block(hidden)[0], hidden, strict=True):
        wanted = block_loop(block, cloud, width, heads)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_single_precision_and_any_device_equal_double(device: torch.device) -> None:
    block, hidden = made(8, 2), places(8)
    wanted, _ = block(hidden)
    found, _ = block.float().to(device)(hidden.float().to(device))
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-4, atol=1e-5)


@every_shape
def test_a_place_sees_itself_and_all_before_it_and_no_other(width: int, heads: int) -> None:
    block, hidden = made(width, heads), places(width, num_clouds=1)[0]
    slopes = torch.autograd.functional.jacobian(lambda h: block(h[None])[0][0], hidden)
    seen = slopes.abs().amax((1, 3)) > 0  # (N, N)
    assert torch.equal(seen, torch.ones(6, 6, dtype=torch.bool).tril())


@every_shape
@pytest.mark.parametrize("first", range(1, 6))
@torch.no_grad()
def test_whatever_comes_later_changes_nothing_before(width: int, heads: int, first: int) -> None:
    block, hidden = made(width, heads), places(width)
    spoiled = hidden.clone()
    spoiled[:, first:] = 1e3 * spoiled[:, first:].flip(1)
    before, after = block(hidden)[0], block(spoiled)[0]
    torch.testing.assert_close(after[:, :first], before[:, :first], rtol=0, atol=1e-12)
    assert (after[:, first:] != before[:, first:]).any(2).all()


@torch.no_grad()
def test_the_order_of_the_places_before_does_not_matter() -> None:
    block, hidden = made(8, 2), places(8)
    swapped = hidden[:, [3, 0, 4, 2, 1, 5]]
    torch.testing.assert_close(block(swapped)[0][:, 5], block(hidden)[0][:, 5])


@every_shape
@pytest.mark.parametrize("read_first", [1, 3, 5])
@torch.no_grad()
def test_going_on_place_by_place_equals_reading_at_once(
    width: int, heads: int, read_first: int
) -> None:
    block, hidden = made(width, heads), places(width)
    whole, kept = block(hidden)
    found, past = continued(block, hidden, read_first)
    torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-12)
    for one, other in zip(past, kept, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_a_past_is_not_changed_by_going_on() -> None:
    block, hidden = made(8, 2), places(8)
    _, past = block(hidden[:, :3])
    kept = Past(past.keys.clone(), past.values.clone())
    first, _ = block(hidden[:, 3:4], past)
    block(hidden[:, 4:5], past)
    assert all(torch.equal(one, other) for one, other in zip(past, kept, strict=True))
    assert torch.equal(block(hidden[:, 3:4], past)[0], first)


@torch.no_grad()
def test_clouds_do_not_see_each_other() -> None:
    block, hidden = made(8, 2), places(8)
    together, _ = block(hidden)
    for i in range(3):
        torch.testing.assert_close(block(hidden[i : i + 1])[0][0], together[i])


def test_gradient_of_the_places_is_right() -> None:
    block, hidden = made(4, 2), places(4, num_clouds=2, num_places=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: block(h)[0], (hidden,))


@every_shape
def test_every_parameter_gets_a_gradient(width: int, heads: int) -> None:
    block = made(width, heads)
    (block(places(width))[0] ** 2).sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(("width", "heads"), [(8, 3), (4, 8)])
def test_heads_that_do_not_divide_the_width_are_refused(width: int, heads: int) -> None:
    with pytest.raises(ValueError, match=f"heads must divide the width {width}, got {heads}"):
        CausalBlock(width, heads)


@pytest.mark.parametrize(
    ("width", "heads", "message"),
    [
        (0, 1, "width must be a whole number of at least 1, got 0"),
        (8, 0, "heads must be a whole number of at least 1, got 0"),
        (8, -2, "heads must be a whole number of at least 1, got -2"),
        (8, 2.0, "heads must be a whole number of at least 1, got 2.0"),
    ],
)
def test_numbers_below_one_are_refused(width: int, heads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CausalBlock(width, heads)
