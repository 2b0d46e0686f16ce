"""Neighbour search: exact, the same from both searches, ties to the lowest index."""

from __future__ import annotations

import functools
import importlib.abc
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from generators import NODE_KINDS, PackedPair, packed_pair, ragged_sizes
from oracles import knn_graph_loop, nearest_loop

from gconvae import neighbors
from gconvae.clouds import unpack
from gconvae.neighbors import (
    DenseSearchWarning,
    backends,
    knn_graph,
    nearest,
    nearest_padded,
    resolve_backend,
)

EXACT = ("torch-cluster", "dense", "native")
DTYPES = (torch.float32, torch.float64)


def shapes(num_clouds: int, seed: int) -> tuple[list[int], list[int]]:
    """Cloud sizes small enough for a loop; k-d trees split only clouds of more than 10 nodes."""
    largest = {1: 60, 20: 24}.get(num_clouds, 6)
    return ragged_sizes(num_clouds, largest, seed), ragged_sizes(num_clouds, largest, seed + 1)


# ------------------------------------------------------------------ the same as a slow loop


@functools.cache
def looped(
    kind: str, dtype: torch.dtype, num_clouds: int, features: int
) -> tuple[PackedPair, list[int]]:
    """Clouds and what the loop finds in them, once for all backends."""
    pair = packed_pair(kind, *shapes(num_clouds, features), features, dtype, seed=features)
    return pair, nearest_loop(*pair)


