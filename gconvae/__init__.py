"""Variational autoencoders that generate small sparse point sets.

Names are loaded when they are first used: ``import gconvae`` and ``gconvae --help`` are fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gconvae.lazy import attach, link

if TYPE_CHECKING:
    from gconvae import (
        clouds,
        datasets,
        likelihoods,
        losses,
        metrics,
        models,
        neighbors,
        nn,
        options,
        plots,
        priors,
        recipes,
        registry,
        schema,
        studies,
        superpixels,
    )
    from gconvae import export as export
    from gconvae.studies.experiment import train
    from gconvae.studies.reproduction import reproduce
    from gconvae.studies.sweep import sweep
    from gconvae.training.fit import fit
    from gconvae.training.run_folder import Run, load, save
    from gconvae.vae import VAE

__version__ = "0.1.0"

__all__ = [
    "Run",
    "VAE",
    "__version__",
    "clouds",
    "datasets",
    "fit",
    "likelihoods",
    "load",
    "losses",
    "metrics",
    "models",
    "neighbors",
    "nn",
    "options",
    "plots",
    "priors",
    "recipes",
    "registry",
    "reproduce",
    "save",
    "schema",
    "studies",
    "superpixels",
    "sweep",
    "train",
]

_HOMES = {
    "Run": "training.run_folder",
    "VAE": "vae",
    "fit": "training.fit",
    "load": "training.run_folder",
    "reproduce": "studies.reproduction",
    "save": "training.run_folder",
    "sweep": "studies.sweep",
    "train": "studies.experiment",
}
"""Where the names that are no modules live."""

# 25 names are enough to be listed; the wing ``export`` is found without
__getattr__, _ = attach(__name__, {name: name for name in (*__all__, "export")} | _HOMES)
__dir__ = sorted(__all__).copy

# what a model's methods run stands above the model (docs/decisions/0007-stages.md)
link(
    with_prior="gconvae.training.refit",
    with_likelihood="gconvae.training.refit",
)
