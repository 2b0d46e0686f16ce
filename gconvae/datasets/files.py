"""Clouds in files: npz with their schema, bare npy arrays; read without running code."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gconvae import files
from gconvae.clouds import Clouds, as_clouds
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.npz import npz_stream
from gconvae.datasets.sources import from_points
from gconvae.schema import CloudSchema

__all__ = ["from_file", "to_file", "to_file_in_parts"]


def from_file(path: str | os.PathLike[str], *, schema: CloudSchema | None = None) -> CloudDataset:
    """Clouds of a file: npz with ``points`` (B, N, F), perhaps ``mask``, ``labels``, ``schema``.

    An npy file holds points alone and is mapped into memory, not read at once. Never runs code
    from a file: pickled arrays are refused.

    Args:
        path: The file, as :func:`to_file`, ``numpy.savez`` or ``numpy.save`` writes it; ``~`` is
            the home folder.
        schema: As in :func:`from_points`; None = what the file says, if it does.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of these, is cut short, holds pickles, or its clouds are invalid.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"path must be an npz or npy file, there is none at {path}")
    arrays = _arrays(path)
    if "points" not in arrays:
        raise ValueError(
            f"path must hold an array 'points', {path} has {sorted(arrays) or 'nothing'}"
        )
    if schema is None and "schema" in arrays:
        try:
            schema = CloudSchema.from_json(str(arrays["schema"]))
        except ValueError as error:
            raise ValueError(f"path must hold a whole schema, {path} does not: {error}") from None
    return from_points(arrays["points"], arrays.get("mask"), arrays.get("labels"), schema=schema)


def to_file(data: CloudDataset, path: str | os.PathLike[str]) -> Path:
    """Writes clouds and their schema as npz, whole or not at all; :func:`from_file` reads them.

    Args:
        data: The clouds.
        path: Must end in ``.npz``; an older file there is replaced.
    Raises:
        ValueError: If the path does not end in ``.npz``.
    """
    path = _target(path)
    arrays = {"points": data.points.numpy(), "mask": data.mask.numpy()}
    if data.labels is not None:
        arrays["labels"] = data.labels.numpy()
    arrays["schema"] = np.array(data.schema.to_json())
    with files.whole(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its flag
    return path


def to_file_in_parts(
    parts: Iterable[Clouds], path: str | os.PathLike[str], *, schema: CloudSchema | None = None
) -> Path:
    """:func:`to_file` of clouds that come piece by piece, and are never in memory together.

    The arrays are not compressed, see :func:`gconvae.datasets.npz_stream`.

    Args:
        parts: At least one; all with the same number of nodes and features, all with labels or
            none.
        path: Must end in ``.npz``; an older file there is replaced.
        schema: What the features are; None = that of the first piece.
    Raises:
        ValueError: If the path does not end in ``.npz``, or the clouds are not valid or unlike.
    Example:
        >>> import tempfile
        >>> import gconvae
        >>> model = gconvae.models.create("convae", hidden=32, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = to_file_in_parts(model.iter_samples(1000, seed=0), f"{folder}/samples.npz")
        ...     len(from_file(path))
        1000
    """
    path = _target(path)
    with npz_stream(path) as stream:
        for part in parts:
            points, mask, labels = as_clouds(*part)
            own = part.schema if isinstance(part, Clouds) else None
            schema = own if schema is None else schema
            further = {} if labels is None else {"labels": labels.cpu().numpy()}
            stream.append(points=points.cpu().numpy(), mask=mask.cpu().numpy(), **further)
        if not stream.names:
            raise ValueError("parts must hold at least one, got none")
        if schema is not None:
            stream.constants["schema"] = np.array(schema.to_json())
    return path


def _arrays(path: Path) -> dict[str, Any]:
    """Arrays of a file by name; those of an npy file are its points."""
    try:
        if path.suffix == ".npy":
            return {"points": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as raw:  # numpy would leave a damaged file open
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                return {"points": file}
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"path must be a whole npz or npy file without pickled objects, got {path}: {error}"
        ) from None


def _target(path: str | os.PathLike[str]) -> Path:
    """A file to write, in a folder that exists from now on."""
    path = Path(path).expanduser()
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
