"""PyG graphs as a data set of clouds, the real MNISTSuperpixels among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from gconvae.clouds import as_clouds, from_data, num_positions_of, sort_nodes
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.mnist import DIGITS, checked_digits
from gconvae.datasets.sources import from_points
from gconvae.pyg import Data
from gconvae.pyg import datasets as pyg_datasets
from gconvae.schema import CloudSchema, from_numbers

__all__ = ["from_pyg"]

KEPT_SUPERPIXELS = 25
"""Nodes that are kept of each of PyG's superpixel digits, as on the slides."""


def from_pyg(
    dataset: Any,
    digit: int | Sequence[int] | None = None,
    num_points: int | None = None,
    *,
    positions: Literal["auto", "xy", "yx"] = "auto",
    schema: CloudSchema | None = None,
) -> CloudDataset:
    """PyG graphs in the form of the bundled set.

    Of PyG's ``MNISTSuperpixels``, nodes of intensity 0 are dropped, the 25 brightest are kept, and
    the schema is that of the bundled digits. Graphs of other data sets are taken as they are.

    Args:
        dataset: Graphs with ``pos`` (N, D), perhaps ``x`` (N, F - D) or (N,), ``y`` and
            ``conditions`` (1, C): a data set, a list, a ``Batch``, or a loader of batches.
        digit: The labels to keep, for digits; None = all.
        num_points: The most nodes kept of each cloud, the first in canonical order; None = all,
            of ``MNISTSuperpixels`` 25.
        positions: Order of the columns of ``pos``. PyG's ``MNISTSuperpixels`` holds (down, across)
            = "yx"; "auto" takes that for this class and "xy" for everything else.
        schema: What the features are; None = found from the numbers.
    Raises:
        ValueError: If no graph is left, or an attribute of one is wrong: the message names both.
    Example:
        >>> import torch
        >>> graph = Data(x=torch.tensor([[0.2], [0.5], [0.9]]), pos=torch.rand(3, 2))
        >>> from_pyg([graph, graph], num_points=2).points.shape
        torch.Size([2, 2, 3])
    """
    if positions not in ("auto", "xy", "yx"):
        raise ValueError(f"positions must be 'auto', 'xy' or 'yx', got {positions!r}")
    if num_points is not None and num_points < 1:
        raise ValueError(f"num_points must be at least 1, got {num_points}")
    is_mnist = isinstance(dataset, pyg_datasets.MNISTSuperpixels)
    graphs = _each(dataset)
    if digit is not None:
        digits = checked_digits(digit)
        graphs = [graph for graph in graphs if _digit(graph) in digits]
    if not graphs:
        raise ValueError(f"dataset must hold at least one graph of digit {digit}, got none")
    largest = max(graph.num_nodes or 0 for graph in graphs)
    points, mask, labels, conditions = from_data(graphs, num_nodes=max(largest, num_points or 0))
    if positions == "yx" or (positions == "auto" and is_mnist):
        points = points[..., [1, 0, *range(2, points.shape[-1])]]
    if is_mnist:
        num_points, schema = num_points or KEPT_SUPERPIXELS, schema or DIGITS
        mask = mask & (points[..., 2] != 0)
        points, mask, labels = as_clouds(points.float(), mask, labels, name="dataset")
    if num_points is not None:
        points, mask = sort_nodes(points, mask, schema)
        points, mask = points[:, :num_points], mask[:, :num_points]
    num_positions = num_positions_of(graphs)
    if schema is None and num_positions != min(2, points.shape[-1]):
        schema = from_numbers(points[mask].detach().cpu().numpy(), num_positions)
    return from_points(points, mask, labels, schema=schema, conditions=conditions)


def _digit(graph: Data) -> int | None:
    """The label of a graph of a digit; None = it has none."""
    try:
        return None if graph.y is None else int(graph.y)
    except (TypeError, ValueError):
        raise ValueError(
            f"digit must be None for labels that are no digits, got y = {graph.y!r}"
        ) from None


def _each(dataset: Any) -> list[Any]:
    """Graphs of a data set, a list, one graph, a batch, or a loader of batches."""
    if hasattr(dataset, "to_data_list"):
        return list(dataset.to_data_list())
    if isinstance(dataset, Data):
        return [dataset]
    if not isinstance(dataset, Iterable) and not hasattr(dataset, "__getitem__"):
        raise ValueError(f"dataset must hold PyG graphs, got {type(dataset).__name__}")
    graphs: list[Any] = []
    for entry in dataset:
        graphs += entry.to_data_list() if hasattr(entry, "to_data_list") else [entry]
    return graphs
