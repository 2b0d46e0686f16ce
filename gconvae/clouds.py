"""The data convention: clouds as padded tensors, packed tensors or PyG ``Data``, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = [
    "FEATURES",
    "INTENSITY",
    "Clouds",
    "Packed",
    "as_clouds",
    "as_sample",
    "from_data",
    "holds_graphs",
    "pack",
    "sort_nodes",
    "to_data",
    "unpack",
]

FEATURES = ("x", "y", "intensity")
"""Feature order in every tensor, which is x (px, across), y (px, down), intensity (in [0, 1])."""

INTENSITY = 2
"""Column of the intensity, by which nodes are ordered."""

FEW = 64
"""Nodes of a cloud up to which a GPU orders them by comparing all pairs: one pass in place of four
sorts."""


class Clouds(NamedTuple):
    """Padded clouds that were checked once and may be trusted afterwards.

    Attributes:
        points: Features (x px, y px, intensity), shape (B, N, F); masked nodes hold 0.
        mask: True where a node is real, shape (B, N).
        labels: One integer a cloud, shape (B,), or None.
    """

    points: Tensor
    mask: Tensor
    labels: Tensor | None = None


class Packed(NamedTuple):
    """Clouds without padding.

    Attributes:
        points: All real nodes, cloud after cloud, shape (P, F).
        batch: The cloud that each node belongs to, ascending, shape (P,).
    """

    points: Tensor
    batch: Tensor


def as_clouds(
    points: Any,
    mask: Any = None,
    labels: Any = None,
    *,
    name: str = "points",
    num_features: int | None = None,
) -> Clouds:
    """Checks clouds where they enter the library, and returns them as tensors.

    Args:
        points: Tensor or array of floats, shape (B, N, F).
        mask: Booleans, shape (B, N), True = a real node; None = every node is real.
        labels: Integers, shape (B,), or None.
        name: What error messages call ``points``.
        num_features: The F that is required, or None for any F of at least 2.
    Returns:
        The clouds, on the device and in the dtype of ``points``, with masked nodes set to 0.
    Raises:
        ValueError: If a shape or dtype is wrong, a real node is not finite, a cloud has no real
            node, or there is no cloud.
    Example:
        >>> as_clouds([[[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]]).points.shape
        torch.Size([1, 2, 3])
    """
    points = _as_tensor(points, name)
    if not points.is_floating_point():
        raise ValueError(f"{name} must hold floating-point numbers, got dtype {points.dtype}")
    if points.dim() != 3:
        raise ValueError(
            f"{name} must have shape (clouds, nodes, features), got {tuple(points.shape)}"
        )
    num_clouds, num_nodes, features = points.shape
    if num_clouds == 0 or num_nodes == 0:
        raise ValueError(
            f"{name} must hold at least one cloud and one node, got shape {tuple(points.shape)}"
        )
    if features < 2 or (num_features is not None and features != num_features):
        wanted = "at least 2" if num_features is None else str(num_features)
        raise ValueError(f"{name} must have {wanted} features a node, got {features}")
    mask = _checked_mask(mask, points, name)
    bad = (~torch.isfinite(points).all(-1) & mask).nonzero()
    if len(bad):
        cloud, node = bad[0].tolist()
        raise ValueError(
            f"{name} must be finite, got {points[cloud, node].tolist()} "
            f"in cloud {cloud}, node {node} ({len(bad)} such nodes)"
        )
    # multiplying would keep NaN in masked places
    points = points.masked_fill(~mask.unsqueeze(-1), 0.0)
    return Clouds(points, mask, _checked_labels(labels, num_clouds, points.device))


def as_sample(sample: Any, name: str = "sample") -> Clouds:
    """Clouds in any of the forms that models, metrics and plots take, checked.

    Args:
        sample: Padded points (B, N, F), an object with ``points`` and ``mask``
            (:class:`Clouds`, a dataset), a pair ``(points, mask)``, a PyG
            ``Batch``, or a sequence of PyG ``Data``.
        name: What error messages call ``sample``.
    Raises:
        ValueError: If it is none of these, or a shape, dtype or value is wrong.
    Example:
        >>> as_sample([[[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]]).mask
        tensor([[True, True]])
    """
    if hasattr(sample, "points") and hasattr(sample, "mask"):
        labels = getattr(sample, "labels", None)
        return as_clouds(sample.points, sample.mask, labels, name=name)
    if holds_graphs(sample):
        try:
            return from_data(sample)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(sample, tuple) and len(sample) == 2 and getattr(sample[0], "ndim", 0) == 3:
        return as_clouds(*sample, name=name)
    return as_clouds(sample, name=name)


def sort_nodes(points: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Puts nodes in the one order: brightest first, ties by y then x, masked nodes last.

    Args:
        points: Shape (B, N, F) with F of at least 3.
        mask: Shape (B, N), or None for all real.
    Returns:
        The sorted points (masked nodes are 0) and the sorted mask.
    Example:
        >>> points = torch.tensor([[[5.0, 1.0, 0.2], [6.0, 3.0, 0.9], [7.0, 2.0, 0.9]]])
        >>> sort_nodes(points)[0][0, :, 0]
        tensor([7., 6., 5.])
    """
    if mask is None:
        mask = points.new_ones(points.shape[:2], dtype=torch.bool)
    order = _by_intensity(points, mask)
    if order is None and points.is_cuda and points.shape[1] <= FEW:
        order = _by_comparison(points, mask)
    if order is None:
        order = _by_all_keys(points, mask)
    mask = mask.gather(1, order)
    points = points.gather(1, order.unsqueeze(-1).expand_as(points))
    return points.masked_fill(~mask.unsqueeze(-1), 0.0), mask


@torch.no_grad()
def _by_intensity(points: Tensor, mask: Tensor) -> Tensor | None:
    """Places of the nodes by intensity alone, (B, N), or None where real nodes may tie."""
    if torch.compiler.is_compiling() or points.device.type != "cpu":
        return None  # waiting for the answer takes longer there than sorting
    key = (-points[..., INTENSITY]).masked_fill(~mask, torch.inf)
    key, order = key.sort(dim=1)
    apart = key[:, 1:] > key[:, :-1]  # False for what is no number
    return order if (apart | ~mask.gather(1, order)[:, 1:]).all() else None


@torch.no_grad()
def _by_comparison(points: Tensor, mask: Tensor) -> Tensor:
    """:func:`_by_all_keys` for few nodes: each counts those before it, (B, N)."""
    place = torch.arange(points.shape[1], device=points.device)
    before = place.unsqueeze(0) < place.unsqueeze(1)  # (N, N), row i: the nodes before i
    for key in (points[..., 0], points[..., 1], -points[..., INTENSITY], (~mask).to(points)):
        # what is no number stands with the infinite ones, so that all nodes have places
        key = torch.nan_to_num(key, nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
        own, other = key.unsqueeze(2), key.unsqueeze(1)
        before = (other < own) | ((other == own) & before)  # (B, N, N)
    rank = before.sum(2)  # (B, N)
    return torch.empty_like(rank).scatter_(1, rank, place.expand_as(rank))


@torch.no_grad()
def _by_all_keys(points: Tensor, mask: Tensor) -> Tensor:
    """Places of the nodes by intensity, then y, then x, (B, N)."""
    order = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    # least significant key first: each stable sort keeps the order of the ones before
    for key in (points[..., 0], points[..., 1], -points[..., INTENSITY], (~mask).to(torch.uint8)):
        step = torch.argsort(key.gather(1, order), dim=1, stable=True)  # (B, N)
        order = order.gather(1, step)
    return order


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


def to_data(
    points: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
) -> list[Data]:
    """Padded clouds to PyG ``Data`` objects: ``pos`` (N, 2), ``x`` (N, F - 2), label ``y`` (1,).

    Example:
        >>> to_data(torch.zeros(2, 25, 3))[0]
        Data(x=[25, 1], pos=[25, 2])
    """
    from torch_geometric.data import Data

    graphs = []
    for i in range(len(points)):
        nodes = points[i] if mask is None else points[i][mask[i]]
        graph = Data(pos=nodes[:, :2].clone(), x=nodes[:, 2:].clone())
        if labels is not None:
            graph.y = labels[i : i + 1].clone()
        graphs.append(graph)
    return graphs


def from_data(data: Any, num_nodes: int | None = None) -> Clouds:
    """PyG ``Data`` objects, or a ``Batch`` of them, to padded clouds, nodes in their given order.

    Args:
        data: Each with ``pos`` (N, 2) and ``x`` (N, F - 2), and a label ``y`` on all or none.
        num_nodes: N of the result; None = the size of the largest cloud.
    Raises:
        ValueError: If a graph lacks ``pos`` or ``x``, or their rows do not match.
    Example:
        >>> from_data(to_data(torch.zeros(2, 25, 3))).points.shape
        torch.Size([2, 25, 3])
    """
    from torch_geometric.data import Batch

    if not hasattr(data, "batch"):
        graphs = list(data)
        if not graphs:
            raise ValueError("data must hold at least one graph, got none")
        for i, graph in enumerate(graphs):
            _check_graph(graph, f"data[{i}]")
        widths = sorted({graph.x.shape[1] for graph in graphs})
        if len(widths) > 1:
            raise ValueError(f"data must have the same number of features in x, got {widths}")
        if len({graph.y is None for graph in graphs}) > 1:
            raise ValueError("data must have a label y on every graph or on none, got a mixture")
        data = Batch.from_data_list(graphs)
    _check_graph(data, "data")
    nodes = torch.cat([data.pos, data.x.to(data.pos.dtype)], dim=1)  # (P, F)
    batch = data.batch
    if batch is None:
        batch = torch.zeros(len(nodes), dtype=torch.long, device=nodes.device)
    if len(nodes) == 0:
        raise ValueError("data must hold at least one node, got none")
    points, mask = unpack(nodes, batch, getattr(data, "num_graphs", None), num_nodes)
    labels = None if data.y is None else data.y.reshape(-1)
    return as_clouds(points, mask, labels, name="data")


def holds_graphs(value: Any) -> bool:
    """Whether PyG graphs were given: one, a ``Batch``, or a sequence of them.

    Example:
        >>> holds_graphs(to_data(torch.zeros(2, 25, 3))), holds_graphs(torch.zeros(2, 25, 3))
        (True, False)
    """
    if hasattr(value, "pos"):
        return True
    return isinstance(value, Sequence) and len(value) > 0 and hasattr(value[0], "pos")


def _as_tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
        if array.dtype == np.float64 and not isinstance(values, np.ndarray):
            array = array.astype(np.float32)  # nested lists carry no dtype of their own
        # torch takes only writable arrays with strides above 0 in this machine's byte order
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.as_tensor(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be a tensor or an array of numbers, got {type(values).__name__}: {error}"
        ) from None


def _checked_mask(mask: Any, points: Tensor, name: str) -> Tensor:
    shape = points.shape[:2]
    if mask is None:
        return points.new_ones(shape, dtype=torch.bool)
    mask = _as_tensor(mask, "mask").to(points.device)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must hold booleans, got dtype {mask.dtype}")
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


def _checked_labels(labels: Any, num_clouds: int, device: torch.device) -> Tensor | None:
    if labels is None:
        return None
    labels = _as_tensor(labels, "labels").to(device)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != (num_clouds,):
        raise ValueError(f"labels must have shape ({num_clouds},), got {tuple(labels.shape)}")
    return labels.long()


def _check_graph(graph: Data, name: str) -> None:
    pos, x = getattr(graph, "pos", None), getattr(graph, "x", None)
    if pos is None or x is None:
        raise ValueError(f"{name} must have pos and x, got {graph}")
    if pos.dim() != 2 or x.dim() != 2 or pos.shape[1] != 2 or len(pos) != len(x):
        raise ValueError(
            f"{name} must have pos (N, 2) and x (N, F), "
            f"got {tuple(pos.shape)} and {tuple(x.shape)}"
        )
