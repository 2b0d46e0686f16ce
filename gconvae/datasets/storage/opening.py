"""Which format a file has, by the end of its name."""

from __future__ import annotations

from pathlib import Path

from gconvae.datasets.storage.hdf5 import Hdf5Source
from gconvae.datasets.storage.hdf5_file import datasets_in
from gconvae.datasets.storage.hls4ml import HLS4ML, Hls4mlSource
from gconvae.datasets.storage.jet_parquet import JetParquetSource
from gconvae.datasets.storage.jetnet import JETNET, JetNetSource
from gconvae.datasets.storage.numpy_arrays import open_npy, open_npz, whole_arrays
from gconvae.datasets.storage.parquet import ParquetSource
from gconvae.datasets.storage.root import RootSource
from gconvae.datasets.storage.source import Source

__all__ = ["HDF5", "PARQUET", "ROOT", "open_source"]

HDF5 = (".h5", ".hdf5")
"""Ends of names of HDF5 files."""

PARQUET = (".parquet",)
"""Ends of names of Parquet files."""

ROOT = (".root",)
"""Ends of names of ROOT files."""


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
            f"path must be an npz, npy, HDF5, Parquet or ROOT file, there is none at {path}"
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
        return _opened_hdf5(path)
    if path.suffix in PARQUET:
        return JetParquetSource(path) if JetParquetSource.fits(path) else ParquetSource(path)
    if path.suffix in ROOT:
        return RootSource(path)
    with whole_arrays(path):
        return open_npy(path) if path.suffix == ".npy" else open_npz(path)


def _opened_hdf5(path: Path) -> Source:
    """A file in one of the layouts, which the names of its datasets tell apart."""
    names = datasets_in(path)
    if "points" in names:
        return Hdf5Source(path)
    if JETNET in names:
        return JetNetSource(path)
    if HLS4ML in names:
        return Hls4mlSource(path)
    raise ValueError(
        f"path must hold a dataset 'points', or JetNet's {JETNET}, or {HLS4ML}, {path} has "
        f"{sorted(names) or 'nothing'}"
    )
