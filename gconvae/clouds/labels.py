"""Labels of clouds in any form - whole numbers, texts, one-hot - as indices of classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gconvae.schema import CloudSchema

__all__ = ["MOST_UNNAMED", "Labels", "as_labels", "label_values", "relabelled"]

MOST_UNNAMED = 100
"""Whole numbers below this are taken as they are; larger ones are names, such as particle ids."""


class Labels(NamedTuple):
    """Classes of clouds.

    Attributes:
        indices: Shape (B,), or None where there are none.
        classes: Names of the classes 0 to K - 1; empty where the numbers are their own names.
    """

    indices: Tensor | None
    classes: tuple[str, ...] = ()


def as_labels(labels: Any, num_clouds: int, schema: CloudSchema | None = None) -> Labels:
    """Labels as indices, with the names that they had.

    Whole numbers from 0 to 99 stay what they are. Texts, and numbers beyond, are names: in sorted
    order they become 0 to K - 1. One-hot rows (B, K) become their columns, which have no names,
    and booleans 0 and 1. Where the schema names classes, texts are looked up there and numbers
    are its indices.

    Args:
        labels: Whole numbers (of any numeric type), texts or one-hot rows, one a cloud, or None.
        num_clouds: B.
        schema: Whose classes they are, if it names any.
    Raises:
        ValueError: If they have another length, are not whole, or the schema has no such class.
    Example:
        >>> as_labels([211, -13, 211], 3)
        Labels(indices=tensor([1, 0, 1]), classes=('-13', '211'))
    """
    if labels is None:
        return Labels(None)
    numbers = label_values(labels, num_clouds)
    known = () if schema is None else schema.classes
    if numbers.dtype.kind == "U":
        return _named(numbers, known)
    if known:
        outside = (numbers < 0) | (numbers >= len(known))
        if outside.any():
            raise ValueError(
                f"labels must be indices 0 to {len(known) - 1} of the classes "
                f"{', '.join(known)}, got {numbers[outside][0]}"
            )
        return Labels(torch.from_numpy(numbers), known)
    if numbers.min() >= 0 and numbers.max() < MOST_UNNAMED:
        return Labels(torch.from_numpy(numbers))
    distinct, indices = np.unique(numbers, return_inverse=True)
    return Labels(torch.from_numpy(indices.astype(np.int64)), tuple(str(n) for n in distinct))


def label_values(labels: Any, num_clouds: int) -> np.ndarray[Any, Any]:
    """Labels as texts or whole numbers, shape (B,), before anything is known of all of them.

    Args:
        labels: As :func:`as_labels` takes them.
        num_clouds: B.
    Raises:
        ValueError: If they have another length, or are not whole.
    Example:
        >>> label_values([[0, 1], [1, 0]], 2)
        array([1, 0])
    """
    values = _array(labels, num_clouds)
    return values.astype(str) if values.dtype.kind in "US" else _whole(values)


def relabelled(
    labels: Tensor | None, own: CloudSchema | None, wanted: CloudSchema | None
) -> Tensor | None:
    """Indices of the classes of one schema as those of the same names in another.

    Args:
        labels: Shape (B,), or None.
        own: Whose classes they are.
        wanted: Whose indices are wanted. Where one of both names no classes, indices are kept.
    Raises:
        ValueError: If a class that occurs is unknown there.
    Example:
        >>> from gconvae.schema import JETS
        >>> own, wanted = JETS.with_classes(["top"]), JETS.with_classes(["gluon", "top"])
        >>> relabelled(torch.tensor([0, 0]), own, wanted)
        tensor([1, 1])
    """
    if labels is None or own is None or wanted is None:
        return labels
    if not own.classes or not wanted.classes or own.classes == wanted.classes:
        return labels
    there = [wanted.classes.index(c) if c in wanted.classes else -1 for c in own.classes]
    renumbered = torch.tensor(there, device=labels.device)[labels]
    if (renumbered < 0).any():
        stranger = own.classes[int(labels[renumbered < 0][0])]
        raise ValueError(
            f"labels must be out of the classes {', '.join(wanted.classes)}, got {stranger!r}"
        )
    return renumbered


def _array(labels: Any, num_clouds: int) -> np.ndarray[Any, Any]:
    """Labels (B,), of one-hot rows the columns."""
    if isinstance(labels, np.ma.MaskedArray) and np.ma.getmaskarray(labels).any():
        raise ValueError("labels must be there for every cloud, got masked ones")
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.dtype == object:
        try:
            values = np.array([_plain(value) for value in values.ravel()])
        except (TypeError, ValueError):
            values = np.zeros(0, dtype=object)
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind not in "USfiu":
        raise ValueError(f"labels must be whole numbers, texts or one-hot, got {values.dtype}")
    if values.ndim == 2 and values.shape[1] == 1 and len(values) == num_clouds:
        values = values[:, 0]
    if values.ndim == 2 and len(values) == num_clouds and values.dtype.kind not in "US":
        if not (np.isin(values, (0, 1)).all() and (values.sum(1) == 1).all()):
            raise ValueError("labels must be one-hot rows, a 1 among zeros, got other rows")
        values = values.argmax(1)
    if values.shape != (num_clouds,):
        raise ValueError(f"labels must have shape ({num_clouds},), got {values.shape}")
    return values


def _plain(value: Any) -> Any:
    """Texts and numbers; None and others are no labels."""
    if isinstance(value, str | int | float | np.generic):
        return value
    raise TypeError


def _whole(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.dtype.kind == "f":
        wrong = ~np.isfinite(values) | (values != np.round(values))
        if wrong.any():
            raise ValueError(f"labels must be whole numbers, got {values[wrong][0]}")
    return values.astype(np.int64)


def _named(values: np.ndarray[Any, Any], known: tuple[str, ...]) -> Labels:
    distinct, indices = np.unique(values, return_inverse=True)
    if not known:
        return Labels(
            torch.from_numpy(indices.astype(np.int64)), tuple(str(name) for name in distinct)
        )
    strangers = [str(name) for name in distinct if name not in known]
    if strangers:
        raise ValueError(
            f"labels must be out of the classes {', '.join(known)}, got {strangers[0]!r}"
        )
    places = np.array([known.index(name) for name in distinct], dtype=np.int64)
    return Labels(torch.from_numpy(places[indices]), known)
