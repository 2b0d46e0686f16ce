"""Noise around the decoder's mean against scipy's truncated Gaussian, and lattices of features."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gconvae import randomness, registry
from gconvae.datasets import SuperpixelMNIST
from gconvae.likelihoods import (
    FINE_STEPS,
    MIN_PLACES,
    TEMPERATURES,
    GaussianLikelihood,
    Likelihood,
    MeanLikelihood,
    lattice_step,
)
from gconvae.scaling import FeatureScaling

KINDS = ("mean", "gaussian")
MEANS = (0.0, 1e-6, 0.02, 0.3, 0.5, 0.97, 1.0)
SCALES = (0.004, 0.05, 0.3, 2.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def gaussian(scale: list[float], **options: Any) -> GaussianLikelihood:
    likelihood = GaussianLikelihood(len(scale), **options)
    likelihood.scale.copy_(torch.tensor(scale))
    return likelihood


def truncated(mean: float, scale: float) -> Any:
    return stats.truncnorm(-mean / scale, (1 - mean) / scale, loc=mean, scale=scale)


def pooled_w1(first: Tensor, second: Tensor) -> list[float]:
    """1-Wasserstein distance of each feature over all nodes of all clouds."""
    columns = (side.flatten(0, 1).double().numpy().T for side in (first, second))
    return [stats.wasserstein_distance(a, b) for a, b in zip(*columns, strict=True)]


def narrow_reconstructions(num_clouds: int) -> tuple[Tensor, Tensor]:
    """Clouds of far nodes, and means that keep their places but not all of their spread.

    Noise of 0.03 is missing in the first feature. In the second the means have as much noise of
    their own, which is not the clouds'. The third is right.
    """
    places = torch.linspace(0.2, 0.8, 5, dtype=torch.float64)
    mean = torch.stack([places, torch.full_like(places, 0.5), places], -1).repeat(num_clouds, 1, 1)
    noise = torch.randn(mean.shape, generator=generator(1), dtype=torch.float64)
    target = mean + noise * torch.tensor([0.03, 0.03, 0.0])
    mean[..., 1] += 0.03 * torch.randn(mean.shape[:2], generator=generator(2))
    target[..., 1] += 0.03 * torch.randn(mean.shape[:2], generator=generator(3))
    return target, mean


def eights(num_clouds: int = 1000) -> Tensor:
    return SuperpixelMNIST(digit=8, split="test").points[:num_clouds]


def whole_pixel_eights() -> Tensor:
    points = eights().clone()
    points[..., :2] = points[..., :2].round()
    return points


# the density and its draws


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_density_is_that_of_scipys_truncated_gaussian(
    mean: float, scale: float, dtype: torch.dtype, device: torch.device
) -> None:
    value = torch.linspace(0, 1, 101, dtype=dtype, device=device).reshape(1, -1, 1)
    found = gaussian([scale]).to(device).log_prob(value, torch.full_like(value, mean))
    # the buffer is a float32 whatever the means are, and log p has z^2 / 2 of its relative error
    held = float(np.float32(scale))
    centre = float(torch.tensor(mean, dtype=dtype))
    wanted = truncated(centre, held).logpdf(value.flatten().double().cpu().numpy())
    assert found.dtype == dtype
    rel = 1e-4 if dtype == torch.float32 else 1e-9
    assert found.flatten().tolist() == pytest.approx(wanted.tolist(), rel=rel, abs=rel)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_density_integrates_to_one(mean: float, scale: float) -> None:
    # midpoints of cells far smaller than the smallest scale
    value = ((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000).reshape(1, -1, 1)
    density = gaussian([scale]).log_prob(value, torch.full_like(value, mean)).exp()
    assert float(density.mean()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_density_is_zero_outside_the_range(value: float) -> None:
    points = torch.full((1, 1, 1), value)
    assert float(gaussian([0.2]).log_prob(points, torch.full((1, 1, 1), 0.5))) == -math.inf


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_draws_follow_the_density(mean: float, scale: float, device: torch.device) -> None:
    means = torch.full((50, 80, 1), mean, dtype=torch.float64, device=device)
    draws = gaussian([scale]).to(device).sample(means, generator()).flatten().cpu().numpy()
    held = truncated(mean, float(np.float32(scale)))
    # one seed for 28 cases: below 1e-3 only if draws and density differ
    assert stats.kstest(draws, held.cdf).pvalue > 1e-3


def test_each_feature_and_node_has_its_own_noise() -> None:
    scale = torch.tensor([0.01, 0.02, 0.04])
    mean = torch.full((500, 20, 3), 0.5)
    noise = (gaussian(scale.tolist()).sample(mean, generator()) - mean) / scale
    assert noise.flatten(0, 1).std(0).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    together = torch.corrcoef(noise.flatten(1).T[:6]) - torch.eye(6)
    assert together.abs().max() < 0.2


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 0.3, 1e6])
@pytest.mark.parametrize("mean", [0.0, 1e-12, 0.5, 1 - 1e-7, 1.0])
def test_draws_stay_in_the_range(
    mean: float, scale: float, dtype: torch.dtype, device: torch.device
) -> None:
    means = torch.full((100, 100, 1), mean, dtype=dtype, device=device)
    draws = gaussian([scale]).to(device).sample(means, generator())
    assert draws.dtype == dtype
    assert ((draws >= 0) & (draws <= 1)).all()
    # no heap at an edge, where the mean itself does not lie there
    assert len(draws.unique()) > (9000 if scale > 1e-3 and 0 < mean < 1 else 1)


def test_very_wide_noise_is_uniform() -> None:
    draws = gaussian([1e8]).sample(torch.full((50, 80, 1), 0.9), generator())
    assert stats.kstest(draws.flatten().numpy(), "uniform").pvalue > 1e-3


def test_draws_are_the_same_in_both_precisions() -> None:
    mean = torch.rand(20, 25, 3, generator=generator())
    likelihood = gaussian([0.1, 0.02, 0.3])
    single = likelihood.sample(mean, generator(1))
    double = likelihood.sample(mean.double(), generator(1))
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    likelihood: Any = registry.create("likelihood", kind, lattice=[1.0, 1.0, 0.0])
    likelihood.calibrate(*(side.to(dtype) for side in narrow_reconstructions(50)))
    mean = uniform(5, 25, 3).to(dtype)
    scaled = 27 * mean
    torch.manual_seed(0)
    first = (
        likelihood.sample(mean, generator(1)),
        likelihood.dequantize(scaled, generator(1), 0.0, 27.0),
    )
    torch.manual_seed(1)  # the global generator has no say
    again = (
        likelihood.sample(mean, generator(1)),
        likelihood.dequantize(scaled, generator(1), 0.0, 27.0),
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], likelihood.dequantize(scaled, generator(2), 0.0, 27.0))


def test_uncalibrated_draws_are_the_mean() -> None:
    mean = torch.rand(4, 25, 3)
    assert torch.equal(GaussianLikelihood().sample(mean, generator()), mean)
    some = gaussian([0.1, 0.0, 0.1]).sample(mean, generator())
    assert torch.equal(some[..., 1], mean[..., 1])
    assert not torch.equal(some[..., 0], mean[..., 0])


def test_gradient_of_the_density_is_right() -> None:
    value, mean = uniform(2, 3, 2, seed=0), uniform(2, 3, 2, seed=1).requires_grad_()
    likelihood = gaussian([0.2, 0.7]).double()
    assert torch.autograd.gradcheck(lambda m: likelihood.log_prob(value, m), (mean,))


# calibration


@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.06])
def test_scale_of_truncated_gaussian_draws_is_recovered(sigma: float, dtype: torch.dtype) -> None:
    # nodes farther apart than their noise can reach are matched rightly
    mean = torch.tensor([[0.2, 0.2], [0.5, 0.8], [0.8, 0.5]], dtype=dtype).repeat(1500, 1, 1)
    target = gaussian([sigma, sigma / 2]).sample(mean, generator())
    likelihood = GaussianLikelihood(2)
    likelihood.calibrate(target.flip(1), mean)
    assert likelihood.scale.tolist() == pytest.approx([sigma, sigma / 2], rel=0.1)
    whole = GaussianLikelihood(2, temperature=1.0)
    whole.calibrate(target.flip(1), mean)
    assert whole.scale.tolist() == pytest.approx([sigma, sigma / 2], rel=0.03)


def test_residuals_are_those_of_the_best_pairing() -> None:
    target, mean = uniform(20, 5, 3, seed=0), uniform(20, 5, 3, seed=1)
    squares = []
    for p, q in zip(target, mean, strict=True):
        orders = [list(order) for order in itertools.permutations(range(5))]
        best = min(orders, key=lambda order: float((p - q[order]).norm(dim=-1).sum()))
        squares.append((p - q[best]).square())
    wanted = torch.cat(squares).mean(0).sqrt()
    likelihood = GaussianLikelihood(temperature=0.5)
    likelihood.calibrate(target, mean)
    assert likelihood.scale.tolist() == pytest.approx((0.5 * wanted).tolist(), rel=1e-6)


def test_factor_is_the_one_whose_draws_are_closest_to_the_clouds() -> None:
    target, mean = narrow_reconstructions(150)
    chosen = GaussianLikelihood()
    chosen.calibrate(target, mean)
    distances, scales = [], []
    for factor in TEMPERATURES:
        likelihood = GaussianLikelihood(temperature=factor)
        likelihood.calibrate(target, mean)
        draws = likelihood.sample(mean, randomness.generator(0, "observation"))
        distances.append(pooled_w1(target, draws))
        scales.append(likelihood.scale)
    best = np.argmin(distances, axis=0)
    wanted = [float(scales[t][feature]) for feature, t in enumerate(best)]
    assert chosen.scale.tolist() == pytest.approx(wanted, rel=1e-6)


def test_misplaced_nodes_are_not_taken_for_noise() -> None:
    target, mean = narrow_reconstructions(2000)
    likelihood, whole = GaussianLikelihood(), GaussianLikelihood(temperature=1.0)
    for each in (likelihood, whole):
        each.calibrate(target, mean)
    factors = (likelihood.scale / whole.scale.clamp(min=1e-9)).tolist()
    # var(target) - var(mean) = 0.03^2 of a mean squared residual of 3 * 0.03^2
    assert factors[:2] == pytest.approx([1.0, 3**-0.5], abs=0.06)
    assert likelihood.scale[2] == 0
    before = pooled_w1(target, mean)
    after = pooled_w1(target, likelihood.sample(mean, generator()))
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.2 * before[1]
    assert after[2] == before[2] == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_draws_are_no_farther_from_the_clouds_than_the_means(spread: float, seed: int) -> None:
    unit = eights(300).double() / torch.tensor([27.0, 27.0, 1.0])
    centre = unit.mean((0, 1))
    noise = torch.randn(unit.shape, generator=generator(seed), dtype=torch.float64)
    # means that shrink towards the centre and miss by some
    mean = (0.9 * unit + 0.1 * centre + spread * noise).clamp(0, 1)
    likelihood = GaussianLikelihood()
    likelihood.calibrate(unit, mean)
    before = pooled_w1(unit, mean)
    after = pooled_w1(unit, likelihood.sample(mean, generator(100 + seed)))
    # fresh random numbers move a distance by about a thousandth of the range
    assert all(a <= b + 1e-3 for a, b in zip(after, before, strict=True))


def test_wider_means_than_clouds_get_no_noise() -> None:
    target = uniform(200, 5, 3) / 10 + 0.45
    likelihood, whole = GaussianLikelihood(), GaussianLikelihood(temperature=1.0)
    for each in (likelihood, whole):
        each.calibrate(target, (target - 0.5) * 2 + 0.5)
    # the smallest factor may win against 0 by chance
    assert (likelihood.scale <= 0.051 * whole.scale).all()


def test_calibration_does_not_see_the_order_of_nodes() -> None:
    target, mean = narrow_reconstructions(100)
    first, second = GaussianLikelihood(temperature=1.0), GaussianLikelihood(temperature=1.0)
    first.calibrate(target, mean)
    second.calibrate(target.flip(1), mean.roll(2, 1))
    torch.testing.assert_close(first.scale, second.scale)


def test_calibration_ignores_masked_nodes(device: torch.device) -> None:
    target, mean = narrow_reconstructions(100)
    counts = torch.arange(100) % 5 + 1
    mask = torch.arange(5) < counts.unsqueeze(1)
    spoiled = [side.masked_fill(~mask.unsqueeze(-1), torch.nan) for side in (target, mean)]
    masked, wanted = GaussianLikelihood().to(device), GaussianLikelihood()
    masked.calibrate(*(side.to(device) for side in spoiled), mask.to(device))
    wanted.calibrate(target, mean, mask)
    assert torch.equal(masked.scale.cpu(), wanted.scale)
    # one real node a cloud leaves nothing to match
    single, alone = GaussianLikelihood(temperature=1.0), torch.arange(5) < 1
    single.calibrate(target, mean, alone.expand(100, -1))
    residual = (target - mean)[:, 0].square().mean(0).sqrt()
    assert single.scale.tolist() == pytest.approx(residual.tolist(), rel=1e-6)


def test_calibration_is_deterministic_and_of_either_precision() -> None:
    target, mean = narrow_reconstructions(100)
    scales = []
    for dtype in (torch.float32, torch.float64, torch.float64):
        likelihood = GaussianLikelihood()
        likelihood.calibrate(target.to(dtype), mean.to(dtype))
        scales.append(likelihood.scale)
    assert torch.equal(scales[1], scales[2])
    torch.testing.assert_close(scales[0], scales[1], rtol=1e-4, atol=1e-7)


def test_calibration_takes_means_with_gradients() -> None:
    target, mean = narrow_reconstructions(10)
    likelihood = GaussianLikelihood()
    likelihood.calibrate(target, mean.requires_grad_())
    assert not likelihood.scale.requires_grad


# lattices


@pytest.mark.parametrize(
    ("step", "found"), [(1, 1.0), (2, 1.0), (0.5, 0.5), (0.25, 0.25), (1 / 8, 0.0), (1 / 16, 0.0)]
)
def test_lattice_of_rounded_positions_is_found(
    step: float, found: float, dtype: torch.dtype, device: torch.device
) -> None:
    points = eights().to(device, dtype)
    points[..., 0] = (points[..., 0] / step).round() * step
    wanted = torch.tensor([found, 0.0, 0.0], dtype=dtype, device=device)
    assert torch.equal(lattice_step(points), wanted)


@pytest.mark.parametrize("places", [3, 10, 12, 28, 40])
def test_a_lattice_of_any_step_is_found_if_asked_for(places: int) -> None:
    points = eights().clone()
    points[..., :2] = (points[..., :2] * places).round() / places
    steps = lattice_step(points, others=True)
    torch.testing.assert_close(steps, torch.tensor([1 / places, 1 / places, 1 / 255]))
    assert lattice_step(points)[0] == (torch.tensor(1 / 3) if places == 3 else 0)


@pytest.mark.parametrize("places", [31, 200, 500, 1500])
@pytest.mark.parametrize("step", [0.97, 0.96, 1.04, 0.49, 0.33, 1.02, 1.1, 0.45, 0.07, 3.3, 0.003])
def test_a_step_is_found_to_its_last_digit(step: float, places: int) -> None:
    points = (torch.arange(places).double() * step).float().view(1, -1, 1)
    found = lattice_step(points, steps=(), others=True)
    torch.testing.assert_close(found, torch.tensor([step]), rtol=1e-5, atol=0)


def test_what_lies_on_no_lattice_is_continuous_also_then() -> None:
    few, many = torch.rand(2, 9, 3, generator=generator()), torch.randn(900, 25, 3)
    means = torch.arange(1.0, 1000.0) / torch.arange(1000.0, 1.0, -1.0)
    for points in (few, many, means.view(1, -1, 1), 1e6 + few, few.double()):
        assert not lattice_step(points, others=True).any()


def test_a_step_above_one_is_found_too() -> None:
    points = 2.5 * torch.randint(0, 30, (60, 9, 2), generator=generator()).float()
    assert lattice_step(points, steps=(), others=True).tolist() == [2.5, 2.5]


@pytest.mark.parametrize("size", [1e6, 1e9, 1e30])
def test_large_continuous_numbers_lie_on_no_lattice(size: float) -> None:
    # single precision has few numbers there, and all are multiples of 1/16, or of 1
    points = size * torch.rand(50, 9, 2, generator=generator())
    assert lattice_step(points, None, FINE_STEPS, others=True).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("most", "found"), [(5e4, 1.0), (1e6, 0.0)])
def test_a_lattice_of_very_many_places_is_as_good_as_none(most: float, found: float) -> None:
    points = (most * torch.rand(500, 9, 1, generator=generator())).round()
    assert lattice_step(points, None, FINE_STEPS).tolist() == [found]


def test_bundled_eights_are_continuous() -> None:
    assert lattice_step(eights()).tolist() == [0.0] * 3


def test_eights_on_whole_pixels_have_a_continuous_intensity() -> None:
    assert lattice_step(whole_pixel_eights()).tolist() == [1.0, 1.0, 0.0]


def test_lattice_survives_rounding_of_single_precision() -> None:
    points = whole_pixel_eights()
    scaling = FeatureScaling(torch.tensor([-3.0, 0.1, 0.0]), torch.tensor([31.0, 27.7, 1.0]))
    assert lattice_step(scaling.unscale(scaling.scale(points))).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("places", [1, 2, 3, 5])
def test_few_values_are_no_lattice(places: int) -> None:
    points = eights().clone()
    points[..., 2] = torch.randint(0, places, points.shape[:2], generator=generator())
    assert lattice_step(points)[2] == 0
    points[..., 2] /= 4
    assert lattice_step(points)[2] == 0


def test_number_of_places_decides() -> None:
    column = torch.arange(MIN_PLACES, dtype=torch.float32).repeat(5)
    points = torch.stack([column, column.clamp(max=MIN_PLACES - 2)], dim=1)[None]
    assert lattice_step(points).tolist() == [1.0, 0.0]


def test_lattice_ignores_masked_nodes() -> None:
    points, mask = whole_pixel_eights(), torch.ones(974, 25, dtype=torch.bool)
    mask[::3, 20:] = False
    points[~mask] = 0.3
    assert lattice_step(points).tolist() == [0.0] * 3
    assert lattice_step(points, mask).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_auto_takes_the_lattice_of_the_clouds(kind: str) -> None:
    likelihood: Any = registry.create("likelihood", kind)
    assert likelihood.step.tolist() == [0.0] * 3
    likelihood.set_lattice(whole_pixel_eights())
    assert likelihood.step.tolist() == [1.0, 1.0, 0.0]
    likelihood.set_lattice(eights())
    assert likelihood.step.tolist() == [0.0] * 3


@pytest.mark.parametrize("lattice", [[0.5, 0.0, 0.1], None])
def test_a_given_lattice_stays(lattice: list[float] | None) -> None:
    likelihood = MeanLikelihood(lattice=lattice)
    likelihood.set_lattice(whole_pixel_eights())
    assert likelihood.step.tolist() == pytest.approx(lattice or [0.0] * 3)


@pytest.mark.parametrize("step", [1.0, 0.5, 0.25, 0.1, 3.0])
def test_quantize_takes_the_noise_of_dequantize_away(
    step: float, dtype: torch.dtype, device: torch.device
) -> None:
    likelihood = MeanLikelihood(lattice=[step, step, 0.0]).to(device)
    points = likelihood.quantize(27 * uniform(2000, 25, 3).to(device, dtype))
    noisy = likelihood.dequantize(points, generator(1), 0.0, 27.0)
    assert noisy.dtype == dtype
    assert torch.equal(likelihood.quantize(noisy), points)
    assert torch.equal(noisy[..., 2], points[..., 2])


def test_quantized_values_are_exact_multiples() -> None:
    points = whole_pixel_eights()
    off = points + 0.49 * (2 * torch.rand(points.shape, generator=generator()) - 1)
    off[..., 2] = points[..., 2]
    assert torch.equal(MeanLikelihood(lattice=[1.0, 1.0, 0.0]).quantize(off), points)


@pytest.mark.parametrize("parts", [3, 4, 7, 10, 255])
@pytest.mark.parametrize("divided", [True, False])
def test_quantized_values_have_the_bits_of_the_clouds(parts: int, divided: bool) -> None:
    places = torch.arange(256.0).view(1, -1, 1)
    points = places / parts if divided else places * torch.tensor(1 / parts)
    likelihood = MeanLikelihood(1, lattice="fine")
    likelihood.set_lattice(points)
    assert likelihood.step == pytest.approx(1 / parts, rel=1e-5)
    assert torch.equal(likelihood.quantize(points + 0.2 / parts), points)
    again = MeanLikelihood(1, lattice="fine")
    again.load_state_dict(likelihood.state_dict())
    assert torch.equal(again.quantize(points - 0.2 / parts), points)


def test_bundled_intensities_are_drawn_with_their_bits() -> None:
    points = eights()
    likelihood = MeanLikelihood(lattice="fine")
    likelihood.set_lattice(points)
    spread = likelihood.dequantize(points, generator(), 0.0, 27.0)
    assert torch.equal(likelihood.quantize(spread), points)


def test_dequantized_values_fill_the_range_evenly() -> None:
    pixels = torch.arange(28.0).repeat(1000, 1).unsqueeze(-1)
    likelihood = MeanLikelihood(1, lattice=[1.0])
    noisy = likelihood.dequantize(pixels, generator(), torch.zeros(1), torch.tensor([27.0]))
    assert ((noisy >= 0) & (noisy <= 27)).all()
    inner, first, last = noisy[:, 1:-1] - pixels[:, 1:-1], noisy[:, 0], 27 - noisy[:, -1]
    assert stats.kstest(inner.flatten().numpy() + 0.5, "uniform").pvalue > 1e-3
    # half of an edge pixel's cell lies in the range, and nothing heaps up at its end
    for half in (first, last):
        assert stats.kstest(2 * half.flatten().numpy(), "uniform").pvalue > 1e-3


def test_nodes_beyond_the_range_move_inwards_only() -> None:
    points = torch.tensor([-2.0, 29.0]).repeat(500, 1).unsqueeze(-1)
    noisy = MeanLikelihood(1, lattice=[1.0]).dequantize(points, generator(), 0.0, 27.0)
    assert noisy.amin((0, 2)).tolist() == pytest.approx([-2.0, 28.5], abs=0.01)
    assert noisy.amax((0, 2)).tolist() == pytest.approx([-1.5, 29.0], abs=0.01)


def test_masked_nodes_are_not_dequantized() -> None:
    mask = torch.arange(25) < 20
    points = whole_pixel_eights() * mask.unsqueeze(-1)
    likelihood = MeanLikelihood(lattice=[1.0, 1.0, 0.0])
    noisy = likelihood.dequantize(points, generator(), 0.0, 27.0, mask.expand(974, -1))
    everywhere = likelihood.dequantize(points, generator(), 0.0, 27.0)
    assert torch.equal(noisy[:, mask], everywhere[:, mask])
    assert not noisy[:, ~mask].any()


def test_continuous_clouds_pass_through_with_their_bits() -> None:
    points = torch.randn(10, 25, 3, generator=generator())
    points[0, 0] = -0.0
    likelihood = MeanLikelihood()
    for made in (
        likelihood.dequantize(points, generator(), 0.0, 1.0),
        likelihood.quantize(points),
    ):
        assert torch.equal(made.view(torch.int32), points.view(torch.int32))


# parts


def test_both_kinds_are_registered() -> None:
    assert set(KINDS) <= set(registry.available("likelihood"))
    with pytest.raises(TypeError, match="abstract"):
        Likelihood()  # type: ignore[abstract]


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_remembered(kind: str) -> None:
    made = registry.create("likelihood", f"{kind}(lattice=[1, 1, 0])", num_features=3)
    term = registry.describe("likelihood", made)
    assert term is not None
    assert term.name == kind
    assert term.options["lattice"] == [1, 1, 0]
    again: Any = registry.create("likelihood", term.name, **term.options)
    assert again.step.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_holds_everything_that_was_fitted(kind: str) -> None:
    fitted: Any = registry.create("likelihood", kind)
    fitted.set_lattice(whole_pixel_eights())
    fitted.calibrate(*narrow_reconstructions(50))
    assert not list(fitted.parameters())
    loaded: Any = registry.create("likelihood", kind)
    loaded.load_state_dict(fitted.state_dict())
    mean = torch.rand(5, 25, 3)
    assert torch.equal(loaded.sample(mean, generator()), fitted.sample(mean, generator()))
    assert torch.equal(loaded.quantize(27 * mean), fitted.quantize(27 * mean))
    assert repr(loaded) == repr(fitted)
    assert "step=[1.0, 1.0, 0.0]" in repr(fitted)


def test_the_mean_has_no_noise_and_no_density() -> None:
    likelihood, mean = MeanLikelihood(), torch.rand(2, 5, 3)
    likelihood.calibrate(mean, mean.flip(1))
    drawn = generator()
    assert torch.equal(likelihood.sample(mean, drawn), mean)
    assert torch.equal(drawn.get_state(), generator().get_state())
    with pytest.raises(ValueError, match="likelihood must be one with a density, such as"):
        likelihood.log_prob(mean, mean)


# errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 0}, "num_features must be a whole number of at least 1, got 0"),
        ({"num_features": 2.5}, "num_features must be a whole number of at least 1, got 2.5"),
        ({"lattice": "none"}, "lattice must be 'auto', 'fine', None or a list of 3 .* got 'none'"),
        ({"lattice": [1, 1]}, r"a list of 3 finite steps of at least 0, got \[1, 1\]"),
        ({"lattice": [1, 1, -1]}, r"a list of 3 finite steps of at least 0, got \[1, 1, -1\]"),
        ({"lattice": [1, 1, math.nan]}, "lattice must be 'auto', 'fine', None or a list"),
        ({"lattice": 1.0}, "lattice must be 'auto', 'fine', None or a list of 3 .* got 1.0"),
    ],
)
def test_wrong_options_are_an_error(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registry.create("likelihood", kind, **options)


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_wrong_temperature_is_an_error(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be None or finite and at least 0"):
        GaussianLikelihood(temperature=temperature)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_shapes_are_an_error(kind: str) -> None:
    likelihood: Any = registry.create("likelihood", kind)
    points, wrong = torch.zeros(2, 5, 3), torch.zeros(2, 5, 2)
    with pytest.raises(ValueError, match=r"mean must have shape \(clouds, nodes, 3\), got \(2,"):
        likelihood.sample(wrong, generator())
    with pytest.raises(ValueError, match=r"points must have shape \(clouds, nodes, 3\), got \(3,"):
        likelihood.quantize(torch.zeros(3))
    with pytest.raises(ValueError, match=r"points must have shape \(clouds, nodes, 3\)"):
        likelihood.dequantize(wrong, generator(), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"target must have mean's shape \(2, 5, 3\), got \(2, 4"):
        likelihood.calibrate(points[:, :4], points)
    with pytest.raises(ValueError, match="points must have 3 features a node, got 2"):
        likelihood.set_lattice(wrong)


def test_density_without_a_scale_is_an_error() -> None:
    points = torch.zeros(1, 1, 3)
    with pytest.raises(ValueError, match=r"scale must be above 0 .* got \[0.0, 0.0, 0.0\]"):
        GaussianLikelihood().log_prob(points, points)
    with pytest.raises(ValueError, match=r"value must have mean's shape \(1, 1, 3\)"):
        gaussian([0.1] * 3).log_prob(points[:, :0], points)


def test_clouds_that_are_not_finite_are_an_error() -> None:
    points = torch.full((1, 5, 3), torch.nan)
    with pytest.raises(ValueError, match="target must be finite"):
        GaussianLikelihood().calibrate(points, torch.zeros(1, 5, 3))
    with pytest.raises(ValueError, match="points must be finite"):
        lattice_step(points)
