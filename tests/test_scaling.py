from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.scaling import FeatureScaling
from gconvae.schema import SUPERPIXELS, CloudSchema, Feature, Tail, superpixels, usual

PLAIN = usual(4).replace(features=usual(4).features[:3])
"""Three features that nobody described."""


def points_of(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def jets(dtype: torch.dtype = torch.float64) -> FeatureScaling:
    """Features that are not pixels: other ends, signs and sizes."""
    low = torch.tensor([-3.0, 100.0, 1e-3], dtype=dtype)
    return FeatureScaling(low, torch.tensor([5.0, 101.0, 2e-3], dtype=dtype), extent=10.0)


def test_pixels_leave_positions_and_multiply_the_intensity_by_27() -> None:
    points = points_of(4, 25, 3) * torch.tensor([27.0, 27.0, 1.0])
    scaled = FeatureScaling.of(SUPERPIXELS).scale(points)
    torch.testing.assert_close(scaled[..., :2], points[..., :2])
    torch.testing.assert_close(scaled[..., 2], 27 * points[..., 2])


def test_pixels_of_another_image_size_share_one_range() -> None:
    scaling = FeatureScaling.of(superpixels(64))
    assert scaling.scale(torch.tensor([63.0, 63.0, 1.0])).tolist() == [63.0] * 3
    assert scaling.scale(torch.zeros(3)).tolist() == [0.0] * 3


def test_ends_of_each_range_become_zero_and_extent() -> None:
    scaling = jets()
    assert scaling.scale(scaling.low).tolist() == [0.0] * 3
    assert scaling.scale(scaling.high).tolist() == pytest.approx([10.0] * 3)
    middle = (scaling.low + scaling.high) / 2
    assert scaling.scale(middle).tolist() == pytest.approx([5.0] * 3)


@pytest.mark.parametrize("shape", [(3,), (6, 3), (5, 6, 3)])
@pytest.mark.parametrize(
    "scaling", [FeatureScaling.of(SUPERPIXELS), jets()], ids=["superpixels", "jets"]
)
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
    scaling = FeatureScaling.fitted(PLAIN, points)
    assert scaling.low.tolist() == [-4.0, -2.0, -8.0]
    assert scaling.high.tolist() == [7.0, 9.0, 3.0]


def test_fitted_does_not_see_masked_nodes() -> None:
    points = 1 + points_of(4, 5, 3)
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[:, -1] = False
    padded = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    scaling, wanted = (
        FeatureScaling.fitted(PLAIN, padded, mask),
        FeatureScaling.fitted(PLAIN, points[:, :-1]),
    )
    assert torch.equal(scaling.low, wanted.low)
    assert torch.equal(scaling.high, wanted.high)
    assert scaling.low.min() >= 1


@pytest.mark.parametrize("value", [5.0, -3.0, 0.0, 3e7])
def test_a_feature_that_never_changes_can_be_scaled_back(value: float) -> None:
    points = points_of(4, 5, 3, dtype=torch.float32)
    points[..., 1] = value
    scaling = FeatureScaling.fitted(PLAIN, points)
    scaled = scaling.scale(points)
    assert scaled[..., 1].unique().tolist() == [0.0]
    torch.testing.assert_close(scaling.unscale(scaled), points)


def test_scaling_keeps_the_dtype_of_its_points(dtype: torch.dtype, device: torch.device) -> None:
    scaling = FeatureScaling.of(SUPERPIXELS).to(device, dtype)
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


# Refusals


@pytest.mark.parametrize(
    ("low", "high"), [([0.0, 0.0], [1.0]), ([[0.0]], [[1.0]]), (0.0, 1.0)], ids=str
)
def test_ranges_of_wrong_shape_are_refused(low: object, high: object) -> None:
    with pytest.raises(ValueError, match=r"low and high must both have shape \(F,\), got"):
        FeatureScaling(torch.tensor(low), torch.tensor(high))


@pytest.mark.parametrize("high", [-1.0, torch.nan])
def test_a_range_whose_ends_are_swapped_is_refused(high: float) -> None:
    with pytest.raises(ValueError, match="high must not be below low in any feature, got"):
        FeatureScaling(torch.zeros(2), torch.tensor([1.0, high]))


@pytest.mark.parametrize("extent", [0.0, -27.0, torch.nan, torch.inf])
def test_an_extent_that_cannot_be_undone_is_refused(extent: float) -> None:
    with pytest.raises(ValueError, match="extent must be"):
        FeatureScaling(torch.zeros(2), torch.ones(2), extent)


@pytest.mark.parametrize(
    ("feature", "value"), [(0, 27.1), (0, -0.1), (1, 28.0), (2, 1.01), (2, -0.01), (2, 255.0)]
)
def test_a_value_outside_a_known_range_is_refused_by_its_feature(
    feature: int, value: float
) -> None:
    points = points_of(2, 3, 3, dtype=torch.float32)
    points[1, 2, feature] = value
    mask = torch.ones(2, 3, dtype=torch.bool)
    name = SUPERPIXELS.names[feature]
    with pytest.raises(ValueError, match=rf"points must lie in \[0, (27|1)\] in {name}, got"):
        FeatureScaling.of(SUPERPIXELS).hold(points, mask, "points")


def test_the_next_sample_may_lie_half_a_range_beyond_that_of_the_training_clouds() -> None:
    scaling, mask = jets(), torch.ones(1, 2, dtype=torch.bool)
    length = scaling.high - scaling.low
    for size in (0.49, 0.51):
        for node in (scaling.low - size * length, scaling.high + size * length):
            points = torch.stack([node, scaling.low])[None]
            if size < 0.5:
                assert torch.equal(scaling.hold(points, mask, "points"), points)
                continue
            with pytest.warns(UserWarning, match="1 of 2 nodes of points lie far outside"):
                held = scaling.hold(points, mask, "points")
            assert held[0, 1].tolist() == scaling.low.tolist()
            assert ((held[0, 0] - scaling.low) / length).tolist() == pytest.approx(
                [1.5] * 3 if node[0] > 0 else [-0.5] * 3, abs=1e-6
            )


def test_masked_nodes_may_lie_outside_the_range() -> None:
    scaling = FeatureScaling.of(SUPERPIXELS)
    points = torch.ones(2, 3, 3)
    points[:, 2] = -5.0
    scaling.hold(points, torch.tensor([[True, True, False]] * 2), "points")
    with pytest.raises(ValueError, match="in x"):
        scaling.hold(points, torch.ones(2, 3, dtype=torch.bool), "points")


@pytest.mark.parametrize("offset", [0.0, -40.0, 1e5])
def test_training_clouds_lie_in_the_range_fitted_to_them(offset: float) -> None:
    points = points_of(4, 5, 3, dtype=torch.float32) + offset
    mask = torch.ones(4, 5, dtype=torch.bool)
    held = FeatureScaling.fitted(PLAIN, points).hold(points, mask, "points")
    assert torch.equal(held, points)


# Heavy tails, constants, offsets


@pytest.mark.parametrize(
    "tail", [Tail("log", 0.01), Tail("log", 3.0), Tail("power", 0.3)], ids=str
)
def test_a_heavy_tail_comes_back(tail: Tail) -> None:
    schema = CloudSchema((Feature("x", position=True), Feature("pt", tail=tail)))
    points = points_of(50, 4, 2) ** 8 - torch.tensor([0.0, 0.1])
    scaling = FeatureScaling.fitted(schema, points).double()
    torch.testing.assert_close(scaling.unscale(scaling.scale(points)), points)


def test_a_log_spreads_the_small_values_of_a_heavy_tail() -> None:
    points = torch.tensor([[[0.0], [0.01], [0.1], [1.0], [10.0]]])
    plain = FeatureScaling.fitted(CloudSchema((Feature("x", position=True),)), points)
    bent = FeatureScaling.fitted(
        CloudSchema((Feature("x", position=True, tail=Tail("log", 0.01)),)), points
    )
    assert plain.to_unit(points)[0, 2, 0] == pytest.approx(0.01)
    assert bent.to_unit(points)[0, 2, 0] == pytest.approx(math.log(11) / math.log(1001), abs=1e-6)


def test_a_feature_that_never_changes_comes_back_as_it_was_whatever_a_decoder_says() -> None:
    points = points_of(4, 5, 3, dtype=torch.float32)
    points[..., 1] = 7.25
    scaling = FeatureScaling.fitted(PLAIN, points)
    decoded = scaling.unscale(scaling.from_unit(torch.rand(4, 5, 3)))
    assert decoded[..., 1].unique().tolist() == [7.25]


def test_that_a_feature_never_changes_is_known_after_loading() -> None:
    points = points_of(4, 5, 3, dtype=torch.float32)
    points[..., 1] = 7.25
    other = FeatureScaling.of(PLAIN)
    other.load_state_dict(FeatureScaling.fitted(PLAIN, points).state_dict())
    assert not other.is_varied
    assert other.unscale(other.from_unit(torch.rand(2, 3, 3)))[..., 1].unique().tolist() == [7.25]


def test_an_offset_is_taken_away_and_put_back_in_double_precision() -> None:
    schema = CloudSchema((Feature("x", position=True, offset=1e8), Feature("y", position=True)))
    scaling = FeatureScaling.of(schema)
    points = points_of(3, 4, 2) + torch.tensor([1e8, 0.0], dtype=torch.float64)
    inside = scaling.enter(points)
    assert inside.abs().max() <= 1
    torch.testing.assert_close(scaling.leave(inside.float()), points, rtol=0, atol=1e-7)


def test_a_known_range_is_relative_to_the_offset() -> None:
    feature = Feature("x", position=True, low=1e8, high=1e8 + 1, offset=1e8)
    scaling = FeatureScaling.of(CloudSchema((feature,)))
    inside = scaling.enter(torch.tensor([[1e8 + 0.5]], dtype=torch.float64))
    assert scaling.to_unit(inside).item() == 0.5


def test_points_without_an_offset_keep_their_bits_and_precision() -> None:
    scaling, points = FeatureScaling.of(PLAIN), torch.rand(2, 3, 3)
    assert scaling.enter(points) is points
    assert scaling.leave(points) is points


def test_known_ranges_are_taken_and_the_others_fitted() -> None:
    schema = CloudSchema(
        (Feature("x", position=True, low=0.0, high=10.0), Feature("y", position=True))
    )
    points = torch.tensor([[[2.0, -3.0], [4.0, 5.0]]])
    fitted = FeatureScaling.fitted(schema, points)
    assert (fitted.low.tolist(), fitted.high.tolist()) == ([0.0, -3.0], [10.0, 5.0])
    all_seen = FeatureScaling.fitted(schema, points, known=False)
    assert (all_seen.low.tolist(), all_seen.high.tolist()) == ([2.0, -3.0], [4.0, 5.0])
    assert all_seen.is_known == (False, False)
