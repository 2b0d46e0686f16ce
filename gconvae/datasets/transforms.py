"""Random changes of training clouds that keep their kind, and how each cloud was changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gconvae.randomness import standard_noise
from gconvae.schema import CHANGES

__all__ = ["NUM_CHANGES", "Augmented", "affine"]

NUM_CHANGES = 6
"""Numbers that say how a cloud was changed: angle, two scales, shear, two mirrors."""

_SPREADS = (0.15, 0.06, 0.06, 0.12)
"""Standard deviations of the angle (radians), the logarithms of both scales, and the shear."""


_KINDS = ("turn", "stretch", "stretch", "stretch", "mirror", "mirror")
"""What kind of change each of these numbers is."""


class Augmented(NamedTuple):
    """Changed clouds and what was changed.

    Attributes:
        points: Features, positions changed, shape (B, N, F).
        changes: In units of their spreads, the mirrors 0 or 1, all 0 for a cloud that is as it
            was, shape (B, 6).
    """

    points: Tensor
    changes: Tensor


def affine(
    points: Tensor,
    centre: Tensor,
    generator: torch.Generator,
    *,
    share: float = 0.7,
    kinds: Sequence[str] = CHANGES,
) -> Augmented:
    r"""Turns, stretches, shears and mirrors clouds about a fixed centre.

    .. math:: r' = c + R(\alpha) \, S(s_x, s_y, h) \, M \, (r - c)

    with the angle, the logarithms of the scales and the shear Gaussian, and each mirror as often
    as not. Intensities and other features stay.

    Such clouds are not of the distribution that is to be learned: a digit is not mirrored. So a
    model that learns from them has to be conditioned on the changes, and is later asked for clouds
    without any. It then shares what it learns among all, and nothing leaks into what it draws.

    Args:
        points: Clouds, the first two features positions of one scale, shape (B, N, F).
        centre: c, shape (2,).
        generator: On the CPU, the only source of random numbers.
        share: Of the clouds that are changed; the others stay to the bit.
        kinds: Out of ``"turn"``, ``"stretch"`` (scales and shear) and ``"mirror"``, as a schema
            allows them.
    Raises:
        ValueError: If ``share`` is not in [0, 1].
    References:
        | Training Generative Adversarial Networks with Limited Data (Karras et al., 2020),
          arXiv:2006.06676, on augmentations that leak
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022),
          arXiv:2206.00364, appendix F.2, on telling the network
    Example:
        >>> points = torch.rand(100, 25, 3)
        >>> made = affine(points, torch.tensor([0.5, 0.5]), torch.Generator(), share=0.0)
        >>> torch.equal(made.points, points), made.changes.any().item()
        (True, False)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    clouds = len(points)
    changed = _uniform(clouds, 1, generator) < share
    normal = standard_noise((clouds, len(_SPREADS)), generator)
    mirrored = _uniform(clouds, 2, generator) < 0.5
    changes = torch.cat([normal, mirrored], dim=1) * changed  # (B, 6)
    if set(kinds) != set(CHANGES):
        changes = changes * changes.new_tensor([float(kind in kinds) for kind in _KINDS])
    changes = changes.to(points)
    moved = (points[..., :2] - centre.to(points)) @ _matrices(changes).mT + centre.to(points)
    moved = torch.where(changed.to(points.device).unsqueeze(-1), moved, points[..., :2])
    return Augmented(torch.cat([moved, points[..., 2:]], dim=-1), changes)


def _uniform(clouds: int, columns: int, generator: torch.Generator) -> Tensor:
    """In single precision on the generator's device, whatever torch's defaults are."""
    device = generator.device
    return torch.rand(clouds, columns, generator=generator, device=device, dtype=torch.float32)


def _matrices(changes: Tensor) -> Tensor:
    """The linear map of each cloud, shape (B, 2, 2)."""
    angle, *log_scales, shear = (changes[:, :4] * changes.new_tensor(_SPREADS)).unbind(1)
    sides = (1 - 2 * changes[:, 4:]).unbind(1)
    across, down = (log.exp() * side for log, side in zip(log_scales, sides, strict=True))
    stretch = torch.stack([across, shear * down, torch.zeros_like(shear), down], dim=1)
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([cosine, -sine, sine, cosine], dim=1)
    return turn.unflatten(1, (2, 2)) @ stretch.unflatten(1, (2, 2))
