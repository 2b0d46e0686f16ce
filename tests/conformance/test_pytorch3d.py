"""What PyTorch3D documents of chamfer_distance and knn_points, of our functions.

Its names: x, y = target, output; x_lengths, y_lengths = target_lengths, output_lengths; weights =
cloud_weight; single_directional = precision_weight=0; a mean over points by default, here a sum.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gconvae.losses import third_axis_chamfer
from gconvae.neighbors import knn_padded


def sides(lengths: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clouds of the shapes (4, 9, 3) and (4, 7, 3), and how many of their nodes are real."""
    made = torch.Generator().manual_seed(0)
    x, y = torch.rand(4, 9, 3, generator=made), torch.rand(4, 7, 3, generator=made)
    if not lengths:
        return x, y, torch.full((4,), 9), torch.full((4,), 7)
    return x, y, torch.tensor([9, 4, 1, 6]), torch.tensor([7, 7, 3, 1])


def distance(a: Tensor, b: Tensor, norm: int) -> Tensor:
    """Of two nodes."""
    return (a - b).abs().sum() if norm == 1 else (a - b).square().sum()


def one_way(x: Tensor, y: Tensor, norm: int) -> Tensor:
    """Distance of each node of x to the nearest of y, by a loop."""
    return torch.stack([min((distance(a, b, norm) for b in y), key=float) for a in x])


def naive(how: str, norm: int, lengths: bool) -> Tensor:
    """The formula of the documentation, cloud by cloud."""
    x, y, x_lengths, y_lengths = sides(lengths)
    reduce = {"mean": Tensor.mean, "sum": Tensor.sum, "max": Tensor.amax}[how]
    values = []
    for a, b, n, m in zip(x, y, x_lengths.tolist(), y_lengths.tolist(), strict=True):
        values.append(reduce(one_way(a[:n], b[:m], norm)) + reduce(one_way(b[:m], a[:n], norm)))
    return torch.stack(values)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("how", ["mean", "sum", "max"])
@pytest.mark.parametrize("batch", [None, "mean", "sum"])
def test_chamfer_of_each_reduction(norm: int, lengths: bool, how: str, batch: str | None) -> None:
    x, y, x_lengths, y_lengths = sides(lengths)
    given = {"target_lengths": x_lengths, "output_lengths": y_lengths} if lengths else {}
    found = third_axis_chamfer(
        x, y, norm=norm, point_reduction=how, batch_reduction=batch, **given
    )
    wanted = naive(how, norm, lengths)
    wanted = wanted if batch is None else getattr(wanted, batch)()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("batch", ["mean", "sum"])
@pytest.mark.parametrize("weights", [[1.0, 2.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
def test_chamfer_with_weights_of_clouds(batch: str, weights: list[float]) -> None:
    x, y, _, _ = sides(False)
    weight = torch.tensor(weights)
    found = third_axis_chamfer(
        x, y, point_reduction="mean", batch_reduction=batch, cloud_weight=weight
    )
    total = (weight * naive("mean", 2, False)).sum()
    divisor = float(weight.sum()) or 1.0  # zero weights give zero
    torch.testing.assert_close(found, total / divisor if batch == "mean" else total)


@pytest.mark.parametrize("norm", [1, 2])
def test_chamfer_without_a_reduction_of_points(norm: int) -> None:
    x, y, x_lengths, y_lengths = sides()
    terms = third_axis_chamfer(
        x, y, norm=norm, point_reduction=None, target_lengths=x_lengths, output_lengths=y_lengths
    )
    for cloud, (n, m) in enumerate(zip(x_lengths.tolist(), y_lengths.tolist(), strict=True)):
        wanted = one_way(x[cloud, :n], y[cloud, :m], norm)
        torch.testing.assert_close(terms.target[cloud, :n], wanted)
        assert terms.target[cloud, n:].abs().sum() == 0
        assert terms.output[cloud, m:].abs().sum() == 0


def test_chamfer_single_directional() -> None:
    x, y, _, _ = sides(False)
    found = third_axis_chamfer(x, y, precision_weight=0, point_reduction="mean")
    wanted = torch.stack([one_way(a, b, 2).mean() for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("norm", [1, 2])
def test_chamfer_gradients_of_both_sides(norm: int) -> None:
    x, y, _, _ = (side.double() for side in sides(False))
    assert torch.autograd.gradcheck(
        lambda a, b: third_axis_chamfer(a, b, norm=norm, point_reduction="mean"),
        (x.requires_grad_(), y.requires_grad_()),
    )


def test_chamfer_of_an_empty_cloud_is_zero_where_it_is_asked_for() -> None:
    x, y, x_lengths, _ = sides()
    x_lengths[1] = 0
    found = third_axis_chamfer(x, y, target_lengths=x_lengths, empty="zero")
    assert found[1] == 0
    with pytest.raises(ValueError, match="target_mask must leave a node in every cloud"):
        third_axis_chamfer(x, y, target_lengths=x_lengths)


@pytest.mark.parametrize(
    "change",
    [
        {"target": torch.zeros(4, 9)},
        {"target": torch.zeros(3, 9, 3)},
        {"output": torch.zeros(4, 7, 2)},
        {"cloud_weight": torch.ones(3)},
        {"cloud_weight": -torch.ones(4)},
        {"target_lengths": torch.tensor([10, 1, 1, 1])},
        {"norm": 3},
        {"point_reduction": "median"},
        {"batch_reduction": "max"},
    ],
)
def test_chamfer_refuses_what_does_not_fit(change: dict[str, Any]) -> None:
    x, y, _, _ = sides()
    with pytest.raises(ValueError, match="must"):
        third_axis_chamfer(**{"target": x, "output": y, **change})


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("features", [1, 3, 5])
@pytest.mark.parametrize("backend", ["dense", "torch-cluster"])
def test_knn_points_against_a_sort_of_all(norm: int, k: int, features: int, backend: str) -> None:
    made = torch.Generator().manual_seed(features)
    x, y = (torch.rand(2, n, features, generator=made) for n in (6, 7))
    found = knn_padded(x, y, k, norm=norm, backend=backend)
    gap = (x.unsqueeze(2) - y.unsqueeze(1)).abs()
    values, order = (gap if norm == 1 else gap.square()).sum(-1).sort(dim=-1)
    assert torch.equal(found.indices, order[..., :k])
    torch.testing.assert_close(found.distances, values[..., :k])


def test_knn_points_gathers_its_neighbours() -> None:
    x, y, _, _ = sides(False)
    found = knn_padded(x, y, 2)
    neighbours = torch.stack([b[index] for b, index in zip(y, found.indices, strict=True)])
    torch.testing.assert_close((x.unsqueeze(2) - neighbours).square().sum(-1), found.distances)
