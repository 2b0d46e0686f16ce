"""The F-score at a distance, against loops and by its properties."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.metrics import f_score


def clouds(nodes: int, seed: int) -> Tensor:
    return torch.rand(6, nodes, 2, generator=torch.Generator().manual_seed(seed))


def loop(real: list[list[float]], generated: list[list[float]], radius: float) -> float:
    def share(nodes: list[list[float]], others: list[list[float]]) -> float:
        near = [min(math.dist(node, other) for other in others) <= radius for node in nodes]
        return sum(near) / len(near)

    recall, precision = share(real, generated), share(generated, real)
    return 0.0 if not recall + precision else 2 * recall * precision / (recall + precision)


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.2, 2.0])
def test_it_is_that_of_a_loop(radius: float) -> None:
    real, generated = clouds(5, 0), clouds(8, 1)
    masks = [torch.rand(6, n, generator=torch.Generator().manual_seed(n)) < 0.6 for n in (5, 8)]
    for mask in masks:
        mask[:, 0] = True
    wanted = [
        loop(a[m].tolist(), b[n].tolist(), radius)
        for a, b, m, n in zip(real, generated, *masks, strict=True)
    ]
    found = f_score(real, generated, radius, *masks)
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_a_cloud_has_all_of_itself_and_nothing_of_one_far_away() -> None:
    real = clouds(5, 2)
    assert f_score(real, real.flip(1), 0.0).tolist() == [1.0] * 6
    assert f_score(real, real + 10, 1.0).tolist() == [0.0] * 6


def test_it_is_symmetric_and_grows_with_the_radius() -> None:
    real, generated = clouds(5, 3), clouds(7, 4)
    values = torch.stack([f_score(real, generated, radius) for radius in (0.05, 0.1, 0.2, 0.4)])
    assert (values.diff(dim=0) >= 0).all()
    torch.testing.assert_close(values[1], f_score(generated, real, 0.1))


@pytest.mark.parametrize("radius", [-1.0, math.inf, math.nan, True])
def test_what_is_no_radius_is_refused(radius: float) -> None:
    with pytest.raises(ValueError, match="radius must be at least 0 and finite, got"):
        f_score(clouds(2, 0), clouds(2, 1), radius)


def test_clouds_without_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="real and generated must have the same clouds"):
        f_score(clouds(2, 0), clouds(2, 1)[:3], 0.1)
