"""Parquet files of clouds in any columns: opened in each process, one row group at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.chunked import ChunkedSource
from gconvae.datasets.storage.declared_size import check_declared
from gconvae.datasets.storage.source import optional_package

__all__ = ["Lists", "ParquetRows", "column_names", "whole_parquet"]


class ParquetRows(ChunkedSource):
    """Clouds of a Parquet file, a row a cloud; the chunks are the row groups that are not empty.

    Args:
        path: The file.
    Attributes:
        sizes: Rows of each chunk.
    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
        ValueError: If it is no whole Parquet file, or has no rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = 0
        with whole_parquet(path):
            metadata = self.opened().metadata
            sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        if any(size < 0 for size in sizes):
            raise ValueError(f"path must hold rows, got {sizes} of them in {path}")
        _check_values(metadata, path)
        self._groups = [number for number, size in enumerate(sizes) if size]
        if not self._groups:
            raise ValueError(f"path must hold at least one cloud, {path} has none")
        self.sizes = [size for size in sizes if size]
        super().__init__(np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64))

    def table(self, number: int, columns: list[str]) -> Any:
        """Columns of a chunk."""
        # a dot in a name would be taken for a path into nested columns
        wanted = None if any("." in name for name in columns) else columns
        group = self._groups[number]
        table = self.opened().read_row_group(group, columns=wanted, use_threads=False)
        return table.select(columns)

    def tables(self, start: int, stop: int, columns: list[str]) -> Iterator[Any]:
        """Columns of the chunks that hold some consecutive clouds."""
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        for number in range(int(first), int(last) + 1):
            yield self.table(number, columns)

    def first_row(self, row: int) -> int:
        """The first cloud of the chunk that holds a cloud."""
        return int(self._starts[np.searchsorted(self._starts, row, side="right") - 1])

    def chunk_rows(self, number: int) -> tuple[int, int]:
        """First cloud of a chunk, and the first after it."""
        start, stop = (int(row) for row in self._starts[number : number + 2])
        return start, stop

    def opened(self) -> Any:
        """The file, opened once in each process."""
        if self._file is None or self._process != os.getpid():
            parquet = optional_package("pyarrow.parquet", f"the Parquet file {self.path}")
            # mapped pages would count as memory of the process
            self._file = parquet.ParquetFile(self.path, memory_map=False)
            self._process = os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_file": None}


def _check_values(metadata: Any, path: Path) -> None:
    """Refuses columns that hold far more numbers than the file has bytes, such as one repeated."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    numbers = sum(
        group.column(column).num_values for group in groups for column in range(group.num_columns)
    )
    check_declared("columns", 8 * numbers, path)
    check_declared("columns", sum(max(0, group.total_byte_size) for group in groups), path)


class Lists:
    """A column of lists of numbers, or of lists of nodes.

    Args:
        table: Of one row group.
        name: Of the column.
    Attributes:
        sizes: Length of each list.
    """

    def __init__(self, table: Any, name: str) -> None:
        self.name = name
        arrow = optional_package("pyarrow", "a Parquet file")
        chunks = table.column(name).chunks
        array = chunks[0] if len(chunks) == 1 else arrow.concat_arrays(chunks)
        if not hasattr(array.type, "value_type"):
            raise ValueError(f"{name} must be a column of lists, got {array.type}")
        self.sizes, self._values = self._opened(array)

    def nodes(self) -> NDArray[Any]:
        """All nodes of all rows, shape (P, F)."""
        values, width = self._values, 1
        if hasattr(values.type, "value_type"):
            sizes, values = self._opened(values)
            width = int(sizes[0]) if len(sizes) else 1
            if (sizes != width).any():
                raise ValueError(
                    f"{self.name} must have as many features in every node, got {sizes.min()} to "
                    f"{sizes.max()}"
                )
        if values.null_count:
            raise ValueError(f"{self.name} must have a number everywhere, got nulls")
        numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        if not len(numbers):  # empty lists have no type
            numbers = numbers.astype(np.float32)
        if numbers.dtype == object or not width:
            raise ValueError(f"{self.name} must hold real numbers, got {values.type}")
        return numbers.reshape(-1, width)

    def _opened(self, array: Any) -> tuple[NDArray[Any], Any]:
        """Length of each list, and what they hold."""
        if array.null_count:
            raise ValueError(f"{self.name} must be a list in every row, got nulls")
        if hasattr(array, "offsets"):
            return np.diff(array.offsets.to_numpy()), array.flatten()
        return np.full(len(array), array.type.list_size), array.flatten()


def column_names(path: Path) -> list[str]:
    """Names of the columns of a Parquet file.

    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
        ValueError: If it is no whole Parquet file.
    """
    parquet = optional_package("pyarrow.parquet", f"the Parquet file {path}")
    with whole_parquet(path):
        return list(parquet.read_schema(path, memory_map=False).names)


@contextmanager
def whole_parquet(path: Path) -> Iterator[None]:
    """One line, with the name of the file, for all that is wrong with it."""
    arrow = optional_package("pyarrow", f"the Parquet file {path}")
    try:
        yield
    except (
        *(arrow.ArrowException, KeyError, MemoryError, OSError, OverflowError),
        *(TypeError, UnicodeDecodeError),
    ) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"path must be a whole Parquet file, got {path}: {reason}") from None
