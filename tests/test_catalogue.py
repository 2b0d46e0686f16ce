"""The same claims about every part of the catalogue, each in the smallest network that has it."""

from __future__ import annotations

import copy
import functools
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gconvae
from gconvae import losses, models, registry
from gconvae.clouds import Clouds
from gconvae.datasets import CloudDataset, SuperpixelMNIST, from_points
from gconvae.nn import ConvDecoder, ConvEncoder
from gconvae.nn.dense import DenseDecoder
from gconvae.nn.sets import DeepSetsEncoder
from gconvae.priors import Latents, StandardNormal, flows
from gconvae.randomness import generator
from gconvae.scaling import FeatureScaling
from gconvae.schema import SUPERPIXELS
from gconvae.training.clouds import CloudsInMemory
from gconvae.training.history import of_stage
from gconvae.training.stages.reconstructions import latents
from gconvae.vae import VAE

SMALL = {
    "encoder": {
        "conv": "conv(channels=[4, 8], hidden=32)",
        "edge_conv": "edge_conv(channels=[8, 16], neighbors=4, hidden=16)",
        "dynamic_edge_conv": "dynamic_edge_conv(channels=[8, 16], neighbors=4, hidden=16)",
        "monet": "monet(channels=[8, 16], neighbors=4, kernel_size=3, hidden=16)",
        "graph_conv": "graph_conv(width=16, num_layers=2, neighbors=4, hidden=16)",
        "deep_sets": "deep_sets(node_hidden=[16, 16], cloud_hidden=[16])",
        "set_transformer": "set_transformer(width=16, heads=2, blocks=1, seeds=2)",
    },
    "decoder": {
        "conv": "conv(channels=[4, 8], hidden=32)",
        "dense": "dense(hidden=[32])",
        "graph": "graph(width=8, num_layers=2, hidden=16)",
        "set_transformer": "set_transformer(width=16, heads=2, blocks=1)",
    },
    "prior": {
        "realnvp": "realnvp(transforms=2, hidden=[8])",
        "maf": "maf(transforms=2, hidden=[8])",
        "nsf": "nsf(transforms=1, hidden=[8])",
    },
    "likelihood": {
        "autoregressive": "autoregressive(width=8, components=2, steps=2, batch_size=4)",
        "flow_matching": (
            "flow_matching(width=8, heads=2, layers=1, mean_layers=1, steps=2, batch_size=4)"
        ),
    },
}
"""How a part is made small; one that is new here is tested as it comes."""

CHEAP = {
    "encoder": SMALL["encoder"]["deep_sets"],
    "decoder": SMALL["decoder"]["dense"],
    "prior": "standard_normal",
    "likelihood": "mean",
}
"""What stands beside the part that is tested."""

VARIANTS = {
    "encoder graph_conv PointTransformer": {
        "encoder": "graph_conv(conv='PointTransformerConv', width=16, num_layers=2, hidden=16)"
    },
    "encoder graph_conv GIN": {
        "encoder": "graph_conv(conv='GINConv', width=16, num_layers=2, hidden=16)"
    },
    "encoder set_transformer inducing": {
        "encoder": "set_transformer(width=16, heads=2, blocks=1, seeds=2, inducing=3)"
    },
    "decoder graph knn": {
        "decoder": "graph(width=8, num_layers=2, hidden=16, graph='knn', neighbors=4)"
    },
    "decoder set_transformer noise": {
        "decoder": "set_transformer(width=16, heads=2, blocks=1, noise_dim=2)"
    },
}
"""Options that change what a part computes."""

CHOICES: dict[str, dict[str, str]] = {
    **{
        f"{kind} {name}": {kind: SMALL[kind].get(name, name)}
        for kind in SMALL
        for name in registry.available(kind)  # type: ignore[arg-type]
    },
    **VARIANTS,
}
"""Every encoder beside a cheap decoder, every decoder beside a cheap encoder, and so on."""

NAMES: dict[str, dict[str, Any]] = {
    **{f"model {name}": {"name": name} for name in models.available()},
    "model convae": {"name": "convae", "hidden": 64},
    "model convae-flow": {
        "name": "convae-flow",
        "hidden": 64,
        "prior": SMALL["prior"]["nsf"],
        "likelihood": SMALL["likelihood"]["autoregressive"],
    },
    "model convae-flow-matching": {
        "name": "convae-flow-matching",
        "hidden": 64,
        "prior": SMALL["prior"]["nsf"],
        "likelihood": SMALL["likelihood"]["flow_matching"],
    },
}
"""Every ready-made pair, as large as it comes, but for the millions of weights of the slides."""

EVERY = [*NAMES, *CHOICES]
ENCODERS = [key for key in CHOICES if key.startswith("encoder")]
INVARIANT = [key for key in ENCODERS if key != "encoder conv"]
DECODERS = [key for key in CHOICES if key.startswith("decoder")]
PRIORS = [name for name in registry.available("prior") if name != "standard_normal"]


def create(choice: str, **options: Any) -> VAE:
    """A model of :data:`EVERY`."""
    chosen = NAMES.get(choice) or CHEAP | CHOICES[choice]
    return models.create(**{"latent_dim": 4, **chosen, **options})


