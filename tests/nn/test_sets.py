from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from generators import ragged_sizes
from torch import Tensor, nn

from gconvae import models, registry
from gconvae.losses import ThirdAxisChamfer
from gconvae.nn.sets import (
    AGGREGATIONS,
    DeepSetsEncoder,
    SetTransformerDecoder,
    SetTransformerEncoder,
)
from gconvae.randomness import generator, initial_weights

ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "deep_sets": DeepSetsEncoder,
    "deep_sets of every aggregation": lambda: DeepSetsEncoder(aggregation=AGGREGATIONS),
    **{
        f"deep_sets of {name}": lambda name=name: DeepSetsEncoder(aggregation=name)
        for name in AGGREGATIONS
    },
    "set_transformer": SetTransformerEncoder,
    "set_transformer with inducing points": lambda: SetTransformerEncoder(inducing=5),
    "set_transformer, small": lambda: SetTransformerEncoder(width=6, heads=1, blocks=1, seeds=1),
}
DECODERS: dict[str, Callable[[], SetTransformerDecoder]] = {
    "no noise": SetTransformerDecoder,
    "noise": lambda: SetTransformerDecoder(noise_dim=2),
    "small": lambda: SetTransformerDecoder(width=6, heads=1, blocks=1, noise_dim=1),
}

encoders = pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
decoders = pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)


def seeded(make: Callable[..., Any], **options: Any) -> Any:
    with initial_weights(0):
        return make(**options)


def random_points(*shape: int) -> Tensor:
    return 27 * torch.rand(shape, generator=generator(0, "points"))


def random_normal(*shape: int, purpose: str = "z") -> Tensor:
    return torch.randn(shape, generator=generator(0, purpose))


def ragged(num_clouds: int = 6, num_nodes: int = 25) -> tuple[Tensor, Tensor]:
    """Clouds of 1 to N nodes, masked nodes 0 as everywhere in the library, and their mask."""
    sizes = torch.tensor(ragged_sizes(num_clouds, num_nodes))
    mask = torch.arange(num_nodes) < sizes.unsqueeze(1)  # (B, N)
    return random_points(num_clouds, num_nodes, 3) * mask.unsqueeze(-1), mask


def moments(encoder: nn.Module, points: Tensor, mask: Tensor | None = None) -> Tensor:
    """Means and widths side by side, shape (B, 2 * L)."""
    posterior = encoder(points, mask)
    return torch.cat([posterior.mean, posterior.stddev], dim=1)


