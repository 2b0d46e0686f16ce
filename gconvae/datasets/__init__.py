"""Where clouds come from: bundled digits, arrays, files, PyG graphs; splits and transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.datasets.cloud_dataset import CloudDataset
    from gconvae.datasets.conversion import as_dataset
    from gconvae.datasets.files import from_file, to_file, to_file_in_parts
    from gconvae.datasets.graphs import from_pyg
    from gconvae.datasets.mnist import SuperpixelMNIST
    from gconvae.datasets.npz import NpzStream, npz_stream
    from gconvae.datasets.sources import from_points
    from gconvae.datasets.splits import split
    from gconvae.datasets.transforms import NUM_CHANGES, Augmented, affine

__all__ = [
    "NUM_CHANGES",
    "Augmented",
    "CloudDataset",
    "NpzStream",
    "SuperpixelMNIST",
    "affine",
    "as_dataset",
    "from_file",
    "from_points",
    "from_pyg",
    "npz_stream",
    "split",
    "to_file",
    "to_file_in_parts",
]

_HOMES = {
    "NUM_CHANGES": "transforms",
    "Augmented": "transforms",
    "CloudDataset": "cloud_dataset",
    "NpzStream": "npz",
    "SuperpixelMNIST": "mnist",
    "affine": "transforms",
    "as_dataset": "conversion",
    "from_file": "files",
    "from_points": "sources",
    "from_pyg": "graphs",
    "npz_stream": "npz",
    "split": "splits",
    "to_file": "files",
    "to_file_in_parts": "files",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