def conditional(choice: str, **options: Any) -> VAE:
    """A model with labels and ragged clouds, fitted to how many nodes those of digit 1 have."""
    model = create(choice, num_classes=10, ragged=True, **options)
    clouds = ragged_digits().clouds
    model.conditioning.fit(clouds.mask, clouds.labels)
    return model


@functools.cache
def digits(count: int = 60) -> CloudDataset:
    """Bundled clouds of 1 and 8, of 25 nodes at most."""
    return SuperpixelMNIST([1, 8], "test").copy(slice(count))


@functools.cache
def eights(count: int = 60) -> CloudDataset:
    """Bundled clouds of 25 nodes."""
    return SuperpixelMNIST(8, "test").copy(slice(count))


@functools.cache
def ragged_digits(count: int = 60) -> CloudDataset:
    """Bundled clouds that have lost nodes by chance."""
    points, mask, labels = digits(count).clouds
    kept = torch.rand(mask.shape, generator=generator(0, "dropped nodes")) < 0.7
    kept[:, 0] = True
    return from_points(points, mask & kept, labels, schema=SUPERPIXELS)


def random_clouds(num_clouds: int = 6, num_nodes: int = 25) -> Tensor:
    """Clouds in data units without any ties, so that every precision finds the same neighbours."""
    points = torch.rand(num_clouds, num_nodes, 3, generator=generator(0, "clouds"))
    return points * torch.tensor([27.0, 27.0, 1.0])


def first_nodes(*sizes: int, num_nodes: int = 25) -> Tensor:
    return torch.arange(num_nodes) < torch.tensor(sizes).unsqueeze(1)


def some_z(model: VAE, count: int = 6) -> Tensor:
    z = torch.randn(count, model.prior.latent_dim, generator=generator(0, "z"))
    return z.to(model.scaling.low)


def scaled(model: VAE, clouds: Any) -> tuple[Tensor, Tensor]:
    """What an encoder sees."""
    points, mask, _ = model.prepare(clouds)
    return model.scaled(Clouds(points, mask)), mask


def weights(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().double().flatten() for value in module.state_dict().values()])


def same_posterior(first: Any, second: Any) -> bool:
    return torch.equal(first.mean, second.mean) and torch.equal(first.stddev, second.stddev)


def assert_close_posteriors(first: Any, second: Any, **tolerance: float) -> None:
    torch.testing.assert_close(first.mean, second.mean, **tolerance)
    torch.testing.assert_close(first.stddev, second.stddev, **tolerance)


def step_loss(model: VAE, clouds: Clouds) -> Tensor:
    """Loss of one batch, with all parts in it and always the same noise."""
    points, mask, labels = clouds
    inputs = model.scaled(Clouds(points, mask))
    posterior = model.encoder(inputs, mask)
    noise = torch.randn(posterior.mean.shape, generator=generator(0, "latent"))
    z = posterior.mean + posterior.base_dist.stddev * noise
    unit = model.decode_unit(z, labels, mask, model.node_noise(len(z), generator(0, "node noise")))
    masks = () if mask.all() else (mask, mask)
    rec = losses.ThirdAxisChamfer("dense")(inputs, model.scaling.from_unit(unit), *masks)
    context = model.conditioning.context(len(points), labels, mask)
    kl = losses.kl_monte_carlo(posterior, model.prior, generator(0, "kl"), 4, context)
    return (rec + kl).mean()


def latents_of(model: VAE, data: Any) -> Latents:
    return latents(model, CloudsInMemory(model, model.prepare(data)))


def quick(model: VAE, data: Any, **options: Any) -> gconvae.training.Run:
    return gconvae.fit(
        model, data, **{"epochs": 1, "batch_size": 30, "progress": False, **options}
    )


@pytest.fixture(autouse=True)
def _short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.Flow, "fit_steps", 60)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# the catalogue


@pytest.mark.parametrize("name", models.available())
def test_options_that_parts_of_a_pair_share_can_be_set_for_both(name: str) -> None:
    described = models.describe(models.create(name))
    encoder, decoder = described["encoder"]["options"], described["decoder"]["options"]
    shared = {key: encoder[key] for key in encoder.keys() & decoder.keys()}
    assert models.describe(models.create(name, **shared))["encoder"] == described["encoder"]


@pytest.mark.parametrize("choice", EVERY)
def test_every_parameter_gets_a_gradient(choice: str) -> None:
    model = conditional(choice)
    step_loss(model, model.prepare(ragged_digits(30))).backward()
    without = {
        name
        for name, value in model.named_parameters()
        # a likelihood is trained after the rest: test_autoregressive.py
        if not name.startswith("likelihood.")
        and (value.grad is None or not torch.isfinite(value.grad).all() or not value.grad.any())
    }
    assert without == set()


@pytest.mark.parametrize("choice", EVERY)
def test_one_step_on_real_clouds_lowers_their_loss(choice: str) -> None:
    model = create(choice)
    clouds = model.prepare(eights(30))
    # Adam's first step moves every weight by the learning rate, whatever its gradient
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    before = step_loss(model, clouds)
    before.backward()
    optimizer.step()
    assert step_loss(model, clouds) < before


