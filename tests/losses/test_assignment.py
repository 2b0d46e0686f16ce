"""Exact matching: every pairing tried, closed cases, properties, and figures of POT."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from generators import nodes
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from gconvae.losses import assignment

DIAMETER = 27.0 * math.sqrt(3)
"""No two nodes of a cube of side 27 are farther apart."""

SIZES = [(1, 1), (2, 2), (5, 5), (6, 6), (1, 4), (6, 3), (4, 5)]

POT = {
    (1, 1): 18.892835132700224,
    (2, 2): 12.269275812993953,
    (7, 7): 13.46433286794957,
    (25, 25): 8.518069940410143,
    (100, 100): 4.795601375492888,
    (1, 4): 38.36827811219769,
    (6, 5): 18.1189000865252,
    (24, 25): 9.745346860815214,
    (25, 10): 30.49763804875097,
}
"""Numbers of nodes of two clouds, and their distance by POT 0.9.7.post1 (numpy 2.4.6), from

    def emd(p, q, missing):
        cost = np.full((max(len(p), len(q)),) * 2, missing)
        cost[: len(p), : len(q)] = ot.dist(p, q, metric="euclidean")
        return ot.emd2([], [], cost, numItermax=10**7)

    for k, (n, m) in enumerate(sizes):
        print(emd(uniform_cloud(n, 2 * k), uniform_cloud(m, 2 * k + 1), 27 * 3**0.5))

