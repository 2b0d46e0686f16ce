"""Losses that move mass one to one: exact matching, sliced Wasserstein and Sinkhorn."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from gconvae import randomness
from gconvae.losses.chamfer import checked_pair
from gconvae.neighbors.dense import squared_distance
from gconvae.registry import check_counts, register

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Matching",
    "Sinkhorn",
    "SlicedWasserstein",
    "matching_loss",
    "sinkhorn_loss",
    "sliced_wasserstein",
]


def matching_loss(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
) -> Tensor:
    r"""Squared distances of nodes to their partners, by the best of all one-to-one assignments.

    .. math:: \min_\pi \sum_i |p_i - q_{\pi(i)}|^2

    Unlike a Chamfer distance it sees density: no two nodes share a partner. The assignment
    minimizes exactly this sum, in double precision on the CPU and without a gradient; the
    gradient flows through the pairs that it finds. It takes O(N^3) at worst.

    Args:
        target: Clouds p, shape (B, N, F), features in scaled units.
        output: Clouds q, shape (B, M, F), same scaling.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
    Returns:
        Shape (B,), units of feature squared; where the output is the target moved by t, N times
        the square of t.
    Raises:
        ValueError: If shapes do not match, a cloud has no real node, or the numbers of real nodes
            of its two sides differ.
    References:
        | A Point Set Generation Network for 3D Object Reconstruction from a Single Image
          (Fan, Su and Guibas, 2017), arXiv:1612.00603
    Example:
        >>> target = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
        >>> output = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        >>> matching_loss(target, output)  # 1 + 4; two nodes on one place share no partner
        tensor([5.])
    """
    target, output = checked_pair(target, output, target_mask, output_mask)
    _check_equal_counts(target, output, target_mask, output_mask)
    partner = _partners(target, output, target_mask, output_mask).unsqueeze(-1)  # (B, N, 1)
    terms = squared_distance(target, output.gather(1, partner.expand_as(target)))  # (B, N)
    return (terms if target_mask is None else terms.masked_fill(~target_mask, 0.0)).sum(1)


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
    :func:`matching_loss`: never above it, and equal to it where the output is the target moved
    as a whole. The directions are functions of (R, F, seed): no step draws new ones.

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
    counts = _check_equal_counts(target, output, target_mask, output_mask)
    num_features = target.shape[-1]
    lines = torch.from_numpy(_directions(num_projections, num_features, seed).T)  # (F, R)
    kept = min(target.shape[1], output.shape[1])  # equal counts: no real node is beyond
    along, other = (
        _sorted_along(points @ lines.to(points), mask)[:, :kept]  # (B, kept, R)
        for points, mask in ((target, target_mask), (output, output_mask))
    )
    terms = (along - other).square().mean(-1)  # (B, kept)
    if target_mask is not None or output_mask is not None:
        place = torch.arange(kept, device=target.device)
        terms = terms.masked_fill(place >= counts.unsqueeze(-1), 0.0)
    return num_features * terms.sum(1)


def sinkhorn_loss(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    *,
    blur: float = 0.5,
    scaling: float = 0.5,
    diameter: float = 64.0,
) -> Tensor:
    r"""Debiased entropic transport between the nodes: a matching with soft partners.

    .. math:: 2 N \left[ OT_\varepsilon(p, q) - \tfrac12 OT_\varepsilon(p, p)
              - \tfrac12 OT_\varepsilon(q, q) \right], \quad
              OT_\varepsilon(p, q) = \min_\pi \sum_{ij} \pi_{ij} \tfrac12 |p_i - q_j|^2
              + \varepsilon KL(\pi | p \otimes q), \quad \varepsilon = blur^2

    Each node weighs 1/N, and the factor 2N makes it comparable with :func:`matching_loss`: close
    to it where ``blur`` is small, and equal to it where the output is the target moved as a
    whole. Where the numbers of nodes differ, N is their mean. Needs the extra ``sinkhorn``.

    Args:
        target: Clouds p, shape (B, N, F), features in scaled units.
        output: Clouds q, shape (B, M, F), same scaling.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        blur: Finest distance that is told apart, in the units of the features, above 0.
        scaling: Ratio of two steps of the annealing from ``diameter`` down to ``blur``, between 0
            and 1; near 1 is accurate and slow.
        diameter: Largest distance of two nodes, roughly, at least ``blur``. Fixed, so that the
            value of a cloud does not depend on the others of its batch.
    Returns:
        Shape (B,), units of feature squared.
    Raises:
        ValueError: If shapes do not match, a cloud has no real node, or an option is out of range.
        ModuleNotFoundError: If geomloss is not installed.
    References:
        | Interpolating between Optimal Transport and MMD using Sinkhorn Divergences (Feydy et
          al., 2018), arXiv:1810.08278
    Example:
        >>> target = torch.tensor([[[0.0, 0.0], [3.0, 0.0]]])
        >>> sinkhorn_loss(target, target + torch.tensor([1.0, 2.0]))  # 2 * (1 + 4)
        tensor([10.])
    """
    _check_sinkhorn(blur, scaling, diameter)
    target, output = checked_pair(target, output, target_mask, output_mask)
    solve = _samples_loss()(
        "sinkhorn",
        p=2,
        blur=blur,
        scaling=scaling,
        diameter=diameter,
        cost=_half_squared_distances,
        backend="tensorized",
    )
    p, target_count = _shares(target, target_mask)
    q, output_count = _shares(output, output_mask)
    return (target_count + output_count) * solve(p, target, q, output)  # 2N, N their mean


@register("loss", "matching")
class Matching(nn.Module):
    """:func:`matching_loss` as a module.

    Example:
        >>> Matching()(torch.zeros(2, 5, 3), torch.ones(2, 5, 3))  # 5 * 3
        tensor([15., 15.])
    """

    # torch's own takes anything, and its arguments would pass as options
    def __init__(self) -> None:
        super().__init__()

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`matching_loss`."""
        return matching_loss(target, output, target_mask, output_mask)


