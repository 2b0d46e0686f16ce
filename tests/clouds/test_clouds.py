from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from gconvae.clouds import (
    Clouds,
    as_clouds,
    as_sample,
    from_data,
    in_order,
    joined_samples,
    order,
    pack,
    sort_nodes,
    to_data,
    unpack,
)
from gconvae.clouds.labels import as_labels
from gconvae.schema import JETS, CloudSchema, Feature, default_order_keys
from gconvae.schema import points as plain_points

MASK = torch.tensor([[True, False, True, True], [False, True, False, False]])
"""Real nodes in any places, not only first."""


def points_of(num_clouds: int = 2, n: int = 4, features: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(
        num_clouds, n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def with_value(value: float) -> Tensor:
    points = points_of()
    points[1, 2, 0] = value
    return points


# What as_clouds takes


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_keep_their_dtype_device_and_values(
    dtype: torch.dtype, device: torch.device
) -> None:
    points = points_of().to(device, dtype)
    clouds = as_clouds(points)
    assert torch.equal(clouds.points, points)
    assert clouds.points.dtype == dtype
    assert clouds.points.device == clouds.mask.device == points.device
    assert clouds.mask.dtype == torch.bool
    assert clouds.mask.all()
    assert clouds.labels is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_keep_their_dtype_and_values(dtype: type[np.floating]) -> None:
    points = points_of().numpy().astype(dtype)
    clouds = as_clouds(points)
    assert clouds.points.numpy().dtype == dtype
    np.testing.assert_array_equal(clouds.points.numpy(), points)


def test_lists_become_float32() -> None:
    clouds = as_clouds([[[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]], [[True, False]], [7])
    assert clouds.points.tolist() == [[[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]]]
    assert clouds.points.dtype == torch.float32
    assert clouds.mask.tolist() == [[True, False]]
    assert clouds.labels is not None
    assert clouds.labels.tolist() == [7]


@pytest.mark.parametrize(
    "view",
    [
        lambda points: points[:, ::-1],
        lambda points: points.transpose(0, 2, 1).copy().transpose(0, 2, 1),
        lambda points: points.astype(">f8"),
        lambda points: np.broadcast_to(points[:1], points.shape),
    ],
    ids=["reversed", "column-major", "big-endian", "read-only"],
)
def test_any_layout_of_an_array_is_taken(view: Any) -> None:
    points = view(points_of().numpy())
    np.testing.assert_array_equal(as_clouds(points).points.numpy(), points)


@pytest.mark.parametrize("features", [2, 3, 8])
def test_any_number_of_features_from_two_is_taken(features: int) -> None:
    points = points_of(features=features)
    assert torch.equal(as_clouds(points).points, points)
    assert torch.equal(as_clouds(points, num_features=features).points, points)


@pytest.mark.parametrize("garbage", [7.0, np.nan, np.inf])
def test_masked_nodes_may_hold_anything_and_become_zero(garbage: float) -> None:
    points = points_of().masked_fill(~MASK.unsqueeze(-1), garbage)
    clouds = as_clouds(points, MASK)
    assert torch.equal(clouds.points[MASK], points[MASK])
    assert not clouds.points[~MASK].any()
    assert torch.equal(clouds.mask, MASK)


def test_zeros_are_real_nodes_without_a_mask() -> None:
    assert as_clouds(torch.zeros(2, 3, 3)).mask.all()


def test_the_given_points_are_left_as_they_were() -> None:
    points = points_of()
    before = points.clone()
    clouds = as_clouds(points, MASK)
    clouds.points.add_(1)
    assert torch.equal(points, before)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_dtype_become_int64(dtype: torch.dtype) -> None:
    labels = as_clouds(points_of(), labels=torch.tensor([8, 3], dtype=dtype)).labels
    assert labels is not None
    assert labels.dtype == torch.int64
    assert labels.tolist() == [8, 3]


# What as_clouds refuses


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [torch.as_tensor, np.asarray, lambda points: points.tolist()])
def test_a_real_node_that_is_not_finite_is_refused_with_its_place(form: Any, value: float) -> None:
    with pytest.raises(ValueError, match=r"points must be finite, got .* in cloud 1, node 2 \(1 "):
        as_clouds(form(with_value(value)))


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 4, 3, 1)])
def test_a_wrong_number_of_axes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"points must have shape \(clouds, nodes, features\), got"
    ):
        as_clouds(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (0, 0, 3)])
