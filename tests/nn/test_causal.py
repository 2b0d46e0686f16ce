"""Causal attention against one place, one head and one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae.nn.causal import CausalBlock, Reader, folded, normal
from gconvae.randomness import generator, initial_weights

SHAPES = [(8, 2), (6, 1), (6, 3), (4, 4)]

every_shape = pytest.mark.parametrize(("width", "heads"), SHAPES)


def made(width: int, heads: int) -> CausalBlock:
    """With norms whose factors and shifts are not 1 and 0."""
    with initial_weights(0):
        block = CausalBlock(width, heads).double()
        torch.nn.init.normal_(block.norm.weight, mean=1.0, std=0.3)
        torch.nn.init.normal_(block.norm.bias, std=0.3)
    return block


def places(width: int, num_clouds: int = 3, num_places: int = 6) -> Tensor:
    shape = (num_clouds, num_places, width)
    return torch.randn(shape, generator=generator(0, "hidden"), dtype=torch.float64)


def block_loop(block: CausalBlock, hidden: Tensor, width: int, heads: int) -> np.ndarray:
    """One cloud."""
    state = {key: value.numpy() for key, value in block.state_dict().items()}

    def dense(key: str, vector: np.ndarray) -> np.ndarray:
        return state[f"{key}.weight"] @ vector + state[f"{key}.bias"]

    def normed(vector: np.ndarray) -> np.ndarray:
        centred = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
        return centred * state["norm.weight"] + state["norm.bias"]

    size, rows = width // heads, hidden.numpy()
    read = [normed(row) for row in rows]
    triples = [dense("queries_key_value", row) for row in read]
    result = []
    for i, row in enumerate(rows):
        seen = np.zeros(width)
        keys = [triples[j][width : width + size] for j in range(i + 1)]
        values = [triples[j][width + size :] for j in range(i + 1)]
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            query = triples[i][:width][part]
            weights = [math.exp(query @ key / math.sqrt(size)) for key in keys]
            for weight, value in zip(weights, values, strict=True):
                seen[part] += weight / sum(weights) * value
        inner = np.maximum(0, dense("inner", read[i]))
        result.append(row + dense("out", seen) + state["outer.weight"] @ inner)
    return np.array(result)


@torch.no_grad()
def place_by_place(block: CausalBlock, hidden: Tensor) -> Tensor:
    """As a reader reads it."""
    reader = Reader(block, hidden)
    return torch.stack([reader.next(place) for place in hidden.unbind(1)], dim=1)


@every_shape
@torch.no_grad()
def test_block_equals_the_loop(width: int, heads: int) -> None:
    block, hidden = made(width, heads), places(width)
    for found, cloud in zip(block(hidden), hidden, strict=True):
        wanted = block_loop(block, cloud, width, heads)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_single_precision_and_any_device_equal_double(device: torch.device) -> None:
    block, hidden = made(8, 2), places(8)
    wanted = block(hidden)
    found = block.float().to(device)(hidden.float().to(device))
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-4, atol=1e-5)


@every_shape
def test_a_place_sees_itself_and_all_before_it_and_no_other(width: int, heads: int) -> None:
    block, hidden = made(width, heads), places(width, num_clouds=1)[0]
    slopes = torch.autograd.functional.jacobian(lambda h: block(h[None])[0], hidden)
    seen = slopes.abs().amax((1, 3)) > 0  # (N, N)
    assert torch.equal(seen, torch.ones(6, 6, dtype=torch.bool).tril())


@every_shape
@pytest.mark.parametrize("first", range(1, 6))
@torch.no_grad()
def test_whatever_comes_later_changes_nothing_before(width: int, heads: int, first: int) -> None:
    block, hidden = made(width, heads), places(width)
    spoiled = hidden.clone()
    spoiled[:, first:] = 1e3 * spoiled[:, first:].flip(1)
    before, after = block(hidden), block(spoiled)
    torch.testing.assert_close(after[:, :first], before[:, :first], rtol=0, atol=1e-12)
    assert (after[:, first:] != before[:, first:]).any(2).all()


@torch.no_grad()
def test_the_order_of_the_places_before_does_not_matter() -> None:
    block, hidden = made(8, 2), places(8)
    swapped = hidden[:, [3, 0, 4, 2, 1, 5]]
    torch.testing.assert_close(block(swapped)[:, 5], block(hidden)[:, 5])


@torch.no_grad()
def test_clouds_do_not_see_each_other() -> None:
    block, hidden = made(8, 2), places(8)
    together = block(hidden)
    for i in range(3):
        torch.testing.assert_close(block(hidden[i : i + 1])[0], together[i])


def test_gradient_of_the_places_is_right() -> None:
    block, hidden = made(4, 2), places(4, num_clouds=2, num_places=3).requires_grad_()
    assert torch.autograd.gradcheck(block, (hidden,))


@every_shape
def test_every_parameter_gets_a_gradient(width: int, heads: int) -> None:
    block = made(width, heads)
    (block(places(width)) ** 2).sum().backward()
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


# a reader


@pytest.mark.parametrize(("num_clouds", "num_places"), [(3, 6), (1, 1), (5, 2), (2, 25)])
@pytest.mark.parametrize(("width", "heads"), [*SHAPES, (1, 1), (64, 2)])
def test_going_on_place_by_place_equals_reading_at_once(
    width: int, heads: int, num_clouds: int, num_places: int
) -> None:
    block, hidden = made(width, heads), places(width, num_clouds, num_places)
    with torch.no_grad():
        wanted = block(hidden)
    found = place_by_place(block, hidden)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_single_precision_and_any_device_are_read_as_double(device: torch.device) -> None:
    block, hidden = made(8, 2), places(8)
    wanted = place_by_place(block, hidden)
    found = place_by_place(block.float().to(device), hidden.float().to(device))
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", range(1, 6))
def test_a_reader_does_not_know_what_comes_later(first: int) -> None:
    block, hidden = made(8, 2), places(8)
    spoiled = hidden.clone()
    spoiled[:, first:] = 1e3 * spoiled[:, first:].flip(1)
    before, after = place_by_place(block, hidden), place_by_place(block, spoiled)
    assert torch.equal(after[:, :first], before[:, :first])
    assert (after[:, first:] != before[:, first:]).any(2).all()


def test_a_reader_does_not_see_the_order_of_the_places_before() -> None:
    block, hidden = made(8, 2), places(8)
    swapped = hidden[:, [3, 0, 4, 2, 1, 5]]
    last, wanted = (place_by_place(block, each)[:, 5] for each in (swapped, hidden))
    torch.testing.assert_close(last, wanted)


def test_a_reader_reads_each_sequence_by_itself() -> None:
    block, hidden = made(8, 2), places(8)
    together = place_by_place(block, hidden)
    for i in range(3):
        torch.testing.assert_close(place_by_place(block, hidden[i : i + 1])[0], together[i])


@torch.no_grad()
def test_readers_of_one_block_know_nothing_of_each_other() -> None:
    block, hidden = made(8, 2), places(8)
    wanted = block(hidden), block(hidden.flip(0))
    first, second = Reader(block, hidden), Reader(block, hidden)
    found = [(first.next(h), second.next(h.flip(0))) for h in hidden.unbind(1)]
    for made_by, expected in zip(zip(*found, strict=True), wanted, strict=True):
        torch.testing.assert_close(torch.stack(made_by, dim=1), expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_reading_changes_neither_the_block_nor_what_is_read() -> None:
    block, hidden = made(8, 2), places(8)
    kept = {name: value.clone() for name, value in block.state_dict().items()}
    place_by_place(block, hidden)
    assert torch.equal(hidden, places(8))
    for name, value in block.state_dict().items():
        assert torch.equal(value, kept[name]), name


@pytest.mark.parametrize(("width", "outputs"), [(1, 1), (8, 24), (6, 1), (64, 192)])
@torch.no_grad()
def test_a_folded_norm_and_layer_are_both_one_after_the_other(width: int, outputs: int) -> None:
    with initial_weights(1):
        norm, layer = torch.nn.LayerNorm(width).double(), torch.nn.Linear(width, outputs).double()
        torch.nn.init.normal_(norm.weight, mean=1.0, std=0.5)
        torch.nn.init.normal_(norm.bias)
    hidden = places(width, 1, 50)[0]
    weight, bias = folded(norm, layer)
    assert (weight.shape, bias.shape) == ((width, outputs), (outputs,))
    found = normal(hidden) @ weight + bias
    torch.testing.assert_close(found, layer(norm(hidden)), rtol=1e-10, atol=1e-10)


def test_normal_features_have_mean_0_and_variance_1() -> None:
    found = normal(5 + 3 * places(64, 1, 20)[0])
    torch.testing.assert_close(found.mean(1), torch.zeros(20).double(), rtol=0, atol=1e-12)
    variance = found.var(1, correction=0)
    torch.testing.assert_close(variance, torch.ones(20).double(), rtol=0, atol=1e-4)
