"""Where clouds come from: bundled digits, arrays, files, PyG graphs; splits and transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.datasets.npz import NpzStream, npz_stream
    from gconvae.datasets.sources import (
        CloudDataset,
        SuperpixelMNIST,
        from_file,
        from_points,
        from_pyg,
        split,
        to_file,
        to_file_in_parts,
    )
    from gconvae.datasets.transforms import NUM_CHANGES, Augmented, affine

__all__ = [
    "Augmented",
    "CloudDataset",
    "NUM_CHANGES",
    "NpzStream",
    "SuperpixelMNIST",
    "affine",
    "from_file",
    "from_points",
    "from_pyg",
    "npz_stream",
    "split",
    "to_file",
    "to_file_in_parts",
]

_HOMES = {
    "CloudDataset": "sources",
    "SuperpixelMNIST": "sources",
    "from_file": "sources",
    "from_points": "sources",
    "from_pyg": "sources",
    "split": "sources",
    "to_file": "sources",
    "to_file_in_parts": "sources",
    "Augmented": "transforms",
    "NUM_CHANGES": "transforms",
    "affine": "transforms",
    "NpzStream": "npz",
    "npz_stream": "npz",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
