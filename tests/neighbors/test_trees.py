"""The search by k-d trees: exact where trees alone are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from generators import NODE_KINDS, packed_pair, ragged_sizes
from oracles import knn_graph_loop, nearest_loop
from torch import Tensor

from gconvae.neighbors import dense, knn_graph, nearest, squared_distance, trees

DTYPES = (torch.float32, torch.float64)


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [2, 3, 5])
def test_trees_are_exact_without_a_compiler_too(
    kind: str, dtype: torch.dtype, features: int
) -> None:
    pair = packed_pair(
        kind,
        ragged_sizes(20, 24, features),
        ragged_sizes(20, 24, features + 1),
        features,
        dtype,
        seed=features,
    )
    assert nearest(*pair).tolist() == nearest_loop(*pair)


@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [2, 3, 4, 5, 6, 7, 8])
def test_searches_agree_on_clouds_that_make_deep_trees(
    kind: str, dtype: torch.dtype, features: int
) -> None:
    pair = packed_pair(kind, [400, 3, 300], [500, 1, 700], features, dtype, seed=features)
    torch.testing.assert_close(
        nearest(*pair, backend="torch-cluster"), nearest(*pair, backend="dense"), rtol=0, atol=0
    )


@pytest.mark.parametrize("kind", NODE_KINDS)
def test_graphs_agree_on_clouds_that_make_deep_trees(kind: str) -> None:
    points, batch = packed_pair(kind, [0, 0], [600, 200], 3)[1::2]
    trees = knn_graph(points, 6, batch, backend="torch-cluster")
    assert torch.equal(trees, knn_graph(points, 6, batch, backend="dense"))


@pytest.mark.usefixtures("without_compiler")
def test_only_queries_that_tie_are_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    search_pairs = dense.nearest_packed

    def spy(query: Tensor, *arguments: Any) -> Tensor:
        searched.append(query)
        return search_pairs(query, *arguments)

    monkeypatch.setattr(dense, "nearest_packed", spy)
    pair = packed_pair("random", [50, 50], [60, 60], 3)
    pair.query[7] = 0.5 * (
        pair.points[3] + pair.points[4]
    )  # two candidates, unless others are near
    pair.points[3:5] = pair.query[7] + torch.tensor([[0.25, 0.0, 0.0], [-0.25, 0.0, 0.0]])
    nearest(*pair)
    assert torch.equal(torch.cat(searched), pair.query[7:8])


@pytest.mark.parametrize("features", [5, 6, 7, 8])
def test_distances_that_differ_by_rounding_alone_are_judged_by_one_sum(features: int) -> None:
    generator = torch.Generator().manual_seed(features)
    points = torch.randn(2000, features, generator=generator)
    points = 5 * points / points.norm(dim=1, keepdim=True)  # as far from the origin as any other
    query = 1e-6 * torch.randn(200, features, generator=generator)
    batches = torch.zeros(200, dtype=torch.long), torch.zeros(2000, dtype=torch.long)
    trees = nearest(query, points, *batches, backend="torch-cluster")
    assert torch.equal(trees, nearest(query, points, *batches, backend="dense"))


def test_gaps_below_the_smallest_normal_number_are_ties() -> None:
    distance = torch.tensor([[0.0, 1e-40], [0.0, 1e-30]])
    assert trees._near_ties(distance, 1, features=2).tolist() == [True, False]


def knn_of_a_gpu(
    x: Tensor, y: Tensor, k: int, batch_x: Tensor, batch_y: Tensor, batch_size: int
) -> Tensor:
    """torch-cluster's CUDA search, which leaves out squared distances from 1e10 on."""
    distance = squared_distance(y.unsqueeze(1), x).masked_fill(
        batch_y.unsqueeze(1) != batch_x, torch.inf
    )
    near, index = distance.topk(k, largest=False)
    row = torch.arange(len(y)).unsqueeze(1).expand_as(index)
    return torch.stack([row[near < 1e10], index[near < 1e10]])


def test_queries_that_torch_cluster_drops_are_searched_densely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch_cluster

    monkeypatch.setattr(torch_cluster, "knn", knn_of_a_gpu)
    pair = packed_pair("outlier", [9, 4, 9], [11, 5, 7], 3)
    assert nearest(*pair).tolist() == nearest_loop(*pair)


def knn_without_overflow(
    x: Tensor, y: Tensor, k: int, batch_x: Tensor, batch_y: Tensor, batch_size: int
) -> Tensor:
    """A search whose distances are wider than the nodes' own precision."""
    distance = squared_distance(y.double().unsqueeze(1), x.double()).masked_fill(
        batch_y.unsqueeze(1) != batch_x, torch.inf
    )
    near, index = distance.flip(1).topk(min(k, len(x)), largest=False)  # prefers high indices
    row = torch.arange(len(y)).unsqueeze(1).expand_as(index)
    return torch.stack([row[near < torch.inf], len(x) - 1 - index[near < torch.inf]])


def test_candidates_whose_distance_overflows_are_kept_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch_cluster

    monkeypatch.setattr(torch_cluster, "knn", knn_without_overflow)
    points = torch.tensor([[3e38], [0.0], [3e38], [0.0], [1.0], [2.0], [3.0], [4.0]])
    batch = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
    query, zero = torch.tensor([[-3e38]]), torch.tensor([0])  # all three overflow
    assert nearest(query, points, zero, batch).tolist() == [1]
    edges = knn_graph(points, 3, batch)
    assert edges.t().tolist() == knn_graph_loop(points, 3, batch, loop=False)
