"""Stored rows as clouds: checked, in float32, nodes in canonical order, labels as indices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gconvae.clouds import Clouds, as_conditions, as_labels, in_order, sort_nodes
from gconvae.clouds.labels import MOST_UNNAMED, label_values
from gconvae.datasets.storage.source import Source, StoredRows
from gconvae.schema import CloudSchema

__all__ = ["LabelNames", "clouds_of_rows"]

LABELS_AT_ONCE = 2**20
"""Labels of a file that are looked at together."""


class LabelNames:
    """Which classes the labels of a file are: what ``as_labels`` of all of them would say.

    Args:
        source: Its labels are read once where the schema names no classes.
        classes: Names of the classes that are known, or empty.
    """

    def __init__(self, source: Source, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self._numbers: NDArray[np.int64] | None = None
        if classes or not source.layout.has_labels:
            return
        known = _distinct_labels(source)
        if known.dtype.kind == "U":
            self.classes = tuple(known.tolist())
        elif known[0] < 0 or known[-1] >= MOST_UNNAMED:
            self._numbers = known
            self.classes = tuple(str(number) for number in known)

    def indices(self, labels: NDArray[Any], schema: CloudSchema) -> Tensor:
        """Class of each cloud, shape (n,).

        Args:
            labels: Of n clouds, as they are stored.
            schema: With the classes.
        Raises:
            ValueError: If one is unknown.
        """
        if self._numbers is not None:
            values = label_values(labels, len(labels))
            places = np.searchsorted(self._numbers, values).clip(max=len(self._numbers) - 1)
            if (self._numbers[places] != values).any():
                stranger = values[self._numbers[places] != values][0]
                raise ValueError(f"labels must be those of the opened file, got {stranger}")
            return torch.from_numpy(places)
        class_labels = as_labels(labels, len(labels), schema)
        if class_labels.classes != schema.classes:
            raise ValueError(
                f"labels must be 0 to {MOST_UNNAMED - 1}, got {class_labels.classes[-1]}"
            )
        assert class_labels.indices is not None
        return class_labels.indices


def clouds_of_rows(
    stored: StoredRows, rows: range | NDArray[np.int64], schema: CloudSchema, names: LabelNames
) -> Clouds:
    """Checks stored rows and puts their nodes in order; most files are in order already.

    Args:
        stored: What was read, and may be changed.
        rows: Numbers of these clouds in their file, for messages.
        schema: What the features are.
        names: Of the labels.
    Raises:
        ValueError: If a real node is not finite, a cloud has none, or a label is unknown.
    """
    points = torch.from_numpy(_as_floats(stored.points))
    mask = _checked_mask(stored.mask, points, rows)
    if not any(feature.offset for feature in schema.features):
        points = points.float()
    is_full = bool(mask.all())
    if not is_full:
        points.numpy()[~mask.numpy()] = 0.0  # many times faster than torch's masked_fill
    # a sum of finite numbers may overflow, a finite sum has no other terms
    if not torch.isfinite(points.sum()):
        _check_finite(points, rows)
    is_ordered = in_order(points, None if is_full else mask, schema)
    if not is_ordered.all():
        wrong = (~is_ordered).nonzero().squeeze(1)
        points[wrong], mask[wrong] = sort_nodes(points[wrong], mask[wrong], schema)
    labels = None if stored.labels is None else names.indices(stored.labels, schema)
    conditions = as_conditions(stored.conditions, len(points))
    return Clouds(points, mask, labels, schema, conditions)


def _as_floats(points: NDArray[Any]) -> NDArray[Any]:
    """Floating-point numbers of this machine's byte order."""
    if points.dtype.kind != "f" or points.dtype.itemsize > 8:
        return points.astype(np.float64)
    return points.astype(points.dtype.newbyteorder("="), copy=False)


def _checked_mask(mask: Any, points: Tensor, rows: range | NDArray[np.int64]) -> Tensor:
    if mask is None:
        return points.new_ones(points.shape[:2], dtype=torch.bool)
    if mask.shape != points.shape[:2]:
        raise ValueError(
            f"mask must have shape {tuple(points.shape[:2])} like points, got {mask.shape}"
        )
    if mask.dtype != bool:
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError(f"mask must hold booleans, or 0 and 1, got dtype {mask.dtype}")
        mask = mask == 1
    if not mask.all() and not mask.any(1).all():
        empty = int(rows[int(np.flatnonzero(~mask.any(1))[0])])
        raise ValueError(f"points must have a real node in every cloud, cloud {empty} has none")
    return torch.from_numpy(mask)


def _check_finite(points: Tensor, rows: range | NDArray[np.int64]) -> None:
    bad = (~torch.isfinite(points).all(-1)).nonzero()
    if len(bad):
        cloud, node = bad[0].tolist()
        raise ValueError(
            f"points must be finite, got {points[cloud, node].tolist()} in cloud "
            f"{int(rows[cloud])}, node {node}"
        )


def _distinct_labels(source: Source) -> NDArray[Any]:
    """All labels that occur, sorted."""
    return np.unique(np.concatenate([np.unique(values) for values in _label_pieces(source)]))


def _label_pieces(source: Source) -> Iterator[NDArray[Any]]:
    count = source.layout.num_clouds
    for start in range(0, count, LABELS_AT_ONCE):
        stop = min(start + LABELS_AT_ONCE, count)
        yield label_values(source.labels(start, stop), stop - start)
