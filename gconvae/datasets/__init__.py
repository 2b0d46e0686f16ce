"""Where clouds come from: bundled digits and jets, arrays, files, graphs; splits, transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.datasets.cloud_dataset import CloudDataset
    from gconvae.datasets.cloud_file import CloudFile
    from gconvae.datasets.conversion import as_dataset
    from gconvae.datasets.files import from_file
    from gconvae.datasets.graphs import from_pyg
    from gconvae.datasets.jets import Jets
    from gconvae.datasets.mnist import SuperpixelMNIST
    from gconvae.datasets.npz import NpzStream, npz_stream
    from gconvae.datasets.shuffling import chunked_order
    from gconvae.datasets.sources import from_points
    from gconvae.datasets.splits import split
    from gconvae.datasets.sum_matching import matched_sums
    from gconvae.datasets.summary import CloudSummary
    from gconvae.datasets.transforms import NUM_CHANGES, Augmented, affine
    from gconvae.datasets.writing import to_file, to_file_in_parts

__all__ = [
    "NUM_CHANGES",
    "Augmented",
    "CloudDataset",
    "CloudFile",
    "CloudSummary",
    "Jets",
    "NpzStream",
    "SuperpixelMNIST",
    "affine",
    "as_dataset",
    "chunked_order",
    "from_file",
    "from_points",
    "from_pyg",
    "matched_sums",
    "npz_stream",
    "split",
    "to_file",
    "to_file_in_parts",
]

_HOMES = {
    "NUM_CHANGES": "transforms",
    "Augmented": "transforms",
    "CloudDataset": "cloud_dataset",
    "CloudFile": "cloud_file",
    "CloudSummary": "summary",
    "Jets": "jets",
    "NpzStream": "npz",
    "SuperpixelMNIST": "mnist",
    "affine": "transforms",
    "as_dataset": "conversion",
    "chunked_order": "shuffling",
    "from_file": "files",
    "from_points": "sources",
    "from_pyg": "graphs",
    "matched_sums": "sum_matching",
    "npz_stream": "npz",
    "split": "splits",
    "to_file": "writing",
    "to_file_in_parts": "writing",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