def test_an_empty_set_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"points must hold at least one cloud and one node, got"):
        as_clouds(torch.zeros(shape))


def test_nodes_without_features_are_refused() -> None:
    with pytest.raises(ValueError, match="must have at least one feature a node, got 0"):
        as_clouds(torch.zeros(2, 4, 0))


def test_another_number_of_features_than_required_is_refused() -> None:
    with pytest.raises(ValueError, match="points must have 3 features a node, got 4"):
        as_clouds(torch.zeros(2, 4, 4), num_features=3)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
def test_what_is_no_real_number_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"points must hold real numbers, got.*{dtype}"):
        as_clouds(torch.zeros(2, 4, 3, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int16])
def test_whole_numbers_become_floats(dtype: torch.dtype) -> None:
    points = torch.arange(24).reshape(2, 4, 3).to(dtype)
    clouds = as_clouds(points)
    assert clouds.points.dtype == torch.float32
    assert torch.equal(clouds.points, points.float())


def test_whole_numbers_beyond_single_precision_keep_their_digits() -> None:
    points = torch.full((1, 2, 2), 2**24 + 1)
    assert as_clouds(points).points.tolist() == points.tolist()


@pytest.mark.parametrize(
    "points",
    [
        np.full((2, 4, 3), "1.0"),
        np.full((2, 4, 3), "a", dtype=object),
        [[[1.0, "a"], [3.0, 1.0]]],
        "points.npz",
        None,
        {"points": 1.0},
    ],
    ids=["strings", "objects", "ragged", "path", "None", "dict"],
)
def test_what_is_no_array_of_numbers_is_refused(points: Any) -> None:
    with pytest.raises(ValueError, match="points must be a tensor or an array of numbers, got"):
        as_clouds(points)


def test_a_list_of_no_clouds_is_refused() -> None:
    with pytest.raises(ValueError, match="points must"):
        as_clouds([])


def test_a_cloud_without_real_nodes_is_refused_by_its_number() -> None:
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="a real node in every cloud, cloud 1 has none"):
        as_clouds(points_of(3), mask)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 4, 1), (2, 4, 3), (1, 4)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"mask must have shape \(2, 4\) like points, got"):
        as_clouds(points_of(), torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.uint8])
def test_a_mask_of_zeros_and_ones_is_one_of_booleans(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1]])
    found = as_clouds(points_of(), mask.to(dtype)).mask
    assert torch.equal(found, mask.bool())
    with pytest.raises(
        ValueError, match=f"mask must hold booleans, or 0 and 1, got dtype {dtype}"
    ):
        as_clouds(points_of(), 2 * mask.to(dtype))


@pytest.mark.parametrize("shape", [(3,), (), (1,)])
def test_labels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\), got"):
        as_clouds(points_of(), labels=torch.zeros(shape, dtype=torch.long))


def test_labels_that_are_booleans_are_0_and_1() -> None:
    clouds = as_clouds(points_of(), labels=torch.tensor([True, False]))
    assert clouds.labels is not None
    assert clouds.labels.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [torch.complex64])
def test_labels_of_another_kind_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="labels must be whole numbers, texts or one-hot, got"):
        as_clouds(points_of(), labels=torch.zeros(2, dtype=dtype))


def test_labels_with_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be whole numbers, got 0\.5"):
        as_clouds(points_of(), labels=[1.0, 0.5])


