"""Flow matching beside the autoregressive likelihood: distances, evaluations and speed of draws.

Run: python benchmarks/flow_matching.py [--term "flow_matching(steps=8000)" ...] [--samples 5000]
On held-out eights, with the bundled network and prior, so that only the likelihood is fitted; one
thread. The last table is the error of the solvers: how far nodes of 512 draws are from those of a
very fine solution with the same noise, in standard deviations of each feature.
"""

from __future__ import annotations

import argparse
import time

import torch
from fidelity import held_out, splits_of, vector_rows
from timing import machine

import gconvae
from gconvae import metrics
from gconvae.likelihoods import FlowMatchingLikelihood
from gconvae.likelihoods.runge_kutta import METHODS
from gconvae.randomness import generator, standard_noise
from gconvae.schema import SUPERPIXELS
from gconvae.studies.experiment import Splits

FINE = 96, "rk4"
"""Evaluations and solver of the solution that others are held against."""

BLOCK = 256
"""Clouds of a draw that is timed."""


def judged(name: str, model: gconvae.VAE, splits: Splits, samples: int) -> None:
    """Prints distances to the held-out clouds, and the speed."""
    points, generated = held_out(splits), model.sample(samples, seed=0)
    report = metrics.compare(points, generated, schema=SUPERPIXELS, metrics=["features"], seed=0)
    rows = [
        f"{row['name']} {row['value']:.4f} (floor {row['floor']:.4f})"
        for row in report.to_dict()["rows"]
        if row["metric"] == "W1" and row["name"] in SUPERPIXELS.names
    ]
    size = min(len(points), samples)
    rows += [
        f"{row['name']} {row['metric']} {row['value']:.3f}"
        for row in vector_rows(points, generated, size, seed=0)
    ]
    rows.append(f"{speed(model):.0f} clouds a CPU second")
    print(f"{name}: {', '.join(rows)}", flush=True)


def speed(model: gconvae.VAE) -> float:
    """Draws around given means, of CPU time, the best of five."""
    mean = torch.rand(BLOCK, 25, 3, generator=generator(0, "means"))
    noise = model.likelihood.noise((BLOCK, 25, 3), generator(0, "noise"))
    seconds = []
    for _ in range(5):
        began = time.process_time()
        model.likelihood.draw(mean, noise)
        seconds.append(time.process_time() - began)
    return BLOCK / min(seconds)


@torch.no_grad()
def solvers(model: gconvae.VAE, likelihood: FlowMatchingLikelihood) -> None:
    """Prints the error of each solver at some numbers of evaluations."""
    z = standard_noise((512, model.prior.latent_dim), generator(0, "z"))
    mean = model.decode_unit(z)
    clouds, nodes, features = mean.shape
    noise = likelihood.noise((clouds, nodes, features), generator(0, "noise"))
    before = likelihood.evaluations, likelihood.solver
    likelihood.evaluations, likelihood.solver = FINE
    fine = likelihood.draw(mean, noise)
    for solver, method in METHODS.items():
        cells = []
        for evaluations in (4, 6, 8, 12, 16, 24, 32):
            if evaluations % len(method.times):
                continue
            likelihood.evaluations, likelihood.solver = evaluations, solver
            error = (likelihood.draw(mean, noise) - fine) / likelihood.scale
            cells.append(f"{evaluations}: {error.square().mean().sqrt():.4f}")
        print(f"{solver}: {', '.join(cells)}", flush=True)
    likelihood.evaluations, likelihood.solver = before


def main(terms: list[str], samples: int) -> None:
    """Judges the bundled likelihood, then each one that is asked for."""
    print(machine(1))
    splits, model = splits_of(8, 0), gconvae.load("pretrained:eights")
    judged("autoregressive, bundled", model, splits, samples)
    for term in terms:
        began = time.process_time()
        fitted = model.with_likelihood(term, splits.train, valid=splits.valid, progress=False)
        print(f"{term}: {time.process_time() - began:.0f} CPU s", flush=True)
        judged(term, fitted, splits, samples)
        if isinstance(fitted.likelihood, FlowMatchingLikelihood):
            solvers(fitted, fitted.likelihood)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--term", nargs="+", default=["flow_matching"])
    parser.add_argument("--samples", type=int, default=5000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    main(given.term, given.samples)
