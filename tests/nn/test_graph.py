from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg
from oracles import knn_graph_loop
from torch import Tensor, nn

from gconvae import registry
from gconvae.nn import graph
from gconvae.nn.graph import (
    DynamicEdgeConvEncoder,
    EdgeConvEncoder,
    GraphConvEncoder,
    MoNetEncoder,
)
from gconvae.nn.layers import AGGREGATIONS, NORMS
from gconvae.randomness import generator, initial_weights

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "GATv2Conv": {"heads": 4},
    "GATConv": {"heads": 2, "concat": False},
    "PointTransformerConv": {},
    "GINConv": {"train_eps": True},
    "GINEConv": {},
    "GCNConv": {},
    "SAGEConv": {"aggr": "max"},
    "TransformerConv": {"heads": 2},
    "GraphConv": {},
    "PointNetConv": {},
    "EdgeConv": {},
    "GMMConv": {"kernel_size": 3},
    "NNConv": {},
    "CGConv": {},
    "ResGatedGraphConv": {},
    "GENConv": {"norm": "layer"},
    "GeneralConv": {},
    "FeaStConv": {"heads": 2},
}
SMALL: dict[str, Any] = {"width": 8, "num_layers": 2, "hidden": 12, "neighbors": 4}
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "edge_conv": EdgeConvEncoder,
    "dynamic_edge_conv": DynamicEdgeConvEncoder,
    "monet": MoNetEncoder,
    "graph_conv": GraphConvEncoder,
} | {
    name: lambda name=name, options=options: GraphConvEncoder(
        conv=name, conv_options=options, **SMALL
    )
    for name, options in CONVOLUTIONS.items()
}

every_encoder = pytest.mark.parametrize("name", ENCODERS)


