"""Neighbour search: exact, the same from both searches, ties to the lowest index."""

from __future__ import annotations

import importlib.abc
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from generators import NODE_KINDS, PackedPair, packed_pair, ragged_sizes
from oracles import knn_graph_loop, nearest_loop
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gconvae import neighbors
from gconvae.clouds import unpack
from gconvae.neighbors import (
    DenseSearchWarning,
    knn_graph,
    native,
    nearest,
    nearest_padded,
    resolve_backend,
    search,
    squared_distance,
)

EXACT = ("torch-cluster", "dense", "native")
DTYPES = (torch.float32, torch.float64)


@pytest.fixture
def unsaid() -> Iterator[None]:
    """Lets warnings that are given once a process be given again."""
    search._say_once.cache_clear()
    yield
    search._say_once.cache_clear()


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written for machines without a C++ compiler."""
    monkeypatch.setattr(native, "obstacle", lambda *_: "needs a C++ compiler, and none was found")


def shapes(num_clouds: int, seed: int) -> tuple[list[int], list[int]]:
    """Cloud sizes small enough for a loop; k-d trees split only clouds of more than 10 nodes."""
    largest = {1: 60, 20: 24}.get(num_clouds, 6)
    return ragged_sizes(num_clouds, largest, seed), ragged_sizes(num_clouds, largest, seed + 1)


# ------------------------------------------------------------------ the same as a slow loop


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize("kind", NODE_KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [2, 3, 5])
def test_trees_are_exact_without_a_compiler_too(
    kind: str, dtype: torch.dtype, features: int
) -> None:
    pair = packed_pair(kind, *shapes(20, features), features, dtype, seed=features)
    assert nearest(*pair).tolist() == nearest_loop(*pair)


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
    pair = packed_pair(kind, *shapes(num_clouds, features), features, dtype, seed=features)
    assert nearest(*pair, backend=backend).tolist() == nearest_loop(*pair)


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
    sizes, _ = shapes(num_clouds, k)
    points, batch = packed_pair(kind, sizes, sizes, features, dtype, seed=k)[1::2]
    edges = knn_graph(points, k, batch, loop=loop, backend=backend)
    assert edges.t().tolist() == knn_graph_loop(points, k, batch, loop)


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


# --------------------------------------------------------------------- the two searches agree


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


@pytest.mark.usefixtures("without_compiler")
def test_only_queries_that_tie_are_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    dense_search = search._dense_search

    def spy(query: Tensor, *arguments: Any) -> Tensor:
        searched.append(query)
        return dense_search(query, *arguments)

    monkeypatch.setattr(search, "_dense_search", spy)
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
    assert search._near_ties(distance, 1, features=2).tolist() == [True, False]


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
    query, zero = torch.tensor([[-3e38]]), torch.tensor([0])  # all three overflow: a tie
    assert nearest(query, points, zero, batch).tolist() == [0]
    edges = knn_graph(points, 3, batch)
    assert edges.t().tolist() == knn_graph_loop(points, 3, batch, loop=False)


# ---------------------------------------------------------------------------- masks and chunks


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


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("entries", [1, 7, 64, 500])
@pytest.mark.parametrize("kind", ["random", "lattice"])
def test_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, backend: str, entries: int, kind: str
) -> None:
    pair = packed_pair(kind, *shapes(20, 3), 3)
    query, points = pair.query[:48].view(6, 8, 3), pair.points[:66].view(6, 11, 3)

    def results() -> list[Tensor]:
        return [
            nearest(*pair, backend=backend),
            nearest_padded(query, points, backend=backend),
            knn_graph(pair.points, 4, pair.batch_points, backend=backend),
        ]

    whole = results()
    monkeypatch.setattr(search, "CHUNK_ENTRIES", entries)
    assert all(torch.equal(a, b) for a, b in zip(results(), whole, strict=True))


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that an operation returns."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                # broadcast views have no memory of their own
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.itemsize)
        return out


@pytest.mark.parametrize(
    ("sizes_query", "sizes_points"), [([1000], [20_000]), ([30] * 40, [2000] + [30] * 39)]
)
def test_memory_of_the_dense_search_is_bounded(
    monkeypatch: pytest.MonkeyPatch, sizes_query: list[int], sizes_points: list[int]
) -> None:
    monkeypatch.setattr(search, "CHUNK_ENTRIES", 40_000)
    pair = packed_pair("random", sizes_query, sizes_points, 2)
    with LargestTensor() as largest:
        nearest(*pair, backend="dense")
    # a chunk's candidates hold F features
    assert largest.numel <= 2 * 40_000


def test_memory_of_the_padded_dense_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK_ENTRIES", 4_000)
    points = packed_pair("random", [0] * 3, [500] * 3, 2).points.view(3, 500, 2)
    with LargestTensor() as largest:
        nearest_padded(points, points, backend="dense")
    assert largest.numel <= 4_000


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


# ------------------------------------------------------------------------------------- wrong input


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
    [(search.AUTO_CROSSING - 1, "dense"), (search.AUTO_CROSSING, "torch-cluster")],
)
def test_auto_takes_trees_from_the_crossing_on(num_nodes: int, expected: str) -> None:
    assert resolve_backend("auto", "cpu", torch.float32, num_nodes) == expected


def test_torch_cluster_is_used_where_it_can_run() -> None:
    assert resolve_backend("torch-cluster", "cpu", torch.float64, num_nodes=25) == "torch-cluster"


# ------------------------------------------------------------------------------- squared distance


@pytest.mark.parametrize("dtype", DTYPES)
def test_squared_distance_has_the_bits_of_the_pairwise_search(dtype: torch.dtype) -> None:
    query, points, _, _ = packed_pair("random", [30], [40], 5, dtype)
    gathered = squared_distance(query.repeat_interleave(40, 0), points.repeat(30, 1)).view(30, 40)
    pairs = search._pair_distance(
        search._features_apart(query).unsqueeze(1), search._features_apart(points)
    )
    assert torch.equal(gathered, pairs)


def test_squared_distance_keeps_digits_far_from_the_origin() -> None:
    a, b = torch.tensor([1e4, 1e4]), torch.tensor([1e4, 1e4 + 0.125])
    assert squared_distance(a, b).item() == 0.015625


def test_squared_distance_has_the_right_gradient() -> None:
    a = torch.rand(2, 4, 1, 3, dtype=torch.float64, requires_grad=True)
    b = torch.rand(2, 1, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(squared_distance, (a, b))


def test_squared_distance_of_coincident_nodes_has_gradient_zero() -> None:
    a = torch.ones(3, 2, requires_grad=True)
    squared_distance(a, torch.ones(3, 2)).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("shapes_", [((2, 3), (2, 2)), ((2, 0), (2, 0)), ((2, 3), (2, 1))])
def test_squared_distance_refuses_other_features(shapes_: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="a and b must have the same features"):
        squared_distance(torch.rand(shapes_[0]), torch.rand(shapes_[1]))
