"""Clouds where they enter the library: any form, checked once, as :class:`Clouds`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gconvae import schema as schemas
from gconvae.clouds.arrays import as_floats, as_padded, as_tensor
from gconvae.clouds.graphs import from_data, holds_graphs, num_positions_of
from gconvae.clouds.items import columns_of, is_map_style, unloaded
from gconvae.clouds.labels import as_labels, relabelled
from gconvae.clouds.padded import Clouds
from gconvae.schema import CloudSchema

__all__ = ["as_clouds", "as_conditions", "as_sample", "described", "joined_samples"]


def as_clouds(
    points: Any,
    mask: Any = None,
    labels: Any = None,
    *,
    name: str = "points",
    num_features: int | None = None,
    schema: CloudSchema | None = None,
    conditions: Any = None,
) -> Clouds:
    """Checks clouds where they enter the library, and returns them as tensors.

    Args:
        points: Clouds, shape (B, N, F), or a sequence of clouds (n_i, F), numbers of any kind;
            what numpy's masked arrays and torch's masked or nested tensors hide is not real.
        mask: Booleans, or 0 and 1, shape (B, N), True = a real node; None = every node that is
            not hidden.
        labels: One a cloud, shape (B,), in any form of :func:`gconvae.clouds.as_labels`, or None.
        name: What error messages call ``points``.
        num_features: The F that is required, or None for any.
        schema: What the features are; None = not known.
        conditions: Numbers of each cloud as a whole, shape (B, C), or None.
    Returns:
        The clouds, on the device and in the dtype of ``points``, with masked nodes set to 0.
    Raises:
        ValueError: If a shape or dtype is wrong, a real node is not finite, a cloud has no real
            node, there is no cloud, or the schema has another number of features or conditions.
    Example:
        >>> as_clouds([[[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]]).points.shape
        torch.Size([1, 2, 3])
    """
    points, hidden = as_padded(points, name)
    if points.dim() != 3:
        raise ValueError(
            f"{name} must have shape (clouds, nodes, features), got {tuple(points.shape)}"
        )
    num_clouds, num_nodes, features = points.shape
    if num_clouds == 0 or num_nodes == 0:
        raise ValueError(
            f"{name} must hold at least one cloud and one node, got shape {tuple(points.shape)}"
        )
    if features == 0:
        raise ValueError(f"{name} must have at least one feature a node, got 0")
    if schema is not None and num_features is None:
        num_features = schema.num_features
    if num_features is not None and features != num_features:
        wanted = "" if schema is None else f" ({', '.join(schema.names)})"
        raise ValueError(
            f"{name} must have {num_features} features a node{wanted}, got {features}"
        )
    mask = _checked_mask(hidden if mask is None else mask, points, name)
    if hidden is not None:
        mask = mask & hidden.to(mask.device)
    _check_nodes(points, mask, name)
    # multiplying would keep NaN in masked places
    points = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    class_labels = as_labels(labels, num_clouds, schema)
    if class_labels.classes and schema is not None:
        schema = schema.with_classes(class_labels.classes)
    indices = None if class_labels.indices is None else class_labels.indices.to(points.device)
    known = as_conditions(conditions, num_clouds)
    known = None if known is None else known.to(points.device)
    if schema is not None:
        schema = schema.with_conditions(0 if known is None else known.shape[1])
    return Clouds(points, mask, indices, schema, known)


def as_conditions(conditions: Any, num_clouds: int) -> Tensor | None:
    """Checks numbers that each cloud has as a whole, such as a jet's mass.

    Args:
        conditions: Shape (B, C) with C at least 1, or None.
        num_clouds: B.
    Returns:
        float32, on their own device, without a gradient; None where there are none.
    Raises:
        ValueError: If a shape or dtype is wrong, or a number is not finite in float32.
    Example:
        >>> as_conditions([[170, 1.2], [80, 0.9]], 2)
        tensor([[170.0000,   1.2000],
                [ 80.0000,   0.9000]])
    """
    if conditions is None:
        return None
    numbers = as_floats(conditions, "conditions").detach()
    if numbers.dim() != 2 or len(numbers) != num_clouds or numbers.shape[1] == 0:
        raise ValueError(
            f"conditions must have shape ({num_clouds}, C) with C at least 1, "
            f"got {tuple(numbers.shape)}"
        )
    numbers = numbers.float()
    bad = (~torch.isfinite(numbers).all(1)).nonzero()
    if len(bad):
        cloud = int(bad[0])
        raise ValueError(
            f"conditions must be finite, got {numbers[cloud].tolist()} of cloud {cloud}"
        )
    return numbers


def as_sample(sample: Any, name: str = "sample", schema: CloudSchema | None = None) -> Clouds:
    """Clouds in any of the forms that models, metrics and plots take, checked.

    Args:
        sample: Padded points (B, N, F), an object with ``points`` and ``mask``
            (:class:`Clouds`, a dataset), a pair ``(points, mask)``, a PyG
            ``Batch``, or a sequence of PyG ``Data``; torch's ``Subset``, ``ConcatDataset`` or
            ``DataLoader`` of these; or a map-style data set of clouds, perhaps with labels.
        name: What error messages call ``sample``.
        schema: What the features are, if ``sample`` does not say it.
    Raises:
        ValueError: If it is none of these, or a shape, dtype or value is wrong.
    Example:
        >>> as_sample([[[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]]).mask
        tensor([[True, True]])
    """
    sample = unloaded(sample, name)
    if hasattr(sample, "in_memory"):  # a data set on disk
        sample = sample.in_memory()
    if hasattr(sample, "points") and hasattr(sample, "mask"):
        own = getattr(sample, "schema", None)
        labels, conditions = (getattr(sample, each, None) for each in ("labels", "conditions"))
        schema = schema if own is None else own
        return as_clouds(
            *(sample.points, sample.mask, labels),
            name=name,
            schema=schema,
            conditions=conditions,
        )
    if holds_graphs(sample):
        try:
            *nodes, conditions = from_data(sample)
            clouds = as_clouds(*nodes, name=name, schema=schema, conditions=conditions)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        positions = num_positions_of(sample)
        usual = min(2, clouds.points.shape[-1])
        return clouds if positions == usual else described(clouds, positions)
    if hasattr(sample, "dataset") and hasattr(sample, "indices"):  # torch's Subset
        rows = torch.as_tensor(list(sample.indices), dtype=torch.long, device="cpu")
        if hasattr(sample.dataset, "in_memory"):  # of a data set on disk, these rows only
            return as_sample(sample.dataset[rows], name, schema)
        return as_sample(sample.dataset, name, schema).subset(rows)
    if isinstance(getattr(sample, "datasets", None), Sequence):  # torch's ConcatDataset
        return joined_samples([as_sample(part, name, schema) for part in sample.datasets], name)
    if is_map_style(sample):
        return as_clouds(*columns_of(sample, name), name=name, schema=schema)
    if isinstance(sample, tuple) and len(sample) == 2 and getattr(sample[0], "ndim", 0) == 3:
        return as_clouds(*sample, name=name, schema=schema)
    return as_clouds(sample, name=name, schema=schema)


def described(clouds: Clouds, num_positions: int = 2) -> Clouds:
    """Clouds that have a schema: their own, else one made from their numbers.

    Args:
        clouds: Any.
        num_positions: D, where the clouds have no schema.
    Example:
        >>> described(as_clouds(torch.rand(50, 8, 3))).schema.names
        ('x', 'y', 'feature 3')
    """
    if clouds.schema is not None:
        return clouds
    nodes = clouds.points[clouds.mask].detach().cpu().numpy()
    count = 0 if clouds.conditions is None else clouds.conditions.shape[1]
    schema = schemas.from_numbers(nodes, num_positions).with_conditions(count)
    return clouds._replace(schema=schema)


def joined_samples(parts: Sequence[Clouds], name: str) -> Clouds:
    """All clouds, padded to the largest number of nodes, with the classes of all.

    Conditions are kept where all parts have the same ones.

    Args:
        parts: One after another.
        name: What error messages call them.
    Raises:
        ValueError: If their nodes are of different schemas.
    """
    schema = parts[0].schema
    for part in parts[1:]:
        if schema is None or part.schema is None:
            continue
        unlike = schema.difference(part.schema)
        if unlike:
            raise ValueError(f"{name} must be made of parts with one schema, {unlike}")
        both = parts[0].labels is not None and part.labels is not None
        if both and bool(schema.classes) != bool(part.schema.classes):
            raise ValueError(f"{name} must be made of parts that all name their classes, or none")
        names = dict.fromkeys((*schema.classes, *part.schema.classes))
        schema = schema.with_classes(tuple(names))
    width = max(part.mask.shape[1] for part in parts)
    pad = torch.nn.functional.pad
    points = [pad(part.points, (0, 0, 0, width - part.mask.shape[1])) for part in parts]
    masks = [pad(part.mask, (0, width - part.mask.shape[1])) for part in parts]
    labels = [relabelled(part.labels, part.schema, schema) for part in parts]
    known = [part for part in labels if part is not None]
    joined = torch.cat(known) if len(known) == len(parts) else None
    conditions = _joined_conditions(parts)
    if schema is not None and conditions is None:
        schema = schema.with_conditions(0)
    return Clouds(torch.cat(points), torch.cat(masks), joined, schema, conditions)


def _joined_conditions(parts: Sequence[Clouds]) -> Tensor | None:
    known = [part.conditions for part in parts if part.conditions is not None]
    named = {
        None if part.schema is None else tuple(c.label for c in part.schema.conditions)
        for part in parts
    }
    is_same = len(named) == 1 and len({each.shape[1] for each in known}) == 1
    return torch.cat(known) if len(known) == len(parts) and is_same else None


def _check_nodes(points: Tensor, mask: Tensor, name: str) -> None:
    bad = (~torch.isfinite(points).all(-1) & mask).nonzero()
    if len(bad):
        cloud, node = bad[0].tolist()
        raise ValueError(
            f"{name} must be finite, got {points[cloud, node].tolist()} "
            f"in cloud {cloud}, node {node} ({len(bad)} such nodes)"
        )


def _checked_mask(mask: Any, points: Tensor, name: str) -> Tensor:
    shape = points.shape[:2]
    if mask is None:
        return points.new_ones(shape, dtype=torch.bool)
    if isinstance(mask, np.ma.MaskedArray):
        mask = mask.filled(False)
    mask = as_tensor(mask, "mask").to(points.device)
    if mask.dtype != torch.bool:
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError(f"mask must hold booleans, or 0 and 1, got dtype {mask.dtype}")
        mask = mask == 1
    if mask.shape != shape:
        raise ValueError(
            f"mask must have shape {tuple(shape)} like {name}, got {tuple(mask.shape)}"
        )
    empty = (~mask.any(1)).nonzero()
    if len(empty):
        raise ValueError(
            f"{name} must have a real node in every cloud, cloud {int(empty[0])} has none"
        )
    return mask