def made(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    with initial_weights(0):
        return ENCODERS[name]().to(dtype)


def random_points(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 27 * torch.rand(shape, generator=generator(0, "points"), dtype=dtype)


def lattice_points(*shape: int) -> Tensor:
    """Whole pixels of a small image, so that many distances tie, and twins of nodes."""
    points = random_points(*shape).div(4).floor()
    points[:, -1] = points[:, 0]
    return points


def ragged_mask(sizes: list[int], num_nodes: int) -> Tensor:
    return torch.arange(num_nodes) < torch.tensor(sizes).unsqueeze(1)


def parameters_of(posterior: Any) -> Tensor:
    """Means and widths (B, 2 L)."""
    return torch.cat([posterior.mean, posterior.stddev], 1)


def permutation(num_nodes: int) -> Tensor:
    return torch.randperm(num_nodes, generator=generator(0, "permutation"))


# What every encoder promises


@every_encoder
def test_order_of_nodes_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # by construction: also where nobody puts the nodes in one order
    monkeypatch.setattr(graph, "sort_nodes", lambda points, mask: (points, mask))
    encoder, points = made(name), random_points(5, 25, 3)
    torch.testing.assert_close(
        parameters_of(encoder(points[:, permutation(25)])), parameters_of(encoder(points))
    )


@every_encoder
def test_order_of_nodes_does_not_matter_where_distances_tie(name: str) -> None:
    encoder, points = made(name), lattice_points(5, 25, 3)
    moved = encoder(points[:, permutation(25)])
    assert torch.equal(parameters_of(moved), parameters_of(encoder(points)))


@every_encoder
def test_clouds_of_a_batch_do_not_see_each_other(name: str) -> None:
    encoder, points = made(name), random_points(6, 12, 3)
    alone = torch.cat([parameters_of(encoder(cloud[None])) for cloud in points])
    torch.testing.assert_close(parameters_of(encoder(points)), alone)


@every_encoder
def test_masked_nodes_change_nothing(name: str) -> None:
    encoder, points = made(name), random_points(5, 12, 3)
    mask = ragged_mask([12, 9, 3, 2, 1], 12)
    filled = encoder(points.masked_fill(~mask.unsqueeze(-1), 0.0), mask)
    alone = torch.cat(
        [
            parameters_of(encoder(cloud[real][None]))
            for cloud, real in zip(points, mask, strict=True)
        ]
    )
    torch.testing.assert_close(parameters_of(filled), alone)
    order = permutation(12)  # masked nodes may stand anywhere
    holes = encoder(points[:, order], mask[:, order])
    torch.testing.assert_close(parameters_of(holes), alone)


@every_encoder
def test_a_lone_node_is_seen(name: str) -> None:
    encoder, points = made(name), random_points(6, 1, 3)
    seen = parameters_of(encoder(points))
    assert seen.isfinite().all()
    assert seen.std(0).min() > 0


@every_encoder
def test_every_parameter_gets_a_gradient(name: str) -> None:
    encoder = made(name)
    parameters_of(encoder(random_points(20, 25, 3))).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # a bias of all keys cancels in the softmax over neighbours
        assert parameter.grad.any() or "lin_key.bias" in key, key


@every_encoder
@pytest.mark.parametrize("points", [random_points(4, 1, 3), torch.full((2, 5, 3), 7.0).double()])
def test_gradients_are_finite_for_lone_and_equal_nodes(name: str, points: Tensor) -> None:
    encoder, points = made(name), points.clone().requires_grad_()
    parameters_of(encoder(points)).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key


@every_encoder
def test_float32_and_float64_agree(name: str) -> None:
    # whole pixels are exact in both, ties included; a layer's features are not
    points = (random_points if name == "dynamic_edge_conv" else lattice_points)(5, 25, 3)
    points = points.float().double()
    single = parameters_of(made(name, torch.float32)(points.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), parameters_of(made(name)(points)), rtol=1e-4, atol=1e-4
    )


@every_encoder
def test_results_repeat_to_the_bit(name: str, deterministic: None) -> None:
    encoder, points = made(name, torch.float32), random_points(5, 25, 3, dtype=torch.float32)
    results = []
    for _ in range(2):
        encoder.zero_grad()
        posterior = parameters_of(encoder(points))
        posterior.square().sum().backward()
        grads = [p.grad.flatten() for p in encoder.parameters() if p.grad is not None]
        results.append(torch.cat([posterior.detach().flatten(), *grads]))
    assert torch.equal(*results)


@pytest.fixture
def deterministic() -> Any:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@every_encoder
def test_other_sizes_fit(name: str) -> None:
    encoder = made(name)
    for num_nodes in (1, 3, 40):
        assert parameters_of(encoder(random_points(2, num_nodes, 3))).shape == (2, 20)


@pytest.mark.parametrize("name", ["edge_conv", "dynamic_edge_conv", "monet", "graph_conv"])
def test_encoders_are_made_by_their_names(name: str, device: torch.device) -> None:
    options = {"num_features": 4, "latent_dim": 3, "neighbors": 2, "hidden": 50}
    encoder = registry.create("encoder", f"{name}(aggregation='attention')", **options).to(device)
    described = registry.describe("encoder", encoder)
    assert described is not None
    assert described.name == name
    assert described.options | options == described.options
    points = random_points(5, 7, 4, dtype=torch.float32).to(device)
    posterior = encoder(points)
    assert posterior.event_shape == (3,)
    assert posterior.mean.device.type == device.type
    other = points.clone()
    other[..., 3] += 1  # every feature is looked at
    assert not torch.allclose(encoder(other).mean, posterior.mean)


# Against slow and obvious code


def edge_conv_loop(
    hidden: Tensor, neighbors: list[list[int]], weight: np.ndarray, bias: np.ndarray
) -> Tensor:
    """max over j of ReLU(W [h_i, h_j - h_i] + b), one edge at a time."""
    rows = hidden.numpy()
    out = []
    for i, around in enumerate(neighbors):
        messages = [weight @ np.concatenate([rows[i], rows[j] - rows[i]]) + bias for j in around]
        out.append(np.maximum(np.max(messages, axis=0), 0))
    return torch.from_numpy(np.array(out))


@pytest.mark.parametrize("dynamic", [False, True])
def test_edge_convolutions_equal_the_loop(dynamic: bool) -> None:
    kind = DynamicEdgeConvEncoder if dynamic else EdgeConvEncoder
    with initial_weights(0):
        encoder = kind(channels=(5, 6), neighbors=3, hidden=7, latent_dim=2).double()
    points = random_points(1, 9, 3)
    batch = torch.zeros(9, dtype=torch.long)
    state = {key: value.numpy() for key, value in encoder.state_dict().items()}
    hidden, searched, outputs = points[0] / 13.5 - 1, points[0], []
    for layer in range(2):
        space = searched if dynamic else points[0, :, :2]
        weight, bias = (state[f"convs.convs.{layer}.dense.{key}"] for key in ("weight", "bias"))
        around = knn_graph_loop(space, 4, batch, loop=True)
        neighbors = [[j for j, target in around if target == i] for i in range(9)]
        hidden = searched = edge_conv_loop(hidden, neighbors, weight, bias)
        outputs.append(hidden)
    nodes = torch.cat(outputs, 1)
    pooled = torch.cat([nodes.mean(0), nodes.amax(0)])
    readout = encoder.readout
    wanted = readout.gaussian(torch.relu(readout.dense(pooled[None])))
    torch.testing.assert_close(encoder(points).mean, wanted.mean)


def test_edge_convolution_is_that_of_pyg() -> None:
    with initial_weights(0):
        layer = graph._EdgeConv(5, 7).double()
    hidden, edges = (
        random_points(10, 5),
        torch.randint(0, 10, (2, 30), generator=generator(0, "e")),
    )
    loops = torch.arange(10).repeat(2, 1)
    edges = torch.cat([edges, loops], 1)[:, torch.cat([edges, loops], 1)[1].argsort(stable=True)]
    table = graph._neighbor_table(edges, 10)
    wanted = torch.relu(pyg.EdgeConv(layer.dense, aggr="max")(hidden, edges))
    torch.testing.assert_close(layer(hidden, table), wanted)


def test_neighbor_table_fills_free_places_with_the_node() -> None:
    edges = torch.tensor([[1, 2, 0, 2], [0, 0, 1, 2]])
    assert graph._neighbor_table(edges, 4).tolist() == [[1, 2], [0, 1], [2, 2], [3, 3]]


def test_monet_equals_the_loop() -> None:
    with initial_weights(0):
        encoder = MoNetEncoder(
            channels=(4,), neighbors=2, kernel_size=3, hidden=5, aggregation="sum"
        ).double()
    points = random_points(1, 6, 3)
    conv, unit = encoder.convs[0], points[0] / 13.5 - 1
    edges = knn_graph_loop(points[0, :, :2], 2, torch.zeros(6, dtype=torch.long), loop=False)
    nodes = unit @ conv.root.weight.t() + conv.bias
    for source, target in edges:
        offset = (points[0, source, :2] - points[0, target, :2]) / 8
        for k in range(3):
            z = (offset - conv.mu[k]) / conv.sigma[k]
            theta = conv.g[:, 4 * k : 4 * (k + 1)]
            nodes[target] = nodes[target] + torch.exp(-0.5 * z @ z) * unit[source] @ theta / 2
    readout = encoder.readout
    pooled = torch.relu(nodes).sum(0, keepdim=True)
    wanted = readout.gaussian(torch.relu(readout.dense(pooled)))
    torch.testing.assert_close(encoder(points).mean, wanted.mean)


def test_static_graph_looks_at_positions_only() -> None:
    nodes = graph._Nodes(random_points(9, 3), torch.zeros(9, dtype=torch.long), 1, 2, 27.0)
    other = nodes._replace(points=nodes.points * torch.tensor([1.0, 1.0, 7.0]))
    assert torch.equal(nodes.graph(3, loop=False), other.graph(3, loop=False))
    wanted = knn_graph_loop(nodes.points[:, :2], 3, nodes.batch, loop=False)
    assert nodes.graph(3, loop=False).t().tolist() == wanted
    # unless the third feature is a position
    graphs = [each._replace(num_positions=3).graph(3, loop=False) for each in (nodes, other)]
    assert not torch.equal(*graphs)


KINDS = [(1, 2), (2, 2), (5, 2), (3, 3), (4, 3)]
"""Numbers of features, and of positions asked for."""


@every_encoder
@pytest.mark.parametrize(("features", "positions"), KINDS)
def test_features_and_positions_of_any_number(name: str, features: int, positions: int) -> None:
    kind, options = {
        "edge_conv": (EdgeConvEncoder, {}),
        "dynamic_edge_conv": (DynamicEdgeConvEncoder, {}),
        "monet": (MoNetEncoder, {}),
        "graph_conv": (GraphConvEncoder, {}),
    }.get(name, (GraphConvEncoder, None))
    if options is None:
        options = {"conv": name, "conv_options": CONVOLUTIONS[name], **SMALL}
    with initial_weights(0):
        encoder = kind(num_features=features, num_positions=positions, **options).double()
    points = random_points(4, 9, features).requires_grad_()
    found = parameters_of(encoder(points))
    moved = parameters_of(encoder(points[:, permutation(9)]))
    torch.testing.assert_close(moved, found)
    found.square().sum().backward()
    assert points.grad is not None
    assert (points.grad.abs().sum((0, 1)) > 0).all()  # every feature is looked at


@pytest.mark.parametrize("name", ["edge_conv", "graph_conv"])
def test_a_third_position_changes_the_graph(name: str) -> None:
    # a convolution of the graph alone, whose weights do not grow with the positions
    options = {"conv": "GraphConv"} if name == "graph_conv" else {}
    points, seen = random_points(2, 20, 3), []
    for positions in (2, 3, 7):
        with initial_weights(0):
            encoder = registry.create("encoder", name, num_positions=positions, **options)
        seen.append(parameters_of(encoder.double()(points)))
    assert not torch.allclose(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])  # no more positions than features


@pytest.mark.parametrize("name", ["edge_conv", "monet", "graph_conv"])
def test_another_extent_is_another_unit(name: str) -> None:
    points, found = random_points(2, 12, 3), []
    for factor in (1.0, 1 / 27):
        with initial_weights(0):
            encoder = registry.create("encoder", name, extent=27.0 * factor).double()
        found.append(parameters_of(encoder(points * factor)))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("positions", [0, -1, 1.5])
def test_a_wrong_number_of_positions_is_refused(positions: Any) -> None:
    with pytest.raises(ValueError, match="num_positions must be a whole number of at least 1"):
        EdgeConvEncoder(num_positions=positions)


# Aggregations, norms, residuals


@pytest.mark.parametrize("aggregation", [*AGGREGATIONS, ["mean", "set2set", "std"]])
def test_every_aggregation_is_invariant_and_learns(aggregation: Any) -> None:
    with initial_weights(0):
        encoder = EdgeConvEncoder(channels=(8,), hidden=16, aggregation=aggregation).double()
    points, mask = random_points(8, 9, 3), ragged_mask([9, 8, 7, 5, 4, 3, 2, 1], 9)
    order = permutation(9)
    posterior = encoder(points, mask)
    moved = encoder(points[:, order], mask[:, order])
    torch.testing.assert_close(parameters_of(moved), parameters_of(posterior))
    parameters_of(posterior).square().sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("residual", [True, False])
def test_norms_keep_clouds_apart(norm: str, residual: bool) -> None:
    with initial_weights(0):
        encoder = GraphConvEncoder(conv="GINConv", norm=norm, residual=residual, **SMALL).double()
    points, mask = random_points(3, 7, 3), ragged_mask([7, 4, 1], 7)
    alone = torch.cat(
        [
            parameters_of(encoder(cloud[real][None]))
            for cloud, real in zip(points, mask, strict=True)
        ]
    )
    torch.testing.assert_close(parameters_of(encoder(points, mask)), alone)


def test_a_residual_layer_of_zeros_passes_its_input_on() -> None:
    for residual in (True, False):
        with initial_weights(0):
            encoder = GraphConvEncoder(conv="GCNConv", residual=residual, norm="none", **SMALL)
        for parameter in encoder.convs.parameters():
            nn.init.zeros_(parameter)
        posterior = encoder(random_points(4, 9, 3, dtype=torch.float32))
        assert bool(posterior.mean.std(0).any()) is residual


# The wrapper


def test_a_class_does_the_same_as_its_name() -> None:
    points = random_points(2, 9, 3, dtype=torch.float32)
    results = []
    for conv in ("SAGEConv", pyg.SAGEConv):
        with initial_weights(0):
            encoder = GraphConvEncoder(conv=conv, **SMALL)
        assert encoder.part_options["conv"] == "SAGEConv"
        results.append(parameters_of(encoder(points)))
    assert torch.equal(*results)


def test_heads_share_the_width() -> None:
    options: dict[str, Any] = {"heads": 4}
    encoder = GraphConvEncoder(conv="GATv2Conv", conv_options=options, **SMALL)
    assert {layer.conv.out_channels for layer in encoder.convs} == {2}
    assert options == {"heads": 4}  # what the caller gave is unchanged


@pytest.mark.parametrize("conv", ["PointTransformerConv", "PointNetConv", "GINEConv", "GATv2Conv"])
def test_convolutions_that_want_geometry_get_it(conv: str) -> None:
    """Without its node features the network still sees where the nodes are."""
    with initial_weights(0):
        encoder = GraphConvEncoder(conv=conv, **SMALL)
    nn.init.zeros_(encoder.dense.weight)
    points = random_points(4, 9, 3, dtype=torch.float32)
    assert encoder(points).mean.std(0).max() > 0


class Unregistered(pyg.GCNConv):
    pass


@pytest.mark.parametrize(
    "conv",
    [
        *("NoSuchConv", "Linear", "DynamicEdgeConv", "PPFConv", "MessagePassing", "resolver"),
        *("__name__", nn.Linear, Unregistered),
    ],
)
def test_a_convolution_that_does_not_fit_is_refused(conv: Any) -> None:
    name = conv if isinstance(conv, str) else conv.__name__
    with pytest.raises(ValueError, match=f"conv must be a convolution .* got '{name}'"):
        GraphConvEncoder(conv=conv)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv_options": {"foo": 1}}, "conv_options of GATv2Conv are heads, .* got foo"),
        ({"conv_options": {"out_channels": 3}}, "got out_channels"),
        ({"conv_options": {"dropout": 0.5}}, "got dropout"),
        ({"conv": "GCNConv", "conv_options": {"cached": True}}, "got cached"),
        ({"conv": "GMMConv"}, r"must hold kernel_size for GMMConv, got \{\}"),
        ({"conv": "GENConv"}, "conv must not mix the clouds of a batch, got GENConv"),
        ({"conv_options": {"heads": 3}}, "heads must divide the width 64, got 3"),
        ({"conv_options": {"heads": 0}}, "heads must be a whole number of at least 1, got 0"),
        ({"norm": "batch"}, "norm must be one of layer, graph, none .* got 'batch'"),
        ({"aggregation": "lstm"}, "aggregation must be one or more of mean, .* got lstm"),
        ({"aggregation": []}, r"aggregation must be one or more of mean, .* got \[\]"),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"num_layers": 1.5}, r"num_layers must be a whole number of at least 1, got 1\.5"),
    ],
)
def test_wrong_options_of_the_wrapper_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GraphConvEncoder(**options)


@pytest.mark.parametrize("kind", [EdgeConvEncoder, DynamicEdgeConvEncoder, MoNetEncoder])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbors": 0}, "neighbors must be a whole number of at least 1, got 0"),
        ({"hidden": True}, "hidden must be a whole number of at least 1, got True"),
        ({"latent_dim": -1}, "latent_dim must be a whole number of at least 1, got -1"),
        ({"channels": ()}, "channels must be one or more whole numbers above 0"),
        ({"channels": (4, 0)}, "channels must be one or more whole numbers above 0"),
    ],
)
def test_wrong_options_are_refused(
    kind: type[nn.Module], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
