"""Clouds in pieces that go through a network at a time, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gconvae.clouds import Clouds

__all__ = ["CHUNK", "NODES", "PART", "joined", "pieces", "resized", "sent"]

CHUNK = 512
"""Clouds that go through a network at a time: memory does not grow with the request, and what lies
between two layers stays in the cache (2,048 at a time: a fifth slower)."""

NODES = 2**18
"""Nodes that go through a network on a GPU at a time, where there is no cache to stay in."""

PART = 16 * CHUNK
"""Clouds that go through a network on a GPU at most."""


def pieces(clouds: Clouds, num_points: int | None = None) -> Iterator[Clouds]:
    """Some clouds at a time.

    Args:
        clouds: Points, or latents in their place.
        num_points: Nodes of a cloud that a network makes of latents; None = those of ``clouds``.
    Example:
        >>> points, mask = torch.rand(600, 5, 3), torch.ones(600, 5, dtype=torch.bool)
        >>> [len(piece.points) for piece in pieces(Clouds(points, mask))]
        [512, 88]
    """
    size = CHUNK
    if clouds.points.is_cuda:
        most = min(PART, NODES // (num_points or clouds.points.shape[1]))
        size = max(CHUNK, most - most % CHUNK)  # noise is drawn to the same numbers so
    for start in range(0, len(clouds.points), size):
        yield clouds.subset(slice(start, start + size))


def joined(parts: Sequence[Clouds]) -> Clouds:
    """One sample of several with the same number of nodes.

    Args:
        parts: At least one.
    """
    points, masks, labels = zip(*parts, strict=True)
    together = None if labels[0] is None else torch.cat(labels)
    known = [part.conditions for part in parts if part.conditions is not None]
    conditions = torch.cat(known) if known else None
    return Clouds(torch.cat(points), torch.cat(masks), together, parts[0].schema, conditions)


def resized(points: Tensor, mask: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """Cuts or adds masked nodes at the end of sorted clouds.

    Args:
        points: Masked nodes last, shape (B, M, F).
        mask: Shape (B, M).
        num_points: N, the nodes that a network takes.
    Returns:
        Shapes (B, N, F) and (B, N).
    Raises:
        ValueError: If a cloud has more than N real nodes.
    """
    if points.shape[1] > num_points:
        if mask[:, num_points:].any():
            cloud = int(mask[:, num_points:].any(1).nonzero()[0])
            raise ValueError(
                f"points must have at most {num_points} nodes a cloud for this network, "
                f"cloud {cloud} has {int(mask[cloud].sum())}; a new model takes them with "
                f"num_points={int(mask.sum(1).max())}, max_nodes={num_points} of from_file leaves "
                "the last ones out"
            )
        return points[:, :num_points], mask[:, :num_points]
    missing = num_points - points.shape[1]
    return nn.functional.pad(points, (0, 0, 0, missing)), nn.functional.pad(mask, (0, missing))


def sent(part: Tensor, device: torch.device) -> Tensor:
    """On a device, without waiting for what it is doing.

    Args:
        part: On the CPU or that device.
        device: Where to.
    """
    if device.type != "cuda" or part.is_cuda:
        return part.to(device)
    return part.pin_memory().to(device, non_blocking=True)