@pytest.mark.parametrize("choice", NAMES)
def test_a_training_lowers_the_loss_of_its_clouds(choice: str) -> None:
    data = eights(30)
    history = quick(create(choice), data, valid=data, epochs=3).history
    assert history["valid_loss"][2] < history["valid_loss"][0]


# symmetry and masks


@pytest.mark.parametrize("choice", INVARIANT)
def test_encoders_do_not_see_the_order_of_nodes(choice: str) -> None:
    model = create(choice).double()
    points, mask = scaled(model, ragged_digits(20))
    order = torch.rand(mask.shape, generator=generator(0, "order")).argsort(1)
    moved = points.gather(1, order.unsqueeze(-1).expand_as(points))
    assert_close_posteriors(
        model.encoder(moved, mask.gather(1, order)),
        model.encoder(points, mask),
        rtol=1e-9,
        atol=1e-11,
    )


def test_the_slides_encoder_sees_the_order_of_nodes() -> None:
    model = create("encoder conv")
    points, _ = scaled(model, eights(20))
    moved, still = model.encoder(points.flip(1)).mean, model.encoder(points).mean
    assert (moved - still).abs().max() > 1e-3


@pytest.mark.parametrize("choice", INVARIANT)
def test_encoders_take_any_number_of_nodes(choice: str) -> None:
    encoder = create(choice, num_points=25).encoder
    for num_nodes in (1, 2, 7, 40):
        posterior = encoder(27 * torch.rand(3, num_nodes, 3, generator=generator(0, "any")))
        assert posterior.mean.shape == (3, 4)
        assert torch.isfinite(posterior.mean).all()
        assert (posterior.stddev > 0).all()