@functools.cache
def looped_graph(
    kind: str, dtype: torch.dtype, num_clouds: int, features: int, k: int, loop: bool
) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Points, their clouds and the graph of the loop, once for all backends."""
    sizes, _ = shapes(num_clouds, k)
    points, batch = packed_pair(kind, sizes, sizes, features, dtype, seed=k)[1::2]
    return points, batch, knn_graph_loop(points, k, batch, loop)


@pytest.mark.usefixtures("unsaid", "without_compiler")
def test_a_missing_compiler_is_said_where_the_compiled_search_was_asked_for() -> None:
    pair = packed_pair("lattice", [9, 9], [9, 9], 3)
    with pytest.warns(DenseSearchWarning, match=r"compiled search needs a C\+\+ compiler"):
        index = nearest(*pair, backend="native")
    assert index.tolist() == nearest_loop(*pair)


def test_auto_takes_the_compiled_search_where_it_can() -> None:
    assert resolve_backend("auto", "cpu", torch.float32, num_nodes=25) == "native"
    assert resolve_backend("auto", "cpu", torch.float64) == "native"
    assert resolve_backend("auto", "cpu", torch.bfloat16, num_nodes=25) == "dense"


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("num_clouds", [1, 900])
def test_both_ways_are_two_searches(backend: str, num_clouds: int) -> None:
    a, b = torch.rand(num_clouds, 25, 3).mul(9).round(), torch.rand(num_clouds, 20, 3).mul(9)
    to_b, to_a = neighbors.nearest_both(a, b, backend=backend)
    assert torch.equal(to_b, nearest_padded(a, b, backend=backend))
    assert torch.equal(to_a, nearest_padded(b, a, backend=backend))


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_clouds", [1, 20, 300])
@pytest.mark.parametrize("features", [2, 3, 5, 8])
def test_nearest_equals_the_loop(
    backend: str, kind: str, dtype: torch.dtype, num_clouds: int, features: int
) -> None:
    pair, wanted = looped(kind, dtype, num_clouds, features)
    assert nearest(*pair, backend=backend).tolist() == wanted


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize(
    ("num_clouds", "features", "dtype"), [(1, 2, DTYPES[0]), (20, 4, DTYPES[1])]
)
def test_knn_graph_equals_the_loop(
    backend: str,
    kind: str,
    loop: bool,
    k: int,
    num_clouds: int,
    features: int,
    dtype: torch.dtype,
) -> None:
    points, batch, wanted = looped_graph(kind, dtype, num_clouds, features, k, loop)
    edges = knn_graph(points, k, batch, loop=loop, backend=backend)
    assert edges.t().tolist() == wanted


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("kind", NODE_KINDS)
def test_padded_equals_packed(backend: str, kind: str) -> None:
    pair = packed_pair(kind, *shapes(20, 0), 3)
    (query, query_mask), (points, points_mask) = (
        unpack(pair.query, pair.batch_query),
        unpack(pair.points, pair.batch_points),
    )
    index = nearest_padded(query, points, query_mask, points_mask, backend=backend)
    counts = points_mask.sum(1)
    local = nearest(*pair, backend=backend) - (counts.cumsum(0) - counts)[pair.batch_query]
    assert index[query_mask].tolist() == local.tolist()


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("kind", NODE_KINDS)
def test_padded_without_masks_equals_the_loop(backend: str, kind: str) -> None:
    pair = packed_pair(kind, [7] * 9, [13] * 9, 3)
    index = nearest_padded(pair.query.view(9, 7, 3), pair.points.view(9, 13, 3), backend=backend)
    assert (index + 13 * torch.arange(9).unsqueeze(1)).flatten().tolist() == nearest_loop(*pair)


# --------------------------------------------------------------------- ties and overflows


@pytest.mark.parametrize("backend", EXACT)
def test_ties_go_to_the_lowest_index(backend: str) -> None:
    points = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    points = torch.cat([points] * 8)
    zeros = torch.zeros(len(points), dtype=torch.long)
    assert nearest(torch.zeros(1, 2), points, zeros[:1], zeros, backend=backend).tolist() == [1]


@pytest.mark.parametrize("backend", EXACT)
def test_a_squared_distance_that_overflows_drops_no_query(backend: str) -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3e38, 0.0], [3e38, 0.0]])
    query = torch.tensor([[-3e38, 0.0], [3e38, 1.0], [0.9, 0.0]])
    batches = torch.zeros(3, dtype=torch.long), torch.zeros(4, dtype=torch.long)
    assert nearest(query, points, *batches, backend=backend).tolist() == [0, 2, 1]


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_squared_distance_that_overflows_drops_no_edge(backend: str, k: int) -> None:
    points = torch.tensor([[0.0], [3e38], [-3e38], [1.0]])
    batch = torch.zeros(4, dtype=torch.long)
    edges = knn_graph(points, k, batch, backend=backend)
    assert edges.t().tolist() == knn_graph_loop(points, k, batch, loop=False)


# ---------------------------------------------------------------------------- masks


@pytest.mark.parametrize("backend", EXACT)
def test_masked_nodes_are_ignored_wherever_they_are(backend: str) -> None:
    query, points, _, _ = packed_pair("lattice", [8] * 5, [9] * 5, 3)
    query, points = query.view(5, 8, 3), points.view(5, 9, 3)
    generator = torch.Generator().manual_seed(1)
    query_mask = torch.rand(5, 8, generator=generator) < 0.6
    points_mask = torch.rand(5, 9, generator=generator) < 0.6
    points_mask[:, 4] = True
    index = nearest_padded(query, points, query_mask, points_mask, backend=backend)
    for cloud in range(5):
        kept = points_mask[cloud].nonzero()[:, 0]
        alone = nearest_padded(
            query[cloud : cloud + 1], points[cloud : cloud + 1, kept], backend="dense"
        )
        expected = torch.where(query_mask[cloud], kept[alone[0]], 0)
        assert index[cloud].tolist() == expected.tolist()


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 0.0])
def test_values_of_masked_nodes_do_not_matter(backend: str, junk: float) -> None:
    query, points = torch.full((2, 3, 2), junk), torch.full((2, 4, 2), junk)
    query[:, 1], points[:, 2], points[:, 3] = 5.0, 9.0, 6.0
    query_mask = torch.tensor([[False, True, False]] * 2)
    points_mask = torch.tensor([[False, False, True, True]] * 2)
    index = nearest_padded(query, points, query_mask, points_mask, backend=backend)
    assert index.tolist() == [[0, 3, 0]] * 2


@pytest.mark.parametrize("backend", EXACT)
def test_a_masked_node_is_not_chosen_when_all_distances_overflow(backend: str) -> None:
    query, points = torch.full((1, 1, 2), -3e38), torch.full((1, 3, 2), 3e38)
    points_mask = torch.tensor([[False, True, True]])
    assert nearest_padded(query, points, None, points_mask, backend=backend).item() == 1


# ------------------------------------------------------------------------------- small and empty


@pytest.mark.parametrize("backend", EXACT)
def test_a_cloud_of_one_node_is_its_own_nearest(backend: str) -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    batch = torch.tensor([0, 1])
    assert nearest(points, points, batch, batch, backend=backend).tolist() == [0, 1]
    assert nearest_padded(points[:, None], points[:, None], backend=backend).tolist() == [[0], [0]]


@pytest.mark.parametrize("backend", EXACT)
def test_a_cloud_of_one_node_has_no_edge_but_its_loop(backend: str) -> None:
    points, batch = torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)
    assert knn_graph(points, 3, batch, backend=backend).shape == (2, 0)
    assert knn_graph(points, 3, batch, loop=True, backend=backend).tolist() == [[0], [0]]


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("sizes_points", [[0, 0], [2, 3]])
def test_no_query_gives_no_index(backend: str, sizes_points: list[int]) -> None:
    index = nearest(*packed_pair("random", [0, 0], sizes_points, 2), backend=backend)
    assert index.shape == (0,)
    assert index.dtype == torch.long


@pytest.mark.parametrize("backend", EXACT)
def test_a_cloud_without_queries_is_passed_over(backend: str) -> None:
    pair = packed_pair("random", [3, 0, 2], [4, 5, 6], 2)
    assert nearest(*pair, backend=backend).tolist() == nearest_loop(*pair)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_padded_of_nothing_is_nothing(backend: str, shape: tuple[int, int]) -> None:
    index = nearest_padded(torch.empty(*shape, 2), torch.empty(shape[0], 5, 2), backend=backend)
    assert index.shape == shape


@pytest.mark.parametrize("backend", EXACT)
def test_a_graph_of_nothing_is_nothing(backend: str) -> None:
    edges = knn_graph(torch.empty(0, 2), 2, torch.empty(0, dtype=torch.long), backend=backend)
    assert edges.shape == (2, 0)
    assert edges.dtype == torch.long


@pytest.mark.parametrize("backend", EXACT)
def test_a_search_carries_no_gradient_and_takes_tensors_that_do(backend: str) -> None:
    points = torch.rand(2, 5, 3, requires_grad=True)
    assert not nearest_padded(points * 2, points, backend=backend).requires_grad


# ----------------------------------------------------------------- where torch-cluster cannot run


@pytest.mark.usefixtures("unsaid")
class TestFallback:
    """The dense search stands in for torch-cluster, and says so once."""

    def test_without_torch_cluster_the_search_is_dense(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch_cluster", None)
        pair = packed_pair("lattice", [9, 9], [9, 9], 3)
        with pytest.warns(DenseSearchWarning, match=r"is not installed .the README says"):
            index = nearest(*pair)
        assert index.tolist() == nearest_loop(*pair)

    def test_a_reason_is_said_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch_cluster", None)
        points = torch.rand(2, 5, 3)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(3):
                nearest_padded(points, points)
        assert [one.category for one in said] == [DenseSearchWarning]

    def test_the_dense_search_needs_no_torch_cluster(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch_cluster", None)
        points = torch.rand(2, 5, 3)
        index = nearest_padded(points, points, backend="dense")  # a warning would be an error
        assert index.tolist() == [[0, 1, 2, 3, 4]] * 2

    def test_a_library_that_does_not_load_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken(importlib.abc.MetaPathFinder):
            def find_spec(self, name: str, path: Any, target: Any = None) -> None:
                if name == "torch_cluster":
                    raise OSError("undefined symbol: _ZN5torch")

        monkeypatch.delitem(sys.modules, "torch_cluster", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
        with pytest.warns(DenseSearchWarning, match="does not load: undefined symbol"):
            assert resolve_backend("torch-cluster", "cpu", torch.float32) == "dense"

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_low_precision_is_searched_densely_in_float32(self, dtype: torch.dtype) -> None:
        pair = packed_pair("random", [1500, 1500], [400, 400], 3)
        query, points = pair.query.to(dtype), pair.points.to(dtype)
        with pytest.warns(DenseSearchWarning, match=f"in {dtype}, which is not exact"):
            index = nearest(query, points, *pair[2:])
        exact = nearest(query.float(), points.float(), *pair[2:], backend="dense")
        assert torch.equal(index, exact)

    def test_a_cpu_build_leaves_gpu_tensors_to_the_dense_search(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch_cluster  # noqa: F401  # registers the operator

        build = SimpleNamespace(cuda_version=lambda: -1)
        monkeypatch.setattr(torch.ops, "torch_cluster", build)
        with pytest.warns(DenseSearchWarning, match="is built without CUDA"):
            assert resolve_backend("torch-cluster", "cuda", torch.float32) == "dense"

    def test_a_gpu_build_finds_100_neighbours_at_most(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch_cluster  # noqa: F401

        build = SimpleNamespace(cuda_version=lambda: 12040)
        monkeypatch.setattr(torch.ops, "torch_cluster", build)
        assert resolve_backend("torch-cluster", "cuda", torch.float32, k=98) == "torch-cluster"
        with pytest.warns(DenseSearchWarning, match="at most 100 neighbours"):
            assert resolve_backend("torch-cluster", "cuda", torch.float32, k=99) == "dense"

    def test_other_devices_are_left_to_the_dense_search(self) -> None:
        with pytest.warns(DenseSearchWarning, match="cannot search on device mps"):
            assert resolve_backend("torch-cluster", "mps", torch.float32) == "dense"

    def test_auto_is_silent_where_dense_is_faster_anyway(
        self, monkeypatch: pytest.MonkeyPatch, without_compiler: None
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch_cluster", None)
        assert resolve_backend("auto", "cpu", torch.float32, num_nodes=25) == "dense"


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize(
    ("num_nodes", "expected"),
    [(backends.AUTO_CROSSING - 1, "dense"), (backends.AUTO_CROSSING, "torch-cluster")],
)
def test_auto_takes_trees_from_the_crossing_on(num_nodes: int, expected: str) -> None:
    assert resolve_backend("auto", "cpu", torch.float32, num_nodes) == expected


def test_torch_cluster_is_used_where_it_can_run() -> None:
    assert resolve_backend("torch-cluster", "cpu", torch.float64, num_nodes=25) == "torch-cluster"
