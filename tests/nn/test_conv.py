from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import conv2d_loop, conv_transpose2d_loop
from torch import Tensor, nn

from gconvae.nn import ConvDecoder, ConvEncoder
from gconvae.randomness import generator, initial_weights

SMALL: dict[str, Any] = {
    "num_points": 9,
    "num_features": 3,
    "latent_dim": 2,
    "channels": (2, 3),
    "hidden": 4,
}


def pair(seed: int = 0, **options: Any) -> tuple[ConvEncoder, ConvDecoder]:
    with initial_weights(seed):
        return ConvEncoder(**options), ConvDecoder(**options)


def random_points(*shape: int, purpose: str = "points") -> Tensor:
    return 27 * torch.rand(shape, generator=generator(0, purpose))


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def seen_shapes(module: nn.Module, kind: type[nn.Module], given: Tensor) -> list[tuple[int, ...]]:
    """Shapes that leave the layers of a kind, in the order of their calls."""
    shapes: list[tuple[int, ...]] = []
    layers = [layer for layer in module.modules() if isinstance(layer, kind)]
    handles = [
        layer.register_forward_hook(lambda _, __, made: shapes.append(tuple(made.shape)))
        for layer in layers
    ]
    module(given)
    for handle in handles:
        handle.remove()
    return shapes


def layers(module: nn.Module) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """(weight, bias) of each layer, in order."""
    values = [value.double().numpy() for value in module.state_dict().values()]
    return list(zip(values[::2], values[1::2], strict=True))


# The slides' network


def test_encoder_columns_are_those_of_the_slides() -> None:
    encoder, _ = pair()
    shapes = seen_shapes(encoder, nn.Conv2d, random_points(2, 25, 3))
    assert shapes == [(2, 16, 1, 23), (2, 32, 1, 21), (2, 64, 1, 19)]


def test_decoder_columns_are_those_of_the_slides() -> None:
    _, decoder = pair()
    shapes = seen_shapes(decoder, nn.ConvTranspose2d, torch.zeros(2, 10))
    assert shapes == [(2, 32, 1, 21), (2, 16, 1, 23), (2, 1, 3, 25)]


def test_padding_0_is_that_of_the_script() -> None:
    encoder, decoder = pair(padding=0)
    shapes = seen_shapes(encoder, nn.Conv2d, random_points(1, 25, 3))
    assert [shape[-1] for shape in shapes] == [21, 17, 13]
    shapes = seen_shapes(decoder, nn.ConvTranspose2d, torch.zeros(1, 10))
    assert [shape[-1] for shape in shapes] == [17, 21, 25]


@pytest.mark.parametrize("padding", [0, 1])
def test_kernels_strides_and_paddings_are_those_of_the_slides(padding: int) -> None:
    for module, first in zip(pair(padding=padding), (0, 2), strict=True):
        convs = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        kernels: list[tuple[int, ...]] = [(1, 5)] * 3
        kernels[first] = (3, 5)
        assert [conv.kernel_size for conv in convs] == kernels
        assert {conv.stride for conv in convs} == {(1, 1)}
        assert {conv.padding for conv in convs} == {(0, padding)}


@pytest.mark.parametrize(("padding", "wanted"), [(1, 3_723_477), (0, 2_571_093)])
def test_number_of_parameters_is_that_of_the_slides(padding: int, wanted: int) -> None:
    assert sum(num_parameters(module) for module in pair(padding=padding)) == wanted


def test_number_of_parameters_follows_from_the_widths() -> None:
    n, f, latent, (a, b), hidden = 13, 4, 3, (6, 7), 11
    encoder, decoder = pair(
        num_points=n, num_features=f, latent_dim=latent, channels=(a, b), hidden=hidden, padding=0
    )
    flat = b * (n - 8)
    convs = (a * f * 5 + a) + (a * b * 5 + b)
    dense = (flat * hidden + hidden) + (hidden * 2 * latent + 2 * latent)
    assert num_parameters(encoder) == convs + dense
    back = (b * a * 5 + a) + (a * f * 5 + 1)
    dense = (latent * hidden + hidden) + (hidden * flat + flat)
    assert num_parameters(decoder) == back + dense


# Against loops


