"""Which format a file has, by the end of its name."""

from __future__ import annotations

from pathlib import Path

from gconvae.datasets.storage.hdf5 import Hdf5Source
from gconvae.datasets.storage.numpy_arrays import open_npy, open_npz, whole_arrays
from gconvae.datasets.storage.parquet import ParquetSource
from gconvae.datasets.storage.source import Source

__all__ = ["HDF5", "PARQUET", "open_source"]

HDF5 = (".h5", ".hdf5")
"""Ends of names of HDF5 files."""

PARQUET = (".parquet",)
"""Ends of names of Parquet files."""


def open_source(path: Path) -> Source:
    """Opens a file without reading its clouds; one with another name is taken for npz.

    Raises:
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If the package for the format is not installed.
        PackedArraysError: If it can only be read at once.
        ValueError: If it is no whole file of clouds, or holds pickles.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"path must be an npz, npy, HDF5 or Parquet file, there is none at {path}"
        )
    source = _opened(path)
    layout = source.layout
    shape = (layout.num_clouds, layout.num_nodes, layout.num_features)
    if min(shape) < 1:
        raise ValueError(
            f"points must hold at least one cloud, node and feature, got shape {shape} in {path}"
        )
    if layout.dtype.kind not in "fiu":
        raise ValueError(f"points must hold real numbers, got dtype {layout.dtype} in {path}")
    return source


def _opened(path: Path) -> Source:
    if path.suffix in HDF5:
        return Hdf5Source(path)
    if path.suffix in PARQUET:
        return ParquetSource(path)
    with whole_arrays(path):
        return open_npy(path) if path.suffix == ".npy" else open_npz(path)
