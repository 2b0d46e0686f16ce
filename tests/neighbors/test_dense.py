"""The search among all pairs, its memory, and the distance of all searches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from generators import packed_pair, ragged_sizes
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gconvae.neighbors import dense, knn_graph, nearest, nearest_padded, squared_distance

EXACT = ("torch-cluster", "dense", "native")
DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("entries", [1, 7, 64, 500])
@pytest.mark.parametrize("kind", ["random", "lattice"])
def test_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, backend: str, entries: int, kind: str
) -> None:
    pair = packed_pair(kind, ragged_sizes(20, 24, 3), ragged_sizes(20, 24, 4), 3)
    query, points = pair.query[:48].view(6, 8, 3), pair.points[:66].view(6, 11, 3)

    def results() -> list[Tensor]:
        return [
            nearest(*pair, backend=backend),
            nearest_padded(query, points, backend=backend),
            knn_graph(pair.points, 4, pair.batch_points, backend=backend),
        ]

    whole = results()
    monkeypatch.setattr(dense, "CHUNK_ENTRIES", entries)
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
    monkeypatch.setattr(dense, "CHUNK_ENTRIES", 40_000)
    pair = packed_pair("random", sizes_query, sizes_points, 2)
    with LargestTensor() as largest:
        nearest(*pair, backend="dense")
    # a chunk's candidates hold F features
    assert largest.numel <= 2 * 40_000


def test_memory_of_the_padded_dense_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "CHUNK_ENTRIES", 4_000)
    points = packed_pair("random", [0] * 3, [500] * 3, 2).points.view(3, 500, 2)
    with LargestTensor() as largest:
        nearest_padded(points, points, backend="dense")
    assert largest.numel <= 4_000


@pytest.mark.parametrize("dtype", DTYPES)
def test_squared_distance_has_the_bits_of_the_pairwise_search(dtype: torch.dtype) -> None:
    query, points, _, _ = packed_pair("random", [30], [40], 5, dtype)
    gathered = squared_distance(query.repeat_interleave(40, 0), points.repeat(30, 1)).view(30, 40)
    pairs = dense._pair_distance(
        dense._features_apart(query).unsqueeze(1), dense._features_apart(points)
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
