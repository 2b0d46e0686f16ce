from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gconvae.scaling import FeatureScaling


def points_of(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def jets(dtype: torch.dtype = torch.float64) -> FeatureScaling:
    """Features that are not pixels: other ends, signs and sizes."""
    low = torch.tensor([-3.0, 100.0, 1e-3], dtype=dtype)
    return FeatureScaling(low, torch.tensor([5.0, 101.0, 2e-3], dtype=dtype), extent=10.0)


def test_pixels_leave_positions_and_multiply_the_intensity_by_27() -> None:
    points = points_of(4, 25, 3) * torch.tensor([27.0, 27.0, 1.0])
    scaled = FeatureScaling.pixels().scale(points)
    torch.testing.assert_close(scaled[..., :2], points[..., :2])
    torch.testing.assert_close(scaled[..., 2], 27 * points[..., 2])


def test_pixels_of_another_image_size_share_one_range() -> None:
    scaling = FeatureScaling.pixels(64, num_features=4)
    corner = torch.tensor([63.0, 63.0, 1.0, 1.0])
    assert scaling.scale(corner).tolist() == [63.0] * 4
    assert scaling.scale(torch.zeros(4)).tolist() == [0.0] * 4


def test_ends_of_each_range_become_zero_and_extent() -> None:
    scaling = jets()
    assert scaling.scale(scaling.low).tolist() == [0.0] * 3
    assert scaling.scale(scaling.high).tolist() == pytest.approx([10.0] * 3)
    middle = (scaling.low + scaling.high) / 2
    assert scaling.scale(middle).tolist() == pytest.approx([5.0] * 3)


@pytest.mark.parametrize("shape", [(3,), (6, 3), (5, 6, 3)])
@pytest.mark.parametrize("scaling", [FeatureScaling.pixels(), jets()], ids=["pixels", "jets"])
def test_unscale_is_the_inverse_of_scale(scaling: FeatureScaling, shape: tuple[int, ...]) -> None:
    points = points_of(*shape) * (scaling.high - scaling.low) + scaling.low
    torch.testing.assert_close(scaling.unscale(scaling.scale(points)), points)
    scaled = 10 * points_of(*shape)
    torch.testing.assert_close(scaling.scale(scaling.unscale(scaled)), scaled)


def test_the_unit_interval_covers_exactly_the_ranges() -> None:
    scaling = jets()
    ends = scaling.from_unit(torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64))
    assert ends.tolist() == [[0.0] * 3, [10.0] * 3]
    torch.testing.assert_close(scaling.unscale(ends), torch.stack([scaling.low, scaling.high]))


def test_scaled_distances_are_per_feature_ranges() -> None:
    step = jets().scale(torch.tensor([4.0, 100.5, 1.5e-3]).double()) - jets().scale(jets().low)
    assert step.tolist() == pytest.approx([10 * 7 / 8, 5.0, 5.0])


def test_fitted_takes_the_extremes_over_clouds_and_nodes() -> None:
    points = points_of(4, 5, 3)
    points[2, 3] = torch.tensor([-4.0, 9.0, 3.0])
    points[0, 1] = torch.tensor([7.0, -2.0, -8.0])
    scaling = FeatureScaling.fitted(points)
    assert scaling.low.tolist() == [-4.0, -2.0, -8.0]
    assert scaling.high.tolist() == [7.0, 9.0, 3.0]


def test_fitted_does_not_see_masked_nodes() -> None:
    points = 1 + points_of(4, 5, 3)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[:, -1] = False
    padded = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    scaling, wanted = FeatureScaling.fitted(padded, mask), FeatureScaling.fitted(points[:, :-1])
    assert torch.equal(scaling.low, wanted.low)
    assert torch.equal(scaling.high, wanted.high)
    assert scaling.low.min() >= 1


@pytest.mark.parametrize("value", [5.0, -3.0, 0.0, 3e7])
def test_a_feature_that_never_changes_can_be_scaled_back(value: float) -> None:
    points = points_of(4, 5, 3, dtype=torch.float32)
    points[..., 1] = value
    scaling = FeatureScaling.fitted(points)
    scaled = scaling.scale(points)
    assert scaled[..., 1].unique().tolist() == [0.0]
    torch.testing.assert_close(scaling.unscale(scaled), points)


def test_scaling_keeps_the_dtype_of_its_points(dtype: torch.dtype, device: torch.device) -> None:
    scaling = FeatureScaling.pixels().to(device, dtype)
    points = points_of(2, 3, 3).to(device, dtype)
    for made in (scaling.scale(points), scaling.unscale(points), scaling.from_unit(points)):
        assert made.dtype == dtype
        assert made.device == points.device


def test_ranges_are_saved_with_a_model_and_not_trained() -> None:
    saved, other = jets(), FeatureScaling(torch.zeros(3).double(), torch.ones(3).double(), 10.0)
    assert list(saved.parameters()) == []
    other.load_state_dict(saved.state_dict())
    points = points_of(2, 3, 3)
    assert torch.equal(other.scale(points), saved.scale(points))