def test_first_convolution_of_the_encoder_equals_the_loop() -> None:
    encoder, _ = pair()
    points = random_points(1, 25, 3)
    seen: list[Tensor] = []
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    first.register_forward_hook(lambda _, __, made: seen.append(made.clone()))
    encoder(points)
    weight, bias = layers(encoder)[0]
    assert weight.shape == (16, 1, 3, 5)
    rows = points[0].double().numpy().T[None]  # (1, F, N): rows are x, y, intensity
    wanted = conv2d_loop(rows, weight, bias, padding=1)
    np.testing.assert_allclose(seen[0][0].detach().numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", [0, 1])
def test_encoder_equals_the_loop(padding: int) -> None:
    encoder, _ = pair(padding=padding, **SMALL)
    encoder = encoder.double()
    points = random_points(1, 9, 3).double()
    *convs, dense, gaussian = layers(encoder)
    hidden = points[0].numpy().T[None]
    for weight, bias in convs:
        hidden = np.maximum(conv2d_loop(hidden, weight, bias, padding), 0)
    vector = np.maximum(dense[0] @ hidden.reshape(-1) + dense[1], 0)
    made = gaussian[0] @ vector + gaussian[1]
    posterior = encoder(points)
    np.testing.assert_allclose(posterior.mean[0].detach(), made[:2], rtol=1e-10)
    np.testing.assert_allclose(posterior.variance[0].detach(), np.exp(made[2:]), rtol=1e-10)


@pytest.mark.parametrize("padding", [0, 1])
def test_decoder_equals_the_loop(padding: int) -> None:
    _, decoder = pair(padding=padding, **SMALL)
    decoder = decoder.double()
    z = torch.randn(1, 2, generator=generator(0, "z"), dtype=torch.float64)
    parameters = layers(decoder)
    (first, second), convs = parameters[:2], parameters[2:]
    vector = np.maximum(first[0] @ z[0].numpy() + first[1], 0)
    hidden = np.maximum(second[0] @ vector + second[1], 0).reshape(3, 1, -1)
    for n, (weight, bias) in enumerate(convs):
        hidden = conv_transpose2d_loop(hidden, weight, bias, padding)
        hidden = np.maximum(hidden, 0) if n < len(convs) - 1 else 1 / (1 + np.exp(-hidden))
    np.testing.assert_allclose(decoder(z)[0].detach(), hidden[0].T, rtol=1e-10)


# What both promise


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("channels", [(8,), (8, 6), (8, 6, 7, 9), [8, 8, 8]])
@pytest.mark.parametrize(("num_points", "num_features"), [(17, 2), (20, 3), (33, 8)])
def test_any_sizes_fit_together(
    num_points: int, num_features: int, channels: tuple[int, ...], padding: int
) -> None:
    encoder, decoder = pair(
        num_points=num_points,
        num_features=num_features,
        latent_dim=6,
        channels=channels,
        hidden=60,
        padding=padding,
    )
    posterior = encoder(random_points(5, num_points, num_features))
    assert posterior.batch_shape == (5,)
    assert posterior.event_shape == (6,)
    made = decoder(posterior.mean)
    assert made.shape == (5, num_points, num_features)
    assert made.std(dim=(0, 1)).min() > 0  # every feature has a kernel row of its own


def test_encoder_gives_a_gaussian_with_positive_widths(device: torch.device) -> None:
    encoder = pair()[0].to(device)
    posterior = encoder(random_points(50, 25, 3).to(device))
    assert posterior.stddev.min() > 0
    assert posterior.mean.std(0).min() > 0  # it looks at its clouds
    sample = posterior.rsample()
    assert sample.requires_grad
    assert sample.device.type == device.type


def test_decoder_stays_in_the_unit_interval_and_reaches_both_ends(device: torch.device) -> None:
    decoder = pair()[1].to(device)
    z = torch.randn(200, 10, generator=generator(0, "z")).to(device)
    for size in (1.0, 1e4):
        made = decoder(size * z)
        assert made.isfinite().all()
        assert made.min() >= 0
        assert made.max() <= 1
    assert made.amin(dim=(0, 1)).tolist() == pytest.approx([0.0] * 3, abs=1e-3)
    assert made.amax(dim=(0, 1)).tolist() == pytest.approx([1.0] * 3, abs=1e-3)


def test_decoder_of_a_last_layer_of_zeros_is_one_half() -> None:
    _, decoder = pair()
    last = [layer for layer in decoder.modules() if isinstance(layer, nn.ConvTranspose2d)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    assert decoder(torch.ones(1, 10)).unique().tolist() == [0.5]


@pytest.mark.parametrize("padding", [0, 1])
def test_every_parameter_gets_a_gradient(padding: int) -> None:
    encoder, decoder = pair(padding=padding)
    posterior = encoder(random_points(20, 25, 3))
    noise = torch.randn(20, 10, generator=generator(0, "noise"))
    decoder(posterior.mean + posterior.stddev * noise).square().sum().backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_mean_and_width_are_different_halves() -> None:
    encoder, _ = pair()
    points = random_points(2, 25, 3)
    last = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)][-1]
    before = encoder(points)
    with torch.no_grad():
        last.bias[10:] += 2 * math.log(3.0)
    after = encoder(points)
    torch.testing.assert_close(after.mean, before.mean)
    torch.testing.assert_close(after.stddev, 3 * before.stddev)


