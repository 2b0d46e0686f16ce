"""ROOT files of jets of any length, in columns that JetClass names; read some jets at a time."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.chunked import ChunkedSource
from gconvae.datasets.storage.jet_columns import JetColumns, has_jet_columns, one_hot_classes
from gconvae.datasets.storage.source import StoredRows, optional_package

__all__ = ["RootSource"]

CHUNK = 5_000
"""Jets that are read together: of 128 particles some 30 MB while they are read."""


TREES = ("TTree", "ROOT::RNTuple")
"""Kinds of tables in a ROOT file: the old one, JetClass's, and the new one."""


class RootSource(ChunkedSource):
    """A tree with ``part_px``, ``part_py``, ``jet_pt``, angles or momenta, and ``label_`` columns.

    See :class:`gconvae.datasets.storage.jet_columns.JetColumns` for what they become.

    Args:
        path: The file; of its trees the first one with such columns is read.
    Raises:
        ModuleNotFoundError: If uproot is not installed.
        ValueError: If it is no whole ROOT file of jets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = 0
        self._tree = self._tree_of_jets()
        tree = self._opened()[self._tree]
        self._columns = JetColumns.of([str(name) for name in tree.keys()], path)
        count = int(tree.num_entries)
        starts = np.append(np.arange(0, count, CHUNK), count).astype(np.int64)
        super().__init__(starts)
        largest = max((self._largest(number) for number in range(len(starts) - 1)), default=0)
        self.layout = self._columns.layout(count, largest, min(CHUNK, max(1, count)))

    def read_chunk(self, number: int) -> StoredRows:
        """Some consecutive jets."""
        start, stop = self._chunk_rows(number)
        columns = self._columns
        particles = self._arrays(columns.particles, start, stop)
        values, sizes = _flat(particles, self.path)
        values |= {
            n: np.asarray(each) for n, each in self._arrays(columns.jets, start, stop).items()
        }
        labels = self.labels(start, stop) if columns.labels else None
        return columns.rows(values, sizes, self.layout.num_nodes, labels)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Classes of consecutive jets."""
        arrays = self._arrays(self._columns.labels, start, stop)
        rows = np.stack([np.asarray(arrays[name]) for name in self._columns.labels], -1)
        return one_hot_classes(rows, start, self.path)

    def _tree_of_jets(self) -> str:
        """Name of the tree that is read."""
        with _whole(self.path):
            file = self._opened()
            trees = [name for name, kind in file.classnames().items() if kind in TREES]
            names = {name: [str(each) for each in file[name].keys()] for name in trees}
        for name, columns in names.items():
            if has_jet_columns(columns):
                return name
        raise ValueError(
            f"path must hold a tree of jets with part_px, part_py and jet_pt, {self.path} has "
            f"{', '.join(names) or 'no tree'}"
        )

    def _largest(self, number: int) -> int:
        name = self._columns.particles[0]
        column = self._arrays((name,), *self._chunk_rows(number))[name]
        return int(_sizes(column, name, self.path).max())

    def _chunk_rows(self, number: int) -> tuple[int, int]:
        start, stop = (int(row) for row in self._starts[number : number + 2])
        return start, stop

    def _arrays(self, names: tuple[str, ...], start: int, stop: int) -> dict[str, Any]:
        """Awkward arrays of some columns."""
        with _whole(self.path):
            tree = self._opened()[self._tree]
            span = {"entry_start": start, "entry_stop": stop}
            arrays = tree.arrays(list(names), **span, array_cache=None)
            return {name: arrays[name] for name in names}

    def _opened(self) -> Any:
        """The file, opened once in each process; damaged ones raise what uproot says."""
        if self._file is None or self._process != os.getpid():
            uproot = optional_package("uproot", f"the ROOT file {self.path}", "root")
            self._file, self._process = uproot.open(self.path), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_file": None}


def _flat(particles: dict[str, Any], path: Path) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Particles of all jets one after another, by column, and how many each jet has."""
    first, *_ = particles
    sizes = _sizes(particles[first], first, path)
    for name, column in particles.items():
        if not np.array_equal(_sizes(column, name, path), sizes):
            raise ValueError(
                f"{name} must have as many numbers as {first} for every jet of {path}"
            )
    awkward = optional_package("awkward", f"the ROOT file {path}", "root")
    flat = {name: np.asarray(awkward.flatten(column)) for name, column in particles.items()}
    return flat, sizes


def _sizes(column: Any, name: str, path: Path) -> NDArray[Any]:
    if column.ndim != 2:
        raise ValueError(f"{name} must have a list of numbers for each jet, in {path}")
    awkward = optional_package("awkward", f"the ROOT file {path}", "root")
    return np.asarray(awkward.num(column))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """One line for all that the library says of a damaged file."""
    errors = (OSError, KeyError, ValueError, TypeError, IndexError, AssertionError)
    kinds = (*errors, NotImplementedError, struct.error, zlib.error)
    uproot = optional_package("uproot", f"the ROOT file {path}", "root")
    try:
        yield
    except (*kinds, uproot.DeserializationError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"path must be a whole ROOT file, got {path}: {reason:.300}") from None
