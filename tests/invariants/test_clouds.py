"""Schemas, scalings, orders and forms of clouds: what goes in comes out."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Pair, cases, clouds, pairs, random, schemas

from gconvae import randomness
from gconvae.clouds import as_clouds, from_data, in_order, pack, sort_nodes, to_data, unpack
from gconvae.clouds.labels import as_labels
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema, points


@cases
@given(schemas())
def test_a_schema_is_read_as_it_was_written(schema: CloudSchema) -> None:
    assert CloudSchema.from_json(schema.to_json()) == schema
    assert CloudSchema.from_dict(schema.to_dict()) == schema
    assert not schema.difference(schema)


@cases
@given(schemas(), st.integers(0, 10**6))
def test_scaling_inverts_and_fills_its_range(schema: CloudSchema, seed: int) -> None:
    low = torch.tensor([0.0 if f.low is None else f.low for f in schema.features])
    high = torch.tensor([1.0 if f.high is None else f.high for f in schema.features])
    share = torch.rand(3, 5, schema.num_features, generator=random(seed), dtype=torch.float64)
    nodes = low.double() + share * (high - low).double()
    scaling = FeatureScaling.fitted(schema, nodes).double()
    entered = scaling.enter(nodes)
    scaled = scaling.scale(entered)
    assert float(scaled.min()) > -0.05 * scaling.extent
    assert float(scaled.max()) < 1.05 * scaling.extent
    back = scaling.leave(scaling.unscale(scaled))
    # ranges are in single precision, and offsets of 12,345 have few digits there
    torch.testing.assert_close(back, nodes, rtol=1e-5, atol=1e-2)


@cases
@given(clouds(features=6), st.integers(0, 10**6), st.sampled_from(["usual", "a", "-b", "-a b"]))
def test_the_order_of_nodes_does_not_depend_on_the_order_they_come_in(
    cloud: torch.Tensor, seed: int, order: str
) -> None:
    cloud = cloud.floor()  # nodes that tie in the first keys
    names = "a b c d e f"[: 2 * cloud.shape[-1] - 1]
    asked = [key for key in order.split() if key.removeprefix("-") in names]
    schema = None if order == "usual" else points(names).replace(order=tuple(asked))
    shuffled = cloud[:, torch.rand(cloud.shape[1], generator=random(seed)).argsort()]
    wanted, mask = sort_nodes(cloud, schema=schema)
    assert torch.equal(sort_nodes(shuffled, schema=schema)[0], wanted)
    assert torch.equal(sort_nodes(wanted, schema=schema)[0], wanted)
    assert in_order(wanted, mask, schema).all()


@cases
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_the_order_is_that_of_pythons_sort(nodes: list[list[tuple[int, int]]]) -> None:
    given_nodes = torch.tensor(nodes, dtype=torch.float64)
    wanted = [sorted(cloud, key=lambda node: (node[1], node[0])) for cloud in nodes]
    found = sort_nodes(given_nodes, schema=points("x y"))[0]
    assert torch.equal(found, torch.tensor(wanted, dtype=torch.float64))


@cases
@given(st.lists(st.integers(-300, 300), min_size=1, max_size=8), st.booleans())
def test_labels_say_what_was_given(values: list[int], text: bool) -> None:
    found = as_labels([str(value) for value in values] if text else values, len(values))
    names = found.classes
    said = [names[index] if names else str(index) for index in found.indices.tolist()]
    assert said == [str(value) for value in values]


@cases
@given(pairs())
def test_packed_clouds_are_unpacked_to_what_they_were(pair: Pair) -> None:
    target, mask = pair.target, pair.target_mask
    nodes, batch = pack(target, mask)
    again, real = unpack(nodes, batch, len(target))
    assert torch.equal(real.sum(1), mask.sum(1))
    assert torch.equal(again[real], target[mask])


@cases
@given(pairs())
def test_clouds_come_back_from_graphs(pair: Pair) -> None:
    given_clouds = as_clouds(pair.target, pair.target_mask, list(range(len(pair.target))))
    back = from_data(to_data(*given_clouds))
    assert torch.equal(back.mask.sum(1), given_clouds.mask.sum(1))
    assert torch.equal(back.points[back.mask], given_clouds.points[given_clouds.mask])
    assert back.labels is not None
    assert back.labels.tolist() == list(range(len(pair.target)))


@cases
@given(st.integers(0, 2**60), st.text(max_size=5), st.integers(0, 99), st.integers(0, 99))
def test_seeds_of_other_uses_are_other_seeds(
    seed: int, purpose: str, epoch: int, step: int
) -> None:
    own = randomness.derive_seed(seed, purpose, epoch=epoch, step=step)
    assert own == randomness.derive_seed(seed, purpose, epoch=epoch, step=step)
    assert 0 <= own < 2**63
    others = [
        randomness.derive_seed(seed + 1, purpose, epoch=epoch, step=step),
        randomness.derive_seed(seed, purpose + "x", epoch=epoch, step=step),
        randomness.derive_seed(seed, purpose, epoch=epoch + 1, step=step),
        randomness.derive_seed(seed, purpose, epoch=epoch, step=step + 1),
    ]
    assert own not in others
