"""What Kaolin documents of sided_distance, chamfer_distance and f_score, of our functions."""

from __future__ import annotations

import pytest
import torch

from gconvae.losses import third_axis_chamfer
from gconvae.metrics import f_score
from gconvae.neighbors import knn_padded, nearest_padded

BACKENDS = ["torch-cluster", "dense", "native"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, 5, 130])
def test_sided_distance_is_the_smallest_square_and_its_index(backend: str, size: int) -> None:
    made = torch.Generator().manual_seed(size)
    first, second = (torch.rand(2, n, 3, generator=made).double() for n in (size, size + 4))
    gap = (first.unsqueeze(2) - second.unsqueeze(1)).square().sum(-1)
    found = knn_padded(first, second, 1, backend=backend)
    assert torch.equal(found.indices[..., 0], gap.argmin(2))
    torch.testing.assert_close(found.distances[..., 0], gap.amin(2))
    assert torch.equal(nearest_padded(first, second, backend=backend), gap.argmin(2))


def test_sided_distance_has_the_gradient_of_its_pair() -> None:
    first = torch.tensor([[[0.0, 0.0, 0.0]]], requires_grad=True)
    second = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], requires_grad=True)
    slopes = torch.autograd.grad(knn_padded(first, second, 1).distances.sum(), [first, second])
    assert slopes[0].tolist() == [[[0.0, -2.0, 0.0]]]
    assert slopes[1].tolist() == [[[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("squared", "wanted"), [(True, 4.0 + 2.0), (False, 2.0 + 1.0)])
def test_chamfer_is_a_mean_over_points_of_each_side(
    backend: str, squared: bool, wanted: float
) -> None:
    first = torch.tensor([[[0.0, 0.0, 0.0]]])
    second = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    options = {"point_reduction": "mean", "squared": squared, "backend": backend}
    found = third_axis_chamfer(first, second, precision_weight=0.5, **options)
    assert found.item() == wanted


@pytest.mark.parametrize(("w1", "w2"), [(1.0, 1.0), (1.3, 0.8), (0.0, 2.0), (2.0, 0.0)])
def test_chamfer_weighs_its_directions(w1: float, w2: float) -> None:
    made = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, n, 3, generator=made) for n in (6, 9))
    gap = (first.unsqueeze(2) - second.unsqueeze(1)).square().sum(-1)
    found = third_axis_chamfer(
        first, second, coverage_weight=w1, precision_weight=w2, point_reduction="mean"
    )
    torch.testing.assert_close(found, w1 * gap.amin(2).mean(1) + w2 * gap.amin(1).mean(1))


@pytest.mark.parametrize(
    ("offsets", "radius", "wanted"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0.0, 1.0),
        ([0.01, 0.01, 0.01, 0.01], 0.2, 1.0),
        ([0.1, 3.0, 0.1, 3.0], 0.2, 0.5),
        ([3.0, 3.0, 3.0, 0.1], 0.2, 0.25),
        ([3.0, 3.0, 3.0, 3.0], 0.2, 0.0),
        ([3.0, 3.0, 3.0, 3.0], 3.5, 1.0),
    ],
)
def test_f_score_counts_what_lies_within_the_radius(
    offsets: list[float], radius: float, wanted: float
) -> None:
    real = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [30.0, 0.0]]])
    moved = real.clone()
    moved[0, :, 1] += torch.tensor(offsets)
    assert f_score(real, moved, radius).tolist() == pytest.approx([wanted])


def test_f_score_of_different_numbers_of_points() -> None:
    real = torch.tensor([[[0.0, 0.0], [10.0, 0.0]]])
    generated = torch.tensor([[[0.0, 0.1], [0.0, 5.0], [0.0, 6.0], [0.0, 7.0]]])
    # one of four generated ones, one of two real ones
    assert f_score(real, generated, 0.2).item() == pytest.approx(2 * 0.25 * 0.5 / 0.75)


def test_f_score_of_masked_clouds_in_a_batch() -> None:
    made = torch.Generator().manual_seed(0)
    real, generated = (torch.rand(3, 6, 2, generator=made) for _ in range(2))
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    whole = f_score(real, generated, 0.2, mask)
    assert whole[1] == f_score(real[1:2, :4], generated[1:2], 0.2)[0]
    assert whole[0] == f_score(real[:1], generated[:1], 0.2)[0]


@pytest.mark.parametrize("radius", [-0.1, float("inf"), float("nan")])
def test_f_score_refuses_a_radius_that_is_none(radius: float) -> None:
    with pytest.raises(ValueError, match="radius must be at least 0 and finite"):
        f_score(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), radius)


def test_f_score_refuses_clouds_that_do_not_match() -> None:
    with pytest.raises(ValueError, match="must have the same clouds and features"):
        f_score(torch.zeros(1, 1, 2), torch.zeros(2, 1, 2), 1.0)
