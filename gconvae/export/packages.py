"""Optional packages that ONNX files need, imported at first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["onnx_package", "runtime_package"]


def onnx_package() -> Any:
    """The package onnx, beside which onnxscript is installed too.

    Raises:
        ModuleNotFoundError: If one of them is not; the message names the extra.
    """
    try:
        import_module("onnxscript")
        return import_module("onnx")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'ONNX files need {error.name}: pip install "gconvae[export]"'
        ) from error


def runtime_package() -> Any:
    """The package onnxruntime.

    Raises:
        ModuleNotFoundError: If it is not installed; the message names the extra.
    """
    try:
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'running an ONNX file needs onnxruntime: pip install "gconvae[export]"'
        ) from error
