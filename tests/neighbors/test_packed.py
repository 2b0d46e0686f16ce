"""What every search refuses, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from generators import PackedPair, packed_pair

from gconvae.neighbors import knn_graph, nearest, nearest_padded

EXACT = ("torch-cluster", "dense", "native")


def clouds_pair() -> PackedPair:
    return packed_pair("random", [2, 2, 2], [3, 3, 3], 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.rand(6)}, r"query must have shape \(nodes, features\), got \(6,\)"),
        (
            {"points": torch.rand(9, 0)},
            r"points must have shape \(nodes, features\), got \(9, 0\)",
        ),
        ({"points": torch.rand(9, 2)}, "the same features, got 3 and 2"),
        ({"points": torch.zeros(9, 3, dtype=torch.long)}, "points must hold floating-point"),
        ({"points": torch.rand(9, 3).double()}, "one dtype and device, got torch.float32 on cpu"),
        ({"points": torch.rand(9, 3, device="meta")}, "got torch.float32 on cpu and .* on meta"),
        ({"batch_points": torch.zeros(9, device="meta").long()}, "batch_points must be on cpu"),
        ({"batch_query": torch.zeros(5).long()}, r"batch_query .* each of the 6 nodes of query"),
        ({"batch_points": torch.zeros(9, 1).long()}, r"batch_points .* got shape \(9, 1\)"),
        ({"batch_points": torch.zeros(9)}, "batch_points must hold integers, got dtype"),
        ({"batch_query": torch.tensor([0, 0, 2, 2, 1, 1])}, "batch_query must be ascending"),
        ({"batch_query": torch.tensor([-1, 0, 0, 1, 1, 2])}, "batch_query must be ascending"),
        ({"batch_points": torch.tensor([0] * 8 + [2])}, r"cloud 1 has none \(1 such clouds\)"),
        ({"batch_query": torch.tensor([0, 1, 2, 3, 4, 4])}, r"cloud 3 has none \(2 such clouds\)"),
        ({"backend": "kdtree"}, "one of torch-cluster, dense, native, auto, got 'kdtree'"),
    ],
)
@pytest.mark.parametrize("backend", EXACT)
def test_nearest_refuses(change: dict[str, Any], message: str, backend: str) -> None:
    arguments = {**clouds_pair()._asdict(), "backend": backend, **change}
    with pytest.raises(ValueError, match=message):
        nearest(**arguments)


@pytest.mark.parametrize("backend", EXACT)
def test_queries_of_no_points_at_all_are_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="cloud 1 has none"):
        nearest(*packed_pair("random", [0, 2], [0, 0], 2), backend=backend)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.rand(6, 3)}, r"query must have shape \(clouds, nodes, features\)"),
        ({"points": torch.rand(3, 5, 3)}, "the same clouds, got 2 and 3"),
        ({"points": torch.rand(2, 5, 2)}, "the same features, got 3 and 2"),
        ({"points": torch.rand(2, 0, 3)}, r"cloud 0 has none \(2 such clouds\)"),
        ({"query_mask": torch.ones(2, 4)}, r"query_mask must hold booleans of shape \(2, 4\)"),
        ({"query_mask": torch.ones(2, 4, device="meta") > 0}, r"on cpu, got .* on meta"),
        (
            {"points_mask": torch.ones(2, 4) > 0},
            r"points_mask .* \(2, 5\) on cpu, got .* \(2, 4\)",
        ),
        ({"points_mask": torch.tensor([[True] * 5, [False] * 5])}, "cloud 1 has none"),
    ],
)
@pytest.mark.parametrize("backend", EXACT)
def test_nearest_padded_refuses(change: dict[str, Any], message: str, backend: str) -> None:
    arguments = {"query": torch.rand(2, 4, 3), "points": torch.rand(2, 5, 3), "backend": backend}
    with pytest.raises(ValueError, match=message):
        nearest_padded(**{**arguments, **change})


@pytest.mark.parametrize("backend", EXACT)
def test_a_cloud_masked_on_both_sides_is_passed_over(backend: str) -> None:
    query, points = torch.rand(2, 4, 3), torch.rand(2, 5, 3)
    query_mask, points_mask = torch.ones(2, 4) > 0, torch.ones(2, 5) > 0
    query_mask[1], points_mask[1] = False, False
    index = nearest_padded(query, points, query_mask, points_mask, backend=backend)
    assert index[1].tolist() == [0] * 4


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_knn_graph_refuses_a_k_that_is_no_positive_number(k: Any) -> None:
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got"):
        knn_graph(torch.rand(3, 2), k, torch.zeros(3).long())


def test_knn_graph_names_its_own_arguments() -> None:
    with pytest.raises(ValueError, match="batch must be ascending"):
        knn_graph(torch.rand(3, 2), 1, torch.tensor([1, 0, 0]))
