from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae import registry
from gconvae.losses import ThirdAxisChamfer
from gconvae.nn.dense import DenseDecoder
from gconvae.randomness import generator, initial_weights


def decoder(seed: int = 0, **options: Any) -> DenseDecoder:
    with initial_weights(seed):
        return DenseDecoder(**options)


def random_z(clouds: int = 6, latent_dim: int = 10) -> Tensor:
    return torch.randn(clouds, latent_dim, generator=generator(0, "z"))


@pytest.mark.parametrize("hidden", [(7,), [5, 6], (8, 4, 3)])
def test_it_equals_the_loop(hidden: tuple[int, ...]) -> None:
    made = decoder(num_points=4, num_features=2, latent_dim=3, hidden=hidden).double()
    z = random_z(5, 3).double()
    values = [value.detach().numpy() for value in made.parameters()]
    layers = list(zip(values[::2], values[1::2], strict=True))
    for row, cloud in zip(z, made(z), strict=True):
        vector = row.numpy()
        for weight, bias in layers[:-1]:
            vector = np.maximum(weight @ vector + bias, 0)
        weight, bias = layers[-1]
        nodes = 1 / (1 + np.exp(-(weight @ vector + bias)))
        np.testing.assert_allclose(cloud.detach(), nodes.reshape(4, 2), rtol=1e-12)


def test_number_of_parameters_follows_from_the_widths() -> None:
    widths = (3, 7, 11, 4 * 2)
    made = decoder(num_points=4, num_features=2, latent_dim=3, hidden=(7, 11))
    wanted = sum(a * b + b for a, b in itertools.pairwise(widths))
    assert sum(parameter.numel() for parameter in made.parameters()) == wanted


def test_it_is_registered_with_its_options() -> None:
    made = registry.create("decoder", "dense(hidden=[8, 9])", latent_dim=4)
    options = {"num_points": 25, "num_features": 3, "latent_dim": 4, "hidden": [8, 9]}
    assert registry.describe("decoder", made) == (1.0, "dense", options)
    assert (made.num_points, made.latent_dim) == (25, 4)


def test_outputs_lie_inside_the_unit_interval_and_differ(dtype: torch.dtype) -> None:
    made = decoder().to(dtype)(random_z(100).to(dtype))
    assert made.dtype == dtype
    assert made.shape == (100, 25, 3)
    assert 0 < made.min() < made.max() < 1
    assert made.std(0).min() > 0  # z matters to every feature of every node
    assert made.std(1).min() > 0


def test_a_mask_changes_nothing() -> None:
    z = random_z()
    mask = torch.arange(25) < torch.arange(1, 7).unsqueeze(1)
    assert torch.equal(decoder()(z, mask), decoder()(z))


def test_clouds_of_a_batch_do_not_see_each_other() -> None:
    made, z = decoder(), random_z()
    torch.testing.assert_close(made(z), torch.cat([made(row[None]) for row in z]))


def test_float32_and_float64_agree() -> None:
    z = random_z()
    torch.testing.assert_close(decoder()(z).double(), decoder().double()(z.double()))


def test_every_parameter_gets_a_gradient() -> None:
    made = decoder()
    made(random_z(50)).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_it_works_where_its_input_lies(device: torch.device) -> None:
    made = decoder().to(device)(random_z().to(device))
    assert made.device.type == device.type
    torch.testing.assert_close(made.cpu(), decoder()(random_z()), rtol=1e-4, atol=1e-5)


def test_it_learns_one_batch_by_heart() -> None:
    clouds = 27 * torch.rand(5, 6, 3, generator=generator(0, "clouds"))
    made, z = decoder(num_points=6, hidden=(64, 64)), random_z(5)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(200):
        loss = ThirdAxisChamfer()(clouds, 27 * made(z)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize("size", ["num_points", "num_features", "latent_dim"])
@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_sizes_below_one_are_refused_by_their_name(size: str, value: float) -> None:
    with pytest.raises(
        ValueError, match=f"{size} must be a whole number of at least 1, got {value}"
    ):
        DenseDecoder(**{size: value})


@pytest.mark.parametrize("hidden", [(), [], (16, 0), (2.5,), 0, "256"])
def test_wrong_widths_are_refused(hidden: Any) -> None:
    with pytest.raises(ValueError, match="hidden must be one or more whole numbers above 0, got"):
        DenseDecoder(hidden=hidden)


def test_a_number_is_two_layers_of_that_width() -> None:
    one, two = DenseDecoder(hidden=16), DenseDecoder(hidden=(16, 16))
    assert [w.shape for w in one.parameters()] == [w.shape for w in two.parameters()]


@pytest.mark.parametrize("features", [1, 2, 4, 5])
def test_nodes_of_any_features(features: int) -> None:
    made = DenseDecoder(num_features=features)(torch.randn(3, 10))
    assert made.shape == (3, 25, features)
    assert (made.std((0, 1)) > 0).all()
