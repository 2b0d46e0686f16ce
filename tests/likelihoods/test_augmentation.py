"""Tests of the random changes of clouds that a likelihood learns from."""

from __future__ import annotations

import pytest
import torch

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.augmentation import augmented, share_at
from gconvae.schema import JETS, SUPERPIXELS

CENTRE = torch.tensor([0.5, 0.4])


def clouds(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    unit = torch.rand(count, 6, 3, generator=random)
    mask = torch.ones(count, 6, dtype=torch.bool)
    mask[:50, 4:] = False
    return unit.masked_fill(~mask.unsqueeze(-1), 0.0), mask


def test_symmetries_are_not_told_and_changes_are() -> None:
    unit, mask = clouds()
    _, changed = augmented(
        unit, mask, CENTRE, torch.Generator().manual_seed(1), share=1.0, symmetries=["mirror"]
    )
    assert not changed.any()
    _, changed = augmented(
        unit, mask, CENTRE, torch.Generator().manual_seed(1), share=1.0, changes=["mirror"]
    )
    assert changed.any(1).float().mean().item() == pytest.approx(0.75, abs=0.1)  # a mirror or two


def test_each_position_is_mirrored_as_often_as_not() -> None:
    unit, mask = clouds()
    made, _ = augmented(
        unit, mask, CENTRE, torch.Generator().manual_seed(1), share=0.0, symmetries=["mirror"]
    )
    moved = (made - unit).abs()[:, 0] > 1e-6
    for position in (0, 1):
        assert moved[:, position].float().mean().item() == pytest.approx(0.5, abs=0.1)
    both = moved[:, :2].all(1).float().mean().item()
    assert both == pytest.approx(0.25, abs=0.1)
    assert not moved[:, 2].any()
    mirrored = (2 * CENTRE - unit[..., :2]).clamp(0, 1)
    kept = torch.where(moved[:, None, :2], mirrored, unit[..., :2])
    torch.testing.assert_close(made[..., :2][mask], kept[mask])
    assert not made[~mask].any()


def test_a_third_of_the_changed_clouds_is_left_at_the_end() -> None:
    assert share_at(0.9, 1.0) == pytest.approx(0.3)


def test_a_likelihood_takes_what_the_schema_says() -> None:
    likelihood, (unit, mask) = AutoregressiveLikelihood(num_points=6, width=8), clouds()
    likelihood.set_schema(JETS)
    made, changed = likelihood.changed(unit, mask, torch.Generator().manual_seed(0), 0.0)
    assert not changed.any()  # it is not conditioned on mirrors
    assert not torch.equal(made, unit)
    likelihood.set_schema(SUPERPIXELS)
    _, changed = likelihood.changed(unit, mask, torch.Generator().manual_seed(0), 0.0)
    assert changed.any(1).float().mean().item() == pytest.approx(0.9, abs=0.1)
