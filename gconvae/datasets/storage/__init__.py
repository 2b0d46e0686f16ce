"""Clouds as they lie in files: one module a format, opened without reading them."""

from __future__ import annotations

from gconvae.datasets.storage.opening import HDF5, PARQUET, open_source
from gconvae.datasets.storage.source import Layout, Source, StoredRows

__all__ = ["HDF5", "PARQUET", "Layout", "Source", "StoredRows", "open_source"]
