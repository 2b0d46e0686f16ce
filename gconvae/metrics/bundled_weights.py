"""Weights that come with the package, checked against their card."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from safetensors.torch import load
from torch import Tensor

__all__ = ["DATA", "read_card", "read_weights"]

DATA = resources.files("gconvae").joinpath("data")
"""Folder of the bundled files."""


def read_card(folder: Traversable, name: str) -> dict[str, Any]:
    """What the weights ``name`` are, and how they were made."""
    card: dict[str, Any] = json.loads(folder.joinpath(f"{name}.json").read_text())
    return card


def read_weights(folder: Traversable, name: str) -> dict[str, Tensor]:
    """The tensors of ``name``; no code of a file is ever run.

    Raises:
        ValueError: If the file is not the one of its card.
    """
    content = folder.joinpath(f"{name}.safetensors").read_bytes()
    digest, wanted = hashlib.sha256(content).hexdigest(), read_card(folder, name)["sha256"]
    if digest != wanted:
        raise ValueError(
            f"{name}.safetensors must have the SHA-256 {wanted} of its card, got {digest}: "
            "the file is damaged, install gconvae again"
        )
    return load(content)
