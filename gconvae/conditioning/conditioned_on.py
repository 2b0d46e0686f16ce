"""What a likelihood is conditioned on, beside the nodes that it has drawn already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gconvae.registry import check_counts

__all__ = ["MEAN_ALONE", "ConditionedOn", "conditioned_on"]

PARTS = ("mean", "latents")
"""What a likelihood can choose of."""


class ConditionedOn(NamedTuple):
    r"""What stands behind the bar of :math:`p(x | \hat x, z, y, c)`.

    The mean enters node by node, the rest as a context vector: latents, the label one-hot, and
    conditions. How many nodes a cloud has is in its mask.

    Attributes:
        mean: Whether the decoder's mean is one of them.
        latent_dim: L, where the latents are; else 0.
        num_classes: Labels; 0 = none.
        num_conditions: Standardized conditions of a cloud; 0 = none.
    """

    mean: bool = True
    latent_dim: int = 0
    num_classes: int = 0
    num_conditions: int = 0

    @property
    def context_dim(self) -> int:
        """Entries of a context vector; 0 = there is none."""
        return self.latent_dim + self.num_classes + self.num_conditions


MEAN_ALONE = ConditionedOn()
"""The decoder's mean and nothing else."""


def conditioned_on(
    condition_on: Sequence[str], latent_dim: int, num_classes: int = 0, num_conditions: int = 0
) -> ConditionedOn:
    """What the options of a likelihood say.

    Args:
        condition_on: Some of ``"mean"`` and ``"latents"``, or none.
        latent_dim: L of the model.
        num_classes: Of the model.
        num_conditions: Of the model.
    Raises:
        ValueError: If ``condition_on`` names something else, or a number is out of range.
    Example:
        >>> conditioned_on(("mean", "latents"), 10, num_classes=2).context_dim
        12
    """
    names = condition_on
    if not isinstance(names, list | tuple) or any(name not in PARTS for name in names):
        raise ValueError(f"condition_on must be a list of {' and '.join(PARTS)}, got {names!r}")
    check_counts(latent_dim=latent_dim)
    for name, count in (("num_classes", num_classes), ("num_conditions", num_conditions)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, got {count!r}")
    latents = latent_dim if "latents" in names else 0
    return ConditionedOn("mean" in names, latents, num_classes, num_conditions)
