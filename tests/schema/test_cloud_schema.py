from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

from gconvae.schema import (
    JETS,
    SUPERPIXELS,
    CloudSchema,
    Feature,
    Picture,
    Tail,
    default_order_keys,
    points,
    superpixels,
    usual,
)

READY = [
    SUPERPIXELS,
    superpixels(64),
    JETS.with_classes(["g", "t"]),
    points("x y"),
    points("x y").replace(conditions=(Feature("mass", "GeV", tail=Tail("log", 1.0)),)),
    points("x y z", unit="mm"),
    points("x y z", "charge time"),
    usual(1),
    usual(7),
]


def plane(**changes: Any) -> CloudSchema:
    return points("x y", "charge").replace(**changes)


# What a schema says


def test_superpixels_say_what_the_slides_say() -> None:
    assert SUPERPIXELS.names == ("x", "y", "intensity")
    assert SUPERPIXELS.units == ("px", "px", "")
    assert [(f.low, f.high) for f in SUPERPIXELS.features] == [(0, 27), (0, 27), (0, 1)]
    assert SUPERPIXELS.order_keys == ((2, True), (1, False), (0, False))
    assert (SUPERPIXELS.extent, SUPERPIXELS.distance) == (27.0, (1.0, 1.0, 27.0))
    assert SUPERPIXELS.picture.y_down
    assert superpixels(28) == SUPERPIXELS


def test_jets_are_periodic_in_phi_and_heavy_tailed_in_pt() -> None:
    eta, phi, pt = JETS.features
    assert (eta.period, phi.period, pt.period) == (None, 2 * math.pi, None)
    assert (eta.tail, phi.tail) == (None, None)
    assert pt.tail is not None
    assert JETS.order_keys[0] == (2, True)
    assert "turn" not in (*JETS.changes, *JETS.symmetries)
    assert JETS.symmetries == ("mirror",)


def test_points_take_names_and_a_unit() -> None:
    schema = points("x y z", "charge time", unit="mm")
    assert schema.names == ("x", "y", "z", "charge", "time")
    assert schema.units == ("mm", "mm", "mm", "", "")
    assert (schema.num_features, schema.num_positions) == (5, 3)


@pytest.mark.parametrize(
    ("positions", "features", "changes"),
    [("x y", "", 3), ("x y", "charge", 3), ("x", "", 0), ("x y z", "", 0)],
)
def test_only_a_plane_is_changed_at_random(positions: str, features: str, changes: int) -> None:
    assert len(points(positions, features).changes) == changes


@pytest.mark.parametrize(
    ("features", "positions", "keys"),
    [
        (3, 2, ((2, True), (1, False), (0, False))),
        (5, 3, ((3, True), (2, False), (1, False), (0, False), (4, False))),
        (2, 2, ((1, False), (0, False))),
        (1, 1, ((0, False),)),
    ],
)
def test_the_usual_order_is_by_the_first_further_feature(
    features: int, positions: int, keys: Any
) -> None:
    assert default_order_keys(features, positions) == keys


def test_an_order_is_read_from_names() -> None:
    assert plane(order=("y", "-charge")).order_keys == ((1, False), (2, True), (0, False))
    assert plane(order=("-x", "x")).order_keys == ((0, True), (1, False), (2, False))


def test_a_feature_whose_name_begins_with_a_minus_can_be_sorted_by() -> None:
    schema = CloudSchema((Feature("-x", position=True),), order=("-x",))
    assert schema.order_keys == ((0, False),)


@pytest.mark.parametrize("features", range(1, 9))
def test_the_usual_schema_of_so_many_features_has_them(features: int) -> None:
    assert usual(features).num_features == features


# Classes


@pytest.mark.parametrize(("label", "index"), [("top", 1), ("gluon", 0), (1, 1), ("1", 1)])
def test_a_class_is_found_by_its_name_or_its_index(label: Any, index: int) -> None:
    assert JETS.with_classes(["gluon", "top"]).class_index(label) == index


def test_numbers_that_are_names_are_names() -> None:
    schema = JETS.with_classes(["-13", "211"])
    assert (schema.class_index(211), schema.class_index("-13")) == (1, 0)
    with pytest.raises(ValueError, match=r"label must be one of -13, 211, got 1"):
        schema.class_index(1)


@pytest.mark.parametrize("label", ["quark", 2, -1, 0.5, None])
def test_an_unknown_class_is_refused_with_those_there_are(label: Any) -> None:
    with pytest.raises(ValueError, match="label must be one of gluon, top, got"):
        JETS.with_classes(["gluon", "top"]).class_index(label)


def test_classes_without_names_are_numbers() -> None:
    assert JETS.class_index(5) == 5
    assert JETS.class_name(5) == "5"
    assert JETS.with_classes(["gluon"]).class_name(0) == "gluon"


# Comparing


def test_schemas_with_other_classes_orders_and_ranges_have_the_same_nodes() -> None:
    assert SUPERPIXELS.same_nodes(superpixels(64).with_classes(["a"]))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (points("x y"), "one has 3 features, the other 2"),
        (points("x y", "charge"), r"feature 1 is x \(px\) in one and x in the other"),
        (
            CloudSchema((*SUPERPIXELS.features[:2], Feature("energy"))),
            "feature 3 is intensity in one and energy in the other",
        ),
        (
            CloudSchema(
                (*SUPERPIXELS.features[:2], Feature("intensity", position=True)), order=()
            ),
            "intensity is a position in one and none in the other",
        ),
    ],
)
def test_the_first_difference_is_named(other: CloudSchema, difference: str) -> None:
    import re

    assert re.fullmatch(difference, SUPERPIXELS.difference(other))
    assert not SUPERPIXELS.same_nodes(other)


