"""Reconstruction terms between two sets of nodes, and the Kullback-Leibler term of the latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.neighbors import nearest_padded, squared_distance

__all__ = [
    "MatchedIntensityChamfer",
    "Standardized",
    "ThirdAxisChamfer",
    "available",
    "create",
    "kl_monte_carlo",
    "kl_standard_normal",
    "matched_intensity_chamfer",
    "third_axis_chamfer",
]


def third_axis_chamfer(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    *,
    target_weight: Tensor | None = None,
    output_weight: Tensor | None = None,
    backend: str = "torch-cluster",
) -> Tensor:
    r"""Squared Chamfer distance with the intensity as a third coordinate, summed over nodes.

    .. math:: \sum_i w_i \min_j |p_i - q_j|^2 + \sum_j v_j \min_i |p_i - q_j|^2

    Squared, because the gradient of a root at distance 0 is not a number. Blind to density: many
    output nodes on one target node cost nothing as long as every target node has a neighbour.

    Args:
        target: Clouds p, shape (B, N, F), features in scaled units.
        output: Clouds q, shape (B, M, F), same scaling.
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        target_weight: Weight w of each target node's own term, shape (B, N); None = 1.
        output_weight: Weight v of each output node's own term, shape (B, M); None = 1.
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Returns:
        Shape (B,), units of feature squared; zero iff both are the same set.
    Raises:
        ValueError: If shapes do not match, or a cloud has no real node on one side.
    References:
        | ConVAE Results (B. Orzari), slides, eq. 1
        | A Point Set Generation Network for 3D Object Reconstruction from a Single Image
          (Fan, Su and Guibas, 2017), arXiv:1612.00603
    Example:
        >>> target = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]])
        >>> output = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
        >>> third_axis_chamfer(target, output)  # (1 + 4) + (1 + 1)
        tensor([7.])
    """
    target = _checked(target, target_mask, "target")
    output = _checked(output, output_mask, "output")
    _check_pair(target, output)

    def one_way(a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None) -> Tensor:
        return squared_distance(a, _matched(a, b, a_mask, b_mask, target.shape[-1], backend))

    forward = one_way(target, output, target_mask, output_mask)  # (B, N)
    backward = one_way(output, target, output_mask, target_mask)  # (B, M)
    return _weighted_sum(forward, target_mask, target_weight, "target_weight") + _weighted_sum(
        backward, output_mask, output_weight, "output_weight"
    )


def matched_intensity_chamfer(
    target: Tensor,
    output: Tensor,
    target_mask: Tensor | None = None,
    output_mask: Tensor | None = None,
    *,
    intensity_weight: float = 1.0,
    target_weight: Tensor | None = None,
    output_weight: Tensor | None = None,
    backend: str = "torch-cluster",
) -> Tensor:
    r"""Squared Chamfer distance of positions, plus the squared intensity gap of each matched pair.

    .. math::
        \sum_i w_i \left[ |x_i - u_{k(i)}|^2 + \lambda (I_i - J_{k(i)})^2 \right]
        + \sum_j v_j \left[ |x_{k'(j)} - u_j|^2 + \lambda (I_{k'(j)} - J_j)^2 \right],
        \quad k(i) = \arg\min_j |x_i - u_j|^2, \; k'(j) = \arg\min_i |x_i - u_j|^2

    The search sees positions only ("JR way" on the slides); a pair that ties keeps the node that
    comes first. Not continuous where the nearest node changes.

    Args:
        target: Clouds (x, I), shape (B, N, F), F of at least 3: two positions, then intensities.
        output: Clouds (u, J), shape (B, M, F).
        target_mask: True where a node is real, shape (B, N); None = all.
        output_mask: Likewise, shape (B, M).
        intensity_weight: The factor lambda; 1 on the slides.
        target_weight: Weight w of each target node's own term, shape (B, N); None = 1.
        output_weight: Weight v of each output node's own term, shape (B, M); None = 1.
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Returns:
        Shape (B,), units of feature squared.
    Raises:
        ValueError: If shapes do not match, F is below 3, or a cloud has no real node on one side.
    References:
        | ConVAE Results (B. Orzari), slides, eq. 2
    Example:
        >>> target = torch.tensor([[[0.0, 0.0, 1.0]]])
        >>> output = torch.tensor([[[2.0, 0.0, 4.0]]])
        >>> matched_intensity_chamfer(target, output)  # 2 * (4 + 9)
        tensor([26.])
    """
    target = _checked(target, target_mask, "target")
    output = _checked(output, output_mask, "output")
    _check_pair(target, output)
    _check_intensity_weight(intensity_weight)
    if target.shape[-1] < 3:
        raise ValueError(
            f"target must have two positions and an intensity, got {target.shape[-1]} features"
        )

    def one_way(a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None) -> Tensor:
        matched = _matched(a, b, a_mask, b_mask, 2, backend)
        position = squared_distance(a[..., :2], matched[..., :2])
        return position + intensity_weight * squared_distance(a[..., 2:], matched[..., 2:])

    forward = one_way(target, output, target_mask, output_mask)  # (B, N)
    backward = one_way(output, target, output_mask, target_mask)  # (B, M)
    return _weighted_sum(forward, target_mask, target_weight, "target_weight") + _weighted_sum(
        backward, output_mask, output_weight, "output_weight"
    )


class ThirdAxisChamfer(nn.Module):
    """:func:`third_axis_chamfer` as a module.

    Args:
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Example:
        >>> ThirdAxisChamfer()(torch.zeros(2, 5, 3), torch.ones(2, 4, 3))  # (5 + 4) * 3
        tensor([27., 27.])
    """

    def __init__(self, backend: str = "torch-cluster") -> None:
        super().__init__()
        self.backend = backend

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
        *,
        target_weight: Tensor | None = None,
        output_weight: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`third_axis_chamfer`."""
        return third_axis_chamfer(
            target,
            output,
            target_mask,
            output_mask,
            target_weight=target_weight,
            output_weight=output_weight,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"backend={self.backend!r}"


class MatchedIntensityChamfer(nn.Module):
    """:func:`matched_intensity_chamfer` as a module.

    Args:
        intensity_weight: Factor of the intensity terms, at least 0; 1 on the slides.
        backend: Neighbour search, see :func:`gconvae.neighbors.nearest`.
    Raises:
        ValueError: If ``intensity_weight`` is below 0.
    Example:
        >>> target, output = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[2.0, 0.0, 4.0]]])
        >>> MatchedIntensityChamfer(intensity_weight=0.5)(target, output)  # 2 * (4 + 9 / 2)
        tensor([17.])
    """

    def __init__(self, intensity_weight: float = 1.0, backend: str = "torch-cluster") -> None:
        super().__init__()
        _check_intensity_weight(intensity_weight)
        self.intensity_weight = intensity_weight
        self.backend = backend

    def forward(
        self,
        target: Tensor,
        output: Tensor,
        target_mask: Tensor | None = None,
        output_mask: Tensor | None = None,
        *,
        target_weight: Tensor | None = None,
        output_weight: Tensor | None = None,
    ) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as in :func:`matched_intensity_chamfer`."""
        return matched_intensity_chamfer(
            target,
            output,
            target_mask,
            output_mask,
            intensity_weight=self.intensity_weight,
            target_weight=target_weight,
            output_weight=output_weight,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"intensity_weight={self.intensity_weight:g}, backend={self.backend!r}"


class Standardized(nn.Module):
    r"""Another loss, of both sides standardized with the same mean and standard deviation.

    .. math:: L\!\left( \frac{p - m}{s}, \frac{q - m}{s} \right)

    The features then weigh the same, and the loss is smaller by some variances, so that the same
    beta gives the KL term more weight.

    Args:
        loss: Module from (target, output, target_mask, output_mask) to a value a cloud.
        mean: Mean m of each feature, shape (F,).
        std: Standard deviation s of each feature, shape (F,).
    Raises:
        ValueError: If shapes differ, or a standard deviation is not above 0.
    Example:
        >>> loss = Standardized(ThirdAxisChamfer(), torch.zeros(3), torch.tensor([2.0, 1.0, 1.0]))
        >>> loss(torch.tensor([[[0.0, 0.0, 0.0]]]), torch.tensor([[[2.0, 0.0, 0.0]]]))  # 1 + 1
        tensor([2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, loss: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        mean, std = torch.as_tensor(mean), torch.as_tensor(std)
        if mean.dim() != 1 or mean.shape != std.shape:
            raise ValueError(
                "mean and std must both have shape (F,), "
                f"got {tuple(mean.shape)} and {tuple(std.shape)}"
            )
        if not (std > 0).all():
            raise ValueError(f"std must be above 0 in every feature, got {std.tolist()}")
        self.loss = loss
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    @classmethod
    def fitted(cls, loss: nn.Module, points: Tensor, mask: Tensor | None = None) -> Standardized:
        """Mean and standard deviation of the nodes of training clouds.

        A feature that never changes keeps its units.

        Args:
            loss: As above.
            points: Training clouds in the units of the loss, shape (B, N, F).
            mask: Shape (B, N), or None for all real.
        Example:
            >>> points = torch.tensor([[[0.0, 1.0, 5.0], [4.0, 3.0, 5.0]]])
            >>> Standardized.fitted(ThirdAxisChamfer(), points).std
            tensor([2., 1., 1.])
        """
        nodes = points.flatten(0, 1) if mask is None else points[mask]  # (P, F)
        # numpy: its sums do not depend on the number of threads
        values = nodes.detach().cpu().double().numpy()
        std = torch.from_numpy(values.std(0)).to(points)
        mean = torch.from_numpy(values.mean(0)).to(points)
        return cls(loss, mean, std.where(std > 0, 1.0))

    @property
    def backend(self) -> str | None:
        """Neighbour search of the inner loss, if it has one."""
        return getattr(self.loss, "backend", None)

    def forward(self, target: Tensor, output: Tensor, *masks: Any, **options: Any) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as the inner loss takes them."""
        standardized = ((side - self.mean) / self.std for side in (target, output))
        return self.loss(*standardized, *masks, **options)

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"mean={self.mean.tolist()}, std={self.std.tolist()}"


_LOSSES: dict[str, Callable[..., nn.Module]] = {
    "third_axis": ThirdAxisChamfer,
    "matched_intensity": MatchedIntensityChamfer,
}


def available() -> list[str]:
    """Names that :func:`create` knows.

    Example:
        >>> available()
        ['third_axis', 'matched_intensity']
    """
    return list(_LOSSES)


def create(name: str, **options: Any) -> nn.Module:
    """A reconstruction loss by its name.

    Raises:
        ValueError: If there is no loss of that name.
    Example:
        >>> create("matched_intensity", intensity_weight=2.0).intensity_weight
        2.0
    """
    if name not in _LOSSES:
        raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, got {name!r}")
    return _LOSSES[name](**options)


def kl_standard_normal(posterior: Independent[Any]) -> Tensor:
    r"""Kullback-Leibler divergence of a diagonal Gaussian from N(0, 1), summed over latents.

    .. math:: \tfrac12 \sum_l \left( \mu_l^2 + \sigma_l^2 - 1 - \log \sigma_l^2 \right)

    Args:
        posterior: Diagonal Gaussian with event shape (L,), as an encoder returns it.
    Returns:
        Shape (B,), nats.
    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2013), arXiv:1312.6114, appendix B
    Example:
        >>> from torch.distributions import Normal
        >>> kl_standard_normal(Independent(Normal(torch.ones(1, 4), torch.ones(1, 4)), 1))
        tensor([2.])
    """
    # Independent.stddev is the root of a square, which loses small values and their gradient
    mean, stddev = posterior.mean, posterior.base_dist.stddev
    return 0.5 * (mean.square() + stddev.square() - 1).sum(-1) - stddev.log().sum(-1)


def kl_monte_carlo(
    posterior: Independent[Any],
    prior: Any,
    generator: torch.Generator,
    num_samples: int = 1,
) -> Tensor:
    r"""Kullback-Leibler divergence from any prior, by sampling; unbiased.

    .. math:: \tfrac1S \sum_s \log q(z_s|x) - \log p(z_s), \quad z_s = \mu + \sigma \epsilon_s

    Args:
        posterior: Diagonal Gaussian with event shape (L,), as an encoder returns it.
        prior: Anything with ``log_prob(z)``, such as a prior of :mod:`gconvae.priors`.
        generator: Source of the noise.
        num_samples: S, at least 1.
    Returns:
        Shape (B,), nats; single values can be below 0.
    Raises:
        ValueError: If ``num_samples`` is below 1.
    Example:
        >>> from gconvae.priors import StandardNormal
        >>> from torch.distributions import Normal
        >>> posterior = Independent(Normal(torch.zeros(1, 2), torch.ones(1, 2)), 1)
        >>> kl_monte_carlo(posterior, StandardNormal(2), torch.Generator().manual_seed(0))
        tensor([0.])
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    mean = posterior.mean
    noise = torch.randn(
        (num_samples, *mean.shape),
        generator=generator,
        device=generator.device,
        dtype=mean.dtype,
    ).to(mean.device)
    z = mean + posterior.base_dist.stddev * noise  # (S, B, L)
    return (posterior.log_prob(z) - prior.log_prob(z)).mean(0)


def _matched(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None,
    b_mask: Tensor | None,
    num_search: int,
    backend: str,
) -> Tensor:
    """The node of b nearest to each node of a by the first features, shape of a."""
    found = nearest_padded(
        a[..., :num_search], b[..., :num_search], a_mask, b_mask, backend=backend
    )
    return b.gather(1, found.unsqueeze(-1).expand(-1, -1, b.shape[-1]))  # (B, N, F)


def _weighted_sum(terms: Tensor, mask: Tensor | None, weight: Tensor | None, name: str) -> Tensor:
    if weight is not None:
        if weight.shape != terms.shape:
            raise ValueError(
                f"{name} must have shape {tuple(terms.shape)}, got {tuple(weight.shape)}"
            )
        terms = terms * (weight if mask is None else weight.masked_fill(~mask, 0.0))
    if mask is not None:
        terms = terms.masked_fill(~mask, 0.0)
    return terms.sum(1)


def _checked(points: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """The clouds with 0 in masked places, where anything may stand that must not spread."""
    if points.dim() != 3:
        raise ValueError(
            f"{name} must have shape (clouds, nodes, features), got {tuple(points.shape)}"
        )
    if points.shape[1] == 0:
        raise ValueError(f"{name} must have at least one node, got shape {tuple(points.shape)}")
    if mask is None:
        return points
    if mask.dtype != torch.bool or mask.shape != points.shape[:2]:
        raise ValueError(
            f"{name}_mask must hold booleans of shape {tuple(points.shape[:2])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    empty = (~mask.any(1)).nonzero()
    if len(empty):
        raise ValueError(
            f"{name}_mask must leave a node in every cloud, cloud {int(empty[0])} has none"
        )
    return points.masked_fill(~mask.unsqueeze(-1), 0.0)


def _check_intensity_weight(weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise ValueError(f"intensity_weight must be at least 0 and finite, got {weight}")


def _check_pair(target: Tensor, output: Tensor) -> None:
    if target.shape[0] != output.shape[0] or target.shape[2] != output.shape[2]:
        raise ValueError(
            "target and output must have the same number of clouds and features, got "
            f"{tuple(target.shape)} and {tuple(output.shape)}"
        )
