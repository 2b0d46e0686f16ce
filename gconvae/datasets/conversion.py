"""Anything that holds clouds as a data set: torch and PyG data sets, subsets, loaders, arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
)

from gconvae.clouds import Clouds, as_sample, holds_graphs
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.graphs import from_pyg
from gconvae.datasets.sources import from_points
from gconvae.schema import CloudSchema

__all__ = ["as_dataset"]


def as_dataset(data: Any, name: str = "data", schema: CloudSchema | None = None) -> CloudDataset:
    """Anything that holds clouds as a :class:`CloudDataset`.

    Args:
        data: A data set of this library; any map-style torch or PyG data set, a subset or a
            concatenation, whose items are graphs, clouds, or tuples of a cloud and its label or
            mask; a ``DataLoader`` of one; or what :func:`from_points` takes.
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
    if isinstance(data, DataLoader):
        if not isinstance(data.sampler, SequentialSampler | RandomSampler):
            raise ValueError(
                f"{name} must be a loader of a whole data set, since its clouds are taken in an "
                f"order of the seed, got one with {type(data.sampler).__name__}"
            )
        data = data.dataset
    if isinstance(data, CloudDataset):
        return data
    if isinstance(data, Subset):
        rows = torch.as_tensor(list(data.indices), dtype=torch.long, device="cpu")
        if len(rows) == 0:
            raise ValueError(f"{name} must hold at least one cloud, got an empty subset")
        return as_dataset(data.dataset, name, schema)[rows]
    if isinstance(data, ConcatDataset):
        return _concatenated([as_dataset(part, name, schema) for part in data.datasets], name)
    if hasattr(data, "points") or not isinstance(data, Dataset):
        sample = data if holds_graphs(data) or _is_sample(data) else None
        if sample is None:
            return from_points(data, schema=schema, name=name)
        clouds = as_sample(sample, name, schema)
        return from_points(*_with_names(clouds), schema=clouds.schema, name=name)
    return _of_items(data, name, schema)


def _is_sample(data: Any) -> bool:
    is_pair = isinstance(data, tuple) and len(data) == 2 and getattr(data[0], "ndim", 0) == 3
    return is_pair or (hasattr(data, "points") and hasattr(data, "mask"))


def _with_names(clouds: Clouds) -> tuple[Tensor, Tensor, Tensor | None]:
    return clouds.points, clouds.mask, clouds.labels


def _of_items(data: Any, name: str, schema: CloudSchema | None) -> CloudDataset:
    """The clouds of a map-style data set, one item after another."""
    from torch_geometric.data import Dataset as GraphDataset

    if not hasattr(data, "__len__") or len(data) == 0:
        raise ValueError(f"{name} must hold at least one cloud, got an empty or endless data set")
    if isinstance(data, GraphDataset) or hasattr(data[0], "pos"):
        return from_pyg(data, schema=schema)
    items = [data[i] for i in range(len(data))]
    if not isinstance(items[0], tuple | list):
        return from_points(items, schema=schema, name=name)
    columns: list[list[Any]] = [list(column) for column in zip(*items, strict=True)]
    mask = labels = None
    for column in columns[1:]:
        if getattr(column[0], "dtype", None) in (torch.bool, np.dtype(bool)):
            mask = torch.stack([torch.as_tensor(row, device="cpu") for row in column])
        else:
            labels = column if isinstance(column[0], str) else torch.from_numpy(np.array(column))
    return from_points(columns[0], mask, labels, schema=schema, name=name)


def _concatenated(parts: list[CloudDataset], name: str) -> CloudDataset:
    first = parts[0].schema
    for part in parts[1:]:
        unlike = first.difference(part.schema)
        if unlike:
            raise ValueError(f"{name} must be made of parts with one schema, {unlike}")
    width = max(part.mask.shape[1] for part in parts)
    pairs = [_widened(part.clouds, width) for part in parts]
    labels = [part.labels for part in parts]
    joined = None if any(part is None for part in labels) else torch.cat(labels)  # type: ignore[arg-type]  # none is None
    points, masks = zip(*pairs, strict=True)
    return CloudDataset(Clouds(torch.cat(points), torch.cat(masks), joined, first))


def _widened(clouds: Clouds, width: int) -> tuple[Tensor, Tensor]:
    missing = width - clouds.mask.shape[1]
    pad = torch.nn.functional.pad
    return pad(clouds.points, (0, 0, 0, missing)), pad(clouds.mask, (0, missing))
