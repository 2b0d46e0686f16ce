"""Clouds as PyG graphs: ``pos`` positions, ``x`` other features, ``y`` label, ``conditions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gconvae.clouds.arrays import as_floats, as_tensor
from gconvae.clouds.padded import unpack
from gconvae.schema import CloudSchema

if TYPE_CHECKING:
    from gconvae.pyg import Data

__all__ = ["from_data", "holds_graphs", "num_positions_of", "to_data"]


class Graphs(NamedTuple):
    """What graphs hold, padded, nodes in their given order.

    Attributes:
        points: Positions and features, shape (B, N, F).
        mask: Shape (B, N).
        labels: In the form of ``y``: a tensor (B,) or (B, K), a list of texts, or None.
        conditions: Shape (B, C), or None.
    """

    points: Tensor
    mask: Tensor
    labels: Any
    conditions: Tensor | None = None


def to_data(
    points: Tensor,
    mask: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    schema: CloudSchema | None = None,
    conditions: Tensor | None = None,
) -> list[Data]:
    """Padded clouds to PyG ``Data``: ``pos`` (N, D), ``x`` (N, F - D), label ``y`` (1,).

    Where clouds have conditions, ``conditions`` (1, C).

    Args:
        points: Shape (B, N, F).
        mask: Shape (B, N), or None for all real.
        labels: Shape (B,), or None.
        schema: Says D; None = the first two features are positions.
        conditions: Shape (B, C), or None.
    Returns:
        One graph a cloud; without ``x`` where all features are positions.
    Example:
        >>> to_data(torch.zeros(2, 25, 3))[0]
        Data(x=[25, 1], pos=[25, 2])
    """
    from gconvae.pyg import Data

    positions = min(2, points.shape[-1]) if schema is None else schema.num_positions
    graphs = []
    for i in range(len(points)):
        nodes = points[i] if mask is None else points[i][mask[i]]
        further = {"x": nodes[:, positions:].clone()} if positions < nodes.shape[1] else {}
        graph = Data(**further, pos=nodes[:, :positions].clone())
        if labels is not None:
            graph.y = labels[i : i + 1].clone()
        if conditions is not None:
            graph.conditions = conditions[i : i + 1].clone()
        graphs.append(graph)
    return graphs


def from_data(data: Any, num_nodes: int | None = None) -> Graphs:
    """PyG ``Data`` objects, or a ``Batch`` of them, to padded clouds, nodes in their given order.

    Args:
        data: One graph, a ``Batch`` or a sequence of graphs; each with ``pos`` (N, D), perhaps
            ``x`` (N, F - D) or (N,), and a label ``y`` on all or none: a number, a text or a
            one-hot row; likewise ``conditions`` (1, C) or (C,).
        num_nodes: N of the result; None = the size of the largest cloud.
    Raises:
        ValueError: If a graph lacks ``pos``, attributes do not match, or one graph has none of
            the nodes; the message names graph and attribute.
    Example:
        >>> from_data(to_data(torch.zeros(2, 25, 3))).points.shape
        torch.Size([2, 25, 3])
    """
    graphs = _each(data)
    if not graphs:
        raise ValueError("data must hold at least one graph, got none")
    nodes = [_nodes(graph, f"data[{i}]") for i, graph in enumerate(graphs)]
    widths = sorted({cloud.shape[1] for cloud in nodes})
    if len(widths) > 1:
        raise ValueError(
            f"data must have the same number of features in pos and x, got {widths} in all"
        )
    sizes = torch.tensor([len(cloud) for cloud in nodes], device="cpu")
    if (sizes == 0).any():
        empty = int((sizes == 0).nonzero()[0])
        raise ValueError(f"data must have a real node in every cloud, cloud {empty} has none")
    batch = torch.arange(len(nodes), device="cpu").repeat_interleave(sizes).to(nodes[0].device)
    points, mask = unpack(torch.cat(nodes), batch, len(nodes), num_nodes)
    return Graphs(points, mask, _labels(graphs), _conditions(graphs))


def num_positions_of(data: Any) -> int:
    """D, the columns of ``pos`` of the first graph.

    Example:
        >>> num_positions_of(to_data(torch.zeros(2, 25, 3)))
        2
    """
    return int(as_tensor(_each(data)[0].pos, "pos").shape[-1])


def holds_graphs(value: Any) -> bool:
    """Whether PyG graphs were given: one, a ``Batch``, or a sequence of them.

    Example:
        >>> holds_graphs(to_data(torch.zeros(2, 25, 3))), holds_graphs(torch.zeros(2, 25, 3))
        (True, False)
    """
    if hasattr(value, "points") and hasattr(value, "mask"):
        return False  # a data set of clouds, which has the attributes of its graphs too
    if hasattr(value, "pos"):
        return True
    return isinstance(value, Sequence) and len(value) > 0 and hasattr(value[0], "pos")


def _each(data: Any) -> list[Any]:
    """Graphs of a batch, of a sequence, or the one that was given."""
    if hasattr(data, "to_data_list"):
        return list(data.to_data_list())
    return [data] if _is_graph(data) else list(data)


def _is_graph(data: Any) -> bool:
    """Whether it is one graph; PyG's data sets have the attributes of their graphs too."""
    from gconvae.pyg import Data

    return isinstance(data, Data)


