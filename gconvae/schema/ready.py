"""Ready-made schemas: superpixels, jets, and plain points of any dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gconvae.schema.cloud_schema import CHANGES, CloudSchema
from gconvae.schema.feature import Feature, Picture, Tail

__all__ = ["JETS", "JET_CONDITIONS", "SUPERPIXELS", "points", "superpixels", "usual"]


def points(
    positions: str, features: str = "", *, unit: str = "", classes: Sequence[str] = ()
) -> CloudSchema:
    """A schema of plain points.

    Args:
        positions: Names of the coordinates, separated by spaces.
        features: Names of further features, likewise.
        unit: Of the coordinates.
        classes: Names of the labels.
    Returns:
        Ranges, lattices and distances are taken from the clouds. Two positions may be turned,
        stretched and mirrored at random: a model is conditioned on it, and asked for clouds as
        they are.
    Raises:
        ValueError: If a name repeats, or there is no position.
    Example:
        >>> points("x y z", unit="mm").units
        ('mm', 'mm', 'mm')
    """
    coordinates = [Feature(name, unit, position=True) for name in positions.split()]
    further = [Feature(name) for name in features.split()]
    changes = CHANGES if len(coordinates) == 2 else ()
    return CloudSchema((*coordinates, *further), changes=changes, classes=tuple(classes))


def superpixels(image_size: int = 28) -> CloudSchema:
    """Superpixels of a square image: x and y in pixels, y down, intensity in [0, 1].

    Args:
        image_size: Side of the image in pixels.
    Raises:
        ValueError: If it is no whole number of at least 2.
    Example:
        >>> superpixels(64).features[0].high
        63.0
    """
    if isinstance(image_size, bool) or image_size != int(image_size) or image_size < 2:
        raise ValueError(f"image_size must be a whole number of at least 2, got {image_size!r}")
    last = float(image_size - 1)
    edge = (-0.5, last + 0.5)  # pixel i reaches from i - 0.5 to i + 0.5
    return CloudSchema(
        (
            Feature("x", "px", position=True, low=0.0, high=last),
            Feature("y", "px", position=True, low=0.0, high=last),
            Feature("intensity", low=0.0, high=1.0),
        ),
        order=("-intensity", "y", "x"),
        extent=last,
        distance=(1.0, 1.0, last),
        distance_unit="px",
        changes=CHANGES,
        picture=Picture((edge, edge), y_down=True, cell=1.0),
        name="superpixels",
    )


SUPERPIXELS = superpixels()
"""The superpixels of the slides: 28 x 28 pixels, brightest node first."""

JETS = CloudSchema(
    (
        Feature("eta_rel", position=True, step=0.0),
        Feature("phi_rel", position=True, step=0.0, period=2 * math.pi),
        # a log: soft particles have some 1e-4 of a jet's pT, and there are most of them
        Feature("pt_rel", low=0.0, high=1.0, step=0.0, tail=Tail("log", 0.01)),
    ),
    order=("-pt_rel", "phi_rel", "eta_rel"),
    distance=(1.0, 1.0, 1.0),
    weight="pt_rel",
    symmetries=("mirror",),
    name="jets",
)
"""Particles of a jet, relative to its axis and its pT, the hardest first: JetNet's columns."""

JET_CONDITIONS = (
    Feature("pt", "GeV", tail=Tail("log", 1.0)),
    Feature("eta"),
    Feature("mass", "GeV", tail=Tail("log", 1.0)),
    Feature("num_particles"),
)
"""Numbers of a jet as a whole that a model may be conditioned on: JetNet's ``jet_features``."""


def usual(num_features: int) -> CloudSchema:
    """The schema of a model that has seen no clouds: superpixels, or so many plain features.

    Args:
        num_features: F, at least 1.
    Example:
        >>> usual(4).names
        ('x', 'y', 'feature 3', 'feature 4')
    """
    if num_features == SUPERPIXELS.num_features:
        return SUPERPIXELS
    names = ["x", "y", *(f"feature {n}" for n in range(3, num_features + 1))][:num_features]
    return CloudSchema(tuple(Feature(name, position=n < 2) for n, name in enumerate(names)))