@pytest.mark.parametrize("choice", INVARIANT)
def test_masked_nodes_change_nothing_in_an_encoder(choice: str) -> None:
    model = create(choice).double()
    points, _ = scaled(model, random_clouds(num_nodes=18).double())
    points = points[:, :18]
    padded = nn.functional.pad(points, (0, 0, 0, 9))
    mask = first_nodes(*[18] * 6, num_nodes=27)
    assert_close_posteriors(
        model.encoder(padded, mask), model.encoder(points), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("choice", EVERY)
def test_masked_nodes_change_nothing_in_a_model(choice: str) -> None:
    model, points = create(choice), random_clouds()
    mask = first_nodes(3, 25, 9, 20, 1, 12)
    spoiled = points.masked_fill(~mask.unsqueeze(-1), float("nan"))
    wider = torch.cat([torch.full((6, 4, 3), 9.0), spoiled], 1)
    wide_mask = torch.cat([torch.zeros(6, 4, dtype=torch.bool), mask], 1)
    wanted = model.encode(points, mask)
    assert same_posterior(model.encode(spoiled, mask), wanted)
    assert_close_posteriors(model.encode(wider, wide_mask), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("choice", EVERY)
def test_a_mask_that_hides_nothing_changes_nothing(choice: str) -> None:
    model, points = create(choice), random_clouds()
    assert_close_posteriors(
        model.encode(points, first_nodes(*[25] * 6)), model.encode(points), rtol=1e-6, atol=1e-7
    )
    z, full = some_z(model), first_nodes(*[25] * 6)
    torch.testing.assert_close(model.decoder(z, mask=full), model.decoder(z))


@pytest.mark.parametrize("choice", DECODERS)
def test_masked_nodes_of_a_decoder_reach_no_real_one(choice: str) -> None:
    # 23 and 17 nodes: axes of weights that are one entry a node are told by their length
    model = create(choice, num_points=23)
    mask = first_nodes(*[17] * 6, num_nodes=23)
    noise = torch.zeros(6, 23, getattr(model.decoder, "noise_dim", 0), requires_grad=True)
    further = {"noise": noise} if noise.numel() else {}
    model.decoder(some_z(model), mask=mask, **further)[mask].square().sum().backward()
    for name, value in model.decoder.named_parameters():
        if len(value) == 23:
            assert value.grad is not None
            assert value.grad[:17].any(), name
            assert not value.grad[17:].any(), name
    if noise.grad is not None:
        assert noise.grad[:, :17].any()
        assert not noise.grad[:, 17:].any()


@pytest.mark.parametrize("choice", DECODERS)
def test_a_cloud_does_not_see_how_many_nodes_the_others_have(choice: str) -> None:
    model = create(choice).double()
    z, mask = some_z(model), first_nodes(3, 25, 9, 20, 1, 12)
    other = first_nodes(3, 1, 2, 25, 4, 12)
    first, second = (model.decoder(z, mask=m) for m in (mask, other))
    same = torch.tensor([0, 5])
    for cloud in same:
        real = mask[cloud]
        torch.testing.assert_close(first[cloud][real], second[cloud][real], rtol=1e-9, atol=0)


@pytest.mark.parametrize("choice", EVERY)
def test_a_batch_equals_the_loop_over_its_clouds(choice: str) -> None:
    model = conditional(choice).double()
    points, mask = random_clouds().double(), first_nodes(3, 25, 9, 20, 1, 12)
    labels = torch.tensor([1, 8, 8, 1, 1, 8])
    z, exact = some_z(model), {"rtol": 1e-9, "atol": 1e-10}
    together = model.encode(points, mask)
    decoded = model.decode(z, labels, mask)
    context = model.conditioning.context(6, labels, mask)
    assert context is not None
    density = model.prior.log_prob(z, context.double())
    for i in range(6):
        row = slice(i, i + 1)
        alone = model.encode(points[row], mask[row])
        torch.testing.assert_close(alone.mean, together.mean[row], **exact)
        torch.testing.assert_close(alone.stddev, together.stddev[row], **exact)
        torch.testing.assert_close(
            model.decode(z[row], labels[row], mask[row]), decoded[row], **exact
        )
        torch.testing.assert_close(
            model.prior.log_prob(z[row], context[row].double()), density[row], **exact
        )


# numbers


@pytest.mark.parametrize("choice", EVERY)
def test_single_and_double_precision_agree(choice: str) -> None:
    single = conditional(choice)
    double = copy.deepcopy(single).double()
    points, mask = random_clouds(), first_nodes(3, 25, 9, 20, 1, 12)
    posterior, exact = single.encode(points, mask), double.encode(points, mask)
    assert posterior.mean.dtype == torch.float32
    assert exact.mean.dtype == torch.float64
    near = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(posterior.mean.double(), exact.mean, **near)
    torch.testing.assert_close(posterior.stddev.double(), exact.stddev, **near)
    coarse, fine = (
        model.decode_unit(some_z(model), torch.tensor([1, 8] * 3), mask)
        for model in (single, double)
    )
    assert fine.dtype == torch.float64
    torch.testing.assert_close(coarse[mask].double(), fine[mask], **near)
    first, second = (model.sample_clouds(20, seed=3) for model in (single, double))
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.labels, second.labels)  # type: ignore[arg-type]
    torch.testing.assert_close(
        first.points.sum(1).double(), second.points.sum(1), rtol=1e-3, atol=0.01
    )


@pytest.mark.parametrize("choice", EVERY)
def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(choice: str) -> None:
    torch.manual_seed(1)
    first = conditional(choice, seed=7)
    sample = first.sample_clouds(10, seed=2)
    torch.manual_seed(99)
    torch.rand(17)
    state = torch.get_rng_state()
    second = conditional(choice, seed=7)
    again = second.sample_clouds(10, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(first), weights(second))
    assert all(torch.equal(a, b) for a, b in zip(sample, again, strict=True))  # type: ignore[arg-type]
    points = random_clouds()
    assert same_posterior(first.encode(points), second.encode(points))
    assert not torch.equal(sample.points, first.sample_clouds(10, seed=3).points)


@pytest.mark.parametrize("choice", ENCODERS + DECODERS)
def test_training_is_deterministic(choice: str) -> None:
    first = quick(create(choice), eights(30), seed=4)
    torch.manual_seed(99)
    second = quick(create(choice), eights(30), seed=4)
    assert first.history == second.history
    assert torch.equal(weights(first.model), weights(second.model))


@pytest.mark.parametrize("choice", EVERY)
def test_samples_lie_in_range_brightest_node_first(choice: str) -> None:
    model = create(choice)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight *= 3  # far out, where a sigmoid ends
    points = model.sample(200)
    assert points.shape == (200, 25, 3)
    assert ((points >= 0) & (points <= torch.tensor([27.0, 27.0, 1.0]))).all()
    assert (points[..., 2].diff(dim=1) <= 0).all()
    assert torch.pdist(points.flatten(1)).max() > 0.1


# saving


@pytest.mark.parametrize("choice", EVERY)
def test_a_saved_model_is_loaded_to_the_bit(choice: str, tmp_path: Path) -> None:
    model = conditional(choice).eval()
    again = gconvae.load(gconvae.training.save(model, tmp_path / "model"))
    assert repr(again) == repr(model)
    assert torch.equal(weights(again), weights(model))
    points = random_clouds()
    assert same_posterior(again.encode(points), model.encode(points))
    for label in (None, 1):
        first, second = (m.sample_clouds(20, seed=1, label=label) for m in (model, again))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        (ConvEncoder(latent_dim=4, hidden=8), ConvDecoder(latent_dim=4, hidden=8)),
        (DeepSetsEncoder(latent_dim=4), ConvDecoder(25, 3, 4, (3, 2), 9)),
        (DeepSetsEncoder(3, 4, "sum", [8]), DenseDecoder(12, 3, 4, hidden=(8, 7))),
    ],
)
def test_a_model_composed_by_hand_loads_by_itself(
    encoder: nn.Module, decoder: nn.Module, tmp_path: Path
) -> None:
    model = VAE(encoder, decoder, StandardNormal(4), FeatureScaling.of(SUPERPIXELS))
    gconvae.training.save(model, tmp_path / "model")
    again = gconvae.load(tmp_path / "model")
    assert torch.equal(again.sample(5), model.sample(5))
    points = random_clouds(num_nodes=12)
    assert same_posterior(again.encode(points), model.encode(points))


