"""The layer on sets against one cloud, one head and one pair at a time; order and masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gconvae.nn.equivariant import SetLayer
from gconvae.randomness import generator, initial_weights

SHAPES = [(8, 2), (6, 1), (6, 3), (4, 4)]

every_shape = pytest.mark.parametrize(("width", "heads"), SHAPES)


def made(width: int = 8, heads: int = 2) -> SetLayer:
    """With a norm whose factors and shifts are not 1 and 0."""
    with initial_weights(0):
        layer = SetLayer(width, heads).double()
        nn.init.normal_(layer.norm.weight, mean=1.0, std=0.3)
        nn.init.normal_(layer.norm.bias, std=0.3)
    return layer


def inputs(width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Three clouds of 5, 2 and 4 of 5 nodes."""
    random = generator(0, "hidden")
    nodes = torch.randn(3, 5, width, generator=random, dtype=torch.float64)
    vector = torch.randn(3, width, generator=random, dtype=torch.float64)
    real = (torch.arange(5) < torch.tensor([5, 2, 4]).unsqueeze(1)).double().unsqueeze(1)
    return nodes, vector, real


def loop(layer: SetLayer, nodes: Tensor, vector: Tensor, heads: int) -> Tensor:
    """One cloud whose nodes are all real."""
    width = nodes.shape[1]
    size, result = width // heads, []
    told = layer.of_set.weight @ vector
    read = [layer.norm(node + told) for node in nodes]
    triples = [layer.queries_key_value(row) for row in read]
    for node, row, triple in zip(nodes, read, triples, strict=True):
        heard = []
        for head in range(heads):
            query = triple[head * size : (head + 1) * size]
            scores = [float(query @ other[width : width + size]) for other in triples]
            weights = [math.exp(score / math.sqrt(size)) for score in scores]
            parts = [w * other[width + size :] for w, other in zip(weights, triples, strict=True)]
            heard.append(torch.stack(parts).sum(0) / sum(weights))
        inner = nn.functional.gelu(layer.inner(row))
        result.append(node + layer.out(torch.cat(heard)) + layer.outer(inner))
    return torch.stack(result)


@every_shape
@torch.no_grad()
def test_layer_is_the_loop_over_clouds_heads_and_pairs(width: int, heads: int) -> None:
    layer, (nodes, vector, real) = made(width, heads), inputs(width)
    found = layer(nodes, vector, real)
    for cloud, count in enumerate((5, 2, 4)):
        wanted = loop(layer, nodes[cloud, :count], vector[cloud], heads)
        torch.testing.assert_close(found[cloud, :count], wanted)


@torch.no_grad()
def test_permuted_nodes_give_permuted_results() -> None:
    layer, (nodes, vector, real) = made(), inputs()
    order = [3, 0, 4, 2, 1]
    found = layer(nodes[:, order], vector, real[..., order])
    wanted = layer(nodes, vector, real)[:, order]
    there = real[:, 0, order].bool()
    torch.testing.assert_close(found[there], wanted[there])


@torch.no_grad()
def test_masked_nodes_are_heard_by_nobody() -> None:
    layer, (nodes, vector, real) = made(), inputs()
    there = real[:, 0].bool()
    spoiled = torch.where(there.unsqueeze(-1), nodes, 1e6)
    wanted = layer(nodes, vector, real)
    assert torch.equal(layer(spoiled, vector, real)[there], wanted[there])


def test_every_parameter_gets_a_gradient() -> None:
    layer = made()
    layer(*inputs()).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("width", "heads", "message"),
    [
        (0, 1, "width must be a whole number of at least 1, got 0"),
        (8, 0, "heads must be a whole number of at least 1, got 0"),
        (8, 3, "heads must divide the width 8, got 3"),
    ],
)
def test_wrong_options_are_an_error(width: int, heads: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SetLayer(width, heads)
