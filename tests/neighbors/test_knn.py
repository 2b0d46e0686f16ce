"""The k nearest points of another cloud, against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.neighbors import knn, knn_graph, nearest, nearest_padded

BACKENDS = ("torch-cluster", "dense", "auto")


def clouds(count: int, nodes: int, seed: int, features: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    # on a lattice, so that there are ties
    return torch.randint(0, 6, (count, nodes, features), generator=random).float()


def loop(query: Tensor, points: Tensor, k: int, real: Tensor | None) -> list[list[list[int]]]:
    found = []
    for cloud, others in zip(query.tolist(), points.tolist(), strict=True):
        number = len(found)
        kept = [j for j in range(len(others)) if real is None or real[number, j]]
        near = [
            sorted(kept, key=lambda j, node=node, others=others: (math.dist(node, others[j]), j))
            for node in cloud
        ]
        found.append([(each + [-1] * k)[:k] for each in near])
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_neighbours_are_those_of_a_loop(backend: str, k: int) -> None:
    query, points = clouds(7, 6, 0), clouds(7, 8, 1)
    found = knn(query, points, k, backend=backend)
    assert found.indices.tolist() == loop(query, points, k, None)
    there = found.indices >= 0
    assert torch.equal(found.distances.isfinite(), there)
    assert (found.distances.diff(dim=-1)[there[..., 1:]] >= 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_masked_nodes_are_no_neighbours_and_have_none(backend: str) -> None:
    query, points = clouds(9, 5, 2), clouds(9, 7, 3)
    random = torch.Generator().manual_seed(4)
    query_mask = torch.rand(9, 5, generator=random) < 0.7
    points_mask = torch.rand(9, 7, generator=random) < 0.5
    points_mask[:, 2] = True
    found = knn(query, points, 3, query_mask, points_mask, backend=backend)
    wanted = torch.tensor(loop(query, points, 3, points_mask))
    wanted = wanted.masked_fill(~query_mask.unsqueeze(-1), -1)
    assert torch.equal(found.indices, wanted)


def test_the_first_neighbour_is_the_nearest() -> None:
    query, points = clouds(5, 6, 5), clouds(5, 4, 6)
    assert torch.equal(knn(query, points, 1).indices[..., 0], nearest_padded(query, points))


def test_distances_have_a_gradient() -> None:
    query, points = (
        torch.rand(2, 3, 2, dtype=torch.float64),
        torch.rand(2, 5, 2, dtype=torch.float64),
    )
    given = query.requires_grad_(), points.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: knn(a, b, 2).distances, given)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_what_is_no_number_of_neighbours_is_refused(k: object) -> None:
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got"):
        knn(clouds(1, 2, 0), clouds(1, 2, 1), k)  # type: ignore[arg-type]  # which is the point


def test_no_queries_have_no_neighbours() -> None:
    assert knn(torch.zeros(2, 0, 3), torch.zeros(2, 4, 3), 2).indices.shape == (2, 0, 2)


def test_without_a_batch_all_nodes_are_one_cloud() -> None:
    query, points = clouds(1, 6, 7)[0], clouds(1, 9, 8)[0]
    zeros = torch.zeros(6, dtype=torch.long), torch.zeros(9, dtype=torch.long)
    assert torch.equal(nearest(query, points), nearest(query, points, *zeros))
    assert torch.equal(knn_graph(points, 2), knn_graph(points, 2, zeros[1]))