def test_a_process_of_its_own_needs_no_import_but_the_library(tmp_path: Path) -> None:
    model = models.create(
        "convae",
        encoder=SMALL["encoder"]["graph_conv"],
        decoder=SMALL["decoder"]["graph"],
        prior=SMALL["prior"]["nsf"],
        likelihood="gaussian",
    )
    gconvae.training.save(model, tmp_path / "model")
    code = f"import gconvae; print(gconvae.load({str(tmp_path / 'model')!r}).sample(2).shape)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "torch.Size([2, 25, 3])", done.stderr


class Mine(DeepSetsEncoder):
    """An encoder that nobody registered."""


class MyDecoder(nn.Module):
    num_points, latent_dim = 25, 4

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.sigmoid(z.sum(1).view(-1, 1, 1).expand(-1, 25, 3))


class MyPrior(StandardNormal):
    pass


def by_hand(encoder: Any = None, decoder: Any = None, prior: Any = None) -> VAE:
    return VAE(
        encoder or DeepSetsEncoder(latent_dim=4),
        decoder or DenseDecoder(latent_dim=4),
        prior or StandardNormal(4),
        FeatureScaling.of(SUPERPIXELS),
    )


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (by_hand(encoder=Mine(latent_dim=4)), r'registry\.register\("encoder", .*class Mine\b'),
        (by_hand(decoder=MyDecoder()), r'registry\.register\("decoder", .*class MyDecoder\b'),
        (by_hand(prior=MyPrior(4)), r'registry\.register\("prior", .*class MyPrior\b'),
    ],
    ids=["encoder", "decoder", "prior"],
)
def test_an_unregistered_part_is_refused_with_the_line_to_type(
    model: VAE, line: str, tmp_path: Path
) -> None:
    assert model.sample(3).shape == (3, 25, 3)
    with pytest.raises(ValueError, match=line):
        gconvae.training.save(model, tmp_path / "saved")
    with pytest.raises(ValueError, match=line):
        quick(model, eights(20), out=tmp_path / "trained")
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_no_file_can_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        registry, "_PARTS", {kind: dict(part) for kind, part in registry._PARTS.items()}
    )

    @registry.register("encoder", "with_a_tensor")
    class WithATensor(DeepSetsEncoder):
        def __init__(self, start: Any = None) -> None:
            super().__init__(latent_dim=4)

    with pytest.raises(ValueError, match="plain options"):
        gconvae.training.save(by_hand(WithATensor(torch.zeros(2, 2))), tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_ones_own_is_loaded_once_it_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {kind: dict(part) for kind, part in registry._PARTS.items()}
    monkeypatch.setattr(registry, "_PARTS", {kind: dict(part) for kind, part in known.items()})

    @registry.register("encoder", "my_own")
    class MyOwn(DeepSetsEncoder):
        def __init__(self, latent_dim: int = 4, width: int = 8) -> None:
            super().__init__(latent_dim=latent_dim, node_hidden=[width])

    model = create("decoder dense", encoder="my_own(width=5)")
    run = quick(model, eights(20), out=tmp_path / "run")
    assert torch.equal(gconvae.load(tmp_path / "run").sample(3), run.model.sample(3))
    monkeypatch.setattr(registry, "_PARTS", known)
    with pytest.raises(ValueError, match="my_own.*must be registered first"):
        gconvae.load(tmp_path / "run")


# ragged clouds


def assert_same_counts(drawn: Tensor, training: Tensor) -> None:
    """Frequencies of the numbers of nodes agree within 5 sigma; what never was is never drawn."""
    for size in range(1, drawn.shape[1] + 1):
        share = (training.sum(1) == size).double().mean()
        sigma = (share * (1 - share) / len(drawn)).sqrt()
        found = (drawn.sum(1) == size).double().mean()
        assert (found - share).abs() <= 5 * sigma, size


@pytest.mark.parametrize(
    ("choice", "told"),
    [*((choice, True) for choice in EVERY), *((choice, False) for choice in DECODERS)],
)
def test_ragged_clouds_train_and_are_generated_with_their_numbers_of_nodes(
    choice: str, told: bool
) -> None:
    data = ragged_digits()
    run = quick(create(choice, ragged=told), data, valid=data[:10])
    numbers = [v for name, column in run.history.items() if name != "stage" for v in column]
    assert all(math.isfinite(value) for value in numbers if value is not None)
    made = run.model.sample(2000 if choice in DECODERS else 50, seed=1)
    assert isinstance(made, Clouds)
    if choice in DECODERS:
        assert_same_counts(made.mask, data.mask)
    assert not made.points[~made.mask].any()
    # an intensity on a lattice may be 0, a node is not
    assert made.points[made.mask].any(-1).all()
    graphs = run.model.sample(50, seed=1, as_data=True)
    sizes = run.model.sample(50, seed=1).mask.sum(1).tolist()
    assert [graph.num_nodes for graph in graphs] == sizes
    rebuilt = run.model.reconstruct(data.clouds)
    assert torch.equal(rebuilt.mask, data.mask)


@pytest.mark.parametrize("choice", DECODERS)
def test_a_model_that_is_told_decodes_by_the_number_of_nodes(choice: str) -> None:
    model = create(choice, ragged=True)
    z = some_z(model, 1).expand(2, -1)
    first, second = model.decode_unit(z, mask=first_nodes(4, 20))
    assert (first[:4] - second[:4]).abs().max() > 1e-6


@pytest.mark.parametrize("choice", DECODERS)
def test_a_network_may_have_more_nodes_than_any_cloud(choice: str) -> None:
    data = eights()  # of 25 nodes
    run = quick(create(choice, num_points=30, ragged=True), data, valid=data)
    made = run.model.sample(40)
    assert made.points.shape == (40, 30, 3)
    assert made.mask.sum(1).tolist() == [25] * 40
    assert run.model.reconstruct(data.clouds).mask.sum(1).tolist() == [25] * len(data)


def test_a_network_may_make_fewer_nodes_than_the_clouds_have() -> None:
    data = eights()  # of 25 nodes
    run = quick(create("decoder dense", num_points=20), data)
    assert run.model.sample(40).shape == (40, 20, 3)
    assert run.model.reconstruct(data.clouds).shape == (len(data), 20, 3)


# labels


def labelled(choice: str = "decoder dense", **options: Any) -> gconvae.training.Run:
    model = create(choice, num_classes=10, **{"ragged": True, **options})
    return quick(model, digits(60), valid=digits(60))


@pytest.mark.parametrize("choice", [*NAMES, *DECODERS])
def test_a_model_with_labels_makes_clouds_of_the_label_that_is_asked_for(choice: str) -> None:
    model = labelled(choice).model
    for label in (1, 8):
        graphs = model.sample(20, label=label, as_data=True)
        assert [graph.y.tolist() for graph in graphs] == [[label]] * 20
        rows = digits(60).labels == label
        counts = set(digits(60).mask[rows].sum(1).tolist())
        assert {graph.num_nodes for graph in graphs} <= counts
    z = some_z(model)
    assert (model.decode_unit(z, 1) - model.decode_unit(z, 8)).abs().max() > 1e-6


def test_numbers_of_nodes_are_those_of_the_label() -> None:
    data = ragged_digits()
    assert data.labels is not None
    model = create("decoder dense", num_classes=10, ragged=True)
    trained = quick(model, data, valid=data).model
    for label in (1, 8):
        made = trained.sample_clouds(2000, label=label)
        assert_same_counts(made.mask, data.mask[data.labels == label])
    mixed = trained.sample_clouds(2000)
    assert mixed.labels is not None
    share = (data.labels == 1).double().mean()
    sigma = (share * (1 - share) / 2000).sqrt()
    assert ((mixed.labels == 1).double().mean() - share).abs() <= 5 * sigma
    assert set(mixed.labels.tolist()) == {1, 8}


def test_a_label_each_can_be_asked_for() -> None:
    model = labelled().model
    wanted = torch.tensor([1, 8, 8, 1])
    made = model.sample_clouds(4, label=wanted)
    assert torch.equal(made.labels, wanted)  # type: ignore[arg-type]


def test_labels_matter_to_reconstruct() -> None:
    model, data = labelled().model, eights(5)
    kept = model.reconstruct(data.clouds)
    assert torch.equal(model.reconstruct(data.points, labels=torch.full((5,), 8)), kept)
    other = model.reconstruct(data.points, labels=torch.full((5,), 1))
    assert (other - kept).abs().max() > 1e-4


def test_missing_and_unknown_labels_are_one_clear_error() -> None:
    model, points = labelled().model, eights(20).points
    with pytest.raises(ValueError, match="label must be one of the training clouds, got 3"):
        model.sample(2, label=3)
    with pytest.raises(ValueError, match="label must be .* got 11"):
        model.sample(2, label=11)
    with pytest.raises(ValueError, match="label must be 2 whole numbers"):
        model.sample(2, label=torch.tensor([1, 8, 1]))
    for use in (
        lambda: model.decode(some_z(model)),
        lambda: model.reconstruct(points),
        lambda: latents_of(model, points),
        lambda: model.with_prior("standard_normal", points),
    ):
        with pytest.raises(ValueError, match="labels.* must be given, the model has 10 classes"):
            use()
    untrained = create("decoder dense", num_classes=10)
    bare = from_points(points, schema=SUPERPIXELS)
    with pytest.raises(ValueError, match="labels of data must be given"):
        quick(untrained, bare)
    with pytest.raises(ValueError, match="labels of valid must be given"):
        quick(untrained, eights(20), valid=bare)
    few = create("decoder dense", num_classes=5)
    with pytest.raises(ValueError, match="labels of data must be 0 to 4, got 8"):
        quick(few, eights(20))


def test_a_label_of_a_model_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="label must be None for a model without labels, got 3"):
        create("decoder dense").sample(2, label=3)


