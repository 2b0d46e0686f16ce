"""Variational autoencoders that generate small sparse point sets.

Names are loaded when they are first used: ``import gconvae`` and ``gconvae --help`` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gconvae import (
        clouds,
        datasets,
        experiments,
        files,
        losses,
        metrics,
        models,
        neighbors,
        nn,
        options,
        plots,
        priors,
        randomness,
        runs,
        scaling,
        superpixels,
        training,
        vae,
    )
    from gconvae.runs import Run, load
    from gconvae.training import fit
    from gconvae.vae import VAE

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Run",
    "__version__",
    "clouds",
    "datasets",
    "experiments",
    "files",
    "fit",
    "load",
    "losses",
    "metrics",
    "models",
    "neighbors",
    "nn",
    "options",
    "plots",
    "priors",
    "randomness",
    "runs",
    "scaling",
    "superpixels",
    "training",
    "vae",
]

_HOMES = {"VAE": "vae", "Run": "runs", "fit": "training", "load": "runs"}
"""Where the names that are no modules live."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'gconvae' has no attribute {name!r}")
    if name in _HOMES:
        value = getattr(import_module(f"gconvae.{_HOMES[name]}"), name)
    else:
        value = import_module(f"gconvae.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
