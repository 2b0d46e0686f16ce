"""npy files, and npz files without compression: arrays that are read where they lie."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.declared_size import check_declared
from gconvae.datasets.storage.positioned_file import PositionedFile
from gconvae.datasets.storage.read_plan import ReadPlan
from gconvae.datasets.storage.source import (
    CHUNK_BYTES,
    Layout,
    Source,
    StoredRows,
    read_schema,
    width_of,
)
from gconvae.schema import CloudSchema

__all__ = [
    "ArrayPlace",
    "ArraySource",
    "PackedArraysError",
    "npz_members",
    "open_npy",
    "open_npz",
    "read_member",
    "whole_arrays",
]

LOCAL_HEADER = 30
"""Bytes before the name of a member of a zip archive; the last four say how long the name and what
follows it are."""


class PackedArraysError(ValueError):
    """Arrays that can be read at once only: they are compressed, or lie column by column."""


DAMAGE = (
    *(ArithmeticError, EOFError, KeyError, NotImplementedError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError),
    *(struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile raise for damaged files."""


@contextmanager
def whole_arrays(path: Path) -> Iterator[None]:
    """One line for all that is said of a damaged npz or npy file.

    Raises:
        PackedArraysError: As it was.
        ValueError: For all else that can be wrong.
    """
    try:
        yield
    except PackedArraysError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"path must be a whole npz or npy file without pickled objects, got {path}: {reason}"
        ) from None


class ArrayPlace(NamedTuple):
    """Where in a file the numbers of an array lie, row after row.

    Attributes:
        offset: Byte of the first one.
        dtype: Of the numbers.
        shape: Of the array.
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])  # which does not overflow


class ArraySource(Source):
    """Arrays at known places of one file.

    Args:
        path: The file.
        points: Where they lie, (B, N, F).
        mask: (B, N), or None.
        labels: B rows, or None.
        schema: What the file says of the features, or None.
        conditions: (B, C), or None.
    Raises:
        ValueError: If the shapes do not fit, or the file ends before the arrays do.
    """

    def __init__(
        self,
        path: Path,
        points: ArrayPlace,
        mask: ArrayPlace | None = None,
        labels: ArrayPlace | None = None,
        schema: CloudSchema | None = None,
        conditions: ArrayPlace | None = None,
    ) -> None:
        self.path = path
        _check_places(path, points, mask, labels, conditions)
        self._places = (points, mask, labels, conditions)
        self._file = PositionedFile(path)
        num_clouds, num_nodes, num_features = points.shape
        self.layout = Layout(
            num_clouds=num_clouds,
            num_nodes=num_nodes,
            num_features=num_features,
            dtype=points.dtype,
            has_mask=mask is not None,
            has_labels=labels is not None,
            chunk=max(1, CHUNK_BYTES // max(1, points.row_bytes)),
            schema=schema,
            num_conditions=0 if conditions is None else width_of(conditions.shape, path),
        )

    def span(self, start: int, stop: int) -> StoredRows:
        """Consecutive clouds."""
        return StoredRows(*(self._span(place, start, stop) for place in self._places))  # type: ignore[arg-type]  # points are always there

    def rows(self, rows: NDArray[np.int64]) -> StoredRows:
        """Clouds by number, read as few runs of consecutive ones."""
        plan = ReadPlan(rows)
        return StoredRows(*(self._gather(place, plan) for place in self._places))  # type: ignore[arg-type]  # likewise

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Labels of consecutive clouds."""
        labels = self._span(self._places[2], start, stop)
        assert labels is not None
        return labels

    def _span(self, place: ArrayPlace | None, start: int, stop: int) -> NDArray[Any] | None:
        if place is None:
            return None
        target = np.empty((stop - start, *place.shape[1:]), place.dtype)
        self._file.read_into(target, place.offset + start * place.row_bytes)
        return target

    def _gather(self, place: ArrayPlace | None, plan: ReadPlan) -> NDArray[Any] | None:
        if place is None:
            return None
        offset, row_bytes = place.offset, place.row_bytes

        def read(start: int, target: NDArray[Any]) -> None:
            self._file.read_into(target, offset + start * row_bytes)

        return plan.gather(read, place.dtype, place.shape[1:])


def open_npy(path: Path) -> ArraySource:
    """The points of an npy file.

    Raises:
        PackedArraysError: If they lie column by column.
        ValueError: If it is no whole npy file of clouds, or holds pickles.
    """
    with path.open("rb") as file:
        return ArraySource(path, _array_at(file, path, "points"))