# Files


@pytest.mark.parametrize("schema", READY, ids=str)
def test_json_brings_every_entry_back(schema: CloudSchema) -> None:
    assert CloudSchema.from_json(schema.to_json()) == schema
    assert CloudSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_json_keeps_floats_to_the_last_bit() -> None:
    schema = plane(distance=(1 / 3, math.pi, 1e-300))
    assert CloudSchema.from_json(schema.to_json()).distance == (1 / 3, math.pi, 1e-300)


@pytest.mark.parametrize("schema", READY, ids=str)
def test_a_schema_can_be_hashed_and_pickled(schema: CloudSchema) -> None:
    assert pickle.loads(pickle.dumps(schema)) == schema
    assert hash(schema) == hash(schema.replace())


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"features": "x"},
        {"features": []},
        {"features": [1]},
        {"features": [{"unit": "px"}]},
        {"features": [{"name": "x", "position": True, "colour": 3}]},
        {"features": [{"name": "x", "position": True}], "order": 5},
        {"features": [{"name": "x", "position": True}], "picture": {"frame": 5}},
        {"features": [{"name": "x", "position": True}], "more": 1},
        {"features": [{"name": "x", "position": True}], "classes": "abc"},
        {"features": [{"name": "x", "position": True}], "name": 5},
        {"features": [{"name": "x", "position": True}], "extent": 10**400},
        {"features": [{"name": "x", "position": True}], "picture": {"frame": [["a", "b"]] * 2}},
    ],
    ids=str,
)
def test_what_is_no_schema_is_one_clear_error(content: Any) -> None:
    with pytest.raises(ValueError, match=r"schema|feature|classes|name|extent|frame"):
        CloudSchema.from_dict(content)


def test_text_that_is_no_json_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match="schema must be JSON"):
        CloudSchema.from_json("{")


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: points(""), "features must have names of their own, at least one"),
        (lambda: points("x x"), "features must have names of their own"),
        (
            lambda: CloudSchema((Feature("q"), Feature("x", position=True))),
            "features must begin with the positions",
        ),
        (lambda: plane(order=("-z",)), "order must be out of x, y, charge, got -z"),
        (lambda: plane(extent=0.0), "extent must be finite and above 0, got 0.0"),
        (lambda: plane(distance=(1.0, 1.0)), "distance must be 3 factors above 0"),
        (lambda: plane(distance=(1.0, 1.0, 0.0)), "distance must be 3 factors above 0"),
        (lambda: plane(changes=("swap",)), "changes must be out of turn, stretch, mirror"),
        (lambda: plane(classes=("a", "a")), "classes must have names of their own"),
        (lambda: plane().index("z"), "feature must be one of x, y, charge, got 'z'"),
        (lambda: Feature(""), "name of a feature must be a text"),
        (lambda: Feature("x", low=1.0), "low and high of x must both be known or neither"),
        (lambda: Feature("x", low=1.0, high=1.0), "low of x must be below high"),
        (lambda: Feature("x", low=0.0, high=math.inf), "low of x must be below high"),
        (lambda: Feature("x", step=-1.0), "step of x must be at least 0"),
        (lambda: Feature("x", period=0.0), "period of x must be above 0"),
        (lambda: Feature("x", offset=math.nan), "offset of x must be finite"),
        (lambda: Tail("root", 0.5), "kind of a tail must be 'log' or 'power'"),
        (lambda: Tail("power", 1.0), "scale of a power must be above 0 and below 1"),
        (lambda: Tail("log", 0.0), "scale of a log must be above 0"),
        (lambda: superpixels(1), "image_size must be a whole number of at least 2, got 1"),
    ],
)
def test_what_contradicts_itself_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_picture_says_nothing_by_itself() -> None:
    assert Picture() == Picture(None, False, None, False)


def test_lists_and_numbers_of_numpy_become_plain() -> None:
    feature = Feature("x", position=True, low=np.float32(0.5), high=np.int64(2))
    schema = CloudSchema([feature], classes=["a"], distance=[np.float64(2.0)])
    assert CloudSchema.from_json(schema.to_json()) == schema
    assert hash(schema) == hash(schema.replace())


def test_a_class_that_is_none_has_no_name_of_another() -> None:
    assert JETS.with_classes(["gluon", "top"]).class_name(-1) == "-1"


# conditions


def test_a_schema_without_conditions_is_written_as_before_there_were_any() -> None:
    assert "conditions" not in points("x y").to_dict()
    assert CloudSchema.from_dict(points("x y").to_dict()).conditions == ()


def test_conditions_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="conditions must have names of their own"):
        points("x y").replace(conditions=(Feature("mass"), Feature("mass")))


def test_conditions_of_clouds_that_have_none_are_dropped() -> None:
    named = points("x y").replace(conditions=(Feature("mass"),))
    assert named.with_conditions(1) == named
    assert named.with_conditions(0) == points("x y")
    with pytest.raises(ValueError, match=r"conditions must have 1 columns \(mass\), got 3"):
        named.with_conditions(3)
