"""Clouds into files, whole or not at all, some at a time: npz, HDF5 and Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae import files
from gconvae.clouds import Clouds, as_clouds, as_labels
from gconvae.clouds.labels import MOST_UNNAMED
from gconvae.datasets.cloud_file import CloudFile
from gconvae.datasets.conversion import as_dataset
from gconvae.datasets.files import READ_AT_ONCE
from gconvae.datasets.npz import npz_stream
from gconvae.datasets.storage.hdf5 import Hdf5Writer
from gconvae.datasets.storage.opening import HDF5, PARQUET
from gconvae.datasets.storage.parquet import ParquetWriter
from gconvae.schema import CloudSchema

__all__ = ["to_file", "to_file_in_parts"]

PIECE = 2**13
"""Clouds of a data set in memory that are written together."""

Arrays = dict[str, NDArray[Any]]
"""``points``, ``mask`` and perhaps ``labels`` and ``conditions`` of some clouds."""


def to_file(data: Any, path: str | os.PathLike[str]) -> Path:
    """Writes clouds and their schema; :func:`gconvae.datasets.from_file` reads them.

    Args:
        data: The clouds, in any form of :func:`gconvae.datasets.as_dataset`: a data set, in memory
            or on disk, what ``sample_clouds`` returns, arrays, graphs.
        path: Must end in ``.npz``, ``.h5``, ``.hdf5`` or ``.parquet``; an older file there is
            replaced, whole or not at all. An npz file is compressed where the clouds are in memory
            and take at most 256 MB: it can be read at once only.
    Raises:
        ModuleNotFoundError: If h5py or pyarrow is needed and not installed.
        ValueError: If the path ends in something else, or ``data`` holds no valid clouds.
    """
    path, data = _target(path), as_dataset(data)
    if isinstance(data, CloudFile):
        return to_file_in_parts(data.pieces(), path, schema=data.schema)
    clouds = data.clouds
    if path.suffix == ".npz" and clouds.points.nbytes <= READ_AT_ONCE:
        arrays = {**_arrays_of(clouds), "schema": np.array(data.schema.to_json())}
        with files.whole(path) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its flag
        return path
    pieces = (clouds.subset(slice(start, start + PIECE)) for start in range(0, len(data), PIECE))
    return to_file_in_parts(pieces, path, schema=data.schema)


def to_file_in_parts(
    parts: Iterable[Clouds], path: str | os.PathLike[str], *, schema: CloudSchema | None = None
) -> Path:
    """:func:`to_file` of clouds that come piece by piece, and are never in memory together.

    Nothing is compressed in npz and HDF5 files, see :func:`gconvae.datasets.npz_stream`.

    Args:
        parts: At least one; all with the same number of nodes, features and conditions, all with
            labels or none.
        path: Must end in ``.npz``, ``.h5``, ``.hdf5`` or ``.parquet``; an older file there is
            replaced, whole or not at all.
        schema: What the features are; None = that of the first piece.
    Raises:
        ModuleNotFoundError: If h5py or pyarrow is needed and not installed.
        ValueError: If the path ends in something else, or the clouds are not valid or unlike.
    Example:
        >>> import tempfile
        >>> import gconvae
        >>> model = gconvae.models.create("convae", hidden=32, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = to_file_in_parts(model.iter_samples(1000, seed=0), f"{folder}/samples.npz")
        ...     len(gconvae.datasets.from_file(path))
        1000
    """
    path = _target(path)
    checked = _CheckedParts(parts, schema)
    if path.suffix == ".npz":
        with npz_stream(path) as stream:
            for arrays in checked:
                stream.append(**arrays)
            checked.require_any()
            if checked.schema is not None:
                stream.constants["schema"] = np.array(checked.schema.to_json())
        return path
    with files.whole(path) as temporary:
        writer = Hdf5Writer(temporary) if path.suffix in HDF5 else ParquetWriter(temporary)
        with closing(writer):
            for arrays in _regrouped(checked, writer):
                writer.append(**arrays)
            checked.require_any()
            writer.finish(checked.schema)
    return path


class _CheckedParts:
    """Arrays of parts, each checked once.

    Args:
        parts: As :func:`to_file_in_parts` takes them.
        schema: What the features are; None = that of the first part.
    """

    def __init__(self, parts: Iterable[Clouds], schema: CloudSchema | None) -> None:
        self._parts, self.schema = parts, schema
        self._kinds: dict[str, tuple[Any, ...]] = {}

    def __iter__(self) -> Iterator[Arrays]:
        for part in self._parts:
            if self.schema is None and isinstance(part, Clouds):
                self.schema = part.schema
            points, mask, labels = part
            rows = getattr(part, "conditions", None)
            clouds = as_clouds(points, mask, schema=self.schema, conditions=rows)
            self.schema = clouds.schema
            arrays = {"points": clouds.points.cpu().numpy(), "mask": clouds.mask.cpu().numpy()}
            if labels is not None:
                arrays["labels"] = self._indices(labels, clouds.num_clouds)
            if clouds.conditions is not None:
                arrays["conditions"] = clouds.conditions.cpu().numpy()
            self._check_kinds(arrays)
            yield arrays

    def require_any(self) -> None:
        """Refuses no parts."""
        if not self._kinds:
            raise ValueError("parts must hold at least one, got none")

    def _indices(self, labels: Any, num_clouds: int) -> NDArray[Any]:
        known = () if self.schema is None else self.schema.classes
        class_labels = as_labels(labels, num_clouds, self.schema)
        if class_labels.classes != known:  # the next part may have other ones
            raise ValueError(
                f"labels of parts must be 0 to {MOST_UNNAMED - 1}, or of classes that the schema "
                f"names, got {', '.join(class_labels.classes[:3])}"
            )
        assert class_labels.indices is not None
        return class_labels.indices.cpu().numpy()

    def _check_kinds(self, arrays: Arrays) -> None:
        kinds = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
        self._kinds = self._kinds or kinds
        if kinds != self._kinds:
            raise ValueError(
                "parts must have the same arrays, dtypes and shapes every time, got "
                f"{_in_words(kinds)} after {_in_words(self._kinds)}"
            )


def _in_words(kinds: dict[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{name} {dtype} {shape}" for name, (dtype, shape) in kinds.items())


def _arrays_of(clouds: Clouds) -> Arrays:
    arrays = {"points": clouds.points.numpy(), "mask": clouds.mask.numpy()}
    if clouds.labels is not None:
        arrays["labels"] = clouds.labels.numpy()
    if clouds.conditions is not None:
        arrays["conditions"] = clouds.conditions.numpy()
    return arrays


def _regrouped(parts: Iterable[Arrays], writer: Hdf5Writer | ParquetWriter) -> Iterator[Arrays]:
    """As many clouds at a time as a chunk of a file holds; the last ones are what is left."""
    waiting: list[Arrays] = []
    size = count = 0
    for arrays in parts:
        size = size or writer.chunk(arrays["points"][0].nbytes)
        waiting.append(arrays)
        count += len(arrays["points"])
        if count < size:
            continue
        together = _joined(waiting)
        whole = count - count % size
        for start in range(0, whole, size):
            yield {name: array[start : start + size] for name, array in together.items()}
        # a copy, since a view would keep all
        waiting = [{name: array[whole:].copy() for name, array in together.items()}]
        count -= whole
    if count:
        yield _joined(waiting)


def _joined(parts: list[Arrays]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _target(path: str | os.PathLike[str]) -> Path:
    """A file to write, in a folder that exists from now on."""
    path = Path(path).expanduser()
    if path.suffix not in (".npz", *HDF5, *PARQUET):
        raise ValueError(f"path must end in .npz, .h5, .hdf5 or .parquet, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
