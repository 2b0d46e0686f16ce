"""The data convention: clouds as padded or packed tensors or PyG graphs, nodes in one order."""

from __future__ import annotations

from gconvae.clouds.graphs import Graphs, from_data, holds_graphs, to_data
from gconvae.clouds.labels import Labels, as_labels
from gconvae.clouds.order import sort_nodes
from gconvae.clouds.padded import Clouds, Packed, pack, unpack
from gconvae.clouds.validation import as_clouds, as_sample, described

__all__ = [
    "Clouds",
    "Graphs",
    "Labels",
    "Packed",
    "as_clouds",
    "as_labels",
    "as_sample",
    "described",
    "from_data",
    "holds_graphs",
    "pack",
    "sort_nodes",
    "to_data",
    "unpack",
]
