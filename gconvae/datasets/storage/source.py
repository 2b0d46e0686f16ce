"""Stored clouds that are read some rows at a time, whatever the format of their file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae.schema import CloudSchema

__all__ = [
    "CHUNK_BYTES",
    "Layout",
    "Source",
    "StoredRows",
    "optional_package",
    "read_schema",
    "width_of",
]

CHUNK_BYTES = 2**20
"""Bytes of points that are read together: far more than one access costs, and small enough that
many of them can be shuffled among each other."""


class StoredRows(NamedTuple):
    """Clouds as a file holds them, neither checked nor in order.

    Attributes:
        points: Real numbers of any kind, shape (n, N, F), writable.
        mask: Shape (n, N), of any kind; None = every node is real.
        labels: In any form of :func:`gconvae.clouds.as_labels`; None = none.
        conditions: Numbers of each cloud as a whole, shape (n, C); None = none.
    """

    points: NDArray[Any]
    mask: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    conditions: NDArray[Any] | None = None


@dataclass(frozen=True)
class Layout:
    """What is known of a file before its clouds are read.

    Attributes:
        num_clouds: B.
        num_nodes: N, to which clouds are padded.
        num_features: F.
        dtype: Of the points.
        has_mask: Whether some nodes may not be real.
        has_labels: Whether clouds have labels.
        chunk: Consecutive clouds that are read together best.
        schema: What the file says of its features; None = nothing.
        names: Of the features, where the file has names but no schema; else empty.
        num_conditions: C, the numbers of a cloud as a whole; 0 = none.
    """

    num_clouds: int
    num_nodes: int
    num_features: int
    dtype: np.dtype[Any]
    has_mask: bool
    has_labels: bool
    chunk: int
    schema: CloudSchema | None = None
    names: tuple[str, ...] = ()
    num_conditions: int = 0


class Source(ABC):
    """Clouds of a file; may be pickled and used after a fork.

    Attributes:
        path: The file.
        layout: Its sizes.
    """

    path: Path
    layout: Layout

    @abstractmethod
    def span(self, start: int, stop: int) -> StoredRows:
        """Consecutive clouds."""

    @abstractmethod
    def rows(self, rows: NDArray[np.int64]) -> StoredRows:
        """Clouds by number, in any order, repeats allowed."""

    @abstractmethod
    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Labels of consecutive clouds alone, where the file has any."""


def read_schema(text: Any, path: Path) -> CloudSchema:
    """The schema that a file holds as JSON.

    Raises:
        ValueError: If it is none; the message names the file.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else str(text)
        return CloudSchema.from_json(text)
    except ValueError as error:
        raise ValueError(f"path must hold a whole schema, {path} does not: {error}") from None


def width_of(shape: tuple[int, ...], path: Path) -> int:
    """C, the columns of conditions, from the shape of their array.

    Raises:
        ValueError: If it is not (clouds, C) with C at least 1.
    """
    if len(shape) != 2 or shape[1] < 1:
        raise ValueError(f"conditions must have shape (clouds, C), got {shape} in {path}")
    return int(shape[1])


def optional_package(name: str, needed_for: str, extra: str = "files") -> Any:
    """A package that only some formats need.

    Args:
        name: Of the package, or of a module of it.
        needed_for: What cannot be done without it.
        extra: Which extra brings it.
    Raises:
        ModuleNotFoundError: If it is not installed; the message says how to get it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name not in (name, package):
            raise  # the package is there, something that it needs is not
        raise ModuleNotFoundError(
            f'{needed_for} needs {package}: pip install "gconvae[{extra}]"', name=error.name
        ) from None
