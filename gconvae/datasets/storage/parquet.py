"""Parquet files of clouds: a row a cloud, its nodes as lists."""

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
)
from gconvae.schema import CloudSchema

__all__ = ["ParquetSource", "ParquetWriter"]

SCHEMA, NUM_NODES = b"gconvae.schema", b"gconvae.num_nodes"
"""Entries of the file's metadata: the schema as JSON, and to how many nodes clouds are padded."""

LABELS = ("labels", "label")
"""What the column of labels may be called."""

CONDITIONS = "conditions"
"""A column of lists: numbers of each cloud as a whole."""

GROUP_BYTES = 4 * CHUNK_BYTES
"""Bytes of points in a row group, of which a file lists each."""


class ParquetSource(ChunkedSource):
    """A column ``points`` of lists of nodes, or a column of numbers for each feature.

    Args:
        path: The file. A column ``labels`` or ``label`` and one of lists, ``conditions``, are
            optional, columns without lists are not looked at.
    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
        ValueError: If it is no whole Parquet file of clouds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = 0
        with _whole(path):
            file = self._opened()
            metadata = file.metadata.metadata or {}
            schema = read_schema(metadata[SCHEMA], path) if SCHEMA in metadata else None
            fields = {field.name: field.type for field in file.schema_arrow}
            self._columns = _feature_columns(fields, schema, path)
            self._labels = next((name for name in LABELS if name in fields), None)
            sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
            starts = np.concatenate([[0], np.cumsum(np.array([n for n in sizes if n], np.int64))])
            self._groups = [number for number, size in enumerate(sizes) if size]
            super().__init__(starts.astype(np.int64))
            if not self._groups:
                raise ValueError(f"path must hold at least one cloud, {path} has none")
            if NUM_NODES in metadata:
                self._num_nodes = int(metadata[NUM_NODES])
            else:
                self._num_nodes = max(map(self._largest, self._groups))
            if self._num_nodes < 1:
                raise ValueError(f"points must hold at least one node, got none in {path}")
            self._has_conditions = CONDITIONS in fields
            first = self.read_chunk(0)  # its columns say number and kind of features
            self.layout = Layout(
                num_clouds=int(starts[-1]),
                num_nodes=self._num_nodes,
                num_features=first.points.shape[2],
                dtype=first.points.dtype,
                has_mask=True,
                has_labels=self._labels is not None,
                chunk=max(sizes),
                schema=schema,
                names=() if self._columns == ["points"] else tuple(self._columns),
                num_conditions=0 if first.conditions is None else first.conditions.shape[1],
            )

    def read_chunk(self, number: int) -> StoredRows:
        """One row group that is not empty."""
        with _whole(self.path):
            table = self._table(self._groups[number], self._columns)
            columns = [_Lists(table, name) for name in self._columns]
            sizes = columns[0].sizes
            for column in columns[1:]:
                if not np.array_equal(column.sizes, sizes):
                    raise ValueError(
                        f"{column.name} must have as many numbers as {columns[0].name} in every "
                        f"row of {self.path}"
                    )
            if sizes.max() > self._num_nodes:
                raise ValueError(
                    f"clouds must have at most {self._num_nodes} nodes as {self.path} says, got "
                    f"{sizes.max()}"
                )
            labels = None
            if self._labels is not None:
                start, stop = (int(row) for row in self._starts[number : number + 2])
                labels = self.labels(start, stop)
            nodes = [column.nodes() for column in columns]  # (P, features of the column) each
            points, mask = _padded(nodes, sizes, self._num_nodes)
            rows = self._conditions(self._groups[number]) if self._has_conditions else None
            return StoredRows(points, mask, labels, rows)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Labels of consecutive clouds."""
        assert self._labels is not None
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        with _whole(self.path):
            parts = []
            for number in range(int(first), int(last) + 1):
                column = self._table(self._groups[number], [self._labels]).column(0)
                if column.null_count:
                    raise ValueError(f"labels must be there for every cloud of {self.path}")
                values = column.to_numpy()
                parts.append(values.astype(str) if values.dtype == object else values)
        begin = int(self._starts[first])
        return np.concatenate(parts)[start - begin : stop - begin]

    def _conditions(self, group: int) -> NDArray[Any]:
        """A list of numbers of each cloud, shape (n, C)."""
        column = _Lists(self._table(group, [CONDITIONS]), CONDITIONS)
        if (column.sizes != column.sizes[0]).any() or not column.sizes[0]:
            raise ValueError(f"{CONDITIONS} must be as many numbers in every row of {self.path}")
        return column.nodes().reshape(len(column.sizes), -1)

    def _largest(self, group: int) -> int:
        return int(_Lists(self._table(group, self._columns[:1]), self._columns[0]).sizes.max())

    def _table(self, group: int, columns: list[str]) -> Any:
        # a dot in a name would be taken for a path into nested columns
        wanted = None if any("." in name for name in columns) else columns
        table = self._opened().read_row_group(group, columns=wanted, use_threads=False)
        return table.select(columns)

    def _opened(self) -> Any:
        """The file, opened once in each process."""
        if self._file is None or self._process != os.getpid():
            parquet = optional_package("pyarrow.parquet", f"the Parquet file {self.path}")
            # mapped pages would count as memory of the process
            self._file = parquet.ParquetFile(self.path, memory_map=False)
            self._process = os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_file": None}