where [] stands for uniform weights. With equal numbers this is the optimal transport of uniform
distributions; with unequal ones, nodes that cost 46.77 wherever they go fill the smaller cloud.
"""


def uniform_cloud(num_nodes: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0, 27, (num_nodes, 3))


def random_clouds(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 27, shape))


def ragged_mask(num_clouds: int, num_nodes: int, seed: int) -> Tensor:
    """Real nodes in any places, at least one a cloud."""
    mask = np.random.default_rng(seed).random((num_clouds, num_nodes)) < 0.6
    mask[np.arange(num_clouds), np.arange(num_clouds) % num_nodes] = True
    return torch.from_numpy(mask)


def every_pairing(p: Tensor, q: Tensor, missing_cost: float) -> tuple[float, list[int]]:
    """Smallest cost a node over all pairings, and for each node of p its partner or -1."""
    if len(p) > len(q):
        best, columns = every_pairing(q, p, missing_cost)
        partner = {column: row for row, column in enumerate(columns)}
        return best, [partner.get(row, -1) for row in range(len(p))]
    costs = {}
    for columns in itertools.permutations(range(len(q)), len(p)):
        total = sum(
            sum((a - b) ** 2 for a, b in zip(p[i].tolist(), q[j].tolist(), strict=True)) ** 0.5
            for i, j in enumerate(columns)
        )
        costs[columns] = (total + missing_cost * (len(q) - len(p))) / len(q)
    best_columns = min(costs, key=lambda columns: costs[columns])
    return costs[best_columns], list(best_columns)


@pytest.mark.parametrize("features", [2, 3, 5])
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_pairs_and_distance_are_the_best_of_all_pairings(
    n: int, m: int, features: int, dtype: torch.dtype, tolerance: float, device: torch.device
) -> None:
    for seed in range(3):
        target = random_clouds(1, n, features, seed=seed).to(dtype)
        output = random_clouds(1, m, features, seed=100 + seed).to(dtype)
        value, partners = every_pairing(target[0], output[0], 50.0)
        index = assignment.match(target.to(device), output.to(device))
        found = assignment.distance(target.to(device), output.to(device), missing_cost=50.0)
        assert index.tolist() == [partners]
        assert found.tolist() == pytest.approx([value], rel=tolerance)
        assert (found.dtype, found.device.type) == (dtype, device.type)
        assert index.device.type == device.type


@pytest.mark.parametrize("kind", ["lattice", "coincident"])
def test_ties_do_not_change_the_distance(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        target, output = (nodes(kind, n, 3, generator, torch.float64) for n in (5, 6))
        wanted, _ = every_pairing(target, output, 10.0)
        found = assignment.distance(target[None], output[None], missing_cost=10.0)
        assert float(found) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("k", range(len(POT)))
def test_distance_equals_that_of_pot(k: int) -> None:
    n, m = list(POT)[k]
    pair = uniform_cloud(n, 2 * k), uniform_cloud(m, 2 * k + 1)
    found = assignment.distance(*(cloud[None] for cloud in pair), missing_cost=DIAMETER)
    assert float(found) == pytest.approx(POT[n, m], rel=1e-12)


def test_on_a_line_the_distance_is_the_one_of_sorted_nodes() -> None:
    lines = [random_clouds(1, 25, 2, seed=seed) * torch.tensor([1.0, 0.0]) for seed in (0, 1)]
    wanted = wasserstein_distance(*(line[0, :, 0].numpy() for line in lines))
    assert float(assignment.distance(*lines)) == pytest.approx(wanted, rel=1e-12)


def test_shift_is_found_as_its_length() -> None:
    target = random_clouds(4, 25, 3)
    found = assignment.distance(target, target.flip(1) + torch.tensor([2.0, -3.0, 6.0]))
    assert found.tolist() == pytest.approx([7.0] * 4, rel=1e-12)


def test_permutation_is_found_and_costs_nothing() -> None:
    target, order = (
        random_clouds(1, 25, 3),
        torch.from_numpy(np.random.default_rng(0).permutation(25)),
    )
    assert torch.equal(target[:, order][:, assignment.match(target, target[:, order])[0]], target)
    assert float(assignment.distance(target, target[:, order])) == 0.0


def test_closest_nodes_part_where_that_helps_the_others() -> None:
    target = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    output = torch.tensor([[[1.1, 0.0], [2.0, -3.0]]])
    # the closest two, 0.9 apart, would leave 3.6 to the others
    assert assignment.match(target, output).tolist() == [[0, 1]]
    assert float(assignment.distance(target, output)) == pytest.approx((1.1 + 3.0) / 2)


def test_each_missing_node_costs_its_price() -> None:
    target = random_clouds(1, 25, 3)
    for missing in range(25):
        found = assignment.distance(target, target[:, missing:], missing_cost=40.0)
        assert float(found) == pytest.approx(missing * 40.0 / 25, abs=1e-12)


@pytest.mark.parametrize("features", [1, 2, 3, 5])
def test_a_missing_node_costs_the_diagonal_of_all_nodes_where_nothing_is_said(
    features: int,
) -> None:
    target = random_clouds(3, 4, features)
    nodes = target.flatten(0, 1)
    diagonal = float((nodes.amax(0) - nodes.amin(0)).norm())
    found = assignment.distance(target, target[:, 1:])
    assert found.tolist() == pytest.approx([diagonal / 4] * 3)
    assert diagonal >= float(torch.cdist(nodes, nodes).max())
    # nodes behind a mask are no nodes
    hidden = torch.cat([target, torch.full((3, 1, features), 1e6)], 1)
    mask = torch.tensor([[True] * 4 + [False]] * 3)
    assert torch.equal(assignment.distance(hidden, target[:, 1:], mask), found)


def test_doubled_nodes_are_seen() -> None:
    target = random_clouds(3, 10, 3)
    found = assignment.distance(target, torch.cat([target, target], 1), missing_cost=8.0)
    assert found.tolist() == [4.0] * 3


def test_leaving_a_node_out_is_never_cheaper_than_its_worst_place() -> None:
    target = random_clouds(50, 8, 3)
    corners = torch.tensor(list(itertools.product([0.0, 27.0], repeat=3)), dtype=torch.float64)
    cost = {"missing_cost": DIAMETER}
    without = assignment.distance(target, target[:, 1:], **cost)
    for corner in corners:
        wrong = torch.cat([corner.expand(50, 1, 3), target[:, 1:]], 1)
        assert (assignment.distance(target, wrong, **cost) <= without).all()


def test_distance_is_symmetric() -> None:
    p, q = random_clouds(30, 9, 3, seed=0), random_clouds(30, 7, 3, seed=1)
    masks = ragged_mask(30, 9, 2), ragged_mask(30, 7, 3)
    torch.testing.assert_close(
        assignment.distance(p, q, *masks), assignment.distance(q, p, *masks[::-1])
    )


def test_pairs_are_the_same_from_both_sides() -> None:
    p, q = random_clouds(1, 9, 3, seed=0), random_clouds(1, 7, 3, seed=1)
    pairs = {(i, j) for i, j in enumerate(assignment.match(p, q)[0].tolist()) if j >= 0}
    assert pairs == {(i, j) for j, i in enumerate(assignment.match(q, p)[0].tolist())}
    assert len(pairs) == 7


def test_triangle_inequality_holds_with_unequal_numbers_of_nodes() -> None:
    rng = np.random.default_rng(0)
    clouds = [uniform_cloud(int(rng.integers(1, 7)), 1000 + seed) for seed in range(40)]
    clouds += [np.vstack([cloud, cloud[:1]]) for cloud in clouds[:10]]
    # corners lie as far apart as anything may
    clouds += [27.0 * rng.integers(0, 2, (int(rng.integers(1, 4)), 3)) for _ in range(20)]
    packed, sizes = np.vstack(clouds), [len(cloud) for cloud in clouds]
    starts = np.cumsum([0, *sizes[:-1]])
    d = np.stack(
        [assignment.distances(cloud, packed, starts, missing_cost=DIAMETER) for cloud in clouds]
    )
    assert (d[:, None] <= d[:, :, None] + d[None] + 1e-12).all()  # d(i, k) <= d(i, j) + d(j, k)


def test_masked_nodes_are_ignored_whatever_they_hold() -> None:
    p, q = random_clouds(6, 9, 3, seed=0), random_clouds(6, 7, 3, seed=1)
    masks = ragged_mask(6, 9, 2), ragged_mask(6, 7, 3)
    spoiled = [
        points.masked_fill(~mask.unsqueeze(-1), torch.nan)
        for points, mask in zip((p, q), masks, strict=True)
    ]
    index = assignment.match(*spoiled, *masks)
    found = assignment.distance(*spoiled, *masks, missing_cost=DIAMETER)
    assert torch.equal(index, assignment.match(p, q, *masks))
    for cloud in range(6):
        bare = p[cloud, masks[0][cloud]][None], q[cloud, masks[1][cloud]][None]
        assert torch.equal(
            found[cloud : cloud + 1], assignment.distance(*bare, missing_cost=DIAMETER)
        )
        places = masks[1][cloud].nonzero()[:, 0]
        partners = [int(places[j]) if j >= 0 else -1 for j in assignment.match(*bare)[0].tolist()]
        assert index[cloud, masks[0][cloud]].tolist() == partners
        assert (index[cloud, ~masks[0][cloud]] == -1).all()


def test_order_of_nodes_is_irrelevant() -> None:
    p, q = random_clouds(6, 9, 3, seed=0), random_clouds(6, 7, 3, seed=1)
    torch.testing.assert_close(assignment.distance(p.flip(1), q), assignment.distance(p, q))


def test_packed_distances_equal_the_padded_ones() -> None:
    p, q = random_clouds(1, 9, 3, seed=0), random_clouds(12, 11, 3, seed=1)
    mask = ragged_mask(12, 11, 2)
    counts = mask.sum(1).numpy()
    starts, cost = np.cumsum(counts) - counts, {"missing_cost": DIAMETER}
    found = assignment.distances(p[0].numpy(), q[mask].numpy(), starts, **cost)
    wanted = assignment.distance(p.expand(12, -1, -1), q, None, mask, **cost)
    assert found.tolist() == wanted.tolist()


def test_gradients_are_not_asked_for() -> None:
    target, output = random_clouds(2, 5, 3).requires_grad_(), random_clouds(2, 5, 3, seed=1)
    assert not assignment.distance(target, output).requires_grad


@pytest.mark.parametrize("call", [assignment.match, assignment.distance])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3), torch.zeros(2, 5, 3)), "target must have shape"),
        ((torch.zeros(2, 5, 3), torch.zeros(3, 5, 3)), "target and output must have the same"),
        ((torch.zeros(2, 5, 3), torch.zeros(2, 5, 2)), "target and output must have the same"),
        ((torch.zeros(2, 5, 3), torch.full((2, 5, 3), torch.nan)), "output must be finite"),
        (
            (torch.zeros(2, 5, 3), torch.zeros(2, 4, 3), torch.zeros(2, 5, dtype=torch.bool)),
            "target must have a real node in every cloud",
        ),
        (
            (torch.zeros(2, 5, 3), torch.zeros(2, 4, 3), None, torch.ones(2, 5).bool()),
            r"mask must have shape \(2, 4\) like output",
        ),
    ],
)
def test_wrong_clouds_are_an_error(call: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*arguments)


@pytest.mark.parametrize("cost", [-1.0, float("inf"), float("nan")])
def test_wrong_missing_cost_is_an_error(cost: float) -> None:
    cloud = random_clouds(1, 5, 3)
    with pytest.raises(ValueError, match="missing_cost must be finite and at least 0"):
        assignment.distance(cloud, cloud, missing_cost=cost)
    with pytest.raises(ValueError, match="missing_cost must be finite and at least 0"):
        assignment.distances(cloud[0].numpy(), cloud[0].numpy(), np.array([0]), missing_cost=cost)
