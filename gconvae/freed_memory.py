"""Memory that is freed and needed again soon."""

from __future__ import annotations

import torch

__all__ = ["keep_freed_memory"]


def keep_freed_memory() -> None:
    """Lets glibc keep what a step frees for the next one.

    Else it may return it to the system and fetch it anew in every step, page by page. It
    stops once it has seen a larger piece freed, of at most 32 MB; nothing happens elsewhere.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)
