"""Clouds of your own: arrays, tensors and lists as a data set."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from gconvae import schema as schemas
from gconvae.clouds import Clouds, as_clouds, as_labels, sort_nodes
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.schema import CloudSchema

__all__ = ["from_points"]

MOST_FEATURES = 6
"""Features up to which an array may have been handed over as (B, F, N)."""

FEW_FEATURES = 4
"""Features up to which this is the only plausible reading already for small clouds."""


def from_points(
    points: Any,
    mask: Any = None,
    labels: Any = None,
    *,
    schema: CloudSchema | None = None,
    name: str = "points",
    conditions: Any = None,
) -> CloudDataset:
    """Any clouds of your own.

    Args:
        points: Numbers of any kind: an array or tensor (B, N, F), or a list of clouds (n_i, F);
            nodes that a masked array or tensor hides are not real.
        mask: True where a node is real, shape (B, N); None = every node.
        labels: One a cloud: whole numbers, texts, or one-hot rows; their names are kept in
            ``schema.classes``. None = none.
        schema: What the features are, see :mod:`gconvae.schema`; None = found from the numbers:
            the first two are positions, a heavy tail is looked for, and nothing else is assumed.
        name: What messages call ``points``.
        conditions: Numbers of each cloud as a whole that a model may be conditioned on, such as
            a jet's mass, shape (B, C); ``schema.conditions`` names them. None = none.
    Warns:
        UserWarning: If a heavy tail was found, or rows of zeros without a mask, or an array that
            looks like (B, F, N); or numbers so far from 0 that float32 cannot tell nodes apart:
            such clouds stay in float64.
    Raises:
        ValueError: If a shape or dtype is wrong, a value is not finite, or a cloud is empty.
    Example:
        >>> len(from_points(torch.rand(8, 25, 3)))
        8
        >>> data = from_points([[[0, 1]], [[2, 3], [4, 5]]], labels=["cat", "dog"])
        >>> data.mask.sum(1), data.schema.classes
        (tensor([1, 2]), ('cat', 'dog'))
    """
    was_masked = mask is not None
    clouds = as_clouds(points, mask, schema=schema, name=name, conditions=conditions)
    if schema is not None:
        schema = clouds.schema
    if schema is None:
        _warn_of_transposed(clouds, name)
    if not was_masked and clouds.is_full:
        _warn_of_padding(clouds, name)
    class_labels = as_labels(labels, clouds.num_clouds, schema)
    rows = None if clouds.conditions is None else clouds.conditions.cpu()
    schema = _schema_of(clouds, schema).with_conditions(0 if rows is None else rows.shape[1])
    if class_labels.classes:
        schema = schema.with_classes(class_labels.classes)
    kept = clouds.points.detach().cpu()
    if not any(feature.offset for feature in schema.features):
        with np.errstate(over="ignore"):
            kept = kept.float()
        if not torch.isfinite(kept).all():
            raise ValueError(
                f"{name} must be finite in float32, got {clouds.points.abs().max():g}"
            )
    kept, real = sort_nodes(kept, clouds.mask.cpu(), schema)
    indices = None if class_labels.indices is None else class_labels.indices.cpu()
    return CloudDataset(Clouds(kept, real, indices, schema, rows))


def _schema_of(clouds: Clouds, schema: CloudSchema | None) -> CloudSchema:
    """The schema that was given or found, with offsets where float32 needs them."""
    nodes = clouds.points[clouds.mask].detach().cpu().numpy()  # (P, F)
    if schema is None:
        schema = schemas.from_numbers(nodes)
        for sentence in schemas.findings(schema):
            warnings.warn(sentence, stacklevel=3)
        return schema
    if any(feature.offset for feature in schema.features):
        return schema
    inferred = schemas.with_offsets(schema, nodes)
    if inferred != schema:
        for sentence in schemas.findings(inferred):
            warnings.warn(sentence, stacklevel=3)
    return inferred


def _warn_of_transposed(clouds: Clouds, name: str) -> None:
    num_clouds, num_nodes, features = clouds.points.shape
    few = num_nodes <= FEW_FEATURES and features > MOST_FEATURES
    if few or (num_nodes <= MOST_FEATURES and features > 2 * MOST_FEATURES):
        warnings.warn(
            f"{name} of shape {(num_clouds, num_nodes, features)} are read as clouds of "
            f"{num_nodes} nodes with {features} features; if they are {features} nodes with "
            f"{num_nodes} features, hand over {name}.transpose(0, 2, 1), of shape "
            f"{(num_clouds, features, num_nodes)}",
            stacklevel=3,
        )


def _warn_of_padding(clouds: Clouds, name: str) -> None:
    """Rows of zeros at the ends of clouds are padding that nobody named."""
    is_zero = (clouds.points == 0).all(-1)  # (B, N)
    trailing = is_zero.flip(1).long().cumprod(1).sum(1)  # (B,)
    if int(trailing.max()) < 2 and int((trailing > 0).sum()) < 2:
        return
    warnings.warn(
        f"{name} end in {int(trailing.sum())} nodes of zeros alone, in "
        f"{int((trailing > 0).sum())} of {clouds.num_clouds} clouds, and are learned as nodes; "
        "if they fill up smaller clouds, hand over mask=, True where a node is real",
        stacklevel=3,
    )
