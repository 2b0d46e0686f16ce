"""What a node is: names, units, ranges, positions, order and symmetries of the features of clouds.

A schema travels with a data set, in its file, in a model and in a report; nothing else in this
library knows what a cloud's numbers mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach
from gconvae.schema.cloud_schema import (
    CHANGES,
    EXTENT,
    CloudSchema,
    OrderKeys,
    default_order_keys,
)
from gconvae.schema.feature import Feature, Picture, Tail
from gconvae.schema.ready import (
    JET_CONDITIONS,
    JETS,
    SUPERPIXELS,
    points,
    superpixels,
    usual,
)

if TYPE_CHECKING:
    from gconvae.schema.inference import distance_factors, findings, from_numbers, with_offsets

__all__ = [
    "CHANGES",
    "EXTENT",
    "JETS",
    "JET_CONDITIONS",
    "SUPERPIXELS",
    "CloudSchema",
    "Feature",
    "OrderKeys",
    "Picture",
    "Tail",
    "default_order_keys",
    "distance_factors",
    "findings",
    "from_numbers",
    "points",
    "superpixels",
    "usual",
    "with_offsets",
]

# numpy waits until there are numbers to look at
__getattr__, _ = attach(
    __name__,
    dict.fromkeys(("distance_factors", "findings", "from_numbers", "with_offsets"), "inference"),
)