# priors


@pytest.mark.parametrize("name", PRIORS)
def test_a_fitted_prior_leaves_the_first_model_as_it_was_and_beats_its_prior(name: str) -> None:
    data = ragged_digits()
    model = quick(create("decoder dense", num_classes=10, ragged=True), data, valid=data).model
    before, sample = weights(model), model.sample_clouds(20).points
    fitted = model.with_prior(SMALL["prior"].get(name, name), data, seed=1)
    assert torch.equal(weights(model), before)
    assert torch.equal(model.sample_clouds(20).points, sample)
    assert isinstance(model.prior, StandardNormal)
    assert not torch.equal(fitted.sample_clouds(20).points, sample)
    found = latents_of(model, data)
    z = found.draw(generator(0, "z"))
    assert (
        fitted.prior.log_prob(z, found.context).mean()
        > model.prior.log_prob(z, found.context).mean()
    )
    again = model.with_prior(SMALL["prior"].get(name, name), data, seed=1)
    assert torch.equal(weights(fitted), weights(again))


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_of_the_model_is_fitted_after_its_training(name: str, tmp_path: Path) -> None:
    prior = SMALL["prior"].get(name, name)
    model, data = create("decoder dense", prior=prior), eights()
    run = quick(model, data, valid=data, out=tmp_path / "run")
    wanted = run.model.with_prior(model.prior, data, valid=data)
    assert torch.equal(weights(run.model.prior), weights(wanted.prior))
    assert not torch.equal(weights(run.model.prior), weights(model.prior))
    # the network is trained as it is with N(0, 1)
    plain = quick(create("decoder dense"), data, valid=data)
    assert of_stage(run.history, "network") == of_stage(plain.history, "network")
    loaded = gconvae.load(tmp_path / "run")
    assert torch.equal(loaded.sample(10), run.model.sample(10))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("conditions", [{}, {"num_classes": 10, "ragged": True}])