def assert_gradients(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.fixture
def deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


# Known answers


@pytest.mark.parametrize("aggregation", ["sum", "mean", "max", "min", "var", ["max", "sum"]])
def test_deep_sets_equal_the_loop(aggregation: str | list[str]) -> None:
    made = seeded(
        DeepSetsEncoder,
        latent_dim=2,
        aggregation=aggregation,
        node_hidden=(5, 4),
        cloud_hidden=(3,),
    ).double()
    values = [value.detach().numpy() for value in made.parameters()]
    *layers, gaussian = zip(values[::2], values[1::2], strict=True)
    points, mask = ragged()
    posterior = made(points.double(), mask)
    for cloud, (nodes, real) in enumerate(zip(points.double().numpy(), mask, strict=True)):
        seen = []
        for node in nodes[real.numpy()]:
            vector = (node - 13.5) / 13.5
            for weight, bias in layers[:2]:
                vector = np.maximum(weight @ vector + bias, 0)
            seen.append(vector)
        names = [aggregation] if isinstance(aggregation, str) else aggregation
        vector = np.concatenate([getattr(np, name)(seen, axis=0) for name in names])
        vector = np.maximum(layers[2][0] @ vector + layers[2][1], 0)
        mean, log_var = np.split(gaussian[0] @ vector + gaussian[1], 2)
        np.testing.assert_allclose(posterior.mean[cloud].detach(), mean, rtol=1e-9)
        np.testing.assert_allclose(posterior.variance[cloud].detach(), np.exp(log_var), rtol=1e-9)


def attend(layer: nn.MultiheadAttention, queries: Tensor, nodes: Tensor) -> Tensor:
    """One head after the other, one query after the other."""
    to_q, to_k, to_v = layer.in_proj_weight.chunk(3)
    q0, k0, v0 = layer.in_proj_bias.chunk(3)
    size = layer.embed_dim // layer.num_heads
    made = []
    for query in queries:
        heads = []
        for head in range(layer.num_heads):
            rows = slice(head * size, (head + 1) * size)
            asked = to_q[rows] @ query + q0[rows]
            scores = [asked @ (to_k[rows] @ node + k0[rows]) / size**0.5 for node in nodes]
            weights = torch.stack(scores).softmax(0)
            terms = [w * (to_v[rows] @ n + v0[rows]) for w, n in zip(weights, nodes, strict=True)]
            heads.append(torch.stack(terms).sum(0))
        made.append(layer.out_proj(torch.cat(heads)))
    return torch.stack(made)


def attention_block(block: nn.Module, queries: Tensor, nodes: Tensor) -> Tensor:
    hidden = block.layer_norm1(queries + attend(block.attn, queries, nodes))
    return block.layer_norm2(hidden + torch.relu(block.lin(hidden)))


def test_set_transformer_encoder_equals_the_loop() -> None:
    made = seeded(SetTransformerEncoder, width=8, heads=2, seeds=3).double()
    points, mask = ragged(3, 5)
    posterior = made(points.double(), mask)
    for cloud, (nodes, real) in enumerate(zip(points.double(), mask, strict=True)):
        hidden = made.embed((nodes[real] - 13.5) / 13.5)
        for block in made.blocks:
            hidden = attention_block(block.mab, hidden, hidden)
        hidden = torch.relu(made.pool.lin(hidden))
        pooled = attention_block(made.pool.mab, made.pool.seed[0], hidden)
        wanted = made.gaussian(pooled.reshape(1, -1))
        torch.testing.assert_close(posterior.mean[cloud], wanted.mean[0])
        torch.testing.assert_close(posterior.stddev[cloud], wanted.stddev[0])


def test_set_transformer_decoder_equals_the_loop() -> None:
    made = seeded(SetTransformerDecoder, num_points=4, width=8, heads=2, noise_dim=2).double()
    z, noise = random_normal(3, 10).double(), random_normal(3, 4, 2, purpose="noise").double()
    first, last = made.condition.lins
    for row, own_noise, cloud in zip(z, noise, made(z, noise=noise), strict=True):
        changes = last(torch.relu(first(row))).reshape(2, 2, 8)
        hidden = made.queries + own_noise @ made.noise.weight.T
        for block, (scale, shift) in zip(made.blocks, changes, strict=True):
            hidden = hidden * (1 + scale) + shift
            hidden = attention_block(block.mab, hidden, hidden)
        torch.testing.assert_close(cloud, torch.sigmoid(made.head(hidden)))


def test_pooling_a_single_node_by_attention_gives_it_all_the_weight() -> None:
    pool = seeded(SetTransformerEncoder).pool
    node = random_normal(1, 1, 64)
    twice = node.expand(1, 2, 64)
    torch.testing.assert_close(pool(node), pool(twice))
    attention = pool.mab.attn
    value = torch.relu(pool.lin(node)) @ attention.in_proj_weight[128:].T  # biases start at 0
    hidden = pool.mab.layer_norm1(pool.seed + attention.out_proj(value))
    wanted = pool.mab.layer_norm2(hidden + torch.relu(pool.mab.lin(hidden)))
    torch.testing.assert_close(pool(node), wanted)


# Encoders


@encoders
def test_encoders_do_not_look_at_the_order_of_nodes(make: Callable[..., Any]) -> None:
    encoder = seeded(make)
    points, mask = ragged()
    order = torch.rand(mask.shape, generator=generator(0, "order")).argsort(1)  # (B, N)
    moved = points.gather(1, order.unsqueeze(-1).expand_as(points))
    wanted = moments(encoder, points, mask)
    torch.testing.assert_close(
        moments(encoder, moved, mask.gather(1, order)), wanted, rtol=1e-4, atol=1e-4
    )
    assert wanted.std(0).min() > 0  # it does look at its clouds


@encoders
def test_encoders_of_a_batch_equal_the_loop_over_bare_clouds(make: Callable[..., Any]) -> None:
    encoder = seeded(make)
    points, mask = ragged()
    alone = [moments(encoder, cloud[real][None]) for cloud, real in zip(points, mask, strict=True)]
    torch.testing.assert_close(
        moments(encoder, points, mask), torch.cat(alone), rtol=1e-4, atol=1e-4
    )


@encoders
@pytest.mark.parametrize("garbage", [0.0, 27.0, 1e4])
def test_masked_nodes_change_nothing_for_encoders(
    make: Callable[..., Any], garbage: float
) -> None:
    encoder = seeded(make)
    points = random_points(4, 9, 3)
    padded = torch.cat([points, torch.full((4, 5, 3), garbage)], dim=1).requires_grad_()
    mask = (torch.arange(14) < 9).expand(4, 14)
    made = moments(encoder, padded, mask)
    torch.testing.assert_close(made, moments(encoder, points), rtol=1e-4, atol=1e-5)
    made.sum().backward()
    assert padded.grad is not None
    assert padded.grad.isfinite().all()
    assert not padded.grad[~mask].any()
    assert padded.grad[mask].any()


@encoders
def test_a_mask_of_real_nodes_only_is_no_mask(make: Callable[..., Any]) -> None:
    encoder, points = seeded(make), random_points(4, 9, 3)
    mask = torch.ones(4, 9, dtype=torch.bool)
    torch.testing.assert_close(moments(encoder, points, mask), moments(encoder, points))


@encoders
def test_encoders_take_any_number_of_nodes(make: Callable[..., Any]) -> None:
    encoder = seeded(make)
    for num_nodes in (1, 2, 60):
        points = random_points(3, num_nodes, 3).requires_grad_()
        made = moments(encoder, points)
        assert made.shape == (3, 20)
        assert made[:, 10:].min() > 0
        made.sum().backward()
        assert points.grad is not None
        assert points.grad.isfinite().all()


@encoders
def test_nodes_at_one_place_give_finite_gradients(make: Callable[..., Any]) -> None:
    encoder = seeded(make)
    moments(encoder, torch.full((2, 8, 3), 5.0)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@encoders
def test_every_parameter_of_encoders_gets_a_gradient(make: Callable[..., Any]) -> None:
    encoder = seeded(make)
    moments(encoder, random_points(20, 25, 3)).square().sum().backward()
    assert_gradients(encoder)


@encoders
def test_encoders_agree_in_float32_and_float64(make: Callable[..., Any]) -> None:
    points, mask = ragged()
    single = moments(seeded(make), points, mask)
    double = moments(seeded(make).double(), points.double(), mask)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@encoders
@pytest.mark.usefixtures("deterministic")
def test_encoders_have_the_same_bits_twice(make: Callable[..., Any]) -> None:
    points, mask = ragged()
    results = []
    for _ in range(2):
        encoder = seeded(make)
        made = moments(encoder, points, mask)
        made.sum().backward()
        results.append([made, *(parameter.grad for parameter in encoder.parameters())])
    assert all(torch.equal(*both) for both in zip(*results, strict=True))


@encoders
def test_encoders_are_the_same_in_evaluation(make: Callable[..., Any]) -> None:
    encoder = seeded(make)
    points, mask = ragged()
    trained = [moments(encoder, points, given) for given in (mask, None)]
    encoder.eval()
    with torch.inference_mode():  # torch has kernels of its own for attention here
        for wanted, given in zip(trained, (mask, None), strict=True):
            torch.testing.assert_close(moments(encoder, points, given), wanted.detach())


@encoders
def test_encoders_work_where_their_input_lies(
    make: Callable[..., Any], device: torch.device
) -> None:
    points, mask = ragged()
    made = moments(seeded(make).to(device), points.to(device), mask.to(device))
    assert made.device.type == device.type
    wanted = moments(seeded(make), points, mask)
    torch.testing.assert_close(made.cpu(), wanted, rtol=1e-3, atol=1e-3)


def test_a_sum_counts_nodes_where_a_mean_does_not() -> None:
    cloud = random_points(1, 4, 3)
    twice = torch.cat([cloud, cloud], dim=1)
    for name in ("mean", "max", "std"):
        encoder = seeded(DeepSetsEncoder, aggregation=name)
        torch.testing.assert_close(moments(encoder, twice), moments(encoder, cloud))
    encoder = seeded(DeepSetsEncoder, aggregation="sum")
    assert (moments(encoder, twice) - moments(encoder, cloud)).abs().max() > 0.01


# The decoder


@decoders
def test_the_decoder_stays_inside_the_unit_interval(
    make: Callable[..., Any], dtype: torch.dtype
) -> None:
    decoder = seeded(make).to(dtype)
    made = decoder(random_normal(50, 10).to(dtype))
    assert made.dtype == dtype
    assert made.shape == (50, 25, 3)
    assert 0 < made.min() < made.max() < 1


@decoders
def test_different_z_give_different_clouds_of_different_nodes(make: Callable[..., Any]) -> None:
    made = seeded(make)(random_normal(50, 10))
    assert made.std(0).min() > 1e-3
    assert made.std(1).min() > 1e-3


@decoders
def test_clouds_of_a_decoded_batch_do_not_see_each_other(make: Callable[..., Any]) -> None:
    decoder, z = seeded(make), random_normal(6, 10)
    noise = random_normal(6, 25, decoder.noise_dim, purpose="noise")
    alone = [decoder(row[None], noise=own[None]) for row, own in zip(z, noise, strict=True)]
    torch.testing.assert_close(decoder(z, noise=noise), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_masked_nodes_of_the_decoder_do_not_change_real_ones() -> None:
    decoder, z = seeded(SetTransformerDecoder, noise_dim=2), random_normal(6, 10)
    _, mask = ragged()
    noise = random_normal(6, 25, 2, purpose="noise")
    wanted = decoder(z, mask, noise)
    garbage = noise.masked_fill(~mask.unsqueeze(-1), 1e3)
    made = decoder(z, mask, garbage)
    assert torch.equal(made[mask], wanted[mask])
    assert not torch.equal(made, wanted)
    assert made.isfinite().all()


@decoders
def test_a_masked_cloud_is_that_of_a_decoder_with_fewer_queries(make: Callable[..., Any]) -> None:
    decoder, z = seeded(make), random_normal(6, 10)
    _, mask = ragged()
    made = decoder(z, mask)
    queries = decoder.queries.detach()
    for row, cloud, real in zip(z, made, mask, strict=True):
        decoder.queries = nn.Parameter(queries[real])
        torch.testing.assert_close(cloud[real], decoder(row[None])[0], rtol=1e-4, atol=1e-5)


@decoders
def test_a_mask_of_the_decoder_matters_to_real_nodes(make: Callable[..., Any]) -> None:
    decoder, z = seeded(make), random_normal(6, 10)
    _, mask = ragged()
    assert not torch.allclose(decoder(z, mask)[:, 0], decoder(z)[:, 0])
    whole = torch.ones_like(mask)
    torch.testing.assert_close(decoder(z, whole), decoder(z))


def test_permuting_queries_and_noise_permutes_the_nodes() -> None:
    decoder, z = seeded(SetTransformerDecoder, noise_dim=2), random_normal(6, 10)
    noise = random_normal(6, 25, 2, purpose="noise")
    order = torch.randperm(25, generator=generator(0, "order"))
    wanted = decoder(z, noise=noise)[:, order]
    decoder.queries = nn.Parameter(decoder.queries.detach()[order])
    made = decoder(z, noise=noise[:, order])
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(made, decoder(z, noise=noise))


def test_equal_queries_without_noise_give_equal_nodes() -> None:
    decoder = seeded(SetTransformerDecoder, noise_dim=1)
    decoder.queries = nn.Parameter(decoder.queries.detach()[:1].expand(25, -1))
    z = random_normal(2, 10)
    made = decoder(z)
    torch.testing.assert_close(made, made[:, :1].expand_as(made), rtol=1e-4, atol=1e-5)
    assert decoder(z, noise=random_normal(2, 25, 1)).std(1).min() > 1e-4


def test_other_noise_gives_other_clouds_of_the_same_z() -> None:
    decoder = seeded(SetTransformerDecoder, noise_dim=2)
    z = random_normal(1, 10).expand(20, 10)
    clouds = decoder(z, noise=random_normal(20, 25, 2, purpose="noise"))
    assert clouds.std(0).min() > 1e-3
    still = decoder(z)
    torch.testing.assert_close(still, still[:1].expand_as(still))


@decoders
def test_no_noise_is_noise_of_zeros(make: Callable[..., Any]) -> None:
    decoder, z = seeded(make), random_normal(6, 10)
    zeros = torch.zeros(6, 25, decoder.noise_dim)
    assert torch.equal(decoder(z), decoder(z, noise=zeros))


@decoders
def test_every_parameter_of_the_decoder_gets_a_gradient(make: Callable[..., Any]) -> None:
    decoder = seeded(make)
    noise = random_normal(20, 25, decoder.noise_dim, purpose="noise")
    decoder(random_normal(20, 10), noise=noise).square().sum().backward()
    assert_gradients(decoder)


@decoders
def test_the_decoder_agrees_in_float32_and_float64(make: Callable[..., Any]) -> None:
    z = random_normal(6, 10)
    _, mask = ragged()
    double = seeded(make).double()(z.double(), mask)
    torch.testing.assert_close(seeded(make)(z, mask).double(), double, rtol=1e-4, atol=1e-5)


@decoders
@pytest.mark.usefixtures("deterministic")
def test_the_decoder_has_the_same_bits_twice(make: Callable[..., Any]) -> None:
    _, mask = ragged()
    results = []
    for _ in range(2):
        decoder = seeded(make)
        noise = random_normal(6, 25, decoder.noise_dim, purpose="noise")
        made = decoder(random_normal(6, 10), mask, noise)
        made.sum().backward()
        results.append([made, *(parameter.grad for parameter in decoder.parameters())])
    assert all(torch.equal(*both) for both in zip(*results, strict=True))


@decoders
def test_the_decoder_is_the_same_in_evaluation(make: Callable[..., Any]) -> None:
    decoder, z = seeded(make), random_normal(6, 10)
    _, mask = ragged()
    trained = [decoder(z, given) for given in (mask, None)]
    decoder.eval()
    with torch.inference_mode():
        for wanted, given in zip(trained, (mask, None), strict=True):
            torch.testing.assert_close(decoder(z, given), wanted.detach(), rtol=1e-4, atol=1e-5)


@decoders
def test_the_decoder_works_where_its_input_lies(
    make: Callable[..., Any], device: torch.device
) -> None:
    z = random_normal(6, 10)
    made = seeded(make).to(device)(z.to(device))
    assert made.device.type == device.type
    torch.testing.assert_close(made.cpu(), seeded(make)(z), rtol=1e-3, atol=1e-3)


# Learning


def fall_of_the_loss(forward: Callable[[], Tensor], module: nn.Module, target: Tensor) -> float:
    """Last third-axis loss of 150 steps of Adam on one batch, over the first one."""
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = ThirdAxisChamfer()(target, 27 * forward()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[-1] / losses[0]


def test_the_decoder_learns_one_batch_by_heart() -> None:
    target, z = random_points(5, 6, 3), random_normal(5, 10)
    decoder = seeded(SetTransformerDecoder, num_points=6, width=32)
    assert fall_of_the_loss(lambda: decoder(z), decoder, target) < 0.1


@pytest.mark.parametrize("encoder", [DeepSetsEncoder, SetTransformerEncoder])
def test_encoder_and_decoder_learn_one_batch_by_heart(encoder: Callable[..., Any]) -> None:
    target = random_points(5, 6, 3)
    both = nn.ModuleList([seeded(encoder), seeded(SetTransformerDecoder, num_points=6, width=32)])
    assert fall_of_the_loss(lambda: both[1](both[0](target).mean), both, target) < 0.1


# The register, and refusals


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("encoder", "deep_sets(aggregation=['sum', 'max'], node_hidden=[8])"),
        ("encoder", "set_transformer(width=16, inducing=3)"),
        ("decoder", "set_transformer(width=16, noise_dim=2)"),
    ],
)
def test_parts_are_made_by_name_and_remember_their_options(kind: Any, text: str) -> None:
    made = registry.create(kind, text, latent_dim=4)
    term = registry.describe(kind, made)
    assert term is not None
    assert made.latent_dim == 4
    given = registry.parse(text)[0]
    assert term.name == given.name
    assert term.options.items() >= {"latent_dim": 4, **given.options}.items()
    again = registry.create(kind, term.name, **term.options)
    again.load_state_dict(made.state_dict())


@pytest.mark.parametrize("aggregation", ["", "lstm", [], ["sum", "sort"], ("aggregation",)])
def test_unknown_aggregations_are_refused_with_the_known_ones(aggregation: Any) -> None:
    with pytest.raises(ValueError, match=r"aggregation must be one or more of sum, mean, .*, got"):
        DeepSetsEncoder(aggregation=aggregation)


@pytest.mark.parametrize("num_points", [300, 5000])
def test_sums_over_many_nodes_are_as_large_as_over_25(num_points: int) -> None:
    def spread(nodes: int) -> float:
        with initial_weights(0):
            encoder = DeepSetsEncoder(aggregation="sum", num_points=nodes)
        random = torch.Generator().manual_seed(0)
        posterior = encoder(27 * torch.rand(4, nodes, 3, generator=random))
        return posterior.stddev.log().abs().mean().item()

    assert 0.7 < spread(num_points) / spread(25) < 1.4


def test_models_of_large_clouds_say_so_to_their_encoder() -> None:
    model = models.create("convae", encoder="deep_sets", decoder="dense", num_points=1000, seed=0)
    posterior = model.encode(torch.rand(3, 1000, 3))
    assert bool(torch.isfinite(posterior.stddev).all())
    assert posterior.stddev.max().item() < 3


@pytest.mark.parametrize("name", ["node_hidden", "cloud_hidden"])
@pytest.mark.parametrize("widths", [(), (8, 0), 8])
def test_wrong_widths_of_deep_sets_are_refused(name: str, widths: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be one or more whole numbers above 0, got"):
        DeepSetsEncoder(**{name: widths})


@pytest.mark.parametrize(
    ("network", "name"),
    [
        *((DeepSetsEncoder, name) for name in ("num_features", "latent_dim")),
        *(
            (SetTransformerEncoder, name)
            for name in ("num_features", "latent_dim", "width", "heads", "blocks", "seeds")
        ),
        *(
            (SetTransformerDecoder, name)
            for name in ("num_points", "num_features", "latent_dim", "width", "heads", "blocks")
        ),
    ],
)
def test_sizes_below_one_are_refused_by_their_name(network: type[nn.Module], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got 0"):
        network(**{name: 0})


@pytest.mark.parametrize(
    ("network", "name"),
    [(SetTransformerEncoder, "inducing"), (SetTransformerDecoder, "noise_dim")],
)
def test_numbers_below_zero_are_refused_by_their_name(network: type[nn.Module], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 0, got -1"):
        network(**{name: -1})


@pytest.mark.parametrize("network", [SetTransformerEncoder, SetTransformerDecoder])
def test_heads_that_do_not_divide_the_width_are_refused(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="heads must divide the width 64, got 5"):
        network(heads=5)


@pytest.mark.parametrize("noise_dim", [0, 2])
@pytest.mark.parametrize("shape", [(2, 25, 3), (2, 24, 2), (1, 25, 2), (25, 2)])
def test_noise_of_another_shape_is_refused(noise_dim: int, shape: tuple[int, ...]) -> None:
    decoder = SetTransformerDecoder(noise_dim=noise_dim)
    with pytest.raises(
        ValueError, match=rf"noise must have shape \(2, 25, {noise_dim}\), got \({shape[0]}, "
    ):
        decoder(torch.zeros(2, 10), noise=torch.zeros(shape))


@pytest.mark.parametrize("features", [1, 2, 4, 5])
@pytest.mark.parametrize("kind", [DeepSetsEncoder, SetTransformerEncoder])
def test_clouds_of_any_features(kind: type[nn.Module], features: int) -> None:
    encoder, decoder = kind(num_features=features), SetTransformerDecoder(num_features=features)
    points = (27 * torch.rand(3, 25, features)).requires_grad_()
    made = decoder(encoder(points).mean)
    assert made.shape == points.shape
    made.square().sum().backward()
    assert points.grad is not None
    assert (points.grad.abs().sum((0, 1)) > 0).all()


@pytest.mark.parametrize("kind", [DeepSetsEncoder, SetTransformerEncoder])
def test_another_extent_is_another_unit(kind: type[nn.Module]) -> None:
    points, found = torch.rand(3, 9, 3), []
    for extent in (27.0, 2.0):
        with initial_weights(0):
            encoder = kind(extent=extent)
        found.append(encoder(extent * points).mean)
    torch.testing.assert_close(*found)
