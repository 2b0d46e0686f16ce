"""Clouds on disk as a data set: opened at once, read some at a time."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gconvae.clouds import Clouds, to_data
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.sources import from_points
from gconvae.datasets.storage.opening import open_source
from gconvae.datasets.storage.source import Source
from gconvae.datasets.stored_clouds import LabelNames, clouds_of_rows
from gconvae.datasets.summary import CloudSummary, summarize
from gconvae.schema import CloudSchema

if TYPE_CHECKING:
    from gconvae.pyg import Data

__all__ = ["CloudFile"]

PIECE = 2**13
"""Clouds of a piece where nobody says how many."""

SAMPLE_CLOUDS, SAMPLE_BYTES, SAMPLE_RUNS = 100_000, 2**26, 50
"""What a schema is found from where a file has none: at most so many clouds and bytes, in so many
runs of consecutive clouds that are spread evenly over the file."""


class CloudFile(Dataset["Data"]):
    """Clouds on disk, of which only those are in memory that were just asked for.

    An item is a PyG ``Data``, as of a :class:`~gconvae.datasets.CloudDataset`. A slice, an index
    or a mask is a view of the same file. It may be pickled and used by workers of a loader. The
    file must stay as it is.

    Args:
        path: As :func:`gconvae.datasets.from_file` takes it; a compressed npz file can only be
            read at once.
        schema: What the features are; None = what the file says. Where it says nothing, a schema
            is found from the numbers: of at most 100,000 clouds and 64 MB, evenly spread.
    Warns:
        UserWarning: As :func:`gconvae.datasets.from_points` does, of that sample.
    Raises:
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If the package for the format is not installed.
        ValueError: If it is no whole file of clouds.
    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/clouds.npy", np.random.default_rng(0).random((100, 25, 3)))
        ...     data = CloudFile(f"{folder}/clouds.npy")
        ...     data[10:20].take(torch.tensor([3, 0, 3])).points.shape, data[0]
        (torch.Size([3, 25, 3]), Data(x=[25, 1], pos=[25, 2]))
    """

    def __init__(
        self, path: str | os.PathLike[str] | Any, *, schema: CloudSchema | None = None
    ) -> None:
        self._source = path if isinstance(path, Source) else open_source(Path(path).expanduser())
        self._rows: range | NDArray[np.int64] = range(self._source.layout.num_clouds)
        self._summary: CloudSummary | None = None
        layout = self._source.layout
        _check_features(self._source, schema)
        known = known_schema(self._source, schema)
        classes = () if known is None else known.classes
        self._label_names = LabelNames(self._source, classes)
        inferred = _inferred_schema(self._source, known).with_classes(self._label_names.classes)
        self._schema = inferred.with_conditions(layout.num_conditions)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._source.path

    @property
    def schema(self) -> CloudSchema:
        """What the features are."""
        return self._schema

    @property
    def num_points(self) -> int:
        """N, to which clouds are padded."""
        return self._source.layout.num_nodes

    @property
    def has_labels(self) -> bool:
        """Whether clouds have labels."""
        return self._source.layout.has_labels

    @property
    def chunk(self) -> int:
        """Consecutive clouds of the file that are read together best."""
        return self._source.layout.chunk

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        """One graph, or a view of several clouds."""
        rows = index.tolist() if isinstance(index, Tensor) and index.dim() == 0 else index
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
            return self.__getitems__([int(rows)])[0]
        view = copy.copy(self)
        view._summary = None
        view._rows = self._rows[rows] if isinstance(rows, slice) else self._chosen(rows)
        return view

    def __getitems__(self, rows: list[int]) -> list[Data]:
        """Several graphs by one read, as a loader asks for them."""
        clouds = self.take(torch.tensor(rows, dtype=torch.long, device="cpu"))
        return to_data(*clouds, schema=self.schema, conditions=clouds.conditions)

    def take(self, rows: Tensor) -> Clouds:
        """Clouds by number, checked, their nodes in canonical order.

        Args:
            rows: Numbers from 0 on, in any order, repeats allowed, shape (n,).
        Returns:
            The same numbers as those of the file read at once, in the order of ``rows``.
        Raises:
            IndexError: If there is no such cloud.
            ValueError: If a cloud is not valid; the message says its number in the file.
        """
        return self._read(self._chosen(rows))

    def pieces(self, size: int = PIECE) -> Iterator[Clouds]:
        """All clouds in their order, some at a time.

        Args:
            size: Clouds of a piece; the last one has what is left.
        Raises:
            ValueError: If a cloud is not valid.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        for start in range(0, len(self), size):
            yield self._read(self._rows[start : start + size])

    def in_memory(self) -> CloudDataset:
        """All clouds, read now."""
        return CloudDataset(self._read(self._rows))

    def summary(self) -> CloudSummary:
        """Ranges, sizes, labels and checksum, by one pass over the clouds that is made once.

        Raises:
            ValueError: If a cloud is not valid.
        """
        if self._summary is None:
            self._summary = summarize(self.pieces(), len(self), self.num_points)
        return self._summary

    def checksum(self) -> str:
        """That of a :class:`~gconvae.datasets.CloudDataset` of the same clouds."""
        return self.summary().checksum

    def _read(self, rows: range | NDArray[np.int64]) -> Clouds:
        """Clouds by their number in the file."""
        if len(rows) == 0:
            return self._no_clouds()
        if isinstance(rows, range) and rows.step == 1:
            stored = self._source.span(rows.start, rows.stop)
        else:
            stored = self._source.rows(np.asarray(rows, np.int64))
        return clouds_of_rows(stored, rows, self._schema, self._label_names)

    def _no_clouds(self) -> Clouds:
        has_offset = any(feature.offset for feature in self._schema.features)
        points = torch.zeros(
            (0, self.num_points, self._schema.num_features),
            dtype=torch.float64 if has_offset else torch.float32,
            device="cpu",
        )
        labels = torch.zeros(0, dtype=torch.long, device="cpu") if self.has_labels else None
        count = self._source.layout.num_conditions
        conditions = torch.zeros((0, count), dtype=torch.float32, device="cpu") if count else None
        return Clouds(points, points.bool()[..., 0], labels, self._schema, conditions)

    def _chosen(self, index: Any) -> NDArray[np.int64]:
        """Numbers in the file of an index tensor, array or list, or of a mask."""
        chosen = index.cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
        count = len(self)
        if chosen.dtype == bool:
            if chosen.shape != (count,):
                raise IndexError(f"a mask must have shape ({count},), got {chosen.shape}")
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or (chosen.dtype.kind not in "iu" and len(chosen)):
            raise IndexError(
                f"an index must be whole numbers of shape (n,), got {chosen.dtype} of shape "
                f"{chosen.shape}"
            )
        chosen = chosen.astype(np.int64, copy=False)
        if len(chosen) and (chosen.min() < -count or chosen.max() >= count):
            raise IndexError(
                f"clouds must be 0 to {count - 1}, got {chosen.min()} to {chosen.max()}"
            )
        if len(chosen) and chosen.min() < 0:
            chosen = np.where(chosen < 0, chosen + count, chosen)
        if isinstance(self._rows, range):
            return chosen * self._rows.step + self._rows.start
        return self._rows[chosen]


