"""What a likelihood asks to be told of a cloud beside the nodes that are written already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gconvae.registry import check_counts

__all__ = ["MEAN_ALONE", "Told", "told_of"]

PARTS = ("mean", "latents")
"""What a likelihood can choose of."""


class Told(NamedTuple):
    r"""What stands behind the bar of :math:`p(x | \hat x, z, y, c)`.

    The mean is told node by node, the rest as a context vector: latents, the label one-hot, and
    conditions. How many nodes a cloud has is in its mask.

    Attributes:
        mean: Whether the decoder's mean is told.
        latent_dim: L, where the latents are told; else 0.
        num_classes: Labels that are told apart; 0 = none.
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


MEAN_ALONE = Told()
"""The decoder's mean and nothing else."""


def told_of(
    told: Sequence[str], latent_dim: int, num_classes: int = 0, num_conditions: int = 0
) -> Told:
    """What the options of a likelihood say.

    Args:
        told: Some of ``"mean"`` and ``"latents"``, or none.
        latent_dim: L of the model.
        num_classes: Of the model.
        num_conditions: Of the model.
    Raises:
        ValueError: If ``told`` names something else, or a number is out of range.
    Example:
        >>> told_of(("mean", "latents"), 10, num_classes=2).context_dim
        12
    """
    if not isinstance(told, list | tuple) or any(part not in PARTS for part in told):
        raise ValueError(f"told must be a list of {' and '.join(PARTS)}, got {told!r}")
    check_counts(latent_dim=latent_dim)
    for name, count in (("num_classes", num_classes), ("num_conditions", num_conditions)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, got {count!r}")
    latents = latent_dim if "latents" in told else 0
    return Told("mean" in told, latents, num_classes, num_conditions)
