"""How likely test clouds are under a finished training, on one scale for all likelihoods."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor

from gconvae import files, json_text
from gconvae.datasets import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.lattice import STEPS, lattice_step
from gconvae.training import run_folder
from gconvae.vae import VAE

__all__ = ["Bound", "bound", "bound_of_run"]

MOST_CLOUDS, SAMPLES = 100, 5
"""Test clouds, and draws of each: the density of a flow has a derivative for every number."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """A lower bound on log p(x), mean over clouds.

    Attributes:
        value: Nats of the mass on the lattice of the data.
        error: Its standard error over clouds.
    """

    value: float
    error: float


def bound(
    model: VAE,
    test: CloudDataset,
    *,
    most: int = MOST_CLOUDS,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Bound | None:
    r"""The mean bound of some test clouds, as a mass on the lattice that the data lie on.

    .. math:: \log P(x) = \log p(x) + \sum_i \sum_f \log \frac{\text{step}_f}{c_f}

    where p is that of a cell with sides c: of finer places, or of 1 for a density. So likelihoods
    of both kinds can be compared.

    Args:
        model: Trained.
        test: Clouds that it was not trained on.
        most: Clouds that are looked at.
        samples: Draws of each from its posterior.
        seed: Of the choice of clouds and of all draws.
    Returns:
        None if the likelihood has no density, a feature lies on no lattice, or what the likelihood
        has a mass of is no such lattice: cells of other sizes, as of heavy tails.
    """
    likelihood = model.likelihood
    known = test.clouds
    step = lattice_step(known.points, known.mask, STEPS["fine"], others=True).cpu()
    sides = _sides(model)
    if not likelihood.has_density or bool((step == 0).any()) or sides is None:
        return None
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    clouds = test[order[:most]]
    nats = model.log_likelihood(clouds, samples=samples, seed=seed).value.cpu()
    share = (step / sides).double().log().sum()
    nats = nats + clouds.clouds.mask.sum(1).cpu() * share
    return Bound(float(nats.mean()), float(nats.std() / len(nats) ** 0.5))


def _sides(model: VAE) -> Tensor | None:
    """Sides of the cell that a log-likelihood is of, in data units, shape (F,); None = none."""
    likelihood = model.likelihood
    if not likelihood.has_mass:
        return torch.ones(likelihood.num_features)
    is_even = not any(model.scaling.tails) and not bool((likelihood.step == 0).any())
    if not isinstance(likelihood, AutoregressiveLikelihood) or not is_even:
        return None
    return ((model.scaling.high - model.scaling.low) / likelihood.lattice_steps).cpu()


def bound_of_run(place: Path, test: CloudDataset | CloudFile, seed: int) -> Bound | None:
    """That of a finished run, found or made."""
    file = place / "bound.json"
    if not file.exists():
        few = test.in_memory() if isinstance(test, CloudFile) else test
        result = bound(run_folder.load(place), few, seed=seed)
        with files.whole(file) as temporary:
            known = None if result is None else dataclasses.asdict(result)
            temporary.write_text(json.dumps(known) + "\n")
    try:
        known = json_text.read(file)
        return None if known is None else Bound(**known)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} must hold a bound, it is damaged: {error}") from None
