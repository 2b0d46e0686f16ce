"""A random order for clouds on disk: chunks are read whole, and few are mixed at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["chunked_order"]


def chunked_order(
    num_clouds: int, chunk: int, window: int, random: torch.Generator
) -> Iterator[Tensor]:
    """Every row once: chunks in random order, and clouds of ``window`` chunks in random order.

    Clouds that lie far apart meet in a batch only if their chunks come into one window. So where a
    file is sorted, by label or by time, a window has to hold enough chunks to be a fair sample.

    Args:
        num_clouds: Rows of the data.
        chunk: Consecutive rows that are read together.
        window: Chunks whose rows are mixed; all of them give a plain random order.
        random: The only source of random numbers, on the CPU.
    Yields:
        Rows of a window, shape (at most window * chunk,).
    Raises:
        ValueError: If a number is below 1.
    Example:
        >>> windows = chunked_order(10, chunk=2, window=3, random=torch.Generator().manual_seed(0))
        >>> [sorted(rows.tolist()) for rows in windows]
        [[0, 1, 2, 3, 8, 9], [4, 5, 6, 7]]
    """
    for name, number in (("num_clouds", num_clouds), ("chunk", chunk), ("window", window)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    within = torch.arange(chunk, device="cpu")
    chunks = torch.randperm(-(-num_clouds // chunk), generator=random, device="cpu")
    for starts in (chunks * chunk).split(window):
        rows = (starts.unsqueeze(1) + within).flatten()  # (window * chunk,)
        rows = rows[rows < num_clouds]
        yield rows[torch.randperm(len(rows), generator=random, device="cpu")]