def test_a_prior_is_trained_with_the_network(name: str, conditions: dict[str, Any]) -> None:
    model = create("decoder dense", prior=SMALL["prior"].get(name, name), **conditions)
    run = quick(model, ragged_digits(), joint_prior=True)
    for (key, old), new in zip(
        model.prior.named_parameters(), run.model.prior.parameters(), strict=True
    ):
        assert not torch.equal(old, new), key
    assert torch.isfinite(run.model.sample_clouds(50).points).all()


def test_joint_training_needs_a_prior_that_can_be_trained() -> None:
    with pytest.raises(ValueError, match="joint_prior needs a prior that can be trained"):
        quick(create("decoder dense"), eights(20), joint_prior=True)


def test_joint_training_has_no_kl_of_single_latents() -> None:
    model = create("decoder dense", prior=SMALL["prior"]["nsf"])
    with pytest.raises(ValueError, match="free_bits must be 0 with joint_prior"):
        quick(model, eights(20), joint_prior=True, free_bits=0.1)


def test_an_unknown_prior_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="prior must be one of standard_normal, .*got 'nfs'"):
        create("decoder dense").with_prior("nfs", eights(20))


# losses


@pytest.mark.parametrize(
    "loss",
    [
        *(name for name in losses.available() if not name.startswith("jet_")),
        "third_axis + 0.5 * matching",
        "0.2 * matched_intensity(intensity_weight=2.0) + sliced_wasserstein",
    ],
)
@pytest.mark.parametrize("standardize", [False, True], ids=["pixels", "standardized"])
def test_every_loss_trains_full_and_ragged_clouds(loss: str, standardize: bool) -> None:
    for data in (eights(), ragged_digits()):
        model = create("decoder dense")
        run = quick(model, data, valid=data, loss=loss, standardize=standardize, epochs=3)
        assert run.history["valid_loss"][2] < run.history["valid_loss"][0]
        assert not torch.equal(weights(run.model.decoder), weights(model.decoder))


def test_an_unknown_loss_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="loss must be one of third_axis, .*got 'third_axs'"):
        quick(create("decoder dense"), eights(20), loss="third_axs")


# the KL term


def trained(**options: Any) -> gconvae.training.Run:
    data = eights()
    return quick(create("decoder dense"), data, valid=data, **options)


def test_the_first_epoch_of_a_warm_up_has_no_kl() -> None:
    warm, without = trained(kl_warmup=5), trained(beta=0.0)
    assert torch.equal(weights(warm.model), weights(without.model))
    assert warm.history["train_rec"] == without.history["train_rec"]


def test_a_warm_up_reaches_all_of_beta() -> None:
    warm, constant = trained(kl_warmup=1, epochs=3), trained(epochs=3)
    assert not torch.equal(weights(warm.model), weights(constant.model))
    for stage in ("train", "valid"):
        for i in range(3):
            rec, kl = (warm.history[f"{stage}_{term}"][i] for term in ("rec", "kl"))
            assert warm.history[f"{stage}_loss"][i] == pytest.approx(rec + kl, rel=1e-9)


def test_the_first_epoch_of_a_cycle_has_no_kl() -> None:
    # with cycles of two epochs, the third begins anew
    cyclical = trained(kl_cycle=2, epochs=4).history
    without = trained(beta=0.0, epochs=4).history
    assert cyclical["train_rec"][0] == without["train_rec"][0]
    assert cyclical["train_rec"][1:] != without["train_rec"][1:]


