"""HDF5 files of clouds: this library's layout and that of JetNet's published files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.chunked import ChunkedSource
from gconvae.datasets.storage.source import (
    CHUNK_BYTES,
    Layout,
    StoredRows,
    optional_package,
    read_schema,
    width_of,
)
from gconvae.schema import JETS, CloudSchema

__all__ = ["Hdf5Source", "Hdf5Writer"]

OWN, JETNET = "points", "particle_features"
"""What the clouds are called here, and in JetNet's files, where the last feature is the mask."""


class Hdf5Source(ChunkedSource):
    """Datasets ``points``, perhaps ``mask``, ``labels``, ``conditions``, ``schema``; or JetNet's.

    JetNet's published files hold ``particle_features`` (B, N, 4): eta_rel, phi_rel, pt_rel, mask.

    Args:
        path: The file.
    Raises:
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If it is no whole HDF5 file of clouds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = 0
        with _whole(path):
            file = self._opened()
            if OWN not in file and JETNET not in file:
                raise ValueError(
                    f"path must hold a dataset 'points', {path} has {sorted(file) or 'nothing'}"
                )
            self._is_jetnet = OWN not in file
            points = file[JETNET if self._is_jetnet else OWN]
            _check(file, points, path)
            num_clouds, num_nodes, columns = points.shape
            chunk = _chunk_of(points)
            self.layout = Layout(
                num_clouds=num_clouds,
                num_nodes=num_nodes,
                num_features=columns - self._is_jetnet,
                dtype=points.dtype,
                has_mask=self._is_jetnet or "mask" in file,
                has_labels=not self._is_jetnet and "labels" in file,
                chunk=chunk,
                schema=JETS if self._is_jetnet else _schema_of(file, path),
                num_conditions=width_of(file["conditions"].shape, path)
                if not self._is_jetnet and "conditions" in file
                else 0,
            )
        super().__init__(np.append(np.arange(0, num_clouds, chunk), num_clouds))

    def read_chunk(self, number: int) -> StoredRows:
        """Some whole chunks of the file's own, read together."""
        start, stop = (int(row) for row in self._starts[number : number + 2])
        with _whole(self.path):
            file = self._opened()
            if self._is_jetnet:
                features = file[JETNET][start:stop]
                return StoredRows(np.ascontiguousarray(features[..., :-1]), features[..., -1])
            mask = file["mask"][start:stop] if self.layout.has_mask else None
            labels = self.labels(start, stop) if self.layout.has_labels else None
            rows = file["conditions"][start:stop] if self.layout.num_conditions else None
            return StoredRows(file[OWN][start:stop], mask, labels, rows)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Labels of consecutive clouds, texts as texts."""
        with _whole(self.path):
            labels = self._opened()["labels"]
            is_text = labels.dtype.kind in "OS"
            return labels.asstr()[start:stop].astype(str) if is_text else labels[start:stop]

    def _opened(self) -> Any:
        """The file, opened once in each process, since a fork shares what the library keeps."""
        if self._file is None or self._process != os.getpid():
            h5py = optional_package("h5py", f"the HDF5 file {self.path}")
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_file": None}


class Hdf5Writer:
    """Appends clouds to datasets that grow by whole chunks.

    Args:
        path: The file, written anew.
    """

    def __init__(self, path: Path) -> None:
        h5py = optional_package("h5py", f"the HDF5 file {path.name}")
        self._file = h5py.File(path, "w")

    @staticmethod
    def chunk(row_bytes: int) -> int:
        """Clouds to hand over at a time."""
        return max(1, CHUNK_BYTES // row_bytes)

    def append(self, **arrays: NDArray[Any]) -> None:
        """Adds rows; those of the first call are a chunk."""
        for name, rows in arrays.items():
            if name not in self._file:
                self._file.create_dataset(
                    name,
                    data=rows,
                    maxshape=(None, *rows.shape[1:]),
                    chunks=rows.shape,
                )
                continue
            dataset = self._file[name]
            count = len(dataset)
            dataset.resize(count + len(rows), axis=0)
            dataset[count:] = rows

    def finish(self, schema: CloudSchema | None) -> None:
        """Writes the schema; an attribute would hold 64 kB at most."""
        if schema is not None:
            self._file["schema"] = schema.to_json()

    def close(self) -> None:
        """Ends the file, whole or not."""
        self._file.close()


def _check(file: Any, points: Any, path: Path) -> None:
    """Refuses datasets that are no clouds."""
    for name in {points.name.removeprefix("/"), "mask", "labels", "conditions"} & set(file):
        dataset = file[name]
        if not hasattr(dataset, "shape") or not dataset.shape:
            raise ValueError(f"{name} must be a dataset with a row for each cloud, in {path}")
        if len(dataset) != len(points):
            raise ValueError(
                f"{name} must have {len(points)} rows like points, got {dataset.shape} in {path}"
            )
    if points.ndim != 3:
        raise ValueError(
            f"points must have shape (clouds, nodes, features), got {points.shape} in {path}"
        )
    is_jetnet = points.name == f"/{JETNET}"
    if is_jetnet and points.shape[2] != JETS.num_features + 1:
        raise ValueError(
            f"{JETNET} must have eta_rel, phi_rel, pt_rel and mask, got {points.shape} in {path}"
        )


def _chunk_of(points: Any) -> int:
    """As many of the file's chunks as are worth one read, or some clouds where it has none."""
    row_bytes = points.dtype.itemsize * int(np.prod(points.shape[1:], dtype=np.int64))
    wanted = max(1, CHUNK_BYTES // max(1, row_bytes))
    own = 1 if points.chunks is None else int(points.chunks[0])
    return own * max(1, wanted // own)


def _schema_of(file: Any, path: Path) -> CloudSchema | None:
    """The schema of a dataset or an attribute."""
    if "schema" in file:
        return read_schema(file["schema"][()], path)
    return read_schema(file.attrs["schema"], path) if "schema" in file.attrs else None


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """One line for all that the library says of a damaged file."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"path must be a whole HDF5 file, got {path}: {reason}") from None
