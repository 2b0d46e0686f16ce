"""F-score of two clouds at a distance: which share of each lies near the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gconvae import clouds
from gconvae.neighbors import nearest_both, squared_distance

__all__ = ["f_score"]


@torch.no_grad()
def f_score(
    real: Tensor,
    generated: Tensor,
    radius: float,
    real_mask: Tensor | None = None,
    generated_mask: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    r"""Harmonic mean of precision and recall at a distance, for each pair of clouds.

    .. math:: F = \frac{2 P R}{P + R}, \quad
              P = \frac1M \#\{j : \min_i |p_i - q_j| \le r\}, \quad
              R = \frac1N \#\{i : \min_j |p_i - q_j| \le r\}

    Args:
        real: Clouds p, shape (B, N, F).
        generated: Clouds q, shape (B, M, F), in the same units.
        radius: Distance r within which a node is found, at least 0, in the units of the features.
        real_mask: True where a node is real, shape (B, N); None = all.
        generated_mask: Likewise, shape (B, M).
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Returns:
        From 0 to 1, shape (B,); 0 where nothing is found.
    Raises:
        ValueError: If clouds are not valid, their numbers or features differ, or ``radius`` is
            below 0 or not finite.
    References:
        | Tanks and Temples: Benchmarking Large-Scale Scene Reconstruction (Knapitsch et al.,
          2017), ACM Transactions on Graphics 36, 78
    Example:
        >>> real = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
        >>> f_score(real, real + torch.tensor([[[0.1, 0.0], [3.0, 0.0]]]), radius=0.2)  # 1/2, 1/2
        tensor([0.5000])
    """
    if isinstance(radius, bool) or not 0 <= radius < math.inf:
        raise ValueError(f"radius must be at least 0 and finite, got {radius!r}")
    p = clouds.as_clouds(real, real_mask, name="real")
    q = clouds.as_clouds(generated, generated_mask, name="generated")
    if len(p.points) != len(q.points) or p.points.shape[-1] != q.points.shape[-1]:
        raise ValueError(
            "real and generated must have the same clouds and features, "
            f"got shapes {tuple(p.points.shape)} and {tuple(q.points.shape)}"
        )
    wide = torch.promote_types(p.points.dtype, q.points.dtype)
    a, b = p.points.to(wide), q.points.to(wide)
    to_b, to_a = nearest_both(a, b, p.mask, q.mask, backend=backend)
    recall = _share(a, b, to_b, p.mask, radius)
    precision = _share(b, a, to_a, q.mask, radius)
    both = precision + recall
    return 2 * precision * recall / torch.where(both > 0, both, 1.0)


def _share(nodes: Tensor, others: Tensor, index: Tensor, mask: Tensor, radius: float) -> Tensor:
    """Share of the real nodes whose partner is within the radius, shape (B,)."""
    partner = others.gather(1, index.unsqueeze(-1).expand(-1, -1, others.shape[-1]))
    near = squared_distance(nodes, partner).sqrt() <= radius  # (B, N)
    return (near & mask).sum(1) / mask.sum(1)