def open_npz(path: Path) -> ArraySource:
    """Arrays ``points``, perhaps ``mask``, ``labels``, ``conditions``, ``schema`` of an npz file.

    Raises:
        PackedArraysError: If they are compressed, or lie column by column.
        ValueError: If it is no whole npz file, has no points, or holds pickles.
        zipfile.BadZipFile: If the archive is damaged.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = npz_members(archive, path)
        if "points" not in members:
            raise ValueError(
                f"path must hold an array 'points', {path} has {sorted(members) or 'nothing'}"
            )
        places = {
            name: _member_at(file, members[name], path, name)
            for name in StoredRows._fields
            if name in members
        }
        schema = None
        if "schema" in members:
            text = read_member(archive, members["schema"], path, "schema")
            schema = read_schema(text, path)
    mask, labels, conditions = (places.get(name) for name in ("mask", "labels", "conditions"))
    return ArraySource(path, places["points"], mask, labels, schema, conditions)


def npz_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Arrays of an npz file by name.

    Raises:
        ValueError: If two have one name.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"{name} must be there once, {path} has two of them")
        members[name] = info
    return members


def read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, name: str
) -> NDArray[Any]:
    """An array of an npz file, whose sizes are checked before it is unpacked.

    Raises:
        ValueError: If the archive, or the array, says a size that is not that of the other, or
            that the file cannot hold; or it holds pickles.
    """
    check_declared(name, info.file_size, path)
    with archive.open(info) as member:
        place = _array_at(member, path, name, any_order=True)
        declared = place.row_bytes * place.shape[0] if place.shape else place.dtype.itemsize
        if place.offset + declared != info.file_size:
            raise ValueError(f"{name} must be as large as its header says, {path} holds another")
    with archive.open(info) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        return array


def _member_at(file: IO[bytes], info: zipfile.ZipInfo, path: Path, name: str) -> ArrayPlace:
    """Where the numbers of an array of an npz file begin."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise PackedArraysError(
            f"in_memory must not be False for compressed arrays, which can be read at once only, "
            f"got {name} of {path}; numpy.savez and to_file_in_parts do not compress"
        )
    # its directory may tell other lengths than the header before the content
    file.seek(info.header_offset + LOCAL_HEADER - 4)
    lengths = np.frombuffer(file.read(4), "<u2")
    file.seek(info.header_offset + LOCAL_HEADER + int(lengths.sum()))
    begin = file.tell()
    place = _array_at(file, path, name)
    if place.offset - begin + place.shape[0] * place.row_bytes > info.file_size:
        raise ValueError(f"{name} must be whole, {path} holds less than its header says")
    return place


def _array_at(file: IO[bytes], path: Path, name: str, *, any_order: bool = False) -> ArrayPlace:
    """Where the numbers of an array begin, whose header comes next in a file."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{name} must be an array of version 1 or 2, got {version} in {path}")
    shape, is_column_wise, dtype = header
    if dtype.hasobject:
        raise ValueError(f"{name} must be an array without pickled objects, got {dtype} in {path}")
    if any(size < 0 for size in shape):
        raise ValueError(f"{name} must have sizes of at least 0, got {shape} in {path}")
    if any_order:
        return ArrayPlace(file.tell(), dtype, shape)
    if is_column_wise and len(shape) > 1:
        raise PackedArraysError(
            f"in_memory must not be False for arrays in Fortran order, whose rows do not lie "
            f"together, got {name} of {path}"
        )
    if not shape:
        raise ValueError(f"{name} must have a row for each cloud, got a single value in {path}")
    return ArrayPlace(file.tell(), dtype, shape)


def _check_places(path: Path, points: ArrayPlace, *others: ArrayPlace | None) -> None:
    if len(points.shape) != 3:
        raise ValueError(
            f"points must have shape (clouds, nodes, features), got {points.shape} in {path}"
        )
    size = path.stat().st_size
    for place in (points, *others):
        if place is None:
            continue
        if place.shape[0] != points.shape[0]:
            raise ValueError(
                f"mask, labels and conditions must have {points.shape[0]} rows like points, got "
                f"shape {place.shape} in {path}"
            )
        if place.offset + place.shape[0] * place.row_bytes > size:
            raise ValueError(f"path must be a whole file, {path} is cut short")
