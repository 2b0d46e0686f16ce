"""HDF5 files of clouds in any layout: opened in each process, read some whole chunks at a time."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.chunked import ChunkedSource
from gconvae.datasets.storage.declared_size import check_declared
from gconvae.datasets.storage.source import CHUNK_BYTES, Layout, optional_package

__all__ = ["Hdf5File", "check_rows", "chunk_of", "datasets_in", "texts", "whole_hdf5"]

MOST_TEXTS = 10_000
"""Names of columns, far more than any file has."""


class Hdf5File(ChunkedSource):
    """Clouds of an HDF5 file; a layout says what its datasets are called.

    Args:
        path: The file.
    Raises:
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If it is no whole HDF5 file of this layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = 0
        with whole_hdf5(path):
            self.layout = self.describe(self.opened())
        count, chunk = self.layout.num_clouds, self.layout.chunk
        super().__init__(np.append(np.arange(0, count, chunk), count))

    @abstractmethod
    def describe(self, file: Any) -> Layout:
        """What is known of the clouds before they are read."""

    def opened(self) -> Any:
        """The file, opened once in each process, since a fork shares what the library keeps."""
        if self._file is None or self._process != os.getpid():
            h5py = optional_package("h5py", f"the HDF5 file {self.path}")
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file

    def chunk_rows(self, number: int) -> tuple[int, int]:
        """First cloud of a chunk, and the first after it."""
        start, stop = (int(row) for row in self._starts[number : number + 2])
        return start, stop

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_file": None}


def datasets_in(path: Path) -> tuple[str, ...]:
    """Names in an HDF5 file.

    Raises:
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If it is no whole HDF5 file.
    """
    h5py = optional_package("h5py", f"the HDF5 file {path}")
    with whole_hdf5(path), h5py.File(path, "r") as file:
        return tuple(file)


def check_rows(
    file: Any, clouds: str, wanted: Mapping[str, int], path: Path, columns: str = ""
) -> None:
    """Refuses datasets that have not a row for each cloud, or another number of axes.

    Args:
        file: Opened.
        clouds: Name of the dataset of the clouds, which is among the wanted ones.
        wanted: Number of axes of each dataset, by its name; 0 = any.
        path: Of the file, for messages.
        columns: What the last axis of the clouds' dataset holds, for messages.
    Raises:
        ValueError: With the name of the first one that is wrong.
    """
    for name, axes in wanted.items():
        check_inside(file, name, path)
        dataset = file[name] if name in file else None
        if dataset is None or not getattr(dataset, "shape", ()):
            raise ValueError(f"{name} must be a dataset with a row for each cloud, in {path}")
        if axes and dataset.ndim != axes:
            what = columns or ("(clouds, nodes, features)" if name == clouds else f"{axes} axes")
            raise ValueError(f"{name} must have shape {what}, got {dataset.shape} in {path}")
        check_declared(name, dataset.nbytes, path)
    count = len(file[clouds])
    for name in wanted:
        if len(file[name]) != count:
            raise ValueError(
                f"{name} must have {count} rows like {clouds}, got {file[name].shape} in {path}"
            )


def check_inside(file: Any, name: str, path: Path) -> None:
    """Refuses what lies in other files: a link to one, or a dataset that is made of some.

    Raises:
        ValueError: With the name, if it does.
    """
    h5py = optional_package("h5py", f"the HDF5 file {path}")
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise ValueError(f"{name} must lie in the file itself, got a link to another in {path}")
    entry = file[name] if name in file else None
    if isinstance(entry, h5py.Dataset) and (entry.external or entry.is_virtual):
        raise ValueError(f"{name} must lie in the file itself, {path} takes it from others")


def chunk_of(points: Any) -> int:
    """As many of a dataset's chunks as are worth one read, or some clouds where it has none."""
    row_bytes = points.dtype.itemsize * int(np.prod(points.shape[1:], dtype=np.int64))
    wanted = max(1, CHUNK_BYTES // max(1, row_bytes))
    own = 1 if points.chunks is None else int(points.chunks[0])
    return own * max(1, wanted // own)


def texts(dataset: Any) -> NDArray[Any]:
    """A dataset of texts, such as names of columns."""
    if dataset.size > MOST_TEXTS:
        raise ValueError(f"names of columns must be at most {MOST_TEXTS:,}, got {dataset.size:,}")
    return np.array([t.decode() if isinstance(t, bytes) else str(t) for t in dataset[()]])


@contextmanager
def whole_hdf5(path: Path) -> Iterator[None]:
    """One line for all that the library says of a damaged file."""
    try:
        yield
    except (OSError, KeyError, MemoryError, OverflowError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"path must be a whole HDF5 file, got {path}: {reason}") from None
