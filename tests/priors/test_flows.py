from __future__ import annotations

import math

import pytest
import torch
from fits import fit
from side_by_side import Starter
from torch import Tensor

from gconvae import registry
from gconvae.priors import GaussianMixture, Latents, StandardNormal, flows
from gconvae.priors.flows import Flow, MaskedAutoregressiveFlow
from gconvae.randomness import generator, initial_weights
from gconvae.training.engine import fit_stage
from gconvae.training.optimization import Optimization
from gconvae.training.stages.prior import stage_of_latents

NAMES = ["realnvp", "maf", "nsf"]
SMALL = {
    "realnvp": {"transforms": 6, "hidden": [32, 32]},
    "maf": {"transforms": 3, "hidden": [32, 32]},
    "nsf": {"transforms": 2, "hidden": [32, 32]},
}


@pytest.fixture(autouse=True)
def _short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.Flow, "fit_steps", 200)


def make(name: str, latent_dim: int, **options: object) -> Flow:
    with initial_weights(0):
        flow = registry.create("prior", name, latent_dim=latent_dim, **(SMALL[name] | options))
    assert isinstance(flow, Flow)
    return flow


def two_moons(clouds: int, seed: int) -> Latents:
    """Two half circles that reach into each other, far from 0 and of unlike spread."""
    angle = torch.rand(clouds, generator=generator(seed, "angle")) * math.pi
    upper = torch.arange(clouds) % 2 == 0
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    mean = torch.stack([30 + 10 * x, y], 1)
    return Latents(mean, torch.tensor([1.0, 0.1]).expand(clouds, 2))


def score(prior: torch.nn.Module, z: Tensor) -> float:
    with torch.no_grad():
        return prior.log_prob(z).mean().item()


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_bends_where_one_gaussian_cannot(name: str) -> None:
    train, held_out = two_moons(1000, 1), two_moons(300, 2)
    z = two_moons(3000, 3).draw(generator(0, "test"))
    flow, gaussian = make(name, 2), GaussianMixture(2, components=1)
    for prior in (flow, gaussian):
        fit(prior, train, held_out, seed=0)
    assert score(flow, z) > score(gaussian, z) + 0.4


def six_latents(clouds: int, seed: int) -> Latents:
    """Half of them around a function of the others."""
    z = torch.randn(clouds, 6, generator=generator(seed, "six"))
    mean = torch.cat([z[:, :3], z[:, :3].sin() + 0.5 * z[:, 3:]], dim=1)
    return Latents(mean, torch.full((clouds, 6), 0.3))


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_mean_of_the_latents_though_the_rate_stays_high(name: str) -> None:
    train, flow = six_latents(1000, 1), make(name, 6)
    constant = Optimization(scheduler="constant")
    stage = stage_of_latents(flow, train, six_latents(300, 2), seed=0, optimization=constant)
    fit_stage(stage)
    z = train.draw(generator(0, "test"))
    with torch.no_grad():
        drawn = flow.from_noise(torch.randn(20000, 6, generator=generator(0, "draws")))
    off = (drawn.mean(0) - z.mean(0)) / z.std(0)
    # 0.07 with the weights of a single step
    assert off.square().mean().sqrt() < 0.03


@pytest.mark.parametrize("name", NAMES)
def test_location_and_scale_are_those_of_the_latents(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.Flow, "fit_steps", 1)
    latents = two_moons(2000, 1)
    flow = make(name, 2)
    fit(flow, latents, latents, seed=0)
    torch.testing.assert_close(flow.location, latents.mean.mean(0), rtol=0.02, atol=0.02)
    torch.testing.assert_close(
        flow.scale**2, latents.mean.var(0) + latents.stddev[0] ** 2, rtol=0.05, atol=0
    )


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_share_of_real_nodes(name: str) -> None:
    def latents(seed: int) -> Latents:
        share = torch.rand(800, 1, generator=generator(seed, "share"))
        noise = torch.randn(800, 2, generator=generator(seed, "noise"))
        return Latents(4 * share + 0.3 * noise, torch.full((800, 2), 0.1), share)

    flow = make(name, 2, ragged=True)
    fit(flow, latents(1), latents(2), seed=0)
    for share in (0.2, 0.8):
        z = flow.sample(2000, generator(0, "sample"), torch.full((2000, 1), share))
        torch.testing.assert_close(z.mean(0), torch.full((2,), 4 * share), rtol=0, atol=0.12)