class ParquetWriter:
    """Appends clouds as row groups.

    Args:
        path: The file, written anew.
    """

    def __init__(self, path: Path) -> None:
        self._arrow = optional_package("pyarrow", f"the Parquet file {path.name}")
        self._parquet = optional_package("pyarrow.parquet", f"the Parquet file {path.name}")
        self._path, self._num_nodes = path, 0
        self._writer: Any = None

    @staticmethod
    def chunk(row_bytes: int) -> int:
        """Clouds to hand over at a time."""
        return max(1, GROUP_BYTES // row_bytes)

    def append(
        self,
        points: NDArray[Any],
        mask: NDArray[Any],
        labels: NDArray[Any] | None = None,
        conditions: NDArray[Any] | None = None,
    ) -> None:
        """Adds a row group."""
        arrow = self._arrow
        num_features = points.shape[2]
        ends = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int32)
        nodes = arrow.FixedSizeListArray.from_arrays(points[mask].reshape(-1), num_features)
        columns = {"points": arrow.ListArray.from_arrays(ends, nodes)}
        if labels is not None:
            columns["labels"] = arrow.array(labels)
        if conditions is not None:
            width = conditions.shape[1]
            columns[CONDITIONS] = arrow.FixedSizeListArray.from_arrays(conditions.ravel(), width)
        table = arrow.table(columns)
        if self._writer is None:
            self._num_nodes = mask.shape[1]
            self._writer = self._parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))

    def finish(self, schema: CloudSchema | None) -> None:
        """Writes the schema and the number of nodes."""
        assert self._writer is not None
        entries = {NUM_NODES: str(self._num_nodes)}
        if schema is not None:
            entries[SCHEMA] = schema.to_json()
        self._writer.add_key_value_metadata(entries)

    def close(self) -> None:
        """Ends the file, whole or not."""
        if self._writer is not None:
            self._writer.close()


class _Lists:
    """A column of lists of numbers, or of lists of nodes.

    Args:
        table: Of one row group.
        name: Of the column.
    """

    def __init__(self, table: Any, name: str) -> None:
        self.name = name
        arrow = optional_package("pyarrow", "a Parquet file")
        chunks = table.column(name).chunks
        array = chunks[0] if len(chunks) == 1 else arrow.concat_arrays(chunks)
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
        return values.to_numpy(zero_copy_only=False).reshape(-1, width)

    def _opened(self, array: Any) -> tuple[NDArray[Any], Any]:
        """Length of each list, and what they hold."""
        if array.null_count:
            raise ValueError(f"{self.name} must be a list in every row, got nulls")
        if hasattr(array, "offsets"):
            return np.diff(array.offsets.to_numpy()), array.flatten()
        return np.full(len(array), array.type.list_size), array.flatten()


def _padded(
    columns: list[NDArray[Any]], sizes: NDArray[Any], num_nodes: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Points (B, N, F) and their mask of packed nodes, a column or all columns at a time."""
    mask = np.arange(num_nodes) < sizes[:, None]  # (B, N)
    dtype = np.result_type(*columns)
    num_features = sum(column.shape[1] for column in columns)
    points = np.zeros((*mask.shape, num_features), dtype)
    is_full = bool(mask.all())
    first = 0
    for column in columns:
        width = column.shape[1]
        target = points[..., first : first + width]
        if is_full:
            target[:] = column.reshape(*mask.shape, width)
        else:
            target[mask] = column
        first += width
    return points, mask


def _feature_columns(fields: dict[str, Any], schema: CloudSchema | None, path: Path) -> list[str]:
    """The columns that hold the nodes."""
    if "points" in fields:
        if not hasattr(fields["points"], "value_type"):
            raise ValueError(f"points must be a column of lists, {path} has {fields['points']}")
        if not hasattr(fields["points"].value_type, "value_type"):
            raise ValueError(
                f"points must be lists of nodes, which are lists of features, {path} has "
                f"{fields['points']}"
            )
        return ["points"]
    lists = [name for name, kind in fields.items() if hasattr(kind, "value_type")]
    if schema is not None and set(schema.names) <= set(lists):
        return list(schema.names)
    lists = [name for name in lists if name not in (*LABELS, CONDITIONS)]
    if not lists:
        raise ValueError(
            f"path must hold a column 'points', or a column of lists for each feature, {path} has "
            f"{', '.join(fields) or 'none'}"
        )
    return lists


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """One line for all that the library says of a damaged file."""
    arrow = optional_package("pyarrow", f"the Parquet file {path}")
    try:
        yield
    except (arrow.ArrowException, OSError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"path must be a whole Parquet file, got {path}: {reason}") from None
