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

    def now(*given: Any) -> Tensor:
        return likelihood.draw(*given[:3], **likelihood.further(given[3]))

    if not records(likelihood, device):
        return now
    made: dict[str, Tensor] = {}

    def write(*given: Any) -> None:
        made["clouds"].copy_(now(*given))

    recorder = Recorder(write, device)

    def draw(*given: Any) -> Tensor:
        if "clouds" not in made:  # all pieces have one shape
            made["clouds"] = torch.empty_like(given[0])
        recorder(*given)
        return made["clouds"]

    return draw
