"""Periodic features lie near each other, and the farthest two nodes are those of the schema."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gconvae.clouds import Clouds
from gconvae.metrics.geometry import bent, diameter, wrapped
from gconvae.schema import (
    JETS,
    SUPERPIXELS,
    CloudSchema,
    Feature,
    Tail,
    distance_factors,
    points,
    superpixels,
)


def phi(*values: float) -> Clouds:
    """One cloud of jets with these angles, its last place masked."""
    nodes = torch.zeros(1, len(values) + 1, 3, dtype=torch.float64)
    nodes[0, :-1, 1] = torch.tensor(values, dtype=torch.float64)
    return Clouds(nodes, torch.arange(len(values) + 1)[None] < len(values))


def test_the_diameter_of_superpixels_is_the_diagonal_of_their_cube() -> None:
    nodes = np.full((4, 3), 0.5)  # the ranges are those of the schema, whatever the nodes
    assert diameter(SUPERPIXELS, distance_factors(SUPERPIXELS, nodes), nodes) == 27 * 3**0.5


def test_an_unknown_range_is_that_of_the_nodes_and_a_period_is_one() -> None:
    nodes = np.array([[0.0, 0.0, 0.0], [3.0, 0.1, 0.5]])
    wanted = math.sqrt(3**2 + (2 * math.pi) ** 2 + 1)
    assert diameter(JETS, np.ones(3), nodes) == pytest.approx(wanted, rel=1e-12)


def test_equal_nodes_have_a_diameter_all_the_same() -> None:
    assert diameter(points("x y"), np.ones(2), np.ones((5, 2))) == 1.0


def test_a_larger_image_has_a_larger_diameter() -> None:
    nodes = np.zeros((2, 3))
    large, small = (
        diameter(schema, distance_factors(schema, nodes), nodes)
        for schema in (superpixels(56), SUPERPIXELS)
    )
    assert large > small


TAILED = CloudSchema(
    (
        Feature("x", position=True),
        Feature("E", low=0.0, high=99.0, offset=0.0, tail=Tail("log", 1.0)),
        Feature("t", offset=100.0, tail=Tail("power", 0.5)),
    )
)


def test_heavy_tails_are_bent_together_with_their_ranges() -> None:
    sample = Clouds(torch.tensor([[[7.0, 9.0, 104.0], [7.0, 0.0, 91.0], [1.0, 5.0, 6.0]]]),
                    torch.tensor([[True, True, False]]))  # fmt: skip
    found, schema = bent(sample, TAILED)
    wanted = [[7.0, math.log(10.0), 2.0], [7.0, 0.0, -3.0]]
    np.testing.assert_allclose(found.points[0, :2], wanted)
    assert not found.points[0, 2, 1:].any()
    assert [feature.tail for feature in schema.features] == [None] * 3
    assert (schema.features[1].low, schema.features[1].high) == (0.0, pytest.approx(math.log(100)))
    assert schema.features[2].offset == 0.0
    assert sample.points[0, 0, 1] == 9.0  # the caller's own


@pytest.mark.parametrize("schema", [JETS, SUPERPIXELS, points("x y", "charge")])
def test_nothing_is_bent_under_factors_of_a_schema_or_without_tails(schema: CloudSchema) -> None:
    sample = phi(0.1, 0.2)
    assert bent(sample, schema) == (sample, schema)


@pytest.mark.parametrize("turn", [-20.0, -math.pi, 0.0, 3.0, 100.0])
def test_angles_come_within_half_a_period_of_the_real_mean(turn: float) -> None:
    real, other = phi(turn - 0.2, turn + 0.2), phi(turn + 2.0, turn - 3.0, turn + 4.0)
    near = wrapped({"real": real, "generated": other}, JETS)
    centre = near["real"].points[0, :2, 1].mean()
    away = near["generated"].points[0, :3, 1] - centre
    assert away.tolist() == pytest.approx([2.0, -3.0, 4.0 - 2 * math.pi], abs=1e-9)
    assert not near["generated"].points[0, 3].any()  # what is masked stays 0


def test_angles_near_the_mean_keep_their_bits() -> None:
    real = phi(0.1, -0.2, 0.3)
    near = wrapped({"real": real}, JETS)["real"]
    assert torch.equal(near.points, real.points)
    assert near.schema is JETS
