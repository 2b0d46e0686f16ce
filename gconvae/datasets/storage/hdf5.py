"""HDF5 files of clouds in this library's layout, read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gconvae.datasets.storage.hdf5_file import Hdf5File, check_rows, chunk_of, whole_hdf5
from gconvae.datasets.storage.source import (
    CHUNK_BYTES,
    Layout,
    StoredRows,
    optional_package,
    read_schema,
    width_of,
)
from gconvae.schema import CloudSchema

__all__ = ["Hdf5Source", "Hdf5Writer"]


class Hdf5Source(Hdf5File):
    """Datasets ``points``, perhaps ``mask``, ``labels``, ``conditions``, ``schema``.

    Args:
        path: The file.
    Raises:
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If it is no whole HDF5 file of clouds.
    """

    def describe(self, file: Any) -> Layout:
        """What is known of the clouds before they are read."""
        others = {"mask", "labels", "conditions"} & set(file)
        check_rows(file, "points", {"points": 3, **dict.fromkeys(others, 0)}, self.path)
        points = file["points"]
        num_clouds, num_nodes, num_features = points.shape
        is_told = "conditions" in others
        return Layout(
            num_clouds=num_clouds,
            num_nodes=num_nodes,
            num_features=num_features,
            dtype=points.dtype,
            has_mask="mask" in others,
            has_labels="labels" in others,
            chunk=chunk_of(points),
            schema=_schema_of(file, self.path),
            num_conditions=width_of(file["conditions"].shape, self.path) if is_told else 0,
        )

    def read_chunk(self, number: int) -> StoredRows:
        """Some whole chunks of the file's own, read together."""
        start, stop = self.chunk_rows(number)
        layout = self.layout
        with whole_hdf5(self.path):
            file = self.opened()
            mask = file["mask"][start:stop] if layout.has_mask else None
            labels = self.labels(start, stop) if layout.has_labels else None
            conditions = file["conditions"][start:stop] if layout.num_conditions else None
            return StoredRows(file["points"][start:stop], mask, labels, conditions)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Labels of consecutive clouds, texts as texts."""
        with whole_hdf5(self.path):
            labels = self.opened()["labels"]
            is_text = labels.dtype.kind in "OS"
            return labels.asstr()[start:stop].astype(str) if is_text else labels[start:stop]


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


def _schema_of(file: Any, path: Path) -> CloudSchema | None:
    """The schema of a dataset or an attribute."""
    if "schema" in file:
        return read_schema(file["schema"][()], path)
    return read_schema(file.attrs["schema"], path) if "schema" in file.attrs else None