def test_clouds_of_a_batch_do_not_see_each_other() -> None:
    encoder, decoder = pair()
    points = random_points(6, 25, 3)
    together, alone = encoder(points), [encoder(cloud[None]) for cloud in points]
    torch.testing.assert_close(together.mean, torch.cat([one.mean for one in alone]))
    z = together.mean.detach()
    torch.testing.assert_close(decoder(z), torch.cat([decoder(row[None]) for row in z]))


def state(module: nn.Module) -> dict[str, Any]:
    """Everything that a module and its parts hold, parameters aside."""
    held = {}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if key != "_parameters":
                held[f"{name}.{key}"] = repr(value)
    return held


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_kept_between_two_calls(training: bool) -> None:
    encoder, decoder = (module.train(training) for module in pair())
    points, other = random_points(3, 25, 3), random_points(8, 25, 3, purpose="others")
    first = encoder(points)
    wanted = [first.mean.clone(), first.stddev.clone(), decoder(first.mean).clone()]
    before = [state(module) for module in (encoder, decoder)]
    decoder(encoder(other).mean)
    assert [state(module) for module in (encoder, decoder)] == before
    again = encoder(points)
    got = [again.mean, again.stddev, decoder(again.mean)]
    assert all(torch.equal(*both) for both in zip(got, wanted, strict=True))
    assert torch.equal(first.mean, wanted[0])


def test_initial_weights_depend_on_the_seed_only() -> None:
    first = [module.state_dict() for module in pair(0)]
    torch.randn(13)
    again, other = pair(0), pair(1)
    for wanted, same, different in zip(first, again, other, strict=True):
        assert all(torch.equal(wanted[key], value) for key, value in same.state_dict().items())
        assert not any(
            torch.equal(wanted[key], value) for key, value in different.state_dict().items()
        )


def test_float64_networks_work_in_float64() -> None:
    encoder, decoder = (module.double() for module in pair())
    posterior = encoder(random_points(2, 25, 3).double())
    assert posterior.stddev.dtype == torch.float64
    assert decoder(posterior.mean).dtype == torch.float64


# Refusals


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize(
    ("padding", "channels", "smallest"),
    [(1, (4, 4, 4), 7), (0, (4, 4, 4), 13), (1, (4,), 3), (0, (4, 4), 9), (1, (4,) * 5, 11)],
)
def test_too_few_nodes_are_refused_with_the_smallest_that_works(
    network: type[nn.Module], padding: int, channels: tuple[int, ...], smallest: int
) -> None:
    options: dict[str, Any] = {"channels": channels, "padding": padding, "hidden": 5}
    with pytest.raises(ValueError, match=rf"num_points must be at least {smallest} .*, got "):
        network(num_points=smallest - 1, **options)
    encoder, decoder = pair(num_points=smallest, **options)
    made = decoder(encoder(random_points(2, smallest, 3)).mean)
    assert made.shape == (2, smallest, 3)


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize("width", ["num_features", "latent_dim", "hidden"])
@pytest.mark.parametrize("value", [0, -1])
def test_widths_below_one_are_refused_by_their_name(
    network: type[nn.Module], width: str, value: int
) -> None:
    with pytest.raises(
        ValueError, match=f"{width} must be a whole number of at least 1, got {value}"
    ):
        network(**{width: value})


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize("channels", [(), (16, 0), (-1,)])
def test_wrong_channels_are_refused(network: type[nn.Module], channels: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match="channels must be one or more whole numbers above 0, got"
    ):
        network(channels=channels)


@pytest.mark.parametrize("network", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize("padding", [-1, 3])
def test_wrong_padding_is_refused(network: type[nn.Module], padding: int) -> None:
    with pytest.raises(ValueError, match=f"padding must be .*, got {padding}"):
        network(padding=padding)


def test_networks_are_one_graph_under_torch_compile() -> None:
    torch.compiler.reset()
    encoder, decoder = pair()
    points, z = random_points(2, 25, 3), torch.randn(2, 10)
    traced = [
        torch.compile(part, backend="aot_eager", fullgraph=True) for part in (encoder, decoder)
    ]
    torch.testing.assert_close(traced[0](points).mean, encoder(points).mean)
    torch.testing.assert_close(traced[1](z), decoder(z))


@pytest.mark.parametrize("features", [1, 2, 4, 5])
def test_the_kernels_are_as_high_as_there_are_features(features: int) -> None:
    encoder, decoder = ConvEncoder(num_features=features), ConvDecoder(num_features=features)
    assert encoder.convs[0].kernel_size == decoder.convs[-1].kernel_size == (features, 5)
    points = (27 * torch.rand(3, 25, features)).requires_grad_()
    made = decoder(encoder(points).mean)
    assert made.shape == points.shape
    made.square().sum().backward()
    assert points.grad is not None
    assert (points.grad.abs().sum((0, 1)) > 0).all()
