"""Clouds as padded or packed tensors, with the schema that says what their features are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gconvae.schema import CloudSchema

__all__ = ["Clouds", "Packed", "pack", "unpack"]


class _Tensors(NamedTuple):
    points: Tensor
    mask: Tensor
    labels: Tensor | None = None


class Clouds(_Tensors):
    """Padded clouds that were checked once and may be trusted afterwards.

    A tuple of three tensors, ``points, mask, labels = clouds``, that knows schema and conditions
    beside.

    Args:
        points: Features in the schema's order, shape (B, N, F); masked nodes hold 0.
        mask: True where a node is real, shape (B, N).
        labels: One integer a cloud, shape (B,), or None.
        schema: What the features are; None = not known.
        conditions: Numbers of each cloud as a whole, those of ``schema.conditions``, float32 of
            shape (B, C), or None.
    Example:
        >>> clouds = Clouds(torch.rand(8, 25, 3), torch.ones(8, 25, dtype=torch.bool))
        >>> clouds.num_clouds, clouds.subset(torch.tensor([1, 2])).points.shape
        (8, torch.Size([2, 25, 3]))
    """

    schema: CloudSchema | None
    conditions: Tensor | None

    def __new__(
        cls,
        points: Tensor,
        mask: Tensor,
        labels: Tensor | None = None,
        schema: CloudSchema | None = None,
        conditions: Tensor | None = None,
    ) -> Clouds:
        """The tuple of three, with schema and conditions beside."""
        clouds = super().__new__(cls, points, mask, labels)
        clouds.schema, clouds.conditions = schema, conditions
        return clouds

    @property
    def num_clouds(self) -> int:
        """B, the number of clouds."""
        return len(self.points)

    @property
    def is_full(self) -> bool:
        """Whether every node is real."""
        return bool(self.mask.all())

    def subset(self, rows: Any) -> Clouds:
        """Some of the clouds: an index tensor, a slice or a mask, on any device."""
        rows = rows.to(self.mask.device) if isinstance(rows, Tensor) else rows
        labels = None if self.labels is None else self.labels[rows]
        conditions = None if self.conditions is None else self.conditions[rows]
        return Clouds(self.points[rows], self.mask[rows], labels, self.schema, conditions)

    def to(self, device: torch.device | str) -> Clouds:
        """On a device."""
        labels = None if self.labels is None else self.labels.to(device)
        conditions = None if self.conditions is None else self.conditions.to(device)
        points, mask = self.points.to(device), self.mask.to(device)
        return Clouds(points, mask, labels, self.schema, conditions)

    def _replace(self, **changes: Any) -> Clouds:  # what stands beside the tuple stays too
        beside = {"schema": self.schema, "conditions": self.conditions}
        values = {**self._asdict(), **beside, **changes}
        return Clouds(**values)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (*self, self.schema, self.conditions)


class Packed(NamedTuple):
    """Clouds without padding.

    Attributes:
        points: All real nodes, cloud after cloud, shape (P, F).
        batch: The cloud that each node belongs to, ascending, shape (P,).
    """

    points: Tensor
    batch: Tensor


def pack(points: Tensor, mask: Tensor | None = None) -> Packed:
    """Padded to packed form.

    Args:
        points: Shape (B, N, F).
        mask: Shape (B, N), or None for all real.
    Returns:
        The real nodes (P, F) and their cloud numbers (P,).
    Example:
        >>> mask = torch.tensor([[True, True, False], [True, False, False]])
        >>> pack(torch.zeros(2, 3, 3), mask).batch
        tensor([0, 0, 1])
    """
    num_clouds, num_nodes = points.shape[:2]
    batch = torch.arange(num_clouds, device=points.device).repeat_interleave(num_nodes)  # (B*N,)
    if mask is None:
        return Packed(points.reshape(-1, points.shape[-1]), batch)
    return Packed(points[mask], batch[mask.reshape(-1)])


def unpack(
    points: Tensor, batch: Tensor, num_clouds: int | None = None, num_nodes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Packed to padded form.

    Args:
        points: Shape (P, F), cloud after cloud.
        batch: Cloud number of each node, ascending, shape (P,).
        num_clouds: B; None = the largest cloud number + 1.
        num_nodes: N; None = the size of the largest cloud.
    Returns:
        Points (B, N, F), 0 where there is no node, and the mask (B, N).
    Raises:
        ValueError: If ``batch`` is not ascending or goes beyond ``num_clouds``, or a cloud has
            more than ``num_nodes`` nodes.
    Example:
        >>> unpack(torch.ones(3, 2), torch.tensor([0, 0, 1]))[1]
        tensor([[ True,  True],
                [ True, False]])
    """
    if (batch[1:] < batch[:-1]).any():
        raise ValueError("batch must be ascending, so that the nodes of a cloud lie together")
    last = int(batch[-1])
    num_clouds = last + 1 if num_clouds is None else num_clouds
    if last >= num_clouds:
        raise ValueError(
            f"num_clouds must be above the last cloud number {last}, got {num_clouds}"
        )
    counts = torch.bincount(batch, minlength=num_clouds)  # (B,)
    largest = int(counts.max())
    num_nodes = largest if num_nodes is None else num_nodes
    if largest > num_nodes:
        raise ValueError(
            f"num_nodes must hold the largest cloud ({largest} nodes), got {num_nodes}"
        )
    mask = torch.arange(num_nodes, device=batch.device) < counts.unsqueeze(1)  # (B, N)
    padded = points.new_zeros(num_clouds, num_nodes, points.shape[-1])
    padded[mask] = points
    return padded, mask
