"""The data convention: clouds as padded or packed tensors or PyG graphs, nodes in one order."""

from __future__ import annotations

from gconvae.clouds.arrays import as_tensor
from gconvae.clouds.graphs import Graphs, from_data, holds_graphs, num_positions_of, to_data
from gconvae.clouds.items import Columns, columns_of, unloaded
from gconvae.clouds.labels import Labels, as_labels, relabelled
from gconvae.clouds.order import in_order, sort_nodes
from gconvae.clouds.padded import Clouds, Packed, pack, unpack
from gconvae.clouds.readable import ReadableClouds
from gconvae.clouds.validation import (
    as_clouds,
    as_conditions,
    as_sample,
    described,
    joined_samples,
)

__all__ = [
    "Clouds",
    "Columns",
    "Graphs",
    "Labels",
    "Packed",
    "ReadableClouds",
    "as_clouds",
    "as_conditions",
    "as_labels",
    "as_sample",
    "as_tensor",
    "columns_of",
    "described",
    "from_data",
    "holds_graphs",
    "in_order",
    "joined_samples",
    "num_positions_of",
    "pack",
    "relabelled",
    "sort_nodes",
    "to_data",
    "unloaded",
    "unpack",
]
