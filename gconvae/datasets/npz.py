"""An npz file whose arrays come piece by piece, and are never in memory together."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gconvae import files

__all__ = ["NpzStream", "npz_stream"]


class NpzStream:
    """Arrays that grow along their first axis; see :func:`npz_stream`.

    Attributes:
        constants: Arrays that do not grow, until the file is written.
    """

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder, self._opened = folder, opened
        self._arrays: dict[str, _Array] = {}
        self.constants: dict[str, NDArray[Any]] = {}

    @property
    def names(self) -> list[str]:
        """Of the arrays so far; none before the first :meth:`append`."""
        return [*self._arrays]

    def append(self, **pieces: NDArray[Any]) -> None:
        """Adds rows to the arrays, which the first call names.

        Raises:
            ValueError: If other names, shapes or dtypes come than at first.
        """
        if not self._arrays:
            for name, piece in pieces.items():
                file = self._opened.enter_context(tempfile.TemporaryFile(dir=self._folder))
                self._arrays[name] = _Array(name, piece, file)
        if pieces.keys() != self._arrays.keys():
            raise ValueError(f"pieces must be {self.names} every time, got {[*pieces]}")
        for name, piece in pieces.items():
            self._arrays[name].append(piece)

    def write(self, path: Path) -> None:
        """Puts all that was appended, and arrays that do not grow, into a file."""
        np.savez(path, **self.constants)  # type: ignore[arg-type]  # numpy's stubs take the names for its flag
        with zipfile.ZipFile(path, "a") as archive:
            for name, array in self._arrays.items():
                # the final size is not known to the archive when it begins an array
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    array.write(member)


class _Array:
    """One array's rows, in a nameless file until all are there."""

    def __init__(self, name: str, first: NDArray[Any], file: IO[bytes]) -> None:
        self.name, self.dtype, self.shape = name, first.dtype, first.shape[1:]
        self.file, self.rows = file, 0

    def append(self, piece: NDArray[Any]) -> None:
        if (piece.dtype, piece.shape[1:]) != (self.dtype, self.shape):
            raise ValueError(
                f"{self.name} must be rows of {self.dtype} of shape {self.shape} like the first, "
                f"got {piece.dtype} of shape {piece.shape[1:]}"
            )
        self.file.write(np.ascontiguousarray(piece).data)
        self.rows += len(piece)

    def write(self, member: IO[bytes]) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.rows, *self.shape),
        }
        np.lib.format.write_array_header_1_0(member, header)
        self.file.seek(0)
        shutil.copyfileobj(self.file, member, 2**20)


@contextmanager
def npz_stream(path: str | os.PathLike[str], **constants: NDArray[Any]) -> Iterator[NpzStream]:
    """Arrays to append to; the file appears, whole, when the block ends well.

    It is not compressed, which would take longer than making clouds. Until the end the rows lie in
    nameless files in the same folder, so that for a moment they take twice their room.

    Args:
        path: The file to write, as ``numpy.load`` reads it; its folder must exist.
        constants: Arrays that do not grow.
    Raises:
        FileNotFoundError: If the folder does not exist.
    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with npz_stream(f"{folder}/numbers.npz") as stream:
        ...         for number in range(3):
        ...             stream.append(numbers=np.full((2, 5), number))
        ...     np.load(f"{folder}/numbers.npz")["numbers"].shape
        (6, 5)
    """
    with files.whole(path) as temporary, ExitStack() as opened:
        stream = NpzStream(temporary.parent, opened)
        stream.constants |= constants
        yield stream
        stream.write(temporary)
