from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae import registry
from gconvae.nn.refinement import GRAPHS, GraphDecoder
from gconvae.randomness import generator, initial_weights

SMALL: dict[str, Any] = {
    "num_points": 9,
    "latent_dim": 4,
    "width": 8,
    "hidden": 12,
    "neighbors": 3,
}

every_graph = pytest.mark.parametrize("graph", GRAPHS)


def made(graph: str, **options: Any) -> GraphDecoder:
    with initial_weights(0):
        return GraphDecoder(graph=graph, **SMALL | options).double()


def latents(num_clouds: int, dim: int = 4) -> Tensor:
    return torch.randn(num_clouds, dim, generator=generator(0, "z"), dtype=torch.float64)


def ragged_mask(sizes: list[int], num_nodes: int) -> Tensor:
    return torch.arange(num_nodes) < torch.tensor(sizes).unsqueeze(1)


def decoder_loop(decoder: GraphDecoder, z: Tensor, real: list[int]) -> np.ndarray:
    """One cloud, one pair of nodes at a time, of the real nodes only."""
    condition = decoder.condition(z[None])[0].detach().numpy()
    state = {key: value.numpy() for key, value in decoder.state_dict().items()}

    def dense(key: str, vector: np.ndarray) -> np.ndarray:
        return state[f"{key}.weight"] @ vector + state.get(f"{key}.bias", 0.0)

    nodes = {i: state["start"][i] for i in real}
    for layer in range(len(decoder.layers)):
        key = f"layers.{layer}"
        scale, shift = np.split(dense(f"{key}.film", condition), 2)
        places = {i: 1 / (1 + np.exp(-dense("head", nodes[i])[:2])) for i in real}
        steered = {
            i: (nodes[i] - nodes[i].mean()) / np.sqrt(nodes[i].var() + 1e-5) * (1 + scale) + shift
            for i in real
        }
        for i in real:
            around = list(real)
            if decoder.graph == "knn":
                far = {j: ((places[i] - places[j]) ** 2).sum() for j in real}
                around = sorted(real, key=far.__getitem__)[: decoder.neighbors + 1]
            heard = dense(f"{key}.receiver", steered[i])
            messages = [np.maximum(heard + dense(f"{key}.sender", steered[j]), 0) for j in around]
            both = np.concatenate([steered[i], np.mean(messages, axis=0)])
            change = dense(f"{key}.update.2", np.maximum(dense(f"{key}.update.0", both), 0))
            nodes[i] = nodes[i] + change
    return np.array([1 / (1 + np.exp(-dense("head", nodes[i]))) for i in real])


@every_graph
def test_decoder_equals_the_loop(graph: str) -> None:
    decoder, z = made(graph), latents(2)
    for cloud, row in zip(decoder(z), z, strict=True):
        wanted = decoder_loop(decoder, row, list(range(9)))
        np.testing.assert_allclose(cloud.detach(), wanted, rtol=1e-10)


@every_graph
def test_real_nodes_of_a_mask_equal_the_loop_over_them(graph: str) -> None:
    decoder, z, sizes = made(graph), latents(5), [9, 5, 3, 2, 1]
    got = decoder(z, ragged_mask(sizes, 9))
    for cloud, row, size in zip(got, z, sizes, strict=True):
        wanted = decoder_loop(decoder, row, list(range(size)))
        np.testing.assert_allclose(cloud[:size].detach(), wanted, rtol=1e-10)


@every_graph
def test_masked_nodes_do_not_influence_real_ones(graph: str) -> None:
    decoder, z, mask = made(graph), latents(4), ragged_mask([6] * 4, 9)
    before = decoder(z, mask)[:, :6]
    with torch.no_grad():
        decoder.start[6:] += 100
    torch.testing.assert_close(decoder(z, mask)[:, :6], before, rtol=0, atol=0)
    decoder(z, mask)[:, :6].sum().backward()
    assert decoder.start.grad is not None
    assert not decoder.start.grad[6:].any()
    assert decoder.start.grad[:6].abs().amax(1).min() > 0


@every_graph
def test_a_full_mask_is_no_mask(graph: str) -> None:
    decoder, z = made(graph), latents(3)
    assert torch.equal(decoder(z, ragged_mask([9] * 3, 9)), decoder(z))


@every_graph
def test_permuting_the_start_nodes_permutes_the_output(graph: str) -> None:
    decoder, z = made(graph), latents(3)
    before = decoder(z)
    order = torch.randperm(9, generator=generator(0, "permutation"))
    with torch.no_grad():
        decoder.start.copy_(decoder.start[order])
    torch.testing.assert_close(decoder(z), before[:, order])