def test_messages_call_the_clouds_by_the_given_name() -> None:
    with pytest.raises(ValueError, match="generated must be finite"):
        as_clouds(with_value(np.nan), name="generated")


# Node order


def sorted_loop(cloud: list[list[float]], real: list[bool]) -> list[list[float]]:
    nodes = [node for node, is_real in zip(cloud, real, strict=True) if is_real]
    nodes.sort(key=lambda node: (-node[2], node[1], node[0], *node[3:]))
    return nodes + [[0.0] * len(cloud[0])] * (len(cloud) - len(nodes))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("intensities", ["few", "apart", "apart but two", "no bound"])
def test_nodes_are_sorted_as_by_the_loop(
    intensities: str, masked: bool, dtype: torch.dtype, device: torch.device
) -> None:
    # few values, so that most nodes tie in intensity and many in y too
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(-1, 3, (50, 20, 4), generator=generator).to(dtype)
    points[..., 3] = torch.rand(50, 20, generator=generator)
    if intensities != "few":
        places = torch.stack([torch.randperm(20, generator=generator) for _ in range(50)])
        points[..., 2] = places.to(dtype)
    if intensities == "apart but two":
        points[30, 3:5, 2] = 7
    if intensities == "no bound":
        points[::2, 4, 2], points[1::3, 5, 2] = torch.inf, -torch.inf
    mask = torch.ones(50, 20, dtype=torch.bool)
    if masked:
        mask = torch.rand(50, 20, generator=generator) < 0.7
        points = points.masked_fill(~mask.unsqueeze(-1), torch.nan)
    got, got_mask = sort_nodes(points.to(device), mask.to(device) if masked else None)
    pairs = zip(points.tolist(), mask.tolist(), strict=True)
    wanted = torch.tensor([sorted_loop(*pair) for pair in pairs], dtype=torch.float64)
    # nodes that tie in three keys differ in the fourth feature, the last key
    assert torch.equal(got.cpu(), wanted.to(dtype))
    assert torch.equal(got_mask.sum(1).cpu(), mask.sum(1))
    assert not (got_mask[:, 1:] & ~got_mask[:, :-1]).any()


@pytest.mark.parametrize("specials", [(), (torch.nan,), (torch.inf, -torch.inf)])
@pytest.mark.parametrize("values", [3, 1000])
def test_a_gpu_s_way_of_ordering_few_nodes_is_that_of_sorting(
    values: int, specials: tuple[float, ...]
) -> None:
    generator = torch.Generator().manual_seed(values)
    points = torch.randint(-values, values, (60, 23, 3), generator=generator).float()
    for special in specials:
        points[torch.rand(points.shape, generator=generator) < 0.02] = special
    mask = torch.rand(60, 23, generator=generator) < 0.8
    keys = default_order_keys(3, 2)
    by_comparison = order._by_comparison(points, mask, keys)
    assert torch.equal(by_comparison, order._by_all_keys(points, mask, keys))


@pytest.mark.parametrize(
    "schema", [None, JETS, plain_points("x y z")], ids=["usual", "jets", "points"]
)
@pytest.mark.parametrize("masked", [True, False])
def test_clouds_are_in_order_where_sorting_leaves_them(
    schema: CloudSchema | None, masked: bool, device: torch.device
) -> None:
    """Few values and few nodes, so that ties of all keys and clouds in order are common."""
    generator = torch.Generator().manual_seed(0)
    clouds = torch.randint(0, 3, (4000, 3, 3), generator=generator).float()
    mask = torch.rand(4000, 3, generator=generator) < 0.7 if masked else torch.ones(4000, 3).bool()
    clouds, mask = clouds.masked_fill(~mask.unsqueeze(-1), 0.0).to(device), mask.to(device)
    sorted_points, sorted_mask = sort_nodes(clouds, mask, schema)
    wanted = (sorted_points == clouds).flatten(1).all(1) & (sorted_mask == mask).all(1)
    assert 0.1 < wanted.float().mean() < 0.9
    assert torch.equal(in_order(clouds, mask, schema), wanted)
    if not masked:
        assert torch.equal(in_order(clouds, None, schema), wanted)


