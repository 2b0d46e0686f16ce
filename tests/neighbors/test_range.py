"""Distances whose squares leave float32: every search still finds the nearest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae import neighbors
from gconvae.neighbors import dense, native, triton

BACKENDS = ["torch-cluster", "dense", "native"]
SCALES = [1e-44, 1e-38, 1e-30, 1e-22, 1e-16, 1.0, 1e18, 1e20, 1e30, 1e37]


def clouds(scale: float, size: int, features: int = 3) -> tuple[Tensor, Tensor]:
    """Nodes in whole numbers of the scale: exact as long as they are numbers at all."""
    made = torch.Generator().manual_seed(0)
    sides = (torch.randint(-9, 10, (2, n, features), generator=made) for n in (size, size + 3))
    factor = torch.tensor(2.0 ** round(math.log2(scale)))  # ties of whole numbers stay ties
    a, b = (side.float() * factor for side in sides)
    return a, b


def in_double(query: Tensor, points: Tensor, mask: Tensor | None = None) -> Tensor:
    """The lowest index among the nearest points, every distance in float64."""
    gap = query.double().unsqueeze(2) - points.double().unsqueeze(1)
    distance = sum(part * part for part in gap.unbind(-1))
    if mask is not None:
        distance = distance.masked_fill(~mask.unsqueeze(1), torch.inf)
    return (distance == distance.min(2, keepdim=True).values).int().argmax(2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [12, 900])
def test_the_nearest_of_any_scale(backend: str, scale: float, size: int) -> None:
    a, b = clouds(scale, size)
    mask = torch.ones(b.shape[:2], dtype=torch.bool)
    mask[:, ::3] = False
    found = neighbors.nearest_both(a, b, backend=backend)
    assert torch.equal(found[0], in_double(a, b))
    assert torch.equal(found[1], in_double(b, a))
    masked = neighbors.nearest_padded(a, b, None, mask, backend=backend)
    assert torch.equal(masked, in_double(a, b, mask))


# numpy, with which the interpreter works, says what a GPU does silently
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("scale", [1e-38, 1e-22, 1.0, 1e30])
def test_the_nearest_of_any_scale_on_a_gpu(scale: float) -> None:
    a, b = clouds(scale, 12)
    mask = torch.ones(b.shape[:2], dtype=torch.bool)
    mask[:, ::3] = False
    assert torch.equal(triton.nearest(a, b), in_double(a, b))
    assert torch.equal(triton.nearest(a, b, None, mask), in_double(a, b, mask))
    index, _, terms, _ = triton.terms(a, b, (None, None), 3, 1.0)
    partner = b.gather(1, index.unsqueeze(-1).expand(-1, -1, 3))
    assert torch.equal(terms, neighbors.squared_distance(a, partner))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_case_of_the_report(backend: str) -> None:
    query, points = torch.tensor([[[0.0]]]), torch.tensor([[[3e30], [1e30]]])
    assert neighbors.nearest_padded(query, points, backend=backend).item() == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_very_near_and_very_far_in_one_cloud(backend: str) -> None:
    points = torch.tensor([[[2e30], [1e30], [2e-30], [1e-30], [0.0]]])
    query = torch.tensor([[[0.0], [1.1e30], [1.1e-30], [1.6e30], [-1e-31]]])
    index = neighbors.nearest_padded(query, points, backend=backend)
    assert torch.equal(index, in_double(query, points))


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_clouds_of_any_scale(backend: str) -> None:
    a, b = clouds(1e-30, 7)
    batches = torch.arange(2).repeat_interleave(7), torch.arange(2).repeat_interleave(10)
    index = neighbors.nearest(a.flatten(0, 1), b.flatten(0, 1), *batches, backend=backend)
    assert torch.equal(index.view(2, 7), in_double(a, b) + torch.tensor([[0], [10]]))


@pytest.mark.parametrize("backend", ["torch-cluster", "dense"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("loop", [False, True])
def test_a_graph_of_any_scale_is_that_of_scale_one(backend: str, scale: float, loop: bool) -> None:
    nodes = torch.tensor([[0.0], [1.0], [1.5], [7.0], [7.25], [9.0], [9.0]])
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    edges = neighbors.knn_graph(nodes * scale, 2, batch, loop=loop, backend=backend)
    assert torch.equal(edges, neighbors.knn_graph(nodes, 2, batch, loop=loop, backend="dense"))


def test_a_tie_in_any_range_goes_to_the_lowest() -> None:
    for scale in (1e-40, 1e-25, 1.0, 1e25):
        points = torch.tensor([[[3.0], [-1.0], [1.0]]]) * scale
        for backend in BACKENDS:
            assert neighbors.nearest_padded(torch.zeros(1, 1, 1), points, backend=backend) == 1


@pytest.mark.usefixtures("without_compiler")
def test_trees_alone_in_any_range() -> None:
    for scale in SCALES:
        a, b = clouds(scale, 12)
        assert torch.equal(neighbors.nearest_padded(a, b), in_double(a, b))


def test_the_library_for_a_cpu_was_tested() -> None:
    assert native.available()


def test_a_recorded_dense_search_looks_at_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "recording", lambda nodes: True)
    for scale in SCALES:
        a, b = clouds(scale, 12)
        mask = torch.ones(b.shape[:2], dtype=torch.bool)
        mask[:, ::3] = False
        found = dense.nearest_padded(a, b, mask)
        assert torch.equal(found, in_double(a, b, mask))
