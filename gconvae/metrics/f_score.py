"""The F-score: which share of nodes has a partner within a radius, both ways."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gconvae.clouds import as_clouds
from gconvae.neighbors import knn

__all__ = ["f_score"]


@torch.no_grad()
def f_score(
    real: Any,
    generated: Any,
    radius: float,
    real_mask: Any = None,
    generated_mask: Any = None,
) -> Tensor:
    r"""Harmonic mean of precision and recall of each pair of clouds, at a distance.

    .. math:: F = \frac{2 P R}{P + R}, \quad
        P = \frac1M \#\{j : \min_i |p_i - q_j| \le r\}, \quad
        R = \frac1N \#\{i : \min_j |p_i - q_j| \le r\}

    For reconstructions, cloud by cloud; two samples of clouds without pairs are what
    :func:`gconvae.metrics.compare` is for.

    Args:
        real: Clouds p, shape (B, N, F), finite.
        generated: Clouds q, shape (B, M, F), in the same units.
        radius: r, in the units of the features, at least 0; a distance of r counts.
        real_mask: True where a node is real, shape (B, N); None = all.
        generated_mask: Likewise, shape (B, M).
    Returns:
        Shape (B,), from 0, no node has a partner, to 1, every one has.
    Raises:
        ValueError: If clouds are not finite, shapes do not match, a cloud has no real node, or
            the radius is below 0 or not finite.
    References:
        | Tanks and Temples: Benchmarking Large-Scale Scene Reconstruction (Knapitsch et al.,
          2017), ACM Transactions on Graphics 36
        | What Do Single-view 3D Reconstruction Networks Learn? (Tatarchenko et al., 2019),
          arXiv:1905.03678
    Example:
        >>> real = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
        >>> generated = torch.tensor([[[0.0, 0.1], [5.0, 0.0], [1.0, 0.0], [1.1, 0.0]]])
        >>> f_score(real, generated, radius=0.2)  # P = 3 / 4, R = 1
        tensor([0.8571])
    """
    if isinstance(radius, bool) or not 0 <= radius < math.inf:
        raise ValueError(f"radius must be at least 0 and finite, got {radius!r}")
    p = as_clouds(real, real_mask, name="real")
    q = as_clouds(generated, generated_mask, name="generated")
    if len(p.points) != len(q.points) or p.points.shape[-1] != q.points.shape[-1]:
        raise ValueError(
            "real and generated must have the same clouds and features, "
            f"got shapes {tuple(p.points.shape)} and {tuple(q.points.shape)}"
        )
    sides = p.points.double(), q.points.to(p.points.device).double()
    masks = p.mask, q.mask.to(p.mask.device)
    recall = _share_near(*sides, *masks, radius)
    precision = _share_near(*sides[::-1], *masks[::-1], radius)
    both = precision + recall
    score = torch.where(both > 0, 2 * precision * recall / both.clamp(min=1e-300), 0.0)
    return score.to(p.points)


def _share_near(
    query: Tensor, points: Tensor, query_mask: Tensor, points_mask: Tensor, radius: float
) -> Tensor:
    """Share of real queries with a point within the radius, shape (B,)."""
    squared = knn(query, points, 1, query_mask, points_mask, backend="dense").distances[..., 0]
    return ((squared <= radius**2) & query_mask).sum(1) / query_mask.sum(1).double()