def test_bits_that_are_all_free_are_no_kl() -> None:
    free, without = trained(free_bits=1e6), trained(beta=0.0)
    assert torch.equal(weights(free.model), weights(without.model))
    assert free.history["train_kl"] == without.history["train_kl"]


def test_few_free_bits_leave_a_kl() -> None:
    free, bound = (
        trained(free_bits=bits, beta=30.0, epochs=8, batch_size=10).history for bits in (1.0, 0.0)
    )
    assert free["valid_kl"][-1] > bound["valid_kl"][-1]


# likelihoods


def test_a_gaussian_likelihood_is_calibrated_by_fit(tmp_path: Path) -> None:
    data = eights()
    model = create("decoder dense", likelihood="gaussian")
    run = quick(model, data, valid=data, epochs=3, out=tmp_path / "run")
    assert (model.likelihood.scale == 0).all()
    assert (run.model.likelihood.scale > 0).all()
    wide = run.model.sample(500)
    assert ((wide >= 0) & (wide <= torch.tensor([27.0, 27.0, 1.0]))).all()
    plain = quick(create("decoder dense"), data, valid=data, epochs=3).model.sample(500)
    assert (wide.flatten(0, 1).std(0) > plain.flatten(0, 1).std(0)).all()
    assert torch.equal(gconvae.load(tmp_path / "run").sample(50), run.model.sample(50))


@pytest.mark.parametrize("name", registry.available("likelihood"))
def test_with_likelihood_leaves_the_first_model_as_it_was(name: str) -> None:
    data = ragged_digits()
    model = quick(create("decoder dense", num_classes=10, ragged=True), data, valid=data).model
    before, sample = weights(model), model.sample_clouds(20).points
    changed = model.with_likelihood(SMALL["likelihood"].get(name, name), data)
    assert torch.equal(weights(model), before)
    assert torch.equal(model.sample_clouds(20).points, sample)
    term = registry.describe("likelihood", changed.likelihood)
    assert term is not None
    assert term.name == name


class Seen(nn.Module):
    """The real loss, which notes its training targets."""

    def __init__(self) -> None:
        super().__init__()
        self.loss, self.targets = losses.ThirdAxisChamfer("dense"), []

    def forward(self, target: Tensor, output: Tensor, *masks: Tensor) -> Tensor:
        if output.requires_grad:
            self.targets.append(target.clone())
        return self.loss(target, output, *masks)


def on_whole_pixels(data: CloudDataset) -> CloudDataset:
    points, mask, labels = data.clouds
    rounded = torch.cat([points[..., :2].round(), points[..., 2:]], -1)
    return from_points(rounded, mask, labels, schema=SUPERPIXELS)


def by_value(points: Tensor) -> Tensor:
    return points.flatten(0, 1).sort(0).values


@pytest.mark.parametrize("likelihood", registry.available("likelihood"))
@pytest.mark.parametrize("of", [eights, ragged_digits])
def test_clouds_on_whole_pixels_are_spread_in_training_and_sampled_on_them(
    likelihood: str, of: Any, tmp_path: Path
) -> None:
    data, loss = on_whole_pixels(of()), Seen()
    small = SMALL["likelihood"].get(likelihood, f"{likelihood}()")
    # intensities lie on steps of 1/255, which is no lattice to this one
    text = small.replace("()", "(lattice='auto')").replace("=4)", "=4, lattice='auto')")
    model = create("decoder dense", likelihood=text)
    run = quick(model, data, valid=data, loss=loss, epochs=2, out=tmp_path / "run")
    assert run.model.likelihood.step.tolist() == [1, 1, 0]
    first, second = torch.cat(loss.targets[:2]), torch.cat(loss.targets[2:])
    positions = first[first[..., 2] > 0][:, :2]
    assert (positions != positions.round()).float().mean() > 0.9
    assert ((first >= 0) & (first <= 27)).all()
    torch.testing.assert_close(by_value(first.round())[:, :2], by_value(data.points)[:, :2])
    torch.testing.assert_close(by_value(first)[:, 2], 27 * by_value(data.points)[:, 2])
    assert not torch.equal(by_value(first), by_value(second))  # new noise in every epoch
    for made in (run.model, gconvae.load(tmp_path / "run")):
        points = made.sample_clouds(200).points
        assert torch.equal(points[..., :2], points[..., :2].round())
        assert not torch.equal(points[..., 2], points[..., 2].round())
        assert ((points >= 0) & (points <= torch.tensor([27.0, 27.0, 1.0]))).all()


def test_clouds_on_no_lattice_are_trained_on_as_they_are() -> None:
    data, loss = eights(), Seen()
    run = quick(create("decoder dense"), data, valid=data, loss=loss)
    assert run.model.likelihood.step.tolist() == [0, 0, 0]
    wanted = data.points * torch.tensor([1.0, 1.0, 27.0])
    torch.testing.assert_close(by_value(torch.cat(loss.targets)), by_value(wanted))
