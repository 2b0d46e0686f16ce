"""Memory that is freed and needed again soon, and memory that nobody has freed."""

from __future__ import annotations

import gc

import torch
from torch import nn

__all__ = ["collect_trained", "keep_freed_memory"]

MOST_LEFT = 2**26
"""Bytes that trainings may leave behind before they are looked for."""

COPIES = 6
"""Of its weights that a training holds: themselves, gradients, two moments, the best, a mean."""

_left = 0


def keep_freed_memory() -> None:
    """Lets glibc keep what a step frees for the next one.

    Else it may return it to the system and fetch it anew in every step, page by page. It
    stops once it has seen a larger piece freed, of at most 32 MB; nothing happens elsewhere.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def collect_trained(model: nn.Module) -> None:
    """Frees what finished trainings have left, once that is much.

    Lightning's trainer refers to itself, and to the weights, gradients and moments that it
    trained. Python's own collector of such cycles comes when the objects since the last time are
    a quarter of all that live long; with half a million of these, after some twenty trainings. To
    collect takes a fifth of a second, so that small trainings are left alone.

    Args:
        model: What was trained.
    """
    global _left
    _left += COPIES * sum(weight.nbytes for weight in model.parameters())
    if _left > MOST_LEFT:
        _left = 0
        gc.collect()