@every_graph
def test_nodes_exchange_messages(graph: str) -> None:
    decoder, z = made(graph), latents(1)
    before = decoder(z)
    with torch.no_grad():
        decoder.start[0, 0] += 1
    assert (decoder(z)[0, 1:] - before[0, 1:]).abs().amax() > 1e-6


@every_graph
def test_values_lie_inside_the_unit_interval(graph: str) -> None:
    values = made(graph)(3 * latents(100))
    assert values.min() > 0
    assert values.max() < 1


@every_graph
def test_different_latents_give_different_clouds(graph: str) -> None:
    clouds = made(graph)(latents(20))
    assert clouds.std(0).min() > 0  # every feature of every node depends on z
    assert clouds.std(1).min() > 0  # and the nodes of a cloud differ


@every_graph
def test_clouds_of_a_batch_do_not_see_each_other(graph: str) -> None:
    decoder, z, mask = made(graph), latents(4), ragged_mask([9, 6, 2, 1], 9)
    alone = torch.cat([decoder(z[n : n + 1], mask[n : n + 1]) for n in range(4)])
    torch.testing.assert_close(decoder(z, mask), alone)


@every_graph
@pytest.mark.parametrize("sizes", [None, [9, 5, 2, 1]])
def test_every_parameter_gets_a_gradient(graph: str, sizes: list[int] | None) -> None:
    decoder = made(graph)
    mask = None if sizes is None else ragged_mask(sizes, 9)
    decoder(latents(4), mask).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_gradients_are_those_of_finite_differences() -> None:
    decoder = made("complete", num_points=3)
    z, mask = latents(2).requires_grad_(), ragged_mask([3, 2], 3)
    assert torch.autograd.gradcheck(lambda z: decoder(z, mask), (z,))


@every_graph
def test_float32_and_float64_agree(graph: str) -> None:
    decoder, z, mask = made(graph), latents(6), ragged_mask([9, 8, 6, 4, 2, 1], 9)
    double = decoder(z, mask)
    single = decoder.float()(z.float(), mask)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@every_graph
def test_fewer_nodes_than_neighbors_are_enough(graph: str) -> None:
    decoder = made(graph, num_points=2, neighbors=8)
    one = made(graph, num_points=1, neighbors=8)
    assert decoder(latents(2)).isfinite().all()
    assert one(latents(2)).isfinite().all()


@every_graph
def test_a_decoder_learns_one_batch_by_heart(graph: str) -> None:
    decoder, z = made(graph, width=32, hidden=64), latents(8)
    wanted = torch.rand(8, 9, 3, generator=generator(0, "clouds"), dtype=torch.float64)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = (decoder(z) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@every_graph
def test_decoder_is_made_by_its_name(graph: str, device: torch.device) -> None:
    decoder = registry.create(
        "decoder", f"graph(graph='{graph}')", num_points=6, num_features=4, latent_dim=2
    ).to(device)
    described = registry.describe("decoder", decoder)
    assert described is not None
    assert described.options["graph"] == graph
    made = decoder(torch.zeros(3, 2, device=device))
    assert made.shape == (3, 6, 4)
    assert made.device.type == device.type


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": "tree"}, "graph must be one of complete, knn, got 'tree'"),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"neighbors": 0}, "neighbors must be a whole number of at least 1, got 0"),
        ({"num_layers": True}, "num_layers must be a whole number of at least 1, got True"),
        ({"num_points": 2.0}, r"num_points must be a whole number of at least 1, got 2\.0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GraphDecoder(**options)


@pytest.mark.parametrize("graph", ["complete", "knn"])
@pytest.mark.parametrize(("features", "positions"), [(1, 2), (2, 2), (5, 2), (3, 3), (4, 3)])
def test_features_and_positions_of_any_number(graph: str, features: int, positions: int) -> None:
    options = {"num_features": features, "num_positions": positions}
    decoder = GraphDecoder(graph=graph, neighbors=3, **options)
    assert decoder.num_positions == min(features, positions)
    z = torch.randn(3, 10, requires_grad=True)
    made = decoder(z)
    assert made.shape == (3, 25, features)
    made.sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


def test_the_nearest_nodes_are_those_by_position() -> None:
    decoder = GraphDecoder(num_features=4, graph="knn", neighbors=3, num_positions=3)
    nodes = torch.randn(2, 25, 64)
    found = decoder._neighbors(nodes, torch.ones(2, 25, dtype=torch.bool))
    places = torch.sigmoid(decoder.head(nodes))[..., :3].detach()
    wanted = torch.cdist(places, places).sort(dim=-1, stable=True).indices[..., :4]
    assert torch.equal(found, wanted)
