"""Trained models for other runtimes: encoder and sampler as ONNX or ``torch.export`` files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach

if TYPE_CHECKING:
    from gconvae.export.check import Agreement, agreement
    from gconvae.export.metadata import read_metadata
    from gconvae.export.noise import noise_of
    from gconvae.export.onnx import to_onnx
    from gconvae.export.torch_export import to_torch_export

__all__ = [
    "Agreement",
    "agreement",
    "noise_of",
    "read_metadata",
    "to_onnx",
    "to_torch_export",
]

_HOMES = {
    "Agreement": "check",
    "agreement": "check",
    "noise_of": "noise",
    "read_metadata": "metadata",
    "to_onnx": "onnx",
    "to_torch_export": "torch_export",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