@pytest.mark.parametrize("name", NAMES)
def test_each_draw_is_the_image_of_its_own_noise(name: str) -> None:
    flow = make(name, 4, num_classes=1).double()
    context = torch.ones(30, 1, dtype=torch.float64)
    z = flow.sample(30, generator(0, "sample"), context)
    noise, _ = flow.transform(context).call_and_ladj(z)
    drawn = StandardNormal(4).sample(30, generator(0, "sample")).double()
    torch.testing.assert_close(noise, drawn, rtol=1e-8, atol=1e-8)


def test_few_latents_do_not_spoil_the_held_out_density() -> None:
    mean = torch.randn(12, 2, generator=generator(0, "few"))
    train = Latents(mean, torch.zeros(12, 2))
    many = torch.randn(500, 2, generator=generator(0, "many"))
    start, fitted = make("realnvp", 2), make("realnvp", 2)
    fit(fitted, train, Latents(many, torch.zeros(500, 2)), seed=0)
    start.location, start.scale = fitted.location, fitted.scale
    assert score(fitted, many) >= score(start, many)


def test_a_second_fit_goes_on_from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.Flow, "fit_steps", 60)
    train, held_out = two_moons(500, 1), two_moons(300, 2)
    z = held_out.draw(generator(0, "held-out latents"))
    flow = make("realnvp", 2)
    fit(flow, train, held_out, seed=0)
    first = score(flow, z)
    fit(flow, train, held_out, seed=0)
    assert score(flow, z) >= first


@pytest.mark.parametrize("name", NAMES)
def test_one_dimension_and_no_spread_are_fine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.Flow, "fit_steps", 5)
    latents = Latents(torch.full((20, 1), 3.0), torch.zeros(20, 1))
    flow = make(name, 1)
    fit(flow, latents, latents, seed=0)
    assert flow.log_prob(torch.full((1, 1), 3.0)).isfinite().all()
    assert flow.sample(4, generator(0, "sample")).shape == (4, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transforms": 0}, "transforms must be a whole number of at least 1, got 0"),
        ({"hidden": []}, r"hidden must be one or more whole numbers above 0, got \[\]"),
        ({"hidden": [8, 0]}, r"hidden must be one or more whole numbers above 0, got \[8, 0\]"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_sizes_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, 2, **options)


def test_bins_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="bins must be a whole number of at least 1, got 0"):
        make("nsf", 2, bins=0)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_a_function_of_the_seed_of_the_process(name: str) -> None:
    first, second = make(name, 3).state_dict(), make(name, 3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("validates", [True, False])
def test_zuko_comes_with_the_first_flow_and_leaves_validation_as_it_was(
    validates: bool, start: Starter
) -> None:
    code = f"""
import sys
import gconvae.priors.flows
from torch.distributions import Distribution
assert "zuko" not in sys.modules
Distribution.set_default_validate_args({validates})
gconvae.priors.RealNVP(2)
assert "zuko" in sys.modules
assert Distribution._validate_args is {validates}
"""
    done = start(1, "shared_work.program", text=code)
    assert done.codes == [0], done.err


def test_flows_are_described_by_their_options() -> None:
    flow = MaskedAutoregressiveFlow(3, transforms=2, hidden=(8,))
    term = registry.describe("prior", flow)
    assert term is not None
    assert term.options == {
        "latent_dim": 3,
        "num_classes": 0,
        "ragged": False,
        "transforms": 2,
        "hidden": [8],
        "num_conditions": 0,
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_samples_are_those_of_the_inverse_of_zuko(name: str, num_classes: int) -> None:
    flow = make(name, 5, num_classes=num_classes)
    with torch.no_grad():
        for weight in flow.parameters():  # far from the identity
            weight.add_(torch.randn(weight.shape, generator=generator(0, "weights")) / 5)
    context = torch.eye(3).repeat(20, 1) if num_classes else None
    noise = torch.randn(60, 5, generator=generator(1, "noise"))
    noise[:5] *= 4  # some of it beyond the ends of a spline
    with torch.no_grad():
        wanted = flow.transform(context).inv(noise)
        torch.testing.assert_close(flow._inverse(noise, context), wanted, rtol=1e-4, atol=1e-4)
