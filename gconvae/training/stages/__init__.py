"""The stages of a training: what each trains, on which batches, and what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.training.stages.network import Adam, NetworkStage

__all__ = [
    "Adam",
    "NetworkStage",
]

_HOMES = {
    "Adam": "network",
    "NetworkStage": "network",
}
__getattr__, __dir__ = attach(__name__, _HOMES)
