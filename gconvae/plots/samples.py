"""Samples as they are drawn: checked clouds, all with one schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gconvae import clouds, metrics
from gconvae.plots.style import Floats
from gconvae.schema import CloudSchema

__all__ = ["as_samples", "class_names", "each", "nodes_of", "schema_of"]


def as_samples(
    samples: Mapping[str, Any], schema: CloudSchema | None = None
) -> dict[str, clouds.Clouds]:
    """Checked samples by name, all with one schema.

    Args:
        samples: Name to clouds in any form of :func:`gconvae.metrics.compare`.
        schema: What their features are; None = that of the first sample that has one, else made
            from the numbers of the first.
    Raises:
        ValueError: If there is none, one is wrong, or they have other features.
    """
    if not isinstance(samples, Mapping) or not samples:
        raise ValueError(
            f"samples must map at least one name to clouds, got {type(samples).__name__}"
        )
    checked = {name: metrics.as_sample(part, name or "points") for name, part in samples.items()}
    known = [part.schema for part in checked.values() if part.schema is not None]
    if schema is None:
        schema = known[0] if known else clouds.described(next(iter(checked.values()))).schema
    assert schema is not None
    for name, part in checked.items():
        if part.points.shape[-1] != schema.num_features:
            raise ValueError(
                f"{name or 'points'} must have {schema.num_features} features a node "
                f"({', '.join(schema.names)}), got {part.points.shape[-1]}"
            )
    return {
        name: part._replace(schema=_with_own_classes(part, schema))
        for name, part in checked.items()
    }


def _with_own_classes(part: clouds.Clouds, schema: CloudSchema) -> CloudSchema:
    return schema if part.schema is None else schema.with_classes(part.schema.classes)


def class_names(sample: clouds.Clouds, count: int) -> list[str]:
    """Of the first clouds; empty where they have no labels, or all the same one."""
    if sample.labels is None or sample.schema is None:
        return []
    drawn = sample.labels[:count].tolist()
    return [sample.schema.class_name(label) for label in drawn] if len(set(drawn)) > 1 else []


def schema_of(samples: Mapping[str, clouds.Clouds]) -> CloudSchema:
    """The one schema of checked samples."""
    schema = next(iter(samples.values())).schema
    assert schema is not None
    return schema


def nodes_of(sample: clouds.Clouds) -> Floats:
    """All real nodes of a sample, shape (P, F)."""
    nodes: Floats = sample.points[sample.mask].detach().cpu().double().numpy()
    return nodes


def each(sample: clouds.Clouds) -> Iterator[Floats]:
    """The real nodes (N, F) of each cloud."""
    points, mask = (part.detach().cpu().numpy() for part in (sample.points, sample.mask))
    return (cloud[real].astype(np.float64) for cloud, real in zip(points, mask, strict=True))
