"""Changes of clouds against a loop that carries out one after another, node by node."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.datasets import transforms
from gconvae.datasets.transforms import NUM_CHANGES, Augmented, affine

CENTRE = torch.tensor([0.4, 0.55])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clouds(num_clouds: int, nodes: int = 7, features: int = 3) -> Tensor:
    return torch.rand(num_clouds, nodes, features, generator=generator(99))


def changed(made: Augmented) -> Tensor:
    return made.changes.ne(0).any(1)


def affine_loop(points: Tensor, changes: Tensor, centre: Tensor) -> list[list[list[float]]]:
    """Mirrors, stretches, shears and turns each node, in Python's floats."""
    spreads = transforms._SPREADS
    moved: list[list[list[float]]] = []
    for cloud, change in zip(points.tolist(), changes.tolist(), strict=True):
        angle, stretch_x, stretch_y, shear = (
            number * spread for number, spread in zip(change, spreads, strict=False)
        )
        moved.append([])
        for x, y, *others in cloud:
            x, y = x - float(centre[0]), y - float(centre[1])
            x = -x if change[4] else x
            y = -y if change[5] else y
            x, y = math.exp(stretch_x) * x, math.exp(stretch_y) * y
            x = x + shear * y
            x, y = (
                math.cos(angle) * x - math.sin(angle) * y,
                math.sin(angle) * x + math.cos(angle) * y,
            )
            moved[-1].append([x + float(centre[0]), y + float(centre[1]), *others])
    return moved


# what is changed


@pytest.mark.parametrize("features", [2, 3, 5])
def test_clouds_are_mirrored_stretched_sheared_and_turned_as_told(
    features: int, dtype: torch.dtype, device: torch.device
) -> None:
    points = clouds(40, features=features).to(device, dtype)
    made = affine(points, CENTRE.to(device), generator(), share=0.8)
    assert made.points.dtype == made.changes.dtype == dtype
    wanted = affine_loop(points, made.changes, CENTRE)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(
        made.points.cpu(), torch.tensor(wanted, dtype=dtype), rtol=0, atol=tolerance
    )


def test_the_centre_stays_where_it_is(dtype: torch.dtype) -> None:
    points = CENTRE.to(dtype).expand(50, 4, 2)
    made = affine(points, CENTRE, generator(), share=1.0)
    assert changed(made).all()
    torch.testing.assert_close(made.points, points, rtol=0, atol=1e-7)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_intensities_and_further_features_keep_their_bits(share: float) -> None:
    points = clouds(100, features=5)
    made = affine(points, CENTRE, generator(), share=share)
    assert torch.equal(made.points[..., 2:], points[..., 2:])


def test_input_clouds_are_left_alone() -> None:
    points = clouds(20)
    affine(points, CENTRE, generator(), share=1.0)
    assert torch.equal(points, clouds(20))


def test_a_mirror_is_its_own_inverse() -> None:
    mirrors = [[0.0] * 4 + [float(x), float(y)] for x in (0, 1) for y in (0, 1)]
    maps = transforms._matrices(torch.tensor(mirrors))
    torch.testing.assert_close(maps @ maps, torch.eye(2).expand(4, 2, 2))
    assert len({tuple(each.flatten().tolist()) for each in maps}) == 4


# which clouds are changed


def test_a_share_of_zero_changes_nothing() -> None:
    points = clouds(200)
    made = affine(points, CENTRE, generator(), share=0.0)
    assert torch.equal(made.points.view(torch.int32), points.view(torch.int32))
    assert torch.equal(made.changes, torch.zeros(200, NUM_CHANGES))


def test_a_share_of_one_changes_every_cloud() -> None:
    points = clouds(200)
    made = affine(points, CENTRE, generator(), share=1.0)
    assert changed(made).all()
    assert (made.points[..., :2] != points[..., :2]).flatten(1).any(1).all()


def test_clouds_without_changes_keep_their_bits_among_others(dtype: torch.dtype) -> None:
    points = clouds(300).to(dtype)
    points[:, 0, :2] = -0.0  # which adding and subtracting a centre would not give back
    made = affine(points, CENTRE, generator(), share=0.5)
    same, bits = ~changed(made), {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
    assert 100 < same.sum() < 200
    assert torch.equal(made.points[same].view(bits), points[same].view(bits))
    assert (made.points[~same] != points[~same]).flatten(1).any(1).all()


@pytest.mark.parametrize("share", [0.1, 0.7, 0.9])
def test_so_many_clouds_are_changed_as_asked_for(share: float) -> None:
    made = affine(clouds(10_000, nodes=1), CENTRE, generator(), share=share)
    # five standard deviations of a share of so many
    assert float(changed(made).float().mean()) == pytest.approx(share, abs=0.025)


# how much


def test_changes_are_gaussian_in_units_of_their_spreads() -> None:
    changes = affine(clouds(20_000, nodes=1), CENTRE, generator(), share=1.0).changes[:, :4]
    assert changes.mean(0).tolist() == pytest.approx([0.0] * 4, abs=0.04)
    assert changes.std(0).tolist() == pytest.approx([1.0] * 4, abs=0.03)
    # of a Gaussian; of uniform numbers 1.8
    assert (changes**4).mean(0).tolist() == pytest.approx([3.0] * 4, abs=0.4)


def test_each_mirror_is_as_frequent_as_not() -> None:
    mirrors = affine(clouds(20_000, nodes=1), CENTRE, generator(), share=1.0).changes[:, 4:]
    assert set(mirrors.unique().tolist()) == {0.0, 1.0}
    assert mirrors.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_changes_do_not_know_of_each_other() -> None:
    changes = affine(clouds(20_000, nodes=1), CENTRE, generator(), share=1.0).changes
    together = torch.corrcoef(changes.T) - torch.eye(NUM_CHANGES)
    assert together.abs().max() < 0.04


# random numbers


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_same_seed_gives_the_same_bits(share: float) -> None:
    points = clouds(50)
    torch.manual_seed(0)
    first = affine(points, CENTRE, generator(1), share=share)
    torch.manual_seed(1)  # the global generator has no say
    again = affine(points, CENTRE, generator(1), share=share)
    other = affine(points, CENTRE, generator(2), share=share)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.changes, other.changes)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    affine(clouds(50), CENTRE, generator())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_changes_are_the_same_in_both_precisions() -> None:
    points = clouds(50)
    single = affine(points, CENTRE, generator())
    double = affine(points.double(), CENTRE, generator())
    torch.testing.assert_close(single.changes.double(), double.changes, rtol=0, atol=0)
    torch.testing.assert_close(single.points.double(), double.points, rtol=0, atol=1e-6)


# errors


@pytest.mark.parametrize("share", [-0.1, 1.1, math.inf, math.nan])
def test_a_share_out_of_range_is_an_error(share: float) -> None:
    with pytest.raises(ValueError, match=rf"share must be in \[0, 1\], got {share}"):
        affine(clouds(2), CENTRE, generator(), share=share)