def test_order_does_not_depend_on_the_given_order() -> None:
    points = points_of(5, 30)
    points[..., 2] = (points[..., 2] * 4).round()
    shuffled = points[:, torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(sort_nodes(shuffled)[0], sort_nodes(points)[0])


def test_ties_in_intensity_go_by_y_then_x() -> None:
    points = torch.tensor([[[1.0, 9.0, 0.5], [4.0, 2.0, 0.5], [3.0, 2.0, 0.5], [9.0, 9.0, 0.6]]])
    assert sort_nodes(points)[0][0, :, :2].tolist() == [[9, 9], [3, 2], [4, 2], [1, 9]]


def test_masked_nodes_come_last_even_behind_negative_intensities() -> None:
    points = torch.tensor([[[1.0, 1.0, 8.0], [2.0, 2.0, -5.0], [3.0, 3.0, -4.0]]])
    got, mask = sort_nodes(points, torch.tensor([[False, True, True]]))
    assert got[0, :, 2].tolist() == [-4.0, -5.0, 0.0]
    assert mask.tolist() == [[True, True, False]]


def test_sorting_lets_gradients_through_to_their_nodes() -> None:
    points = torch.tensor([[[0.0, 0.0, 0.1], [0.0, 0.0, 0.9]]], requires_grad=True)
    sort_nodes(points)[0][0, 0].sum().backward()
    assert points.grad is not None
    assert points.grad[0].tolist() == [[0, 0, 0], [1, 1, 1]]


# Packed form


def test_pack_keeps_real_nodes_cloud_after_cloud() -> None:
    points = points_of()
    packed = pack(points, MASK)
    assert packed.batch.tolist() == [0, 0, 0, 1]
    wanted = torch.stack([points[0, 0], points[0, 2], points[0, 3], points[1, 1]])
    assert torch.equal(packed.points, wanted)


def test_pack_without_a_mask_keeps_every_node() -> None:
    points = points_of()
    packed = pack(points)
    assert torch.equal(packed.points, torch.cat([points[0], points[1]]))
    assert packed.batch.tolist() == [0] * 4 + [1] * 4


def test_unpack_is_the_inverse_of_pack(dtype: torch.dtype, device: torch.device) -> None:
    points = points_of(6, 7).to(device, dtype)
    counts = torch.tensor([7, 1, 3, 7, 2, 5], device=device)
    mask = torch.arange(7, device=device) < counts.unsqueeze(1)
    points = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    got, got_mask = unpack(*pack(points, mask))
    assert torch.equal(got, points)
    assert torch.equal(got_mask, mask)


def test_unpack_leaves_room_for_absent_nodes_and_clouds() -> None:
    points = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    got, mask = unpack(points, torch.tensor([0, 2, 2]), num_clouds=4, num_nodes=3)
    assert mask.tolist() == [[True, False, False], [False] * 3, [True, True, False], [False] * 3]
    assert got[..., 0].tolist() == [[1, 0, 0], [0, 0, 0], [2, 3, 0], [0, 0, 0]]


def test_unpack_refuses_clouds_that_do_not_lie_together() -> None:
    with pytest.raises(ValueError, match="batch must be ascending"):
        unpack(torch.zeros(3, 2), torch.tensor([0, 1, 0]))


def test_unpack_refuses_a_cloud_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"num_nodes must hold .*\(3 nodes\), got 2"):
        unpack(torch.zeros(3, 2), torch.tensor([0, 0, 0]), num_nodes=2)


def test_unpack_refuses_more_clouds_than_it_was_told() -> None:
    with pytest.raises(ValueError, match="num_clouds"):
        unpack(torch.zeros(3, 2), torch.tensor([0, 1, 2]), num_clouds=2)


# PyG graphs


