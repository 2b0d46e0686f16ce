"""The clouds of a map-style data set of torch, one item after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

__all__ = ["Columns", "columns_of", "is_map_style", "unloaded"]


class Columns(NamedTuple):
    """What items hold, one entry a cloud.

    Attributes:
        points: Clouds (n_i, F).
        mask: Shape (B, N), or None.
        labels: In any form of :func:`gconvae.clouds.as_labels`, or None.
    """

    points: list[Any]
    mask: Tensor | None = None
    labels: Any = None


def is_map_style(data: Any) -> bool:
    """Whether it is a data set that gives item after item, and no array or list.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> is_map_style(TensorDataset(torch.rand(4, 8, 3))), is_map_style(torch.rand(4, 8, 3))
        (True, False)
    """
    return isinstance(data, Dataset) and not isinstance(data, Sequence)


def unloaded(data: Any, name: str) -> Any:
    """The data set of a loader; all else as it is.

    Raises:
        ValueError: If the loader draws other clouds than those of its data set.
    Example:
        >>> len(unloaded(DataLoader([1, 2, 3], batch_size=2), "data"))
        3
    """
    if not isinstance(data, DataLoader):
        return data
    if not isinstance(data.sampler, SequentialSampler | RandomSampler):
        raise ValueError(
            f"{name} must be a loader of a whole data set, since its clouds are taken in an "
            f"order of the seed, got one with {type(data.sampler).__name__}"
        )
    return data.dataset


def columns_of(data: Any, name: str) -> Columns:
    """Reads all items: clouds, or tuples of a cloud and its label or mask.

    Args:
        data: A map-style data set.
        name: What error messages call it.
    Raises:
        ValueError: If it is empty, or its items are neither.
    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.rand(4, 8, 3), torch.tensor([0, 1, 0, 1]))
        >>> columns_of(data, "data").labels.tolist()
        [0, 1, 0, 1]
    """
    if not hasattr(data, "__len__") or len(data) == 0:
        raise ValueError(f"{name} must hold at least one cloud, got an empty or endless data set")
    items = [data[i] for i in range(len(data))]
    if isinstance(items[0], dict):
        raise ValueError(
            f"{name} must have items that are a cloud, or a tuple of a cloud and its label or "
            f"mask, got a dict with {', '.join(map(str, items[0]))}"
        )
    if not isinstance(items[0], tuple | list):
        return Columns(items)
    columns: list[list[Any]] = [list(column) for column in zip(*items, strict=True)]
    result = Columns(columns[0])
    for column in columns[1:]:
        is_mask = np.ndim(column[0]) == 1 and getattr(column[0], "dtype", None) in (
            torch.bool,
            np.dtype(bool),
        )
        if is_mask:
            mask = torch.stack([torch.as_tensor(row, device="cpu") for row in column])
            result = result._replace(mask=mask)
        else:
            text = isinstance(column[0], str)
            labels = column if text else torch.from_numpy(np.array(column))
            result = result._replace(labels=labels)
    return result
