"""Clouds as a search gets them: what is checked of them, and where they lie when packed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconvae.cuda_graphs import recording

__all__ = [
    "Packing",
    "check_masks",
    "check_pair",
    "find_packing",
    "find_starts",
    "one_cloud",
    "searchable",
]


class Packing(NamedTuple):
    """Where the clouds of packed queries and points lie."""

    batch_query: Tensor  # (P_q,), ascending
    batch_points: Tensor  # (P_p,), ascending
    starts: Tensor  # (B,), first point of each cloud
    counts: Tensor  # (B,), points of each cloud
    longest: int  # points of the largest cloud


def check_pair(query: Tensor, points: Tensor, dim: int) -> None:
    """Checks both sides of a search.

    Args:
        query: Shape (P_q, F) packed, or (B, N, F) padded.
        points: Likewise.
        dim: 2 = packed, 3 = padded.
    Raises:
        ValueError: If a shape is another, or features, clouds, dtypes or devices differ.
    """
    shape = "(nodes, features)" if dim == 2 else "(clouds, nodes, features)"
    for name, nodes in (("query", query), ("points", points)):
        if nodes.dim() != dim or nodes.shape[-1] == 0:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(nodes.shape)}")
        if not nodes.is_floating_point():
            raise ValueError(f"{name} must hold floating-point numbers, got dtype {nodes.dtype}")
    if query.shape[-1] != points.shape[-1]:
        raise ValueError(
            "query and points must have the same features, "
            f"got {query.shape[-1]} and {points.shape[-1]}"
        )
    if query.dtype != points.dtype or query.device != points.device:
        raise ValueError(
            "query and points must have one dtype and device, "
            f"got {query.dtype} on {query.device} and {points.dtype} on {points.device}"
        )
    # not len(), with which torch.export would fix the number of clouds
    if dim == 3 and query.shape[0] != points.shape[0]:
        raise ValueError(
            "query and points must hold the same clouds, "
            f"got {query.shape[0]} and {points.shape[0]}"
        )


def check_masks(
    query: Tensor, points: Tensor, query_mask: Tensor | None, points_mask: Tensor | None
) -> None:
    """Checks the masks of padded clouds, None = all real.

    Raises:
        ValueError: If one holds no booleans (B, N), or a cloud has queries but no points.
    """
    for name, mask, nodes in (
        ("query_mask", query_mask, query),
        ("points_mask", points_mask, points),
    ):
        if mask is None:
            continue
        if (
            mask.dtype != torch.bool
            or mask.shape != nodes.shape[:2]
            or mask.device != nodes.device
        ):
            raise ValueError(
                f"{name} must hold booleans of shape {tuple(nodes.shape[:2])} on {nodes.device}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)} on {mask.device}"
            )
    if points_mask is None and points.shape[1] > 0:
        return  # without a mask no cloud can be empty
    asks = query.new_ones(query.shape[:2], dtype=torch.bool) if query_mask is None else query_mask
    gives = points.new_ones(points.shape[:2], dtype=torch.bool)
    gives = gives if points_mask is None else points_mask
    _check_no_cloud_empty(asks.any(1), gives.any(1))


def find_packing(
    query: Tensor,
    points: Tensor,
    batch_query: Tensor,
    batch_points: Tensor,
    names: tuple[str, str, str, str] = ("query", "points", "batch_query", "batch_points"),
) -> Packing:
    """Checks the batches and finds the clouds in them.

    Args:
        query: Packed nodes, shape (P_q, F).
        points: Likewise, shape (P_p, F).
        batch_query: Cloud of each query, shape (P_q,).
        batch_points: Cloud of each point, shape (P_p,).
        names: What messages call these four.
    Raises:
        ValueError: If a batch is not ascending from 0, or a cloud has queries but no points.
    """
    _check_batch(batch_query, query, names[2], names[0])
    _check_batch(batch_points, points, names[3], names[1])
    batch_query, batch_points = batch_query.long(), batch_points.long()
    num_clouds = 1 + max((int(b[-1]) for b in (batch_query, batch_points) if len(b)), default=-1)
    count = torch.bincount(batch_points, minlength=num_clouds)  # (B,)
    asks = torch.bincount(batch_query, minlength=num_clouds)  # (B,)
    _check_no_cloud_empty(asks > 0, count > 0)
    longest = int(count.max()) if num_clouds else 0
    return Packing(batch_query, batch_points, count.cumsum(0) - count, count, longest)


def one_cloud(
    query: Tensor, points: Tensor, batch_query: Tensor | None, batch_points: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The batches, or where there are none those of a single cloud.

    Raises:
        ValueError: If one is given without the other, or lies on another device.
    """
    if batch_query is not None and batch_points is not None:
        _check_device(batch_query, query, "batch_query", "query")
        _check_device(batch_points, points, "batch_points", "points")
        return batch_query, batch_points
    if batch_query is not None or batch_points is not None:
        present, missing = "batch_query", "batch_points"
        if batch_query is None:
            present, missing = missing, present
        raise ValueError(f"{missing} must be given where {present} is, got None")
    sides = (
        torch.zeros(side.shape[0], dtype=torch.long, device=side.device)
        for side in (query, points)
    )
    return next(sides), next(sides)


def find_starts(counts: Tensor) -> Tensor:
    """First node of each cloud, and the number of nodes in the end: (B + 1,)."""
    return nn.functional.pad(counts.cumsum(0), (1, 0))


def searchable(query: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes in a dtype that can tell distances apart."""
    if query.dtype in (torch.float32, torch.float64):
        return query, points
    return query.float(), points.float()


def _check_no_cloud_empty(asks: Tensor, gives: Tensor) -> None:
    if recording(asks):
        return
    empty = (asks & ~gives).nonzero()
    if len(empty):
        raise ValueError(
            f"points must have a node in every cloud that has queries, cloud {int(empty[0])} "
            f"has none ({len(empty)} such clouds)"
        )


def _check_batch(batch: Tensor, nodes: Tensor, name: str, of: str) -> None:
    if batch.is_floating_point() or batch.is_complex() or batch.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, got dtype {batch.dtype}")
    if batch.shape != (len(nodes),):
        raise ValueError(
            f"{name} must have one cloud number for each of the {len(nodes)} nodes of {of}, "
            f"got shape {tuple(batch.shape)}"
        )
    _check_device(batch, nodes, name, of)
    if len(batch) and (bool((batch[1:] < batch[:-1]).any()) or int(batch[0]) < 0):
        raise ValueError(f"{name} must be ascending from 0, so that a cloud's nodes lie together")


def _check_device(batch: Tensor, nodes: Tensor, name: str, of: str) -> None:
    if batch.device != nodes.device:
        raise ValueError(f"{name} must be on {nodes.device} like {of}, got {batch.device}")
