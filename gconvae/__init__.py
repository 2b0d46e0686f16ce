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
        export,
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
    from gconvae.studies.experiment import train
    from gconvae.studies.reproduction import reproduce
    from gconvae.studies.sweep import sweep
    from gconvae.training.fit import fit
    from gconvae.training.run import Run
    from gconvae.training.run_folder import load, save
    from gconvae.vae import VAE

__version__ = "0.1.0"

__all__ = [
    "Run",
    "VAE",
    "clouds",
    "datasets",
    "export",
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
    "Run": "training.run",
    "VAE": "vae",
    "fit": "training.fit",
    "load": "training.run_folder",
    "reproduce": "studies.reproduction",
    "save": "training.run_folder",
    "sweep": "studies.sweep",
    "train": "studies.experiment",
}
"""Where the names that are no modules live."""

__getattr__, __dir__ = attach(__name__, {name: name for name in __all__} | _HOMES)

# what stands above its callers: a model's methods, and where a folder's name leads
# (docs/decisions/0007-stages.md)
link(
    with_prior="gconvae.training.refit",
    with_likelihood="gconvae.training.refit",
    push_to_hub="gconvae.export.hub",
    hub_folder="gconvae.export.hub",
)
