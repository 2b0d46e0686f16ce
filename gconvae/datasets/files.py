"""Clouds of a file: npz with their schema, npy, HDF5, Parquet, ROOT; read without running code."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from gconvae.clouds import Clouds, joined_samples
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile, known_schema, with_names
from gconvae.datasets.sources import from_points
from gconvae.datasets.storage.declared_size import check_declared
from gconvae.datasets.storage.numpy_arrays import (
    PackedArraysError,
    npz_members,
    read_member,
    whole_arrays,
)
from gconvae.datasets.storage.opening import HDF5, PARQUET, ROOT, open_source
from gconvae.datasets.storage.source import Source, StoredRows, read_schema
from gconvae.registry import check_counts
from gconvae.schema import CloudSchema

__all__ = ["READ_AT_ONCE", "from_file"]

READ_AT_ONCE = 2**28
"""Bytes of padded clouds in float32 up to which a file is read at once where nobody says: 256 MB,
900,000 clouds of 25 nodes."""


@overload
def from_file(
    path: str | os.PathLike[str], *, schema: CloudSchema | None = ..., in_memory: Literal[True]
) -> CloudDataset: ...


@overload
def from_file(
    path: str | os.PathLike[str],
    *,
    schema: CloudSchema | None = ...,
    in_memory: bool | None = ...,
    max_nodes: int,
) -> CloudDataset: ...


@overload
def from_file(
    path: str | os.PathLike[str], *, schema: CloudSchema | None = ..., in_memory: Literal[False]
) -> CloudFile: ...


@overload
def from_file(
    path: str | os.PathLike[str],
    *,
    schema: CloudSchema | None = ...,
    in_memory: bool | None = ...,
    max_nodes: int | None = ...,
) -> CloudDataset | CloudFile: ...


def from_file(
    path: str | os.PathLike[str],
    *,
    schema: CloudSchema | None = None,
    in_memory: bool | None = None,
    max_nodes: int | None = None,
) -> CloudDataset | CloudFile:
    """Clouds of a file, read at once or opened to be read some at a time.

    Never runs code from a file: pickled arrays are refused. Files end in

    - ``.npz``: arrays ``points`` (B, N, F), perhaps ``mask``, ``labels``, ``schema`` and
      ``conditions`` (B, C), numbers of each cloud as a whole;
    - ``.npy``: points alone;
    - ``.h5``, ``.hdf5``: datasets of the same names, or jets as they are published:
      JetNet's ``particle_features`` (B, N, 4) = eta_rel, phi_rel, pt_rel, mask, with
      ``jet_features`` (B, 4) = pt, eta, mass, number of particles, of class g, q, t, w or z as
      the file is called; or the HLS4ML LHC Jet data set's ``jetConstituentList`` and ``jets``;
    - ``.parquet``: a row a cloud, its nodes in a column ``points`` of lists of nodes, or in a
      column of numbers for each feature; perhaps ``labels`` or ``label``, and ``conditions``;
      or columns of JetClass;
    - ``.root``: a tree with JetClass's ``part_px``, ``part_py``, ``part_deta``, ``part_dphi`` (or
      ``part_pz``, ``jet_eta``, ``jet_phi``), ``jet_pt`` and perhaps ``jet_energy``, ``label_QCD``
      and other classes, of which the 128 hardest particles are kept.

    Jets have the schema :data:`gconvae.schema.JETS`, their class, and as conditions those of pt
    (GeV), eta, mass (GeV) and number of particles that the file says.

    Args:
        path: The file, as :func:`gconvae.datasets.to_file`, numpy, h5py or pyarrow write it; ``~``
            is the home folder.
        schema: As in :func:`gconvae.datasets.from_points`; None = what the file says, if it does.
        in_memory: Whether it is read at once; False = opened, and read when clouds are asked for;
            None = opened if its clouds take more than 256 MB. A compressed npz file can only be
            read at once.
        max_nodes: The most nodes of a cloud that are kept, the first ones in the order of the
            schema: of jets the hardest particles. The others are never in memory together; what is
            kept is. None = all.
    Raises:
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If h5py, pyarrow or uproot is needed and not installed.
        ValueError: If it is none of these, is cut short, holds pickles, or its clouds are invalid;
            or ``max_nodes`` is below 1, or asked for of clouds that stay on disk.
    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/clouds.npy", np.random.default_rng(0).random((100, 25, 3)))
        ...     data = from_file(f"{folder}/clouds.npy", in_memory=False)
        ...     type(data).__name__, len(data)
        ('CloudFile', 100)
    """
    path = Path(path).expanduser()
    if in_memory not in (None, True, False):
        raise ValueError(f"in_memory must be None, True or False, got {in_memory!r}")
    if max_nodes is not None:
        check_counts(max_nodes=max_nodes)
        if in_memory is False:
            raise ValueError(
                f"in_memory must not be False with max_nodes, got {max_nodes} of them"
            )
    try:
        source = open_source(path)
    except PackedArraysError:
        if in_memory is False:
            raise
        data = _read_arrays(path, schema)
        return data if max_nodes is None else CloudDataset(_first_nodes(data.clouds, max_nodes))
    if max_nodes is not None:
        pieces = CloudFile(source, schema=schema).pieces()
        return CloudDataset(
            joined_samples([_first_nodes(each, max_nodes) for each in pieces], "path")
        )
    if in_memory is None:
        in_memory = _bytes_in_memory(source) <= READ_AT_ONCE
    if not in_memory:
        return CloudFile(source, schema=schema)
    is_read = path.suffix in HDF5 + PARQUET + ROOT
    return _read(source, schema) if is_read else _read_arrays(path, schema)


def _first_nodes(clouds: Clouds, count: int) -> Clouds:
    """In the order of the schema; a copy, since a view would keep all nodes."""
    points, mask = clouds.points[:, :count].clone(), clouds.mask[:, :count].clone()
    return clouds._replace(points=points, mask=mask)


def _bytes_in_memory(source: Source) -> int:
    layout = source.layout
    return 4 * layout.num_clouds * layout.num_nodes * layout.num_features


def _read(source: Source, schema: CloudSchema | None) -> CloudDataset:
    """All clouds of an HDF5, Parquet or ROOT file."""
    layout = source.layout
    known = known_schema(source, schema)
    stored = source.span(0, layout.num_clouds)
    points, mask, labels, conditions = stored
    data = from_points(points, mask, labels, schema=known, conditions=conditions)
    if known is not None or not layout.names:
        return data
    clouds = data.clouds
    return CloudDataset(clouds._replace(schema=with_names(data.schema, layout.names)))


def _read_arrays(path: Path, schema: CloudSchema | None) -> CloudDataset:
    """All clouds of an npz or npy file."""
    arrays = _arrays(path)
    if "points" not in arrays:
        raise ValueError(f"path must hold an array 'points', {path} has none")
    if schema is None and "schema" in arrays:
        schema = read_schema(arrays["schema"], path)
    mask, labels, conditions = (arrays.get(name) for name in ("mask", "labels", "conditions"))
    return from_points(arrays["points"], mask, labels, schema=schema, conditions=conditions)


def _arrays(path: Path) -> dict[str, Any]:
    """Arrays of a file by name; those of an npy file are its points."""
    with whole_arrays(path):
        if path.suffix == ".npy":
            return {"points": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
            members = npz_members(archive, path)
            known = [name for name in (*StoredRows._fields, "schema") if name in members]
            check_declared("arrays", sum(members[name].file_size for name in known), path)
            return {name: read_member(archive, members[name], path, name) for name in known}
