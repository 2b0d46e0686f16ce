"""A likelihood's draws as one call, which a GPU records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gconvae.cuda_graphs import Recorder, recordable
from gconvae.likelihoods.base import Likelihood

__all__ = ["Draw", "draws", "records"]

Draw = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""From means, noise, masks and contexts to clouds in the unit interval."""


def records(likelihood: Likelihood, device: torch.device) -> bool:
    """Whether draws are recorded, which a GPU does where a likelihood says that they can be."""
    return device.type == "cuda" and recordable(likelihood)


def draws(likelihood: Likelihood, device: torch.device) -> Draw:
    """The draws; on a GPU the same work for every piece is recorded once.

    Args:
        likelihood: Which draws.
        device: Where its numbers lie.
    """

    def now(*arguments: Any) -> Tensor:
        return likelihood.draw(*arguments[:3], **likelihood.further(arguments[3]))

    if not records(likelihood, device):
        return now
    buffers: dict[str, Tensor] = {}

    def write(*arguments: Any) -> None:
        buffers["clouds"].copy_(now(*arguments))

    recorder = Recorder(write, device)

    def draw(*arguments: Any) -> Tensor:
        if "clouds" not in buffers:  # all pieces have one shape
            buffers["clouds"] = torch.empty_like(arguments[0])
        recorder(*arguments)
        return buffers["clouds"]

    return draw
