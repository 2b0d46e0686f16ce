"""The order in which nodes and their features are written, and of nodes by their places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gconvae.schema import CloudSchema

__all__ = ["WritingOrder", "in_order", "order_of_places"]

MOST_RANKED = 7
"""Features that order the nodes; with more, their rank would be no whole number of 64 bits."""


class WritingOrder(NamedTuple):
    """In which order a cloud is written.

    Attributes:
        columns: Columns of the features, that of the first first.
        descends: Whether the nodes descend in each of them, in the same order.
    Example:
        >>> WritingOrder.of_image(3).columns  # y, x, the rest
        (1, 0, 2)
    """

    columns: tuple[int, ...]
    descends: tuple[bool, ...]

    @classmethod
    def of_image(cls, num_features: int, num_positions: int = 2) -> WritingOrder:
        """From the top down, equal heights from the left, and then what lies there."""
        last = min(num_positions, num_features)
        columns = (*reversed(range(last)), *range(last, num_features))
        return cls(columns, (False,) * num_features)

    @classmethod
    def of_schema(cls, schema: CloudSchema) -> WritingOrder:
        """That of the schema; an image is written line by line."""
        in_order = schema.order and schema.picture.cell is None
        keys = dict(schema.order_keys) if in_order else {}
        for column in cls.of_image(schema.num_features, schema.num_positions).columns:
            keys.setdefault(column, False)
        return cls(tuple(keys), tuple(keys.values()))

    def written(self, parts: Tensor, dim: int = -1) -> Tensor:
        """Columns in the order in which they are written."""
        every = parts.unbind(dim)
        return torch.stack([every[column] for column in self.columns], dim)

    def in_columns(self, written: Tensor) -> Tensor:
        """Features as they are written, shape (B, N, F), in their columns again."""
        every = written.unbind(-1)
        columns = [every[self.columns.index(column)] for column in range(len(every))]
        return torch.stack(columns, dim=-1)

    def of_nodes(self, place: Tensor, mask: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Nodes in order, masked ones last and 0, shape (B, N, F); and their numbers, (B, N).

        Args:
            place: Of features as they are written, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
            steps: Last place of each feature.
        """
        order = order_of_places(place, mask, steps, self.descends)
        place = place.masked_fill(~mask.unsqueeze(-1), 0)
        return in_order(place, order), order


def in_order(nodes: Tensor, order: Tensor) -> Tensor:
    """Nodes in another order, shape (B, N, F).

    Args:
        nodes: Shape (B, N, F).
        order: Numbers of nodes, shape (B, N).
    """
    return nodes.gather(1, order.unsqueeze(-1).expand_as(nodes))


def order_of_places(
    place: Tensor, mask: Tensor, steps: Sequence[int], descends: Sequence[bool]
) -> Tensor:
    """Numbers of the nodes in order, masked ones last.

    Nodes at one place follow their further features, so that no order of the input counts.

    Args:
        place: Shape (B, N, F).
        mask: True where a node is real, shape (B, N).
        steps: Last place of each feature.
        descends: Whether the nodes descend in it.
    Returns:
        Shape (B, N).
    Example:
        >>> place = torch.tensor([[[3, 1], [5, 0], [3, 2]]])
        >>> mask = torch.tensor([[True, True, True]])
        >>> order_of_places(place, mask, [9, 9], [True, False])
        tensor([[1, 0, 2]])
    """
    rank = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
    base = max(steps) + 1
    ranked = min(MOST_RANKED, int(63 * math.log(2) / math.log(base)))  # whole in 64 bits
    for feature in range(min(ranked, place.shape[-1])):
        each, last = place[..., feature], steps[feature]
        rank = rank * base + (last - each if descends[feature] else each)
    rank = rank.masked_fill(~mask, torch.iinfo(torch.long).max)
    return rank.argsort(dim=1, stable=True)
