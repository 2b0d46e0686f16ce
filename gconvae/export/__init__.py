"""What leaves the library: models on the Hugging Face hub, with a card that says what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.export.card import model_card
    from gconvae.export.hub import push_to_hub

__all__ = ["model_card", "push_to_hub"]

_HOMES = {"model_card": "card", "push_to_hub": "hub"}
__getattr__, __dir__ = attach(__name__, _HOMES)
