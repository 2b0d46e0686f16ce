"""What leaves the library: encoder and sampler for other runtimes, and models on the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.export.card import model_card
    from gconvae.export.check import Agreement, agreement
    from gconvae.export.hub import push_to_hub
    from gconvae.export.metadata import read_metadata
    from gconvae.export.noise import noise_of
    from gconvae.export.onnx import to_onnx
    from gconvae.export.torch_export import to_torch_export

__all__ = [
    "Agreement",
    "agreement",
    "model_card",
    "noise_of",
    "push_to_hub",
    "read_metadata",
    "to_onnx",
    "to_torch_export",
]

_HOMES = {
    "Agreement": "check",
    "agreement": "check",
    "model_card": "card",
    "noise_of": "noise",
    "push_to_hub": "hub",
    "read_metadata": "metadata",
    "to_onnx": "onnx",
    "to_torch_export": "torch_export",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