def test_given_ranges_are_copied() -> None:
    low, high = torch.zeros(3), torch.ones(3)
    scaling = FeatureScaling(low, high)
    high[0] = 100.0
    assert scaling.high.tolist() == [1.0, 1.0, 1.0]


def test_gradient_of_unscale_is_the_range_over_the_extent() -> None:
    scaled = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jets().unscale(scaled).sum().backward()
    assert scaled.grad is not None
    assert scaled.grad.tolist() == pytest.approx([0.8, 0.1, 1e-4])


@pytest.mark.parametrize("size", [2, 28, 64])
def test_image_size_is_known_where_ranges_are_pixels(size: int) -> None:
    assert FeatureScaling.pixels(size).image_size == size


def test_image_size_is_none_where_ranges_are_not_pixels() -> None:
    assert jets().image_size is None
    shifted = FeatureScaling(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([27.0, 27.0, 1.0]))
    assert shifted.image_size is None
    cut = FeatureScaling(torch.zeros(3), torch.tensor([27.0, 26.0, 1.0]))
    assert cut.image_size is None


# Refusals


@pytest.mark.parametrize(
    ("low", "high"), [([0.0, 0.0], [1.0]), ([[0.0]], [[1.0]]), (0.0, 1.0)], ids=str
)
def test_ranges_of_wrong_shape_are_refused(low: object, high: object) -> None:
    with pytest.raises(ValueError, match=r"low and high must both have shape \(F,\), got"):
        FeatureScaling(torch.tensor(low), torch.tensor(high))


@pytest.mark.parametrize("high", [0.0, -1.0, torch.nan])
def test_a_range_without_length_is_refused(high: float) -> None:
    with pytest.raises(ValueError, match="high must be above low in every feature, got"):
        FeatureScaling(torch.zeros(2), torch.tensor([1.0, high]))


@pytest.mark.parametrize("size", [1, 0, -5])
def test_an_image_without_extent_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size must be at least 2 pixels, got {size}"):
        FeatureScaling.pixels(size)


@pytest.mark.parametrize("extent", [0.0, -27.0, torch.nan, torch.inf])
def test_an_extent_that_cannot_be_undone_is_refused(extent: float) -> None:
    with pytest.raises(ValueError, match="extent must be"):
        FeatureScaling(torch.zeros(2), torch.ones(2), extent)


@pytest.mark.parametrize(
    ("feature", "value"), [(0, 27.1), (0, -0.1), (1, 28.0), (2, 1.01), (2, -0.01), (2, 255.0)]
)
def test_a_value_outside_its_range_is_refused_by_its_feature(feature: int, value: float) -> None:
    points = points_of(2, 3, 3, dtype=torch.float32)
    points[1, 2, feature] = value
    mask = torch.ones(2, 3, dtype=torch.bool)
    message = rf"points must lie in \[0, (27|1)\] in feature {feature}, got \[.*\]"
    with pytest.raises(ValueError, match=message):
        FeatureScaling.pixels().check_range(points, mask, "points")


def test_the_next_sample_may_lie_half_a_range_beyond_that_of_the_training_clouds() -> None:
    scaling, mask = jets(), torch.ones(1, 2, dtype=torch.bool)
    length = scaling.high - scaling.low
    for size, refused in ((0.49, False), (0.51, True)):
        for node in (scaling.low - size * length, scaling.high + size * length):
            points = torch.stack([node, scaling.low])[None]
            if not refused:
                scaling.check_range(points, mask, "points")
                continue
            with pytest.raises(ValueError, match="in feature 0"):
                scaling.check_range(points, mask, "points")


def test_training_clouds_may_not_lie_beyond_their_range() -> None:
    scaling, mask = jets(), torch.ones(1, 1, dtype=torch.bool)
    node = scaling.high + 0.01 * (scaling.high - scaling.low)
    with pytest.raises(ValueError, match="in feature 0"):
        scaling.check_range(node[None, None], mask, "points", strict=True)


def test_masked_nodes_may_lie_outside_the_range() -> None:
    scaling = jets()
    points = scaling.low.expand(2, 3, 3).clone()
    points[:, 2] = 0.0  # outside the second range
    scaling.check_range(points, torch.tensor([[True, True, False]] * 2), "points")
    with pytest.raises(ValueError, match="in feature 1"):
        scaling.check_range(points, torch.ones(2, 3, dtype=torch.bool), "points")


@pytest.mark.parametrize("offset", [0.0, -40.0, 1e5])
def test_training_clouds_lie_in_the_range_fitted_to_them(offset: float) -> None:
    points = points_of(4, 5, 3, dtype=torch.float32) + offset
    mask = torch.ones(4, 5, dtype=torch.bool)
    FeatureScaling.fitted(points).check_range(points, mask, "points")
