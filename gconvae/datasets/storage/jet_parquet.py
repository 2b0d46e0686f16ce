"""Parquet files of jets of any length, in columns that JetClass names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.jet_columns import JetColumns, has_jet_columns, one_hot_classes
from gconvae.datasets.storage.parquet_file import Lists, ParquetRows, column_names, whole_parquet
from gconvae.datasets.storage.source import StoredRows

__all__ = ["JetParquetSource"]


class JetParquetSource(ParquetRows):
    """Columns as in :class:`gconvae.datasets.storage.root.RootSource`, a row a jet.

    Args:
        path: The file.
    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
        ValueError: If it is no whole Parquet file of jets.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._columns = JetColumns.of(column_names(path), path)
        largest = max(map(self._largest, range(len(self.sizes))))
        self.layout = self._columns.layout(sum(self.sizes), largest, max(self.sizes))

    @staticmethod
    def fits(path: Path) -> bool:
        """Whether the columns of a file are those of jets."""
        return has_jet_columns(column_names(path))

    def read_chunk(self, number: int) -> StoredRows:
        """One row group that is not empty."""
        columns = self._columns
        with whole_parquet(self.path):
            table = self.table(number, [*columns.particles, *columns.jets])
            particles = {name: Lists(table, name) for name in columns.particles}
            values = {name: lists.nodes()[:, 0] for name, lists in particles.items()}
            jets = {name: self._numbers(table, name) for name in columns.jets}
        first, *others = particles.items()
        for name, lists in others:
            if not np.array_equal(lists.sizes, first[1].sizes):
                raise ValueError(
                    f"{name} must have as many numbers as {first[0]} for every jet of {self.path}"
                )
        start, stop = self.chunk_rows(number)
        labels = self.labels(start, stop) if columns.labels else None
        return columns.rows(values | jets, first[1].sizes, self.layout.num_nodes, labels)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Classes of consecutive jets."""
        names = list(self._columns.labels)
        with whole_parquet(self.path):
            parts = [
                np.stack([self._numbers(table, name) for name in names], -1)
                for table in self.tables(start, stop, names)
            ]
        first = self.first_row(start)
        rows = np.concatenate(parts)[start - first : stop - first]
        return one_hot_classes(rows, start, self.path)

    def _largest(self, number: int) -> int:
        name = self._columns.particles[0]
        with whole_parquet(self.path):
            return int(Lists(self.table(number, [name]), name).sizes.max())

    def _numbers(self, table: Any, name: str) -> NDArray[Any]:
        column = table.column(name)
        if column.null_count or hasattr(column.type, "value_type"):
            raise ValueError(f"{name} must have a number for every jet of {self.path}")
        return column.to_numpy()
