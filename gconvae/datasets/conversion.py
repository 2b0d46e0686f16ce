"""Anything that holds clouds as a data set: torch and PyG data sets, subsets, loaders, arrays."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from gconvae.clouds import as_sample, columns_of, holds_graphs, joined_samples, unloaded
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.datasets.graphs import from_pyg
from gconvae.datasets.sources import from_points
from gconvae.schema import CloudSchema

__all__ = ["as_dataset"]


@overload
def as_dataset(
    data: CloudFile, name: str = ..., schema: CloudSchema | None = ...
) -> CloudFile: ...


@overload
def as_dataset(
    data: CloudDataset, name: str = ..., schema: CloudSchema | None = ...
) -> CloudDataset: ...


@overload
def as_dataset(
    data: Any, name: str = ..., schema: CloudSchema | None = ...
) -> CloudDataset | CloudFile: ...


def as_dataset(
    data: Any, name: str = "data", schema: CloudSchema | None = None
) -> CloudDataset | CloudFile:
    """Anything that holds clouds as a :class:`CloudDataset`; what lies on disk stays there.

    Args:
        data: A data set of this library; any map-style torch or PyG data set, a subset or a
            concatenation, whose items are graphs, clouds, or tuples of a cloud and its label or
            mask; a ``DataLoader`` of one; or what :func:`from_points` takes. A
            :class:`CloudFile` is handed back as it is, a subset of one as a view; a
            concatenation is read at once.
        name: What error messages call it.
        schema: What the features are, where ``data`` does not say it.
    Raises:
        ValueError: If it holds no clouds, or a loader draws others than its data set's.
    Example:
        >>> from torch.utils.data import random_split
        >>> parts = random_split(from_points(torch.rand(10, 8, 3)), [8, 2])
        >>> len(as_dataset(parts[0]))
        8
    """
    data = unloaded(data, name)
    if isinstance(data, CloudDataset | CloudFile):
        return data
    if isinstance(data, Subset):
        rows = torch.as_tensor(list(data.indices), dtype=torch.long, device="cpu")
        if len(rows) == 0:
            raise ValueError(f"{name} must hold at least one cloud, got an empty subset")
        return as_dataset(data.dataset, name, schema)[rows]
    if isinstance(data, ConcatDataset):
        parts = [_in_memory(as_dataset(part, name, schema)).clouds for part in data.datasets]
        return CloudDataset(joined_samples(parts, name))
    if hasattr(data, "points") or not isinstance(data, Dataset):
        if holds_graphs(data):
            return from_pyg(data, schema=schema)
        if not _is_sample(data):
            return from_points(data, schema=schema, name=name)
        clouds = as_sample(data, name, schema)
        return from_points(*clouds, schema=clouds.schema, name=name, conditions=clouds.conditions)
    return _of_items(data, name, schema)


def _in_memory(data: CloudDataset | CloudFile) -> CloudDataset:
    return data.in_memory() if isinstance(data, CloudFile) else data


def _is_sample(data: Any) -> bool:
    is_pair = isinstance(data, tuple) and len(data) == 2 and getattr(data[0], "ndim", 0) == 3
    return is_pair or (hasattr(data, "points") and hasattr(data, "mask"))


def _of_items(data: Any, name: str, schema: CloudSchema | None) -> CloudDataset:
    """The clouds or graphs of a map-style data set."""
    from gconvae.pyg import Dataset as GraphDataset

    is_graphs = isinstance(data, GraphDataset)
    if is_graphs or (hasattr(data, "__len__") and len(data) and hasattr(data[0], "pos")):
        return from_pyg(data, schema=schema)
    points, mask, labels = columns_of(data, name)
    return from_points(points, mask, labels, schema=schema, name=name)
