"""Variational autoencoders that generate small sparse point sets.

Names are loaded when they are first used: ``import gconvae`` and ``gconvae --help`` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gconvae import (
        augment,
        autoregressive,
        chamfer,
        clouds,
        comparisons,
        conditions,
        copies,
        datasets,
        divergences,
        experiments,
        feature_metrics,
        files,
        flows,
        losses,
        matching,
        metrics,
        mixtures,
        models,
        neighbors,
        nn,
        observation,
        options,
        parts,
        plans,
        plots,
        priors,
        randomness,
        recipes,
        reference,
        reports,
        reproduction,
        runs,
        scaling,
        set_metrics,
        superpixels,
        sweeps,
        training,
        transport,
        vae,
        variants,
    )
    from gconvae.reproduction import reproduce
    from gconvae.runs import Run, load, save
    from gconvae.sweeps import sweep
    from gconvae.training import fit
    from gconvae.vae import VAE

__version__ = "0.1.0"

__all__ = [
    "Run",
    "VAE",
    "__version__",
    "augment",
    "autoregressive",
    "chamfer",
    "clouds",
    "comparisons",
    "conditions",
    "copies",
    "datasets",
    "divergences",
    "experiments",
    "feature_metrics",
    "files",
    "fit",
    "flows",
    "load",
    "losses",
    "matching",
    "mixtures",
    "metrics",
    "models",
    "neighbors",
    "nn",
    "observation",
    "options",
    "parts",
    "plans",
    "plots",
    "priors",
    "randomness",
    "recipes",
    "reference",
    "reports",
    "reproduce",
    "reproduction",
    "runs",
    "save",
    "scaling",
    "set_metrics",
    "superpixels",
    "sweep",
    "sweeps",
    "training",
    "transport",
    "vae",
    "variants",
]

_HOMES = {
    "VAE": "vae",
    "Run": "runs",
    "fit": "training",
    "load": "runs",
    "reproduce": "reproduction",
    "save": "runs",
    "sweep": "sweeps",
}
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
