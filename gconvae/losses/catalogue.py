"""The catalogue of losses: reconstruction terms by name, sums of them, and standardized ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gconvae import registry
from gconvae.cuda_graphs import recordable
from gconvae.threads import separable

# the catalogue lists losses in the order in which they are registered, those of jets last
# isort: off
from gconvae.losses import chamfer_modules, sliced, transport  # noqa: F401 - each registers its losses
from gconvae.losses.jet_observables import InUnits, set_units
# isort: on

__all__ = ["Standardized", "WeightedSum", "available", "create"]


def available() -> list[str]:
    """Names that :func:`create` knows; ``chamfer`` is another name of the first.

    Example:
        >>> available()[:3]
        ['third_axis', 'matched_intensity', 'sliced_wasserstein']
    """
    return registry.available("loss")


def create(text: str, **options: Any) -> nn.Module:
    """A reconstruction loss, or a weighted sum of some, as one writes it.

    Args:
        text: ``name``, ``name(option=value)`` or a sum such as ``third_axis + 0.5 * matching``.
        options: Given to each term that takes them, where its own brackets do not set them.
            ``backend`` is dropped where no term searches for neighbours, ``num_positions`` where
            none tells positions from other features.
    Returns:
        The loss, or a :class:`WeightedSum`.
    Raises:
        ValueError: If there is no loss of a name, or no term takes an option.
    Example:
        >>> create("matched_intensity(intensity_weight=2)", backend="dense").intensity_weight
        2
        >>> create("chamfer + 0.5 * matching").weights
        [1.0, 0.5]
    """
    terms = registry.parse(text)
    taken: set[str] = {"backend", "num_positions"}
    losses = []
    for term in terms:
        takes = registry.accepted("loss", term.name)
        taken |= takes
        open_ones = {key: options[key] for key in takes & options.keys() - term.options.keys()}
        losses.append(registry.create("loss", term.name, **term.options, **open_ones))
    unknown = sorted(options.keys() - taken)
    if unknown:
        raise ValueError(f"options must be taken by a term of {text!r}, got {', '.join(unknown)}")
    weights = [term.weight for term in terms]
    return losses[0] if weights == [1.0] else WeightedSum(losses, weights)


class WeightedSum(nn.Module):
    r"""Sum of other losses of the same clouds.

    .. math:: \sum_k w_k L_k(p, q)

    Args:
        losses: Modules from (target, output, target_mask, output_mask) to a value a cloud.
        weights: Factor w of each, above 0.
    Raises:
        ValueError: If there is no loss, the numbers differ, or a weight is not above 0.
    Example:
        >>> loss = WeightedSum([create("chamfer"), create("matching")], [1.0, 0.5])
        >>> loss(torch.zeros(1, 5, 3), torch.ones(1, 5, 3))  # 2 * 15 + 0.5 * 15
        tensor([37.5000])
    """

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        if not losses or len(losses) != len(weights):
            raise ValueError(
                "losses and weights must be equally many, at least one, "
                f"got {len(losses)} and {len(weights)}"
            )
        if not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"weights must be above 0 and finite, got {list(weights)}")
        self.losses = nn.ModuleList(losses)
        self.weights = [float(weight) for weight in weights]

    @property
    def backend(self) -> str | None:
        """Neighbour search of the terms that search; None if there is none, or not one."""
        backends = {getattr(loss, "backend", None) for loss in self.losses} - {None}
        return backends.pop() if len(backends) == 1 else None

    @property
    def recordable(self) -> bool:
        """See ``gconvae.cuda_graphs``."""
        return recordable(*self.losses)

    @property
    def separable(self) -> bool:
        """See ``gconvae.threads``."""
        return separable(*self.losses)

    def forward(self, target: Tensor, output: Tensor, *masks: Any, **options: Any) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as each of the losses takes them."""
        terms = (
            weight * loss(target, output, *masks, **options)
            for weight, loss in zip(self.weights, self.losses, strict=True)
        )
        return torch.stack(list(terms)).sum(0)

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"weights={self.weights}"


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
        >>> loss = Standardized(create("chamfer"), torch.zeros(3), torch.tensor([2.0, 1.0, 1.0]))
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

    @property
    def recordable(self) -> bool:
        """See ``gconvae.cuda_graphs``."""
        return recordable(self.loss)

    @property
    def separable(self) -> bool:
        """See ``gconvae.threads``."""
        return separable(self.loss)

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
            >>> Standardized.fitted(create("chamfer"), points).std
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

    def set_units(self, units: InUnits) -> None:
        """Tells the inner loss how its units become those of the data."""
        set_units(self.loss, _Unstandardized(self, units))

    def forward(self, target: Tensor, output: Tensor, *masks: Any, **options: Any) -> Tensor:
        """Per-cloud loss, shape (B,); arguments as the inner loss takes them."""
        standardized = ((side - self.mean) / self.std for side in (target, output))
        return self.loss(*standardized, *masks, **options)

    def extra_repr(self) -> str:
        """Shown by ``print(loss)``, and kept in a run's manifest."""
        return f"mean={self.mean.tolist()}, std={self.std.tolist()}"


class _Unstandardized:
    """The way back from standardized units to those of the data."""

    def __init__(self, standardized: Standardized, units: InUnits) -> None:
        self.standardized, self.units = standardized, units

    def unscale(self, scaled: Tensor) -> Tensor:
        return self.units.unscale(scaled * self.standardized.std + self.standardized.mean)
