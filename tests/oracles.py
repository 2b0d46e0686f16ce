"""Slow, obvious loops that the fast code is compared with."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def squared_distance_loop(a: np.ndarray, b: np.ndarray) -> np.floating:
    """Squared distance of two nodes (F,) in their own precision, or in double beyond its range."""
    total = a.dtype.type(0)
    with np.errstate(over="ignore", under="ignore"):
        for feature in range(len(a)):
            difference = a[feature] - b[feature]
            total = total + difference * difference
    if a.dtype == np.float32 and not 2.0**-100 <= total < np.inf:
        return squared_distance_loop(a.astype(np.float64), b.astype(np.float64))
    return total


def knn_loop(
    query: Tensor, points: Tensor, batch_query: Tensor, batch_points: Tensor, k: int
) -> list[list[int]]:
    """For each query the k nearest points of its cloud by (distance, index)."""
    query_, points_ = query.numpy(), points.numpy()
    cloud_of = batch_points.tolist()
    found = []
    for i, cloud in enumerate(batch_query.tolist()):
        ranked = sorted(
            (float(squared_distance_loop(query_[i], points_[j])), j)
            for j in range(len(points_))
            if cloud_of[j] == cloud
        )
        found.append([j for _, j in ranked[:k]])
    return found


def nearest_loop(
    query: Tensor, points: Tensor, batch_query: Tensor, batch_points: Tensor
) -> list[int]:
    """For each query the lowest index among the nearest points of its cloud."""
    return [row[0] for row in knn_loop(query, points, batch_query, batch_points, 1)]


def knn_graph_loop(points: Tensor, k: int, batch: Tensor, loop: bool) -> list[list[int]]:
    """Edges (neighbour, node), nearest first within a node."""
    edges = []
    for node, ranked in enumerate(knn_loop(points, points, batch, batch, len(points))):
        neighbours = [other for other in ranked if loop or other != node]
        edges += [[other, node] for other in neighbours[:k]]
    return edges


def segment_means_loop(image: np.ndarray, segments: np.ndarray) -> list[tuple[float, ...]]:
    """Nodes (x, y, intensity) of the labels above 0, brightest first, ties by y then x."""
    nodes = []
    for label in sorted(set(segments.reshape(-1).tolist()) - {0}):
        pixels = [
            (float(x), float(y), float(image[y, x]))
            for y in range(image.shape[0])
            for x in range(image.shape[1])
            if segments[y, x] == label
        ]
        nodes.append(tuple(sum(column) / len(pixels) for column in zip(*pixels, strict=True)))
    return sorted(nodes, key=lambda node: (-node[2], node[1], node[0]))


def chamfer_loop(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    target_weight: Tensor | None = None,
    output_weight: Tensor | None = None,
    *,
    search: int | None = None,
    intensity_weight: float = 1.0,
) -> list[float]:
    """Both set losses, cloud by cloud in Python's floats.

    ``search`` is the number of features that decide which node is nearest (None = all of them,
    eq. 1); the other features add their squared gap times ``intensity_weight`` (eq. 2).
    """
    values = []
    for cloud in range(len(target)):
        p, w = _real_nodes_loop(target, target_mask, target_weight, cloud)
        q, v = _real_nodes_loop(output, output_mask, output_weight, cloud)
        values.append(
            _one_way_loop(p, w, q, search, intensity_weight)
            + _one_way_loop(q, v, p, search, intensity_weight)
        )
    return values


def _real_nodes_loop(
    points: Tensor, mask: Tensor | None, weight: Tensor | None, cloud: int
) -> tuple[list[list[float]], list[float]]:
    nodes, weights = [], []
    for i in range(points.shape[1]):
        if mask is None or bool(mask[cloud, i]):
            nodes.append(points[cloud, i].tolist())
            weights.append(1.0 if weight is None else float(weight[cloud, i]))
    return nodes, weights


def _one_way_loop(
    nodes: list[list[float]],
    weights: list[float],
    others: list[list[float]],
    search: int | None,
    intensity_weight: float,
) -> float:
    total = 0.0
    for node, weight in zip(nodes, weights, strict=True):
        best, best_gap = None, float("inf")
        for other in others:
            gap = sum((a - b) ** 2 for a, b in zip(node[:search], other[:search], strict=True))
            if gap < best_gap:  # the first one keeps a tie
                best, best_gap = other, gap
        assert best is not None
        term = best_gap
        if search is not None:
            pairs = zip(node[search:], best[search:], strict=True)
            term += intensity_weight * sum((a - b) ** 2 for a, b in pairs)
        total += weight * term
    return total


def conv2d_loop(
    image: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: int
) -> np.ndarray:
    """Convolution of one image (C, rows, columns), stride 1, zeros at both ends of the columns."""
    outs, ins, height, width = weight.shape
    _, rows, columns = image.shape
    padded = np.zeros((ins, rows, columns + 2 * padding))
    padded[:, :, padding : padding + columns] = image
    made = np.zeros((outs, rows - height + 1, columns + 2 * padding - width + 1))
    for o, r, c in np.ndindex(*made.shape):
        made[o, r, c] = bias[o]
        for i, h, w in np.ndindex(ins, height, width):
            made[o, r, c] += weight[o, i, h, w] * padded[i, r + h, c + w]
    return made


def conv_transpose2d_loop(
    image: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: int
) -> np.ndarray:
    """Transposed convolution: each pixel paints its kernel, then both ends are cut."""
    ins, outs, height, width = weight.shape
    _, rows, columns = image.shape
    full = np.zeros((outs, rows + height - 1, columns + width - 1))
    for i, r, c in np.ndindex(*image.shape):
        for o, h, w in np.ndindex(outs, height, width):
            full[o, r + h, c + w] += image[i, r, c] * weight[i, o, h, w]
    return full[:, :, padding : full.shape[2] - padding] + bias[:, None, None]
