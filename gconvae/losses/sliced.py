"""Sliced Wasserstein: nodes matched along many lines, on each of which the best order is known."""

from __future__ import annotations

import functools
import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gconvae import randomness
from gconvae.losses.pairs import checked_pair, equal_counts
from gconvae.neighbors.operators import define, watched
from gconvae.registry import check_counts, register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SlicedWasserstein", "sliced_wasserstein"]


def sliced_wasserstein(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    *,
    num_projections: int = 64,
    seed: int = 0,
) -> Tensor:
    r"""Squared distances of nodes matched along lines, as a mean over many directions.

    .. math:: \frac{F}{R} \sum_r \min_\pi \sum_i \left( d_r \cdot (p_i - q_{\pi(i)}) \right)^2

    On a line the best assignment is the order of the nodes, so that it costs O(N log N). The
    factor F and directions with :math:`\sum_r d_r d_r^T = \frac RF 1` make it comparable with
    :func:`~gconvae.losses.matching_loss`: never above it, and equal to it where the output is the
    target moved as a whole. The directions are functions of (R, F, seed): no step draws new ones.

    Args:
        target: Clouds p, shape (B, N, F), features in scaled units.
        output: Clouds q, shape (B, M, F), same scaling.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        num_projections: R, at least F.
        seed: Of the directions.
    Returns:
        Shape (B,), units of feature squared.
    Raises:
        ValueError: If shapes do not match, a cloud has no real node, the numbers of real nodes
            of its two sides differ, or there are fewer directions than features.
    References:
        | Sliced-Wasserstein Autoencoder (Kolouri et al., 2018), arXiv:1804.01947
        | Point-set Distances for Learning Representations of 3D Point Clouds (Nguyen et al.,
          2021), arXiv:2102.04014
    Example:
        >>> target = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
        >>> sliced_wasserstein(target, target + torch.tensor([1.0, 2.0]))  # 2 * (1 + 4)
        tensor([10.])
    """
    target, output = checked_pair(target, output, target_mask, output_mask)
    counts = equal_counts(target, output, target_mask, output_mask)
    num_features = target.shape[-1]
    if watched(target, output):
        lines = torch.ops.gconvae.lines(target.detach(), num_projections, seed)  # (B, F, R)
    else:
        lines = torch.from_numpy(_directions(num_projections, num_features, seed).T)  # (F, R)
    kept = min(target.shape[1], output.shape[1])  # equal counts: no real node is beyond
    # products of a mixed-precision training would lose the digits that the order needs
    with _full_precision(target.device):
        along, other = (
            _sorted_along(points @ lines.to(points), mask)[:, :kept]  # (B, kept, R)
            for points, mask in ((target, target_mask), (output, output_mask))
        )
    terms = (along - other).square().mean(-1)  # (B, kept)
    if target_mask is not None or output_mask is not None:
        place = torch.arange(kept, device=target.device)
        terms = terms.masked_fill(place >= counts.unsqueeze(-1), 0.0)
    return num_features * terms.sum(1)


@register("loss", "sliced_wasserstein")
class SlicedWasserstein(nn.Module):
    """Squared Wasserstein distance, mean over projections to random lines.

    :func:`sliced_wasserstein` as a module.

    Args:
        num_projections: Number of directions, at least the number of features.
        seed: Of the directions.
    Raises:
        ValueError: If ``num_projections`` is below 1, or ``seed`` below 0.
    Example:
        >>> SlicedWasserstein()(torch.zeros(2, 5, 3), torch.ones(2, 5, 3))  # 5 * 3
        tensor([15., 15.])
    """

    def __init__(self, num_projections: int = 64, seed: int = 0) -> None:
        super().__init__()
        check_counts(num_projections=num_projections)
        randomness.derive_seed(seed, "checked before the first step")
        self.num_projections = num_projections
        self.seed = seed

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`sliced_wasserstein`."""
        return sliced_wasserstein(
            target,
            output,
            target_mask,
            output_mask,
            num_projections=self.num_projections,
            seed=self.seed,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"num_projections={self.num_projections}, seed={self.seed}"


def _full_precision(device: torch.device) -> AbstractContextManager[Any]:
    known = device.type in ("cpu", "cuda") and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def _sorted_along(projected: Tensor, mask: Tensor | None) -> Tensor:
    """Places on each line in ascending order, masked nodes last, shape (B, N, R)."""
    if mask is None:
        return projected.sort(dim=1, stable=True).values
    places = projected.detach().masked_fill(~mask.unsqueeze(-1), math.inf)
    return projected.gather(1, places.argsort(dim=1, stable=True))


@functools.lru_cache(maxsize=16)
def _directions(num_projections: int, num_features: int, seed: int) -> NDArray[np.float64]:
    """Directions d, shape (R, F), in bases of F; an incomplete last one is evened out.

    An array: a tensor that was made in inference mode could not be used in training.
    """
    if num_projections < num_features:
        raise ValueError(
            "num_projections must be at least the number of features, "
            f"got {num_projections} for {num_features}"
        )
    draws = torch.randn(
        math.ceil(num_projections / num_features),
        num_features,
        num_features,
        generator=randomness.generator(seed, "directions of sliced wasserstein"),
        dtype=torch.float64,
    )
    bases = torch.linalg.qr(draws).Q.mT.flatten(0, 1)[:num_projections]  # (R, F)
    # the nearest matrix whose columns are orthogonal and of one length
    left, _, right = torch.linalg.svd(bases, full_matrices=False)
    return (left @ right * math.sqrt(num_projections / num_features)).numpy()


def _lines(points: Tensor, num_projections: int, seed: int) -> Tensor:
    """Directions for each cloud (B, N, F), shape (B, F, R), as an operator returns them."""
    lines = torch.from_numpy(_directions(num_projections, points.shape[2], seed).T).to(points)
    return lines.expand(len(points), -1, -1).contiguous()


define(
    "lines",
    "(Tensor points, int num_projections, int seed) -> Tensor",
    _lines,
    lambda points, size, seed: points.new_empty(points.shape[0], points.shape[2], size),
)
