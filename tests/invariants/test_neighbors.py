"""All searches find the same nodes, those of a loop, in any form of the clouds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import knn_loop
from strategies import Pair, cases, pairs, random, wide_nodes

from gconvae.clouds import pack
from gconvae.neighbors import knn_graph, knn_padded, nearest, nearest_both, nearest_padded

BACKENDS = ("torch-cluster", "dense", "native", "auto")

SIZES = (1.0, 1e6, 1e-12, 1e25)


def single(pair: Pair, size: float) -> Pair:
    """In single precision, at a scale."""
    return pair._replace(target=(size * pair.target).float(), output=(size * pair.output).float())


def loop(pair: Pair) -> torch.Tensor:
    """Nearest real output nodes, ties to the first, by double precision."""
    found = torch.zeros(pair.target.shape[:2], dtype=torch.long)
    for cloud, (p, q, m, n) in enumerate(zip(*pair, strict=True)):
        apart = ((p.double()[:, None] - q.double()[None]) ** 2).sum(-1)
        apart[:, ~n] = torch.inf
        found[cloud] = torch.where(m, apart.min(1).indices, 0)
    return found


@cases
@given(pairs(), st.sampled_from(BACKENDS))
def test_nearest_nodes_are_those_of_a_loop(pair: Pair, backend: str) -> None:
    target, output, first, second = pair  # in double precision, as the loop
    assert torch.equal(nearest_padded(target, output, first, second, backend=backend), loop(pair))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@cases
@given(wide_nodes(), wide_nodes(), st.integers(0, 10**6), st.sampled_from(BACKENDS))
def test_up_to_16_features_have_the_neighbours_of_a_loop(
    dtype: torch.dtype, query: torch.Tensor, points: torch.Tensor, seed: int, backend: str
) -> None:
    features = min(query.shape[1], points.shape[1])
    query, points = query[:, :features].to(dtype), points[:, :features].to(dtype)
    # both clouds have nodes on both sides, where two can be had
    of_query, of_points = [
        torch.randint(0, 2, (count,), generator=random(seed)).sort().values
        for count in (len(query), len(points))
    ]
    if not set(of_query.tolist()) <= set(of_points.tolist()):
        of_query, of_points = torch.zeros_like(of_query), torch.zeros_like(of_points)
    found = nearest(query, points, of_query, of_points, backend=backend)
    assert found.tolist() == [row[0] for row in knn_loop(query, points, of_query, of_points, 1)]


@cases
@given(pairs(), st.sampled_from(SIZES), st.sampled_from(BACKENDS))
def test_searches_agree_at_any_scale(pair: Pair, size: float, backend: str) -> None:
    target, output, first, second = single(pair, size)
    found = nearest_padded(target, output, first, second, backend=backend)
    assert torch.equal(found, nearest_padded(target, output, first, second, backend="dense"))


@cases
@given(pairs(), st.sampled_from(BACKENDS))
def test_both_ways_are_two_searches(pair: Pair, backend: str) -> None:
    there, back = nearest_both(*pair, backend=backend)
    target, output, first, second = pair
    assert torch.equal(there, nearest_padded(target, output, first, second, backend=backend))
    assert torch.equal(back, nearest_padded(output, target, second, first, backend=backend))


@cases
@given(pairs(), st.sampled_from(BACKENDS))
def test_packed_clouds_have_the_neighbours_of_padded_ones(pair: Pair, backend: str) -> None:
    target, output, first, second = pair
    (query, batch_query), (points, batch_points) = pack(target, first), pack(output, second)
    found = points[nearest(query, points, batch_query, batch_points, backend=backend)]
    padded = nearest_padded(target, output, first, second, backend=backend)
    wide = padded.unsqueeze(-1).expand(-1, -1, output.shape[-1])
    assert torch.equal(found, output.gather(1, wide)[first])


@cases
@given(pairs(), st.integers(1, 8))
def test_distances_to_neighbours_ascend_and_begin_with_the_nearest(pair: Pair, k: int) -> None:
    target, output, first, second = pair
    found = knn_padded(target, output, k, first, second)
    there = found.indices >= 0
    steps = found.distances[..., 1:] - found.distances[..., :-1]
    assert (steps[there[..., 1:]] >= 0).all()
    nearest_one = nearest_padded(target, output, first, second)
    assert torch.equal(found.indices[..., 0][first], nearest_one[first])
    assert torch.equal(
        there.sum(-1)[first], second.sum(1).clamp(max=k).repeat_interleave(first.sum(1))
    )


@cases
@given(pairs(), st.integers(1, 4), st.booleans())
def test_a_graph_has_k_edges_into_each_node(pair: Pair, k: int, loop: bool) -> None:
    points, batch = pack(pair.target, pair.target_mask)
    edges = knn_graph(points, k, batch, loop=loop)
    counts = torch.bincount(batch)[batch]
    wanted = (counts if loop else counts - 1).clamp(max=k)
    assert torch.equal(torch.bincount(edges[1], minlength=len(points)), wanted)
    assert torch.equal(batch[edges[0]], batch[edges[1]])
    order = torch.rand(len(points), generator=random(0))
    assert loop or not bool((edges[0] == edges[1]).any()) or len(order) == 0