def graph(n: int = 3, features: int = 1, **more: Any) -> Data:
    return Data(pos=torch.rand(n, 2), x=torch.rand(n, features), **more)


def test_graphs_hold_positions_features_and_labels_of_real_nodes() -> None:
    points = points_of(features=4)
    graphs = to_data(points, MASK, torch.tensor([8, 3]))
    assert [type(one) for one in graphs] == [Data, Data]
    for cloud, one in enumerate(graphs):
        nodes = points[cloud][MASK[cloud]]
        assert torch.equal(one.pos, nodes[:, :2])
        assert torch.equal(one.x, nodes[:, 2:])
        assert one.y.tolist() == [[8, 3][cloud]]


def test_graphs_do_not_share_memory_with_the_clouds() -> None:
    points = points_of()
    before = points.clone()
    for one in to_data(points):
        one.pos.add_(1)
        one.x.add_(1)
    assert torch.equal(points, before)


@pytest.mark.parametrize("form", [list, Batch.from_data_list], ids=["list", "Batch"])
def test_from_data_is_the_inverse_of_to_data(form: Any) -> None:
    points = points_of(3, 5)
    mask = torch.arange(5) < torch.tensor([[5], [1], [4]])
    points = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    clouds = from_data(form(to_data(points, mask, torch.tensor([4, 5, 6]))))
    assert torch.equal(clouds.points, points)
    assert torch.equal(clouds.mask, mask)
    assert clouds.labels is not None
    assert clouds.labels.tolist() == [4, 5, 6]


def test_one_graph_is_one_cloud_in_its_given_order() -> None:
    one = graph(4)
    clouds = from_data(one)
    assert torch.equal(clouds.points[0], torch.cat([one.pos, one.x], 1))
    assert clouds.labels is None


def test_from_data_pads_to_the_given_number_of_nodes() -> None:
    clouds = from_data([graph(2), graph(3)], num_nodes=6)
    assert clouds.mask.sum(1).tolist() == [2, 3]
    assert clouds.points.shape == (2, 6, 3)
    assert not clouds.points[~clouds.mask].any()


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        ([], "data must hold at least one graph, got none"),
        ([graph(), Data(x=torch.rand(3, 1))], r"data\[1\]\.pos must hold positions"),
        ([graph(), Data(pos=torch.rand(3, 2))], r"same number of features in pos and x"),
        ([Data(pos=torch.rand(3, 2), x=torch.rand(4, 1))], r"data\[0\]\.x must have shape"),
        ([Data(pos=torch.rand(3), x=torch.rand(3, 1))], r"data\[0\]\.pos must have shape"),
        ([graph(y=torch.tensor([1])), graph()], "label y on every graph or on none"),
        ([graph(), graph(features=2)], r"features"),
        ([graph(), graph(0)], "data must have a real node in every cloud, cloud 1 has none"),
        ([graph(0)], "data must have a real node in every cloud, cloud 0"),
        ([graph(y={"a": 1})], r"data\[0\]\.y must be a number, a text or a one-hot row, got dict"),
    ],
    ids=[
        "none", "no-pos", "no-x", "rows", "flat-pos", "some-labels",
        "features-differ", "empty-cloud", "no-nodes", "label",
    ],
)  # fmt: skip
def test_wrong_graphs_are_refused(graphs: list[Data], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_data(graphs)


def test_a_graph_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="num_nodes must hold the largest cloud"):
        from_data([graph(5)], num_nodes=4)


# conditions


def conditioned() -> Clouds:
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    named = plain_points("x y").replace(conditions=(Feature("mass", "GeV"), Feature("eta")))
    return as_clouds(torch.rand(3, 2, 2), mask, [0, 1, 0], schema=named, conditions=rows)