def _nodes(graph: Any, name: str) -> Tensor:
    """Positions, then features, of one graph, shape (N, F)."""
    pos, x = getattr(graph, "pos", None), getattr(graph, "x", None)
    if pos is None:
        raise ValueError(f"{name}.pos must hold positions (N, D), it is missing in {graph}")
    pos = as_floats(pos, f"{name}.pos")
    if pos.dim() != 2:
        raise ValueError(f"{name}.pos must have shape (N, D), got {tuple(pos.shape)}")
    if x is None:
        return pos
    x = as_floats(x, f"{name}.x")
    if x.dim() == 1:
        x = x.unsqueeze(1)
    if x.dim() != 2 or len(x) != len(pos):
        raise ValueError(
            f"{name}.x must have shape ({len(pos)}, features) like pos, got {tuple(x.shape)}"
        )
    dtype = torch.promote_types(pos.dtype, x.dtype)
    return torch.cat([pos.to(dtype), x.to(dtype)], dim=1)


def _labels(graphs: list[Any]) -> Any:
    """The label of each graph, all as numbers, texts or rows."""
    targets = [getattr(graph, "y", None) for graph in graphs]
    if all(label is None for label in targets):
        return None
    without = sum(label is None for label in targets)
    if without:
        raise ValueError(
            f"data must have a label y on every graph or on none, {without} of {len(targets)} "
            "have none"
        )
    labels = [_label(label, f"data[{i}].y") for i, label in enumerate(targets)]
    texts = sum(isinstance(label, str) for label in labels)
    if texts == len(labels):
        return labels
    if texts:
        raise ValueError(
            f"data must have labels y that are all numbers or all texts, {texts} of "
            f"{len(labels)} are texts"
        )
    try:
        return torch.stack(labels)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"data must have labels y of one shape, got a mixture: {error}") from None


def _conditions(graphs: list[Any]) -> Tensor | None:
    """The conditions of each graph, shape (B, C), if they have any."""
    conditions = [getattr(graph, "conditions", None) for graph in graphs]
    if all(each is None for each in conditions):
        return None
    without = sum(each is None for each in conditions)
    if without:
        raise ValueError(
            f"data must have conditions on every graph or on none, {without} of {len(conditions)} "
            "have none"
        )
    rows = [
        as_floats(each, f"data[{i}].conditions").reshape(-1) for i, each in enumerate(conditions)
    ]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise ValueError(f"data must have as many conditions on every graph, got {lengths}")
    return torch.stack(rows)


def _label(label: Any, name: str) -> Any:
    if isinstance(label, list | tuple) and len(label) == 1:
        label = label[0]
    if isinstance(label, str):
        return label
    try:
        numbers = torch.as_tensor(label).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{name} must be a number, a text or a one-hot row, got {type(label).__name__}"
        ) from None
    if len(numbers) == 1 and numbers.is_floating_point() and numbers[0] != numbers[0].round():
        raise ValueError(f"{name} must be a whole number, a text or one-hot, got {numbers[0]:g}")
    return numbers[0] if len(numbers) == 1 else numbers