@register("loss", "sliced_wasserstein")
class SlicedWasserstein(nn.Module):
    """:func:`sliced_wasserstein` as a module.

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


@register("loss", "sinkhorn")
class Sinkhorn(nn.Module):
    """:func:`sinkhorn_loss` as a module.

    Args:
        blur: Finest distance that is told apart, in the units of the features.
        scaling: Ratio of two steps of the annealing, between 0 and 1.
        diameter: Largest distance of two nodes, roughly.
    Raises:
        ValueError: If an option is out of range.
    Example:
        >>> Sinkhorn(blur=0.1)(torch.zeros(2, 5, 3), torch.ones(2, 5, 3))  # 5 * 3
        tensor([15., 15.])
    """

    def __init__(self, blur: float = 0.5, scaling: float = 0.5, diameter: float = 64.0) -> None:
        super().__init__()
        _check_sinkhorn(blur, scaling, diameter)
        self.blur = blur
        self.scaling = scaling
        self.diameter = diameter

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`sinkhorn_loss`."""
        return sinkhorn_loss(
            target,
            output,
            target_mask,
            output_mask,
            blur=self.blur,
            scaling=self.scaling,
            diameter=self.diameter,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"blur={self.blur:g}, scaling={self.scaling:g}, diameter={self.diameter:g}"


def _counts(points: Tensor, mask: Tensor | None) -> Tensor:
    """Number of real nodes of each cloud, shape (B,)."""
    if mask is None:
        return torch.full(points.shape[:1], points.shape[1], device=points.device)
    return mask.sum(1)


def _check_equal_counts(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> Tensor:
    """The numbers of real nodes, shape (B,), which both sides must share."""
    counts, others = _counts(target, target_mask), _counts(output, output_mask)
    unequal = (counts != others).nonzero()
    if len(unequal):
        cloud = int(unequal[0])
        raise ValueError(
            "target and output must have equal numbers of real nodes, "
            f"cloud {cloud} has {int(counts[cloud])} and {int(others[cloud])}"
        )
    return counts


def _partners(
    target: Tensor, output: Tensor, target_mask: Tensor | None, output_mask: Tensor | None
) -> Tensor:
    """Index of each target node's partner, shape (B, N); 0 where the node is masked."""
    costs = _costs(target, output)  # (B, N, M)
    partner = np.zeros(target.shape[:2], dtype=np.int64)
    if target_mask is None and output_mask is None:
        for cloud, cost in enumerate(costs):
            partner[cloud] = linear_sum_assignment(cost)[1]
    else:
        for cloud, cost in enumerate(costs):
            rows, columns = (
                np.arange(size) if mask is None else mask[cloud].nonzero()[:, 0].cpu().numpy()
                for mask, size in zip((target_mask, output_mask), cost.shape, strict=True)
            )
            partner[cloud, rows] = columns[linear_sum_assignment(cost[np.ix_(rows, columns)])[1]]
    return torch.from_numpy(partner).to(target.device)


def _costs(target: Tensor, output: Tensor) -> NDArray[np.float64]:
    """Squared distances of all pairs of nodes, shape (B, N, M), as the assignment takes them."""
    p, q = (points.detach().cpu().double() for points in (target, output))
    costs = squared_distance(p.unsqueeze(2), q.unsqueeze(1))
    # with a node that is not finite every assignment gives nan or inf, which the caller shall see
    return costs.nan_to_num_(nan=0.0, posinf=0.0).numpy()


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


def _half_squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Cost of all pairs, (B, N, F) and (B, M, F) to (B, N, M); from differences, so exact."""
    return squared_distance(a.unsqueeze(2), b.unsqueeze(1)) / 2


def _shares(points: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Each node's share of the mass, shape (B, N), and the number of real nodes, shape (B,)."""
    real = points.new_ones(points.shape[:2]) if mask is None else mask.to(points.dtype)
    count = real.sum(1)
    return real / count.unsqueeze(-1), count


def _check_sinkhorn(blur: float, scaling: float, diameter: float) -> None:
    if not 0 < blur < math.inf:
        raise ValueError(f"blur must be above 0 and finite, got {blur}")
    if not 0 < scaling < 1:
        raise ValueError(f"scaling must be between 0 and 1, got {scaling}")
    if not blur <= diameter < math.inf:
        raise ValueError(f"diameter must be at least blur and finite, got {diameter}")


def _samples_loss() -> Any:
    try:
        from geomloss import SamplesLoss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the sinkhorn loss needs geomloss: pip install "gconvae[sinkhorn]"', name="geomloss"
        ) from error
    return SamplesLoss
