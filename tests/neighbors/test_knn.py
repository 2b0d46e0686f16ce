"""The k nearest points between two sets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from generators import NODE_KINDS, nodes
from oracles import knn_loop
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from gconvae import neighbors
from gconvae.neighbors import knn, knn_padded, nearest

BACKENDS = ["torch-cluster", "dense", "native"]


def made(kind: str, size: int, seed: int) -> Tensor:
    return nodes(kind, size, 3, torch.Generator().manual_seed(seed), torch.float32)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_equals_the_loop(backend: str, kind: str, k: int) -> None:
    query, points = made(kind, 12, 0), made(kind, 15, 1)
    batches = torch.tensor([0] * 5 + [1] * 7), torch.tensor([0] * 4 + [1] * 11)
    found = knn(query, points, k, *batches, backend=backend)
    wanted = knn_loop(query, points, *batches, k)
    assert found.indices.tolist() == [row + [-1] * (k - len(row)) for row in wanted]
    gap = query.unsqueeze(1) - points[found.indices.clamp(min=0)]
    distance = neighbors.squared_distance(gap, torch.zeros(3))
    assert torch.equal(found.distances, distance.masked_fill(found.indices < 0, torch.inf))


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_padded_with_masks_equals_cloud_by_cloud(norm: int, k: int) -> None:
    query, points = made("random", 15, 0).view(3, 5, 3), made("random", 21, 1).view(3, 7, 3)
    query_mask = torch.ones(3, 5, dtype=torch.bool)
    points_mask = torch.ones(3, 7, dtype=torch.bool)
    query_mask[0, 2], points_mask[0, :3], points_mask[2, 4:] = False, False, False
    found = knn_padded(query, points, k, query_mask, points_mask, norm=norm)
    for cloud in range(3):
        gap = (query[cloud].unsqueeze(1) - points[cloud]).abs()
        distance = gap.sum(-1) if norm == 1 else gap.square().sum(-1)
        distance = distance.masked_fill(~points_mask[cloud], torch.inf)
        values, order = distance.sort(dim=1, stable=True)
        wanted = order[:, :k].masked_fill(values[:, :k] == torch.inf, -1)
        wanted = wanted.masked_fill(~query_mask[cloud].unsqueeze(1), -1)
        assert torch.equal(found.indices[cloud], wanted)
        values = values[:, :k].masked_fill(wanted < 0, torch.inf)
        torch.testing.assert_close(found.distances[cloud], values)


def test_distances_have_gradients() -> None:
    query = torch.tensor([[0.0, 0.0]], requires_grad=True)
    points = torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]], requires_grad=True)
    found = knn(query, points, 4)
    assert found.indices.tolist() == [[0, 1, 2, -1]]
    slopes = torch.autograd.grad(found.distances[:, :2].sum(), [query, points])
    assert slopes[0].tolist() == [[-2.0, -4.0]]
    assert slopes[1].tolist() == [[2.0, 0.0], [0.0, 4.0], [0.0, 0.0]]


def test_without_batches_all_is_one_cloud() -> None:
    query, points = made("random", 6, 0), made("random", 9, 1)
    zeros = torch.zeros(6, dtype=torch.long), torch.zeros(9, dtype=torch.long)
    assert torch.equal(knn(query, points, 2).indices, knn(query, points, 2, *zeros).indices)
    assert torch.equal(nearest(query, points), nearest(query, points, *zeros))
    graph = neighbors.knn_graph(points, 2)
    assert torch.equal(graph, neighbors.knn_graph(points, 2, zeros[1]))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": 1.5}, "k must be a whole number of at least 1, got 1.5"),
        ({"norm": 3}, "norm must be 1 or 2, got 3"),
        ({"batch_query": torch.zeros(2).long()}, "batch_points must be given where batch_query"),
        ({"batch_points": torch.zeros(2).long()}, "batch_query must be given where batch_points"),
        ({"points": torch.zeros(0, 1)}, "points must have a node in every cloud"),
        ({"backend": "faiss"}, "backend must be one of"),
    ],
)
def test_wrong_calls_are_refused(change: dict[str, Any], match: str) -> None:
    given = {"query": torch.zeros(2, 1), "points": torch.zeros(2, 1), "k": 1} | change
    with pytest.raises(ValueError, match=match):
        knn(**given)


def test_no_queries_have_no_neighbours() -> None:
    assert knn(torch.zeros(0, 2), torch.zeros(3, 2), 2).indices.shape == (0, 2)
    assert knn(torch.zeros(0, 2), torch.zeros(0, 2), 2).distances.shape == (0, 2)
    assert knn_padded(torch.zeros(0, 3, 2), torch.zeros(0, 3, 2), 2).indices.shape == (0, 3, 2)


def test_half_precision_is_compared_in_float32() -> None:
    query, points = torch.zeros(1, 1).half(), torch.tensor([[300.0], [301.0]]).half()
    found = knn(query, points, 2, backend="dense")
    assert found.distances.tolist() == [[90000.0, 90601.0]]


@pytest.mark.parametrize("norm", [1, 2])
def test_neighbours_are_found_anew_where_calls_are_recorded_or_mapped(norm: int) -> None:
    first, second = (made("random", 24, seed).view(2, 4, 3, 3)[0] for seed in (0, 1))

    def search(query: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(knn_padded(query, first, 2, norm=norm))

    wanted = search(second)
    recorded = make_fx(search)(first + 1)(second)
    assert torch.equal(recorded[1], wanted[1])
    assert torch.equal(recorded[0], wanted[0])
    mapped = torch.func.vmap(search)(torch.stack([first, second]))
    assert torch.equal(mapped[1][1], wanted[1])
    slope = torch.func.grad(lambda query: search(query)[0].sum())(second)
    query = second.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(search(query)[0].sum(), query)[0])

    def packed(query: Tensor) -> Tensor:
        return knn(query, first[0], 2, norm=norm).indices

    assert torch.equal(make_fx(packed)(first[0] + 1)(second[0]), packed(second[0]))