def _check_features(source: Source, schema: CloudSchema | None) -> None:
    layout = source.layout
    known = layout.schema if schema is None else schema
    if known is not None and known.num_features != layout.num_features:
        raise ValueError(
            f"points must have {known.num_features} features a node ({', '.join(known.names)}), "
            f"got {layout.num_features} in {source.path}"
        )


def _inferred_schema(source: Source, known: CloudSchema | None) -> CloudSchema:
    """The known schema or that of a sample, which is also looked at for what is doubtful."""
    layout = source.layout
    is_single = layout.dtype.kind == "f" and layout.dtype.itemsize <= 4
    if known is not None and layout.has_mask and is_single:
        return known  # nothing would be learned from numbers
    sample = source.rows(_spread_rows(layout.num_clouds, _cloud_bytes(source)))
    dataset = from_points(
        *(sample.points, sample.mask),
        schema=known,
        name=f"points of {source.path}",
        conditions=sample.conditions,
    )
    return with_names(dataset.schema, layout.names) if known is None else dataset.schema


def known_schema(source: Source, schema: CloudSchema | None) -> CloudSchema | None:
    """The schema that somebody hands over, with the file's names of conditions, or the file's."""
    own = source.layout.schema
    if schema is None or own is None or schema.conditions:
        return own if schema is None else schema
    return schema.replace(conditions=own.conditions)


def with_names(schema: CloudSchema, names: tuple[str, ...]) -> CloudSchema:
    """A schema that was found from numbers, with the names that a file has for its columns."""
    if not names:
        return schema
    pairs = zip(schema.features, names, strict=True)
    features = tuple(dataclasses.replace(feature, name=name) for feature, name in pairs)
    return schema.replace(features=features)


def _cloud_bytes(source: Source) -> int:
    layout = source.layout
    return layout.num_nodes * layout.num_features * layout.dtype.itemsize


def _spread_rows(num_clouds: int, cloud_bytes: int) -> NDArray[np.int64]:
    """All rows of a small file, else runs that are spread evenly over it."""
    most = min(SAMPLE_CLOUDS, max(SAMPLE_RUNS, SAMPLE_BYTES // cloud_bytes))
    if num_clouds <= most:
        return np.arange(num_clouds)
    length = most // SAMPLE_RUNS
    starts = np.linspace(0, num_clouds - length, SAMPLE_RUNS).astype(np.int64)
    return (starts[:, None] + np.arange(length)).ravel()
