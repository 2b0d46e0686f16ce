"""Parquet files of clouds: a row a cloud, its nodes as lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.declared_size import check_declared
from gconvae.datasets.storage.parquet_file import Lists, ParquetRows, whole_parquet
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


class ParquetSource(ParquetRows):
    """A column ``points`` of lists of nodes, or a column of numbers for each feature.

    Args:
        path: The file. A column ``labels`` or ``label`` and one of lists, ``conditions``, are
            optional, columns without lists are not looked at.
    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
        ValueError: If it is no whole Parquet file of clouds.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with whole_parquet(path):
            file = self.opened()
            metadata = file.metadata.metadata or {}
            schema = read_schema(metadata[SCHEMA], path) if SCHEMA in metadata else None
            fields = {field.name: field.type for field in file.schema_arrow}
            self._columns = _feature_columns(fields, schema, path)
            self._labels = next((name for name in LABELS if name in fields), None)
            self._has_conditions = CONDITIONS in fields
            if NUM_NODES in metadata:
                self._num_nodes = _count_of(metadata[NUM_NODES], path)
            else:
                self._num_nodes = max(map(self._largest, range(len(self.sizes))))
            if self._num_nodes < 1:
                raise ValueError(f"points must hold at least one node, got none in {path}")
            first = self.read_chunk(0)  # its columns say number and kind of features
            self.layout = Layout(
                num_clouds=sum(self.sizes),
                num_nodes=self._num_nodes,
                num_features=first.points.shape[2],
                dtype=first.points.dtype,
                has_mask=True,
                has_labels=self._labels is not None,
                chunk=max(self.sizes),
                schema=schema,
                names=() if self._columns == ["points"] else tuple(self._columns),
                num_conditions=0 if first.conditions is None else first.conditions.shape[1],
            )

    def read_chunk(self, number: int) -> StoredRows:
        """One row group that is not empty."""
        with whole_parquet(self.path):
            table = self.table(number, self._columns)
            columns = [Lists(table, name) for name in self._columns]
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
            labels = None if self._labels is None else self.labels(*self.chunk_rows(number))
            nodes = [column.nodes() for column in columns]  # (P, features of the column) each
            width = sum(column.shape[1] for column in nodes)
            check_declared("padded clouds", 8 * len(sizes) * self._num_nodes * width, self.path)
            points, mask = _padded(nodes, sizes, self._num_nodes)
            rows = self._conditions(number) if self._has_conditions else None
            return StoredRows(points, mask, labels, rows)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Labels of consecutive clouds."""
        assert self._labels is not None
        with whole_parquet(self.path):
            parts = []
            for table in self.tables(start, stop, [self._labels]):
                column = table.column(0)
                if column.null_count:
                    raise ValueError(f"labels must be there for every cloud of {self.path}")
                if not _is_plain(column.type):
                    raise ValueError(
                        f"labels must be numbers or texts, got {column.type} in {self.path}"
                    )
                values = column.to_numpy()
                parts.append(values.astype(str) if values.dtype == object else values)
        begin = self.first_row(start)
        return np.concatenate(parts)[start - begin : stop - begin]

    def _conditions(self, number: int) -> NDArray[Any]:
        """A list of numbers of each cloud, shape (n, C)."""
        column = Lists(self.table(number, [CONDITIONS]), CONDITIONS)
        if (column.sizes != column.sizes[0]).any() or not column.sizes[0]:
            raise ValueError(f"{CONDITIONS} must be as many numbers in every row of {self.path}")
        return column.nodes().reshape(len(column.sizes), -1)

    def _largest(self, number: int) -> int:
        return int(Lists(self.table(number, self._columns[:1]), self._columns[0]).sizes.max())


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


def _is_plain(kind: Any) -> bool:
    """Whether a type of Arrow is that of numbers or texts; lists and such have fields."""
    return kind.num_fields == 0 and str(kind) not in ("binary", "large_binary", "null")


def _count_of(text: bytes, path: Path) -> int:
    """A whole number of the file's metadata."""
    if not text.isdigit() or len(text) > 18:
        raise ValueError(f"{NUM_NODES.decode()} must be a number, got {text[:20]!r} in {path}")
    return int(text)


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
