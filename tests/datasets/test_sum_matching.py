"""Tests of clouds whose total weight and centre are those of real ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.datasets import Jets, as_dataset, matched_sums
from gconvae.schema import JETS, SUPERPIXELS


def sums(clouds: Clouds) -> Tensor:
    """Total weight and centre, shape (B, 3)."""
    points = clouds.points.double()
    weight = points[..., 2:]
    total = weight.sum(1)
    return torch.cat([total, (weight * points[..., :2]).sum(1) / total], dim=1)


def made(seed: int = 0) -> Clouds:
    """Jets whose pT is too small and that lie beside their axis."""
    random = np.random.default_rng(seed)
    points = torch.from_numpy(random.random((300, 6, 3))).float()
    points[..., 2] *= 0.1
    mask = torch.ones(300, 6, dtype=torch.bool)
    mask[:50, 4:] = False
    return Clouds(points.masked_fill(~mask.unsqueeze(-1), 0.0), mask, None, JETS)


def test_sums_are_those_of_the_real_clouds() -> None:
    real = Jets("g", "test").clouds
    found = sums(matched_sums(made(), real))
    for column in range(3):
        levels = np.linspace(0.05, 0.95, 50)
        one, other = (np.quantile(s[:, column].numpy(), levels) for s in (found, sums(real)))
        np.testing.assert_allclose(
            one, other, atol=0.02 * float(sums(real)[:, column].std()) + 2e-3
        )


def test_a_cloud_keeps_its_rank_and_its_form() -> None:
    before, after = made(), matched_sums(made(), Jets("g", "test"))
    for column in range(3):
        order = [sums(clouds)[:, column].argsort().tolist() for clouds in (before, after)]
        assert np.mean(np.array(order[0]) == np.array(order[1])) > 0.97  # up to rounding
    moved = after.points - before.points
    steps = moved[100, :, :2] - moved[100, :1, :2]
    assert steps.abs().max() < 1e-6
    scales = (after.points / before.points)[100, :, 2]
    torch.testing.assert_close(scales, scales[:1].expand(6))


@pytest.mark.parametrize("count", [1, 2, 500, 4000])
def test_real_clouds_stay_as_they_are(count: int) -> None:
    real = Jets("g", "test")[:count]
    kept = matched_sums(real, real)
    torch.testing.assert_close(kept.points, real.points, rtol=0, atol=1e-6)
    assert torch.equal(kept.mask, real.mask)


def test_as_many_real_clouds_give_their_own_sums() -> None:
    real = Jets("g", "test")[:300]
    found, wanted = sums(matched_sums(made(), real)), sums(real.clouds)
    torch.testing.assert_close(
        found.sort(dim=0).values, wanted.sort(dim=0).values, atol=1e-6, rtol=0
    )


def test_a_cloud_across_the_seam_is_no_other_cloud() -> None:
    real = Jets("g", "test")[:200]
    turned = real.points.clone()
    turned[..., 1] = turned[..., 1].remainder(2 * math.pi)  # the same angles
    for generated, reference in (((turned, real.mask), real), (real, (turned, real.mask))):
        kept = matched_sums(generated, reference, schema=JETS)
        torch.testing.assert_close(kept.points, real.points, rtol=0, atol=1e-5)


def test_conditions_and_labels_are_kept() -> None:
    real = Jets(["g", "q"], "test")[:60]
    assert real.conditions is not None
    moved = as_dataset(matched_sums(real, Jets("g", "test")))
    assert moved.conditions is not None
    assert torch.equal(moved.conditions, real.conditions)
    assert moved.schema == real.schema
    assert torch.equal(moved.labels, real.labels)
    bare = matched_sums((real.points, real.mask), real)
    assert bare.conditions is None
    assert as_dataset(bare).schema.conditions == ()


def test_padding_stays_empty() -> None:
    clouds = matched_sums(made(), Jets("g", "test"))
    assert not clouds.points[~clouds.mask].any()
    assert clouds.mask.sum() == made().mask.sum()


def test_clouds_without_a_weight_are_refused() -> None:
    points = torch.rand(5, 4, 3)
    with pytest.raises(ValueError, match="schema must name the weight"):
        matched_sums(points, points, schema=SUPERPIXELS)
    with pytest.raises(ValueError, match="schema must name the weight"):
        matched_sums(points, points)
    with pytest.raises(ValueError, match="generated must have weights of at least 0"):
        matched_sums(-points, points, schema=JETS)