def test_conditions_stand_beside_the_tuple_of_three() -> None:
    clouds = conditioned()
    _, _, labels = clouds
    assert labels is not None
    assert clouds.conditions is not None
    assert clouds.conditions.dtype == torch.float32
    assert clouds.conditions.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    "same",
    [
        lambda clouds: clouds.subset(torch.tensor([0, 1, 2])),
        lambda clouds: clouds.to("cpu"),
        lambda clouds: clouds._replace(points=clouds.points + 1),
        lambda clouds: pickle.loads(pickle.dumps(clouds)),
        lambda clouds: as_sample(clouds),
        lambda clouds: joined_samples([clouds.subset(slice(2)), clouds.subset(slice(2, 3))], "a"),
        lambda clouds: as_clouds(
            *(graphs := from_data(to_data(*clouds, conditions=clouds.conditions)))[:3],
            schema=clouds.schema,
            conditions=graphs.conditions,
        ),
    ],
    ids=["subset", "to", "_replace", "pickle", "as_sample", "joined_samples", "graphs"],
)
def test_what_keeps_clouds_keeps_their_conditions(same: Callable[[Clouds], Clouds]) -> None:
    clouds = conditioned()
    kept = same(clouds)
    assert kept.conditions is not None
    assert clouds.conditions is not None
    assert torch.equal(kept.conditions, clouds.conditions)
    assert kept.schema == clouds.schema


def test_a_subset_holds_the_rows_that_were_asked_for_of_everything() -> None:
    clouds = conditioned()
    some = clouds.subset(torch.tensor([2, 1]))
    assert torch.equal(some.points, clouds.points[[2, 1]])
    assert torch.equal(some.mask, clouds.mask[[2, 1]])
    assert some.labels is not None
    assert some.labels.tolist() == [0, 1]
    assert some.conditions is not None
    assert some.conditions.tolist() == [[5, 6], [3, 4]]


@pytest.mark.parametrize("stranger", [-1, 2])
def test_an_index_beyond_the_classes_of_a_schema_is_refused(stranger: int) -> None:
    named = plain_points("x y").with_classes(["a", "b"])
    assert as_labels([0, 1], 2, named).classes == ("a", "b")
    with pytest.raises(ValueError, match=f"labels must be indices 0 to 1 .*, got {stranger}"):
        as_labels([0, stranger], 2, named)


def test_joined_clouds_of_which_some_have_no_conditions_have_none() -> None:
    clouds = conditioned()
    bare = as_clouds(clouds.points, clouds.mask, clouds.labels, schema=clouds.schema)
    joined = joined_samples([clouds, bare], "data")
    assert joined.conditions is None
    assert joined.schema is not None
    assert joined.schema.conditions == ()


def test_a_graph_holds_its_conditions_as_a_row() -> None:
    clouds = conditioned()
    graph = to_data(*clouds, conditions=clouds.conditions)[1]
    assert graph.conditions.tolist() == [[3.0, 4.0]]


def test_graphs_must_all_have_conditions_or_none() -> None:
    clouds = conditioned()
    graphs = to_data(*clouds, conditions=clouds.conditions)
    del graphs[1].conditions
    with pytest.raises(ValueError, match="conditions on every graph or on none, 1 of 3"):
        from_data(graphs)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1.0, 2.0, 3.0], r"must have shape \(3, C\)"),
        ([[1.0], [2.0]], r"must have shape \(3, C\) .* got \(2, 1\)"),
        ([[1.0], [float("inf")], [2.0]], "must be finite, got .inf. of cloud 1"),
        ([["a"], ["b"], ["c"]], "must be a tensor or an array of numbers"),
    ],
)
def test_conditions_that_are_no_numbers_of_each_cloud_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"conditions {message}"):
        as_clouds(torch.rand(3, 2, 2), conditions=rows)


def test_conditions_that_the_schema_does_not_know_are_refused() -> None:
    named = plain_points("x y").replace(conditions=(Feature("mass", "GeV"),))
    with pytest.raises(
        ValueError, match=r"conditions must have 1 columns \(mass \(GeV\)\), got 2"
    ):
        as_clouds(torch.rand(3, 2, 2), schema=named, conditions=torch.rand(3, 2))
