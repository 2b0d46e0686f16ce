"""What torch-cluster's own tests say of nearest, knn and knn_graph, of our functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gconvae.neighbors import knn, knn_graph, nearest

BACKENDS = ["torch-cluster", "dense", "native"]
DTYPES = [torch.float32, torch.float64]


def corners(dtype: torch.dtype) -> Tensor:
    """Two squares of four corners, one cloud each."""
    square = [[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]
    return torch.tensor(square * 2, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
class TestAll:
    """Each on every backend in both precisions."""

    def test_nearest_with_batches(self, backend: str, dtype: torch.dtype) -> None:
        query = torch.tensor([[-0.9, -0.8], [0.7, 0.9], [1.2, -1.1], [-2.0, 3.0]], dtype=dtype)
        batches = torch.tensor([0, 0, 1, 1]), torch.tensor([0] * 4 + [1] * 4)
        found = nearest(query, corners(dtype), *batches, backend=backend)
        assert found.tolist() == [0, 2, 7, 5]

    def test_nearest_without_batches(self, backend: str, dtype: torch.dtype) -> None:
        query = torch.tensor([[-0.9, -0.8], [0.7, 0.9]], dtype=dtype)
        assert nearest(query, corners(dtype)[:4], backend=backend).tolist() == [0, 2]

    def test_knn_of_two_with_batches(self, backend: str, dtype: torch.dtype) -> None:
        query = torch.tensor([[1.0, 0.1], [-1.0, -0.1]], dtype=dtype)
        batches = torch.tensor([0, 1]), torch.tensor([0] * 4 + [1] * 4)
        found = knn(query, corners(dtype), 2, *batches, backend=backend)
        assert found.indices.tolist() == [[2, 3], [4, 5]]

    def test_knn_without_batches(self, backend: str, dtype: torch.dtype) -> None:
        query = torch.tensor([[1.0, 0.1], [-1.0, -0.1]], dtype=dtype)
        found = knn(query, corners(dtype)[:4], 2, backend=backend)
        assert found.indices.tolist() == [[2, 3], [0, 1]]

    def test_knn_passes_over_a_cloud_without_queries(
        self, backend: str, dtype: torch.dtype
    ) -> None:
        query = torch.tensor([[1.0, 0.1], [1.0, 0.1]], dtype=dtype)
        batches = torch.tensor([0, 2]), torch.tensor([0] * 4 + [1] * 2 + [2] * 2)
        found = knn(query, corners(dtype), 3, *batches, backend=backend)
        assert found.indices.tolist() == [[2, 3, 1], [6, 7, -1]]

    def test_knn_graph_to_each_node_from_its_neighbours(
        self, backend: str, dtype: torch.dtype
    ) -> None:
        edges = knn_graph(corners(dtype)[:4], 2, backend=backend).t().tolist()
        assert {tuple(edge) for edge in edges} == {
            *((1, 0), (3, 0), (0, 1), (2, 1), (1, 2), (3, 2), (0, 3), (2, 3))
        }

    def test_knn_graph_with_loops_has_them_first(self, backend: str, dtype: torch.dtype) -> None:
        source, target = knn_graph(corners(dtype)[:4], 1, loop=True, backend=backend)
        assert torch.equal(source, target)

    def test_knn_graph_of_a_large_cloud(self, backend: str, dtype: torch.dtype) -> None:
        points = torch.rand(300, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
        edges = knn_graph(points, 5, backend=backend)
        order = (points.unsqueeze(1) - points).square().sum(-1).argsort(dim=1)[:, 1:6]
        assert torch.equal(edges[0].view(300, 5), order)
