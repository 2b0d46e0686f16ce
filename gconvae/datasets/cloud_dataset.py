"""Clouds as a PyG data set of graphs and as padded tensors, with the schema of their features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gconvae import schema as schemas
from gconvae.clouds import Clouds, as_clouds, described, from_data, sort_nodes, to_data
from gconvae.pyg import Data, InMemoryDataset
from gconvae.schema import CloudSchema

__all__ = ["CloudDataset"]

Transform = Callable[[Data], Data]


class CloudDataset(InMemoryDataset):
    """Clouds as a PyG dataset of ``Data(pos, x, y)``, and as padded tensors.

    An index, slice or mask gives a smaller dataset, as with any PyG dataset. A transform has one
    meaning everywhere: ``data[i]``, ``data.points`` and a training all have its result.

    Args:
        clouds: Checked clouds, nodes in canonical order, whose schema says what they are; without
            one, a schema is made from the numbers.
        transform: What changes each graph when it is looked at, as in PyG; None = nothing.
        pre_transform: What changes each graph now, once.
        pre_filter: Which graphs are kept, before ``pre_transform``; None = all.
    Raises:
        ValueError: If no graph is kept.
    Example:
        >>> from gconvae.datasets import from_points
        >>> data = from_points(torch.rand(8, 25, 3))
        >>> data[:3].points.shape, data[0]
        (torch.Size([3, 25, 3]), Data(x=[25, 1], pos=[25, 2]))
    """

    def __init__(
        self,
        clouds: Clouds,
        *,
        transform: Transform | None = None,
        pre_transform: Transform | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
    ) -> None:
        super().__init__(None, transform)
        clouds = _changed(described(clouds), pre_transform, pre_filter)
        self._clouds = clouds
        self._transformed: tuple[Transform, Any, Clouds] | None = None
        assert clouds.schema is not None
        positions = clouds.schema.num_positions
        counts = clouds.mask.sum(1)  # (B,)
        nodes = clouds.points[clouds.mask]  # (P, F)
        ends = torch.cat([counts.new_zeros(1), counts.cumsum(0)])  # (B + 1,)
        self._data = Data(pos=nodes[:, :positions])
        self.slices = {"pos": ends}
        if positions < nodes.shape[1]:
            self._data = Data(x=nodes[:, positions:], pos=nodes[:, :positions])
            self.slices = {"x": ends, "pos": ends}
        each = torch.arange(clouds.num_clouds + 1, device="cpu")
        for name, rows in (("y", clouds.labels), ("conditions", clouds.conditions)):
            if rows is not None:
                self._data[name], self.slices[name] = rows, each

    @property
    def clouds(self) -> Clouds:
        """The padded clouds of this dataset or subset, transformed."""
        stored = self._clouds
        if self._indices is not None:
            stored = stored.subset(
                torch.as_tensor(list(self._indices), dtype=torch.long, device="cpu")
            )
        if self.transform is None:
            return stored
        known = self._transformed
        if known is None or known[0] is not self.transform or known[1] is not self._indices:
            clouds = _changed(stored, self.transform, None)
            self._transformed = known = (self.transform, self._indices, clouds)
        return known[2]

    @property
    def schema(self) -> CloudSchema:
        """What the features are."""
        if self.transform is None:
            assert self._clouds.schema is not None
            return self._clouds.schema
        schema = self.clouds.schema
        assert schema is not None
        return schema

    @property
    def points(self) -> Tensor:
        """Features in the schema's order, nodes in canonical order, shape (B, N, F).

        float32, or float64 where the schema has an offset, since float32 cannot tell such nodes
        apart.
        """
        return self.clouds.points

    @property
    def mask(self) -> Tensor:
        """True where a node is real, shape (B, N)."""
        return self.clouds.mask

    @property
    def labels(self) -> Tensor | None:
        """The class of each cloud, shape (B,), or None; ``schema.classes`` has their names."""
        return self.clouds.labels

    @property
    def conditions(self) -> Tensor | None:
        """Numbers of each cloud as a whole, those of ``schema.conditions``, (B, C), or None."""
        return self.clouds.conditions

    def copy(self, idx: Any = None) -> CloudDataset:
        """A data set of its own, of all clouds or of those that an index, slice or mask names."""
        chosen = self if idx is None else self.index_select(idx)
        indices = chosen._indices
        stored = self._clouds
        if indices is not None:
            stored = stored.subset(torch.as_tensor(list(indices), dtype=torch.long, device="cpu"))
        return CloudDataset(stored, transform=self.transform)

    def checksum(self) -> str:
        """SHA-256 of points, mask, labels, conditions: the same for equal clouds everywhere."""
        digest = hashlib.sha256()
        clouds = self.clouds
        for tensor in (*clouds, clouds.conditions):
            if tensor is not None:
                digest.update(str(tuple(tensor.shape)).encode())
                digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()


def _changed(
    clouds: Clouds, transform: Transform | None, keep: Callable[[Data], bool] | None
) -> Clouds:
    """Clouds whose graphs went through a filter and a transform."""
    if transform is None and keep is None:
        return clouds
    schema = clouds.schema
    graphs = to_data(*clouds, schema=schema, conditions=clouds.conditions)
    if keep is not None:
        graphs = [graph for graph in graphs if keep(graph)]
        if not graphs:
            raise ValueError("pre_filter must keep at least one graph, it keeps none")
    if transform is None:
        *kept, rows = from_data(graphs)
        return as_clouds(*kept, name="the filtered clouds", schema=schema, conditions=rows)
    *changed, rows = from_data([transform(graph) for graph in graphs])
    transformed = as_clouds(*changed, name="transformed clouds", conditions=rows)
    nodes = transformed.points[transformed.mask]  # (P, F)
    inferred = schemas.from_numbers(nodes.numpy())
    if schema is not None and schema.num_features == inferred.num_features:
        inferred = _called_alike(inferred, schema)
    count = 0 if transformed.conditions is None else transformed.conditions.shape[1]
    known = () if schema is None else schema.conditions
    inferred = inferred.replace(conditions=known if len(known) == count else ())
    inferred = inferred.with_conditions(count)
    points, mask = sort_nodes(transformed.points, transformed.mask, inferred)
    return Clouds(points, mask, transformed.labels, inferred, transformed.conditions)


def _called_alike(inferred: CloudSchema, original: CloudSchema) -> CloudSchema:
    """Names and order of the original; what its numbers mean, a transform may have changed."""
    pairs = zip(inferred.features, original.features, strict=True)
    features = tuple(
        replace(new, name=old.name, position=old.position, step=None) for new, old in pairs
    )
    return CloudSchema(features, order=original.order, classes=original.classes)
